"""People are found once, in batches of the detector, and given to the heads that read them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
from tiny_people import FakeDetector

from vitpose_mm.apis.boxes import Boxes, BoxesFile, GivenBoxes
from vitpose_mm.apis.frames import Frame, Source
from vitpose_mm.apis.locating import Locator
from vitpose_mm.apis.videos import VideoInfo

LEFT, RIGHT = (10, 10, 30, 40), (50, 10, 80, 40)


def frame(index: int, *boxes: tuple, label: int = 0, score: int = 90) -> Frame:
    image = np.full((90, 120, 3), 50, np.uint8)
    for box in boxes:
        FakeDetector.draw(image, box, label, score)
    return Frame(Source(f'{index}.jpg'), index, image=image)


def broken(index: int) -> Frame:
    return Frame(Source(f'{index}.jpg'), index, error='gone')


class FixedDetector(FakeDetector):
    """Finds the same boxes in each image."""

    def __init__(self, boxes: Boxes, batch_size: int = 2) -> None:
        super().__init__()
        self.boxes, self.batch_size = boxes, batch_size

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.3) -> list[Boxes]:
        self.batches.append(len(images))
        return [self.boxes[self.boxes.scores > threshold] for _ in images]


def overlapping(classes: Optional[list[str]]) -> Boxes:
    """Three about the same person, and one apart."""
    xyxy = [[0, 0, 50, 50], [2, 0, 52, 50], [0, 3, 50, 53], [60, 0, 110, 50]]
    scores = np.array([0.5, 0.9, 0.7, 0.4], np.float32)
    return Boxes(np.array(xyxy, np.float32), scores, classes)


def scores_of(boxes: Boxes) -> list[float]:
    return [round(score, 2) for score in boxes.scores.tolist()]


# ---- detectors


def test_frames_are_detected_together_and_stay_in_order():
    detector = FakeDetector()
    locator = Locator(detector)
    assert locator.batch_size == detector.batch_size == 2
    frames = [frame(4, LEFT), frame(5), frame(6, LEFT, RIGHT)]
    found = locator.locate(frames)
    assert detector.batches == [3]
    assert [each.frame for each in found] == frames
    assert [sorted(each.boxes.xyxy.tolist()) for each in found] == [
        [[*LEFT]], [], [[*LEFT], [*RIGHT]],
    ]  # fmt: skip
    assert [each.assigned for each in found] == [[(0, 0)], [], [(0, 0), (1, 0)]]
    assert found[2].boxes.classes == ['person', 'person']


def test_unreadable_frames_have_nobody_and_are_not_detected():
    detector = FakeDetector()
    found = Locator(detector).locate([broken(0), frame(1, LEFT), broken(2)])
    assert detector.batches == [1]
    assert [len(each.boxes) for each in found] == [0, 1, 0]
    assert [each.assigned for each in found] == [[], [(0, 0)], []]
    found = Locator(detector).locate([broken(3)])
    assert detector.batches == [1] and len(found[0].boxes) == 0


def test_scores_count_above_the_threshold():
    frames = [frame(0, LEFT, score=40), frame(1, LEFT, score=60)]
    counts = {
        threshold: [len(each.boxes) for each in Locator(FakeDetector(), 1, None, threshold).locate(
            frames
        )]
        for threshold in (0, 0.3, 0.4, 0.5, 1)
    }  # fmt: skip
    assert counts == {0: [1, 1], 0.3: [1, 1], 0.4: [0, 1], 0.5: [0, 1], 1: [0, 0]}


@pytest.mark.parametrize(
    ('nms_thr', 'expected'),
    [(0.3, [0.9, 0.4]), (0.0, [0.9, 0.4]), (0.9, [0.9, 0.7, 0.4]), (1.0, [0.9, 0.7, 0.5, 0.4])],
)
@pytest.mark.parametrize('num_readings', [1, 3])
def test_overlaps_are_suppressed_once(nms_thr, expected, num_readings):
    detector = FixedDetector(overlapping(['person'] * 4))
    (found,) = Locator(detector, num_readings, nms_thr=nms_thr).locate([frame(0)])
    assert scores_of(found.boxes) == expected
    assert found.assigned == [
        (row, number) for row in range(len(expected)) for number in range(num_readings)
    ]


def test_classes_are_read_by_their_heads():
    detector = FixedDetector(overlapping(['dog', 'person', 'tree', 'cat']))
    heads = dict(person=[0], dog=[1], cat=[1, 2])
    (found,) = Locator(detector, 3, heads, nms_thr=1.0).locate([frame(0)])
    by_class = {}
    for row, number in found.assigned:
        by_class.setdefault(found.boxes.classes[row], []).append(number)
    assert by_class == dict(dog=[1], person=[0], cat=[1, 2]), 'a tree has no head'
    assert len(found.boxes) == 3


@pytest.mark.parametrize(
    ('classes', 'expected'),
    [
        (['person', 'dog', 'dog', 'person'], [('dog', 0.9), ('person', 0.4), ('person', 0.5)]),
        (['cat', 'dog', 'person', 'person'], [('dog', 0.9), ('person', 0.4), ('person', 0.7)]),
        (['person', 'person', 'person', 'dog'], [('dog', 0.4), ('person', 0.9)]),
        (['dog', 'tree', 'cat', 'cat'], [('cat', 0.4), ('cat', 0.7)]),
    ],
)
def test_only_boxes_of_the_same_heads_suppress_each_other(classes, expected):
    locator = Locator(FixedDetector(overlapping(classes)), 2, dict(person=[0], dog=[1], cat=[1]))
    (found,) = locator.locate([frame(0)])
    assert sorted(zip(found.boxes.classes, scores_of(found.boxes))) == expected
    assert len(found.assigned) == len(expected)
    (found,) = Locator(locator.finder).locate([frame(0)])
    assert scores_of(found.boxes) == [0.9, 0.4], 'without heads of their own all are alike'


def test_a_detector_that_tells_no_classes():
    detector = FixedDetector(overlapping(None))
    (found,) = Locator(detector).locate([frame(0)])
    assert scores_of(found.boxes) == [0.9, 0.4] and len(found.assigned) == 2
    with pytest.raises(ValueError, match=r'boxes of 0\.jpg do not say which classes'):
        Locator(detector, 1, dict(person=[0])).locate([frame(0)])


@pytest.mark.parametrize('name', ['bbox_thr', 'nms_thr'])
@pytest.mark.parametrize('value', [-0.1, 1.01, float('nan'), 30])
def test_thresholds_lie_within_0_and_1(name, value):
    with pytest.raises(ValueError, match=f'{name} must lie within 0 and 1, got {value!r}'):
        Locator(FakeDetector(), **{name: value})
    for good in (0, 1, 0.5):
        assert getattr(Locator(FakeDetector(), **{name: good}), name) == good


# ---- boxes that are given


def test_given_boxes_in_order_also_of_unreadable_frames():
    locator = Locator(GivenBoxes([[LEFT], [RIGHT], [], [LEFT, RIGHT]], 'xyxy'), 2, bbox_thr=1)
    assert locator.batch_size == 1
    found = locator.locate([frame(0), broken(1)]) + locator.locate([frame(2), frame(3)])
    assert [each.boxes.xyxy.tolist() for each in found] == [
        [[*LEFT]], [], [], [[*LEFT], [*RIGHT]],
    ]  # fmt: skip
    assert [each.assigned for each in found] == [
        [(0, 0), (0, 1)], [], [], [(0, 0), (0, 1), (1, 0), (1, 1)],
    ]  # fmt: skip
    locator.finish()


def test_given_boxes_are_neither_thresholded_nor_suppressed():
    boxes = [[*LEFT, 0.0], [*LEFT, 0.01], [*LEFT, 0.9]]
    (found,) = Locator(GivenBoxes([boxes], 'xyxy')).locate([frame(0)])
    assert scores_of(found.boxes) == [0, 0.01, 0.9]


def test_too_many_and_too_few_given_boxes():
    locator = Locator(GivenBoxes([[LEFT], [RIGHT]], 'xyxy'))
    locator.locate([frame(0)])
    with pytest.raises(ValueError, match='entries for more images than there are'):
        locator.finish()
    locator = Locator(GivenBoxes([[LEFT]], 'xyxy'))
    with pytest.raises(ValueError, match=r'no boxes left for 1\.jpg'):
        locator.locate([frame(0), frame(1)])


def test_given_boxes_tell_no_class():
    locator = Locator(GivenBoxes([[], [LEFT]], 'xyxy'), 1, dict(person=[0]))
    assert locator.locate([frame(0)])[0].assigned == []
    with pytest.raises(ValueError, match=r"boxes of 1\.jpg do .*\{'person': \[0\]\}.* dataset="):
        locator.locate([frame(1)])


def boxes_file(folder: Path) -> BoxesFile:
    path = folder / 'boxes.json'
    rows = [dict(image_id=i, category_id=1, bbox=[1, 2, 3, 4], score=0.5) for i in (1, 1, 2)]
    path.write_text(json.dumps(rows))
    return BoxesFile(path)


def test_boxes_of_a_file(tmp_path):
    locator = Locator(boxes_file(tmp_path), bbox_thr=0.9)
    found = locator.locate([frame(0), frame(1), broken(2)])
    assert [len(each.boxes) for each in found] == [0, 2, 0]
    np.testing.assert_array_equal(found[1].boxes.xyxy, [[1, 2, 4, 6]] * 2)
    locator.finish()


def test_videos_have_no_boxes_in_a_file(tmp_path):
    clip = frame(0)
    clip.source = Source('clip_1.mp4', VideoInfo(25.0, 3, False))
    with pytest.raises(ValueError, match=r'clip_1\.mp4 is a video, the boxes are of pictures'):
        Locator(boxes_file(tmp_path)).locate([clip])
    with pytest.raises(ValueError, match=r'clip_1\.mp4 is a video, the boxes are of pictures'):
        Locator(GivenBoxes({'clip_1.mp4': [LEFT]}, 'xyxy')).locate([clip])


def test_whole_images():
    small = Frame(Source('a.jpg'), 1, image=np.zeros((20, 30, 3), np.uint8))
    locator = Locator(None, 2)
    found = locator.locate([frame(0, LEFT), small, broken(2)])
    assert [each.boxes.xyxy.tolist() for each in found] == [[[0, 0, 120, 90]], [[0, 0, 30, 20]], []]
    assert [each.boxes.scores.tolist() for each in found] == [[1], [1], []]
    assert [each.assigned for each in found] == [[(0, 0), (0, 1)]] * 2 + [[]]
    locator.finish()
    with pytest.raises(ValueError, match='do not say which classes'):
        Locator(None, 1, dict(person=[0])).locate([small])
