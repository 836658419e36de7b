"""Where the people of frames are, and which heads read them."""

from collections.abc import Mapping, Sequence
from typing import Optional, Union

from .boxes import Boxes, BoxesFile, GivenBoxes, suppress
from .detector import Detector
from .estimation import Located
from .frames import Frame


class Locator:
    """Finds the people of frames.

    Args:
        finder: A detector, or boxes that are given or come from a file; None takes each whole image
            for a box.
        num_readings: How many heads read each person.
        readings_of_class: The heads that read each class of the detector; without it all read all.
        bbox_thr: Only boxes of the detector with scores above this count.
        nms_thr: Greatest IoU of two boxes of the detector that the same heads read.
    """

    def __init__(
        self,
        finder: Union[Detector, GivenBoxes, BoxesFile, None],
        num_readings: int = 1,
        readings_of_class: Optional[Mapping[str, Sequence[int]]] = None,
        bbox_thr: float = 0.3,
        nms_thr: float = 0.3,
    ) -> None:
        for name, value in dict(bbox_thr=bbox_thr, nms_thr=nms_thr).items():
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f'{name} must lie within 0 and 1, got {value!r}')
        self.finder = finder
        self.num_readings = num_readings
        self.readings_of_class = readings_of_class
        self.bbox_thr, self.nms_thr = bbox_thr, nms_thr

    @property
    def files(self) -> list[str]:
        """Files that are read."""
        return [self.finder.path] if isinstance(self.finder, BoxesFile) else []

    @property
    def batch_size(self) -> int:
        """How many frames should be located together."""
        return self.finder.batch_size if isinstance(self.finder, Detector) else 1

    def locate(self, frames: Sequence[Frame]) -> list[Located]:
        """Find the people of some frames; those that could not be read have none."""
        usable = [frame for frame in frames if frame.image is not None]
        boxes = {}
        if isinstance(self.finder, Detector) and usable:
            found = self.finder.detect([frame.image for frame in usable], self.bbox_thr)
            for frame, each in zip(usable, found):
                boxes[frame.index] = suppress(each, self.nms_thr, self._groups(each))
        for frame in frames:
            if self._is_by_name and frame.source.video is not None:
                raise ValueError(
                    f'{frame.source.name} is a video, the boxes are of pictures by their names: '
                    'give boxes for each of its frames, in order, by bboxes='
                )
            if isinstance(self.finder, (GivenBoxes, BoxesFile)):
                given = self.finder.of(frame.source.name)  # also of those that could not be read
                boxes[frame.index] = given if frame.image is not None else Boxes()
            elif self.finder is None and frame.image is not None:
                boxes[frame.index] = Boxes.whole(frame.image)
        return [self._assign(frame, boxes.get(frame.index, Boxes())) for frame in frames]

    @property
    def _is_by_name(self) -> bool:
        is_given = isinstance(self.finder, GivenBoxes)
        return isinstance(self.finder, BoxesFile) or (is_given and self.finder.is_by_name)

    def finish(self) -> None:
        """Raise a ``ValueError`` if the boxes were of other frames, or of more than there were."""
        if isinstance(self.finder, (GivenBoxes, BoxesFile)):
            self.finder.require_used_up()

    def _groups(self, boxes: Boxes) -> Optional[list[str]]:
        if self.readings_of_class is None or boxes.classes is None:
            return None
        return [str(self.readings_of_class.get(each)) for each in boxes.classes]

    def _assign(self, frame: Frame, boxes: Boxes) -> Located:
        if self.readings_of_class is None:
            every = range(self.num_readings)
            return Located(frame, boxes, [(row, n) for row in range(len(boxes)) for n in every])
        if boxes.classes is None and len(boxes):
            raise ValueError(
                f'the boxes of {frame.source.name} do not say which classes they are of, by which '
                f'heads are chosen ({dict(self.readings_of_class)}): name a head by dataset='
            )
        readings = [self.readings_of_class.get(name, ()) for name in boxes.classes or ()]
        boxes = boxes[[row for row, numbers in enumerate(readings) if numbers]]
        readings = list(filter(None, readings))
        assigned = [(row, number) for row, own in enumerate(readings) for number in own]
        return Located(frame, boxes, assigned)
