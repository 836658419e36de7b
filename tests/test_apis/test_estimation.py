"""People of many frames share batches; results are complete, in order, and come in time."""

from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np
import pytest
import torch

from vitpose_mm.apis import estimation
from vitpose_mm.apis.boxes import Boxes
from vitpose_mm.apis.estimation import Estimated, Located, Poses, estimate
from vitpose_mm.apis.frames import Frame, Source
from vitpose_mm.apis.reading import Pose

HW = (4, 6)


class FakeReader:
    """Reads 100 * frame + box from the image and the boxes; counts what it does.

    Args:
        batch_size: Greatest number of people.
        num_keypoints: Of each reading.
        device: 'cpu', or 'cuda' for one that goes on by itself.
        limit: People that fit into memory.
        samples: Whether poses have samples.
    """

    def __init__(
        self,
        batch_size: int,
        num_keypoints: Sequence[int] = (3,),
        device: str = 'cpu',
        limit: Optional[int] = None,
        samples: bool = False,
    ) -> None:
        self.batch_size, self.num_keypoints = batch_size, list(num_keypoints)
        self.device = torch.device(device)
        self.limit, self.samples = limit, samples
        self.batches: list[int] = []
        self.log: list[str] = []
        self.most_in_flight = self.num_in_flight = 0

    def prepare(
        self, image: np.ndarray, name: str, boxes: Boxes, assigned: Sequence[tuple[int, int]]
    ) -> Iterator[tuple]:
        assert image.shape == (*HW, 3) and name == f'{image[0, 0, 0]}.jpg'
        for row, number in assigned:
            value = 100 * int(image[0, 0, 0]) + float(boxes.xyxy[row, 0])
            yield value, number

    def launch(self, people: Sequence[tuple]) -> list[tuple]:
        assert 0 < len(people) <= self.batch_size
        if self.limit is not None:
            self.batch_size = min(self.batch_size, self.limit)
        self.batches.append(len(people))
        self.log.append('launch')
        self.num_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.num_in_flight)
        return list(people)

    def collect(self, launched: Sequence[tuple]) -> list[Pose]:
        self.log.append('collect')
        self.num_in_flight -= 1
        return [
            Pose(
                np.full((self.num_keypoints[number], 2), value),
                np.full(self.num_keypoints[number], value / 10000),
                ('sample', value) if self.samples else None,
            )
            for value, number in launched
        ]


def located(index: int, count: int, num_readings: int = 1) -> Located:
    """A frame with people whose boxes begin at 0, 1, 2, ... px; its pixels tell its index."""
    frame = Frame(Source(f'{index}.jpg'), index, image=np.full((*HW, 3), index, np.uint8))
    xyxy = np.array([[row, 0, row + 1, 1] for row in range(count)], np.float32).reshape(-1, 4)
    boxes = Boxes(xyxy, np.ones(count, np.float32))
    every = range(num_readings)
    return Located(frame, boxes, [(row, number) for row in range(count) for number in every])


def chunks_of(counts: Sequence[int], size: int = 1) -> Iterator[list[Located]]:
    frames = [located(index, count) for index, count in enumerate(counts)]
    return (frames[start : start + size] for start in range(0, len(frames), size))


def assert_complete(found: Sequence[Estimated], counts: Sequence[int], num_keypoints: int = 3):
    assert [each.frame.index for each in found] == list(range(len(counts)))
    for index, (each, count) in enumerate(zip(found, counts)):
        (poses,) = each.poses
        np.testing.assert_array_equal(poses.rows, np.arange(count))
        values = 100 * index + np.arange(count, dtype=np.float32)
        assert poses.keypoints.shape == (count, num_keypoints, 2)
        assert poses.scores.shape == (count, num_keypoints)
        assert poses.keypoints.dtype == poses.scores.dtype == np.float32
        np.testing.assert_array_equal(poses.keypoints[:, 0, 1], values)
        np.testing.assert_allclose(poses.scores[:, -1], values / 10000, rtol=1e-6)
        assert len(each.boxes) == count and each.ids is None and poses.samples == []


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('batch_size', [1, 2, 7, 64, 1000])
@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize('prompt', [False, True])
def test_all_people_of_all_frames_in_order(seed, batch_size, device, prompt):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 41, 20) * rng.integers(0, 2, 20)
    size = int(rng.integers(1, 6))
    reader = FakeReader(batch_size, device=device)
    found = list(estimate(chunks_of(counts.tolist(), size), reader, prompt=prompt))
    assert_complete(found, counts.tolist())
    assert reader.num_in_flight == 0
    total, chunks = counts.sum(), [counts[i : i + size].sum() for i in range(0, 20, size)]
    if prompt:
        whole = [batch for chunk in chunks for batch in full_batches(chunk, batch_size)]
    else:
        whole = full_batches(total, batch_size)
    assert reader.batches == whole


def full_batches(total: int, batch_size: int) -> list[int]:
    rest = [total % batch_size] if total % batch_size else []
    return [batch_size] * int(total // batch_size) + rest


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize('counts', [[], [0], [0, 0, 0], [1]])
def test_few_or_no_people(counts, device):
    reader = FakeReader(4, device=device)
    assert_complete(list(estimate(chunks_of(counts), reader)), counts)
    assert reader.batches == [1] * sum(counts)


def test_results_come_as_soon_as_their_batch_is_read():
    taken = []

    def chunks() -> Iterator[list[Located]]:
        for chunk in chunks_of([2, 1, 1, 0, 3, 0]):
            taken.append(chunk[0].frame.index)
            yield chunk

    came = [(each.frame.index, taken[-1]) for each in estimate(chunks(), FakeReader(4))]
    assert came == [(0, 2), (1, 2), (2, 2), (3, 3), (4, 5), (5, 5)]
    taken.clear()
    came = [
        (each.frame.index, taken[-1]) for each in estimate(chunks(), FakeReader(4), False, True)
    ]
    assert came == [(index, index) for index in range(6)], 'none waits for others'
    reader = FakeReader(2)
    came = [len(reader.batches) for _ in estimate(chunks_of([1, 1, 0, 2, 2], 5), reader)]
    assert came == [1, 1, 1, 2, 3], 'nor for the rest of its chunk'


def test_a_gpu_keeps_one_batch_in_flight():
    reader = FakeReader(2, device='cuda')
    assert_complete(list(estimate(chunks_of([2, 2, 2, 1]), reader)), [2, 2, 2, 1])
    assert reader.log == ['launch', *['launch', 'collect'] * 3, 'collect']
    assert reader.most_in_flight == 2
    reader = FakeReader(2)
    list(estimate(chunks_of([2, 2, 2, 1]), reader))
    assert reader.log == ['launch', 'collect'] * 4


@pytest.mark.parametrize('keep_images', [False, True])
@pytest.mark.parametrize('batch_size', [1, 2, 3])
@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_images_are_dropped_unless_they_are_kept(keep_images, batch_size, device):
    counts = [2, 0, 1, 3]
    reader = FakeReader(batch_size, device=device)
    found = [(each, each.frame.image) for each in estimate(chunks_of(counts), reader, keep_images)]
    for index, (each, image) in enumerate(found):
        assert each.frame.hw == HW
        if keep_images:
            np.testing.assert_array_equal(image, np.full((*HW, 3), index))
        else:
            assert image is None and each.frame.num_bytes == 0


def most_waiting(counts: Sequence[int], reader: FakeReader, **options: object) -> int:
    """The most frames that were given and have not come out."""
    num_given, waiting = 0, []

    def chunks() -> Iterator[list[Located]]:
        nonlocal num_given
        for chunk in chunks_of(counts):
            waiting.append(num_given - len(found))
            num_given += 1
            yield chunk

    found = []
    for each in estimate(chunks(), reader, **options):
        found.append(each)
    assert_complete(found, counts)
    return max(waiting)


def test_images_that_wait_are_bounded(monkeypatch):
    one = HW[0] * HW[1] * 3
    monkeypatch.setattr(estimation, 'MAX_WAITING_BYTES', 5 * one)
    reader = FakeReader(100)
    assert most_waiting([1] * 30, reader, keep_images=True) == 5
    assert reader.batches == [6] * 5
    reader = FakeReader(100)
    assert most_waiting([1] * 30, reader) == 29, 'dropped images do not count'
    assert reader.batches == [30]
    reader = FakeReader(4)
    assert most_waiting([1] * 30, reader, keep_images=True) == 3
    assert reader.batches == full_batches(30, 4), 'full batches where the bound allows them'


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_frames_with_nobody_do_not_wait_for_ever(monkeypatch, device):
    monkeypatch.setattr(estimation, 'MAX_WAITING_FRAMES', 10)
    counts = [1] + [0] * 50 + [1] + [0] * 8
    reader = FakeReader(4, device=device)
    assert most_waiting(counts, reader) == 10
    assert reader.batches == [1, 1]


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_batches_that_shrink_in_between(seed, device):
    counts = np.random.default_rng(seed).integers(0, 41, 12).tolist()
    reader = FakeReader(16, device=device, limit=3)
    assert_complete(list(estimate(chunks_of(counts, 2), reader)), counts)
    assert reader.batches == [16, *full_batches(sum(counts) - 16, 3)]


def test_several_readings_of_different_lengths():
    frames = [located(0, 3), located(1, 0), located(2, 2)]
    frames[0].assigned = [(0, 1), (2, 0), (1, 1), (2, 2)]
    frames[2].assigned = [(1, 0), (1, 1), (1, 2)]
    reader = FakeReader(3, num_keypoints=(4, 2, 1))
    found = list(estimate([frames], reader))
    assert reader.batches == [3, 3, 1]
    shapes = [[poses.keypoints.shape for poses in each.poses] for each in found]
    assert shapes == [
        [(1, 4, 2), (2, 2, 2), (1, 1, 2)],
        [(0, 4, 2), (0, 2, 2), (0, 1, 2)],
        [(1, 4, 2), (1, 2, 2), (1, 1, 2)],
    ]
    assert [poses.scores.shape for poses in found[0].poses] == [(1, 4), (2, 2), (1, 1)]
    rows = [[poses.rows.tolist() for poses in each.poses] for each in found]
    assert rows == [[[2], [0, 1], [2]], [[], [], []], [[1], [1], [1]]]
    values = [[poses.keypoints[:, 0, 0].tolist() for poses in each.poses] for each in found]
    assert values == [[[2], [0, 1], [2]], [[], [], []], [[201], [201], [201]]]


def test_boxes_that_nobody_reads_come_out_too():
    frame = located(0, 3)
    frame.assigned = [(1, 0)]
    (found,) = estimate([[frame]], FakeReader(4))
    assert len(found.boxes) == 3 and found.poses[0].rows.tolist() == [1]


def test_frames_that_could_not_be_read_keep_their_place():
    frames = [located(0, 1), Located(Frame(Source('1.jpg'), 1, error='gone')), located(2, 1)]
    found = list(estimate([frames], FakeReader(8)))
    assert [each.frame.error for each in found] == [None, 'gone', None]
    assert [len(each.poses[0].rows) for each in found] == [1, 0, 1]


def test_samples_go_with_their_poses():
    reader = FakeReader(3, num_keypoints=(2, 3), samples=True)
    found = list(estimate([[located(0, 2, 2), located(1, 1, 2)]], reader))
    samples = [[poses.samples for poses in each.poses] for each in found]
    first = [('sample', 0), ('sample', 1)]
    assert samples == [[first, first], [[('sample', 100)], [('sample', 100)]]]
    poses = found[0].poses[1][[1]]
    assert poses.rows.tolist() == [1] and poses.samples == [('sample', 1)]
    np.testing.assert_array_equal(poses.keypoints, np.ones((1, 3, 2)))


@pytest.mark.parametrize('index', [[], [2], [2, 0], np.array([1, 2])])
def test_rows_of_poses(index):
    values = np.arange(3, dtype=np.float32)
    poses = Poses(
        np.array([5, 6, 7]), values[:, None, None] * np.ones((3, 4, 2)), values[:, None] * [1, 2]
    )[index]
    assert poses.rows.tolist() == [[5, 6, 7][i] for i in index]
    assert poses.keypoints.shape == (len(index), 4, 2)
    assert poses.scores[:, 1].tolist() == [2 * i for i in index] and poses.samples == []


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_an_exception_comes_after_the_frames_before_it(device):
    def chunks() -> Iterator[list[Located]]:
        yield from chunks_of([1, 3, 0])
        raise KeyError('camera')

    found = []
    with pytest.raises(KeyError, match='camera'):
        for each in estimate(chunks(), FakeReader(8, device=device)):
            found.append(each)
    assert_complete(found, [1, 3, 0])


def test_errors_of_the_reader_and_of_whoever_asks_are_raised_at_once():
    reader = FakeReader(2)
    reader.launch = lambda people: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(estimate(chunks_of([1, 1, 1]), reader))
    reader = FakeReader(2)
    running = estimate(chunks_of([2, 2, 2]), reader)
    next(running)
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)
    assert reader.batches == [2]
