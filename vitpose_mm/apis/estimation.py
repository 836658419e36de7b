"""From frames with boxes to poses: people of many frames in full batches, results in order."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

import numpy as np
from mmpose.structures import PoseDataSample

from .boxes import Boxes
from .frames import Frame
from .reading import BatchReader, Pose, SampleReader

MAX_WAITING_FRAMES = 128
MAX_WAITING_BYTES = 256 << 20

Reader = Union[BatchReader, SampleReader]


@dataclass
class Located:
    """A frame whose people are located.

    Attributes:
        frame: The frame.
        boxes: Boxes of people.
        assigned: Pairs: number of a box, number of the reading it is for.
    """

    frame: Frame
    boxes: Boxes = field(default_factory=Boxes)
    assigned: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Poses:
    """What one head has read in a frame.

    Attributes:
        rows: (n,) numbers of the boxes.
        keypoints: (n, K, 2), image px.
        scores: (n, K).
        samples: n samples of mmpose, for their heatmaps; empty if there are none.
    """

    rows: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    samples: list[PoseDataSample] = field(default_factory=list)

    def __getitem__(self, index: Sequence[int]) -> 'Poses':
        index = np.asarray(index, np.int64)
        samples = [self.samples[i] for i in index] if self.samples else []
        return Poses(self.rows[index], self.keypoints[index], self.scores[index], samples)


@dataclass
class Estimated:
    """A frame with poses.

    Attributes:
        frame: The frame, with its image if that was to be kept.
        boxes: Boxes of people.
        poses: What each reading has read.
        ids: (N,) ids of the boxes over the frames of a video, None without tracking.
    """

    frame: Frame
    boxes: Boxes
    poses: list[Poses]
    ids: Optional[np.ndarray] = None


class _Open:
    """A frame some of whose people are still to be read."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.found: list[Optional[Pose]] = [None] * len(located.assigned)
        self.num_missing = len(located.assigned)

    def set(self, position: int, pose: Pose) -> None:
        self.found[position] = pose
        self.num_missing -= 1

    def finish(self, num_keypoints: Sequence[int]) -> Estimated:
        located = self.located
        poses = []
        for number, count in enumerate(num_keypoints):
            chosen = [i for i, (_, wanted) in enumerate(located.assigned) if wanted == number]
            found = [self.found[i] for i in chosen]
            rows = np.array([located.assigned[i][0] for i in chosen], np.int64)
            keypoints = np.array([pose.keypoints for pose in found], np.float32)
            scores = np.array([pose.scores for pose in found], np.float32)
            samples = [pose.sample for pose in found if pose.sample is not None]
            poses.append(
                Poses(rows, keypoints.reshape(-1, count, 2), scores.reshape(-1, count), samples)
            )
        return Estimated(located.frame, located.boxes, poses)


def estimate(
    chunks: Iterable[list[Located]],
    reader: Reader,
    keep_images: bool = False,
    prompt: bool = False,
) -> Iterator[Estimated]:
    """Read the people of frames.

    Batches are full but for the last, as long as not too much waits for them: frames with nobody
    or with few people wait until those of later frames fill a batch. An exception of ``chunks``
    comes after the frames before it.

    Args:
        chunks: Frames as they come.
        reader: Reads crops.
        keep_images: Whether frames keep their images.
        prompt: Whether to read all that is there at the end of each chunk.
    """
    waiting: deque[_Open] = deque()
    batch: list[tuple[_Open, int, object]] = []
    running: deque = deque()
    in_flight = 0 if reader.device.type == 'cpu' else 1  # the GPU computes, the host goes on
    errors: list[Exception] = []

    def launch() -> None:
        taken, batch[:] = batch[:], []
        if taken:
            running.append((taken, reader.launch([person for _, _, person in taken])))

    def collect(remaining: int) -> None:
        while len(running) > remaining:
            taken, launched = running.popleft()
            for (entry, position, _), pose in zip(taken, reader.collect(launched)):
                entry.set(position, pose)

    def finished() -> Iterator[Estimated]:
        while waiting and not waiting[0].num_missing:
            yield waiting.popleft().finish(reader.num_keypoints)

    for chunk in until_error(chunks, errors):
        for located in chunk:
            entry = _Open(located)
            waiting.append(entry)
            frame = located.frame
            people = ()
            if located.assigned:
                name = frame.source.name
                people = reader.prepare(frame.image, name, located.boxes, located.assigned)
            for position, person in enumerate(people):
                batch.append((entry, position, person))
                if len(batch) >= reader.batch_size:
                    launch()
                    collect(in_flight)
            if not keep_images:
                frame.image = None
            yield from finished()
        held = sum(entry.located.frame.num_bytes for entry in waiting)
        if prompt or len(waiting) > MAX_WAITING_FRAMES or held > MAX_WAITING_BYTES:
            launch()
            collect(0)
        yield from finished()
    launch()
    collect(0)
    yield from finished()
    if errors:
        raise errors[0]


def until_error(items: Iterable, errors: list[Exception]) -> Iterator:
    """Items as far as they come; the exception that ends them is put into a list."""
    try:
        yield from items
    except Exception as error:
        errors.append(error)
