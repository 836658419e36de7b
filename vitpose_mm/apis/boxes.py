"""Boxes of people: given by the user, by a file, or by a detector."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Optional, Union

import numpy as np
from mmpose.evaluation.functional import nms

from vitpose_mm.datasets.loading import box_problem

BOX_FORMATS = ('xyxy', 'xywh')


@dataclass
class Boxes:
    """Boxes of one image.

    Attributes:
        xyxy: (N, 4) float32: left, top, right, bottom, image px.
        scores: (N,) float32.
        classes: N names of classes; None where nobody told them.
    """

    xyxy: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    classes: Optional[list[str]] = None

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: Union[np.ndarray, Sequence[int]]) -> 'Boxes':
        index = np.asarray(index)
        rows = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        classes = None if self.classes is None else [self.classes[row] for row in rows]
        return Boxes(self.xyxy[rows], self.scores[rows], classes)

    @classmethod
    def whole(cls, image: np.ndarray) -> 'Boxes':
        """One box around the whole image (H, W, 3)."""
        height, width = image.shape[:2]
        return cls(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


def parse_boxes(boxes: object, box_format: str, name: str) -> Boxes:
    """Read boxes that somebody gives for one image.

    Args:
        boxes: (N, 4), or (N, 5) with scores last; an array, a list of lists, or None for nobody.
        box_format: 'xyxy' (left, top, right, bottom) or 'xywh' (left, top, width, height).
        name: What errors call the image.

    Raises:
        ValueError: Another shape, a box or score that is not finite, or a box without area.
    """
    try:
        array = np.asarray([] if boxes is None else boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f'boxes of {name} must be numbers (N, 4) or (N, 5): {error}') from error
    if array.size == 0:
        return Boxes()
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(
            f'boxes of {name} must have shape (N, 4), or (N, 5) with scores, got {array.shape}; '
            'for several images give one such array for each'
        )
    xyxy = array[:, :4].copy()
    if box_format == 'xywh':
        xyxy[:, 2:] += xyxy[:, :2]
    for given, box in zip(array.tolist(), xyxy.tolist()):
        problem = box_problem(box, None)
        if problem is not None:
            raise ValueError(
                f'box {given} of {name} {problem} as {box_format}; wanted are finite numbers in '
                'image px with left < right and top < bottom (xyxy) or a width and a height above '
                '0 (xywh)'
            )
    scores = array[:, 4].copy() if array.shape[1] == 5 else np.ones(len(array), np.float32)
    if not np.isfinite(scores).all():
        given = array[~np.isfinite(scores)][0].tolist()
        raise ValueError(f'the score of box {given} of {name}, its last number, is not finite')
    return Boxes(xyxy, scores)


def require_box_format(box_format: Optional[str]) -> str:
    """Raise a ``ValueError`` unless the format of boxes is said."""
    if box_format not in BOX_FORMATS:
        raise ValueError(
            "say how boxes are given: bbox_format='xyxy' (left, top, right, bottom) or 'xywh' "
            f'(left, top, width, height), got {box_format!r}'
        )
    return box_format


class GivenBoxes:
    """Boxes that the user gives for each image, in their order or by their names.

    Args:
        boxes: For each image (N, 4) or (N, 5), see :func:`parse_boxes`: a sequence or an iterator,
            or for pictures a dict by path or file name.
        box_format: 'xyxy' or 'xywh'.

    Raises:
        ValueError: The format is not said.
        TypeError: The boxes are nothing of the kind.
    """

    def __init__(
        self, boxes: Union[Mapping[str, object], Iterable[object]], box_format: Optional[str]
    ) -> None:
        self.box_format = require_box_format(box_format)
        if isinstance(boxes, (str, Path)) or not isinstance(boxes, Iterable):
            raise TypeError(
                'bboxes must be a sequence, an iterator or a dict with boxes for each image, got '
                f'{boxes!r}; boxes_file takes the path of a file'
            )
        self.is_by_name = isinstance(boxes, Mapping)
        self._by_name = boxes if self.is_by_name else None
        self._in_order: Iterator = iter(()) if self._by_name is not None else iter(boxes)

    def of(self, name: str) -> Boxes:
        """Boxes of the next image, by name where they are given by names.

        Raises:
            ValueError: There are none for it.
        """
        if self._by_name is None:
            try:
                boxes = next(self._in_order)
            except StopIteration:
                raise ValueError(
                    f'there are no boxes left for {name}: bboxes must hold one entry for each '
                    'image or frame (an empty one for nobody)'
                ) from None
            return parse_boxes(boxes, self.box_format, name)
        path = Path(name)
        for key in (name, path.name, path, Path(path.name)):
            if key in self._by_name:
                return parse_boxes(self._by_name[key], self.box_format, name)
        raise ValueError(
            f'bboxes hold neither {name!r} nor {path.name!r}; give an empty entry for nobody'
        )

    def require_used_up(self) -> None:
        """Raise a ``ValueError`` if boxes were given for more images than there were."""
        missing = object()
        if next(self._in_order, missing) is not missing:
            raise ValueError(
                'bboxes hold entries for more images than there are: one for each image or frame'
            )


class BoxesFile:
    """Boxes of a file in COCO's results format, as detectors and ``detect-persons`` write it.

    Args:
        path: A JSON list of dicts with ``image_id``, ``bbox`` (left, top, width, height), ``score``
            and ``category_id``.
        category_ids: Categories to take.
        threshold: Scores above this are taken.
        ids_by_name: Image ids by file name, as annotation files have them; by default the digits at
            the end of a file's stem are its id, as in COCO (000000000139.jpg: 139).

    Raises:
        ValueError: The file cannot be read, or a box in it is none.
    """

    def __init__(
        self,
        path: Union[str, Path],
        category_ids: Sequence[int] = (1,),
        threshold: float = 0.0,
        ids_by_name: Optional[Mapping[str, int]] = None,
    ) -> None:
        self.path = str(path)
        self.ids_by_name = ids_by_name
        rows = defaultdict(list)
        listed = read_results(path)
        for number, row in enumerate(listed):
            try:
                image, score = row['image_id'], row['score']
                chosen = row['category_id'] in category_ids and score > threshold
                left, top, width, height = map(float, row['bbox'])
                # an image without boxes above the threshold is known, too
                boxes = rows[image if ids_by_name is not None else as_number(image)]
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{path}, entry {number}: wanted are image_id, category_id, bbox (left, top, '
                    f'width, height) and score, got {row!r}'
                ) from error
            if chosen:
                boxes.append([left, top, width, height, float(score)])
        categories = sorted({row['category_id'] for row in listed}, key=str)
        if listed and not set(categories) & set(category_ids):
            raise ValueError(
                f'{path} has boxes of the categories {categories} alone, asked for are those of '
                f'{list(category_ids)}'
            )
        self._num_asked = self._num_known = 0
        self._by_id = {
            image: parse_boxes(boxes, 'xywh', f'image {image} in {path}')
            for image, boxes in rows.items()
        }

    def image_id(self, name: str) -> int:
        """Id of an image by its path.

        Raises:
            ValueError: Its name does not tell.
        """
        file_name = Path(name).name
        if self.ids_by_name is not None:
            found = id_by_name(name, self.ids_by_name)
            if found is None:
                raise ValueError(f'the annotation file has no image {file_name!r}')
            return found
        found = image_id_of(name)
        if found is None:
            raise ValueError(
                f'which image_id of {self.path} {file_name!r} has cannot be told from its name: '
                'its stem must end with digits (000000000139.jpg), or an annotation file must say'
            )
        return found

    def of(self, name: str) -> Boxes:
        """Boxes of an image by its path; none for an image that the file does not name."""
        image_id = self.image_id(name)
        self._num_asked += 1
        self._num_known += image_id in self._by_id
        return self._by_id.get(image_id, Boxes())

    def require_used_up(self) -> None:
        """Raise a ``ValueError`` if none of the images asked for is in the file.

        A file may have boxes of more images, and none of some.
        """
        if self._num_asked and self._by_id and not self._num_known:
            known = list(self._by_id)[:3]
            raise ValueError(
                f'{self.path} names none of the {self._num_asked} pictures; it has image_id '
                f'{known} ...: is it of other pictures, or must an annotation file say their ids?'
            )


def read_results(path: Union[str, Path]) -> list:
    """Read a JSON list.

    Raises:
        ValueError: The file cannot be read or holds something else.
    """
    try:
        rows = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'the boxes file {path} cannot be read: {error}') from error
    if not isinstance(rows, list):
        raise ValueError(
            f'{path} must hold a list of boxes in COCO results format, got {type(rows).__name__}'
        )
    return rows


def as_number(image_id: object) -> int:
    """The id of an image that is to be told from a name.

    Raises:
        ValueError: It is text or a fraction, which no name would ever be found for.
    """
    if not isinstance(image_id, (int, float)) or image_id != image_id // 1:
        raise ValueError(f'image_id must be a whole number, got {image_id!r}')
    return int(image_id)


def image_id_of(name: str) -> Optional[int]:
    """The number at the end of a file's stem, as COCO's files have their ids; None without."""
    stem = Path(name).stem
    digits = stem[len(stem.rstrip('0123456789')) :]
    return int(digits) if digits else None


def id_by_name(path: Union[str, Path], ids_by_name: Mapping[str, int]) -> Optional[int]:
    """Id of the image whose name, which may begin with folders, a path ends with; else None."""
    parts = PurePath(path).parts
    names = (str(PurePath(*parts[start:])) for start in range(len(parts)))
    return next((ids_by_name[name] for name in names if name in ids_by_name), None)


def suppress(boxes: Boxes, threshold: float, groups: Optional[Sequence] = None) -> Boxes:
    """Greedy non-maximum suppression by IoU, as mmpose's inferencers do it.

    Args:
        boxes: Boxes of one image.
        threshold: Greatest IoU of two that are kept.
        groups: N labels; boxes suppress only those of their own. By default all are one group.
    """
    if len(boxes) < 2:
        return boxes
    labels = (
        np.zeros(len(boxes), int) if groups is None else np.unique(groups, return_inverse=True)[1]
    )
    kept = []
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(labels == label)
        scored = np.column_stack([boxes.xyxy[rows], boxes.scores[rows]])
        kept += rows[nms(scored, threshold)].tolist()
    return boxes[kept]
