"""Ids over made trajectories, and the One-Euro filter against a naive one for single numbers."""

import math
import time

import numpy as np
import pytest
from mmpose.evaluation.functional.nms import oks_iou

from vitpose_mm.apis.tracking import OneEuroSmoother, Tracker, keypoint_similarity

SIGMAS = np.array([0.026, 0.079, 0.072, 0.107, 0.087])
# of a figure in its box, as fractions of width and height
FIGURE = np.array([[0.5, 0.05], [0.2, 0.25], [0.8, 0.45], [0.4, 0.5], [0.6, 0.95]])


def boxes_at(centers, wh=(40, 100)):
    centers = np.asarray(centers, dtype=float).reshape(-1, 2)
    half = np.asarray(wh, dtype=float) / 2
    return np.concatenate([centers - half, centers + half], 1)


def figures_in(boxes, figure=FIGURE):
    return boxes[:, None, :2] + figure * (boxes[:, 2:] - boxes[:, :2])[:, None]


def follow(tracker, frames, fps=10.0):
    """Ids of each frame; a frame is a list of centers."""
    ids = []
    for index, centers in enumerate(frames):
        boxes = boxes_at(centers)
        ids.append(tracker.update(boxes, figures_in(boxes), None, index / fps).tolist())
    return ids


def both(test):
    return pytest.mark.parametrize('sigmas', [None, SIGMAS], ids=['boxes', 'keypoints'])(test)


def test_similarity_is_that_of_mmpose_where_keypoints_are_sure():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0, 30, (2, 7, 5, 2))
    areas = rng.uniform(500, 5000, 7)
    sure = np.ones((7, 5, 1))
    flat = [np.concatenate([points, sure], -1).reshape(7, -1) for points in (first, second)]
    expected = [
        oks_iou(flat[0][i], flat[1][i : i + 1], areas[i], areas[i : i + 1], SIGMAS)[0]
        for i in range(7)
    ]
    squares = ((first - second) ** 2).sum(-1)
    found = keypoint_similarity(squares, areas, SIGMAS, sure[..., 0], np.full(7, 0.25))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected) > 0.1
    found = keypoint_similarity(squares, areas, SIGMAS, 0 * sure[..., 0], np.full(7, 0.25))
    assert found.tolist() == [0.25] * 7


@both
def test_ids_count_up_in_the_order_of_appearance(sigmas):
    frames = [[], [(100, 100), (300, 100)], [(500, 100), (302, 100), (102, 100)], [], [(500, 100)]]
    tracker = Tracker(sigmas)
    assert follow(tracker, frames) == [[], [0, 1], [2, 1, 0], [], [2]]
    ids = tracker.update([], [], [], 10.0)
    assert ids.dtype == np.int64 and ids.shape == (0,)


@both
@pytest.mark.parametrize('speed', [3, 7, 12, 17])
def test_crossing_people_keep_ids(sigmas, speed):
    start = 10 * speed + speed / 2  # between frames they stand at each other's last place
    frames = [
        [(500 - start + speed * t, 200), (500 + start - speed * t, 203)][:: 1 if t % 2 else -1]
        for t in range(21)
    ]
    assert follow(Tracker(sigmas), frames) == [[0, 1] if t % 2 == 0 else [1, 0] for t in range(21)]


@both
def test_crossing_people_keep_ids_where_one_hides_the_other(sigmas):
    frames = [[(400 + 10 * t, 200), (600 - 10 * t, 200)] for t in range(21)]
    for t in (8, 9, 10, 11):
        frames[t] = frames[t][:1]
    found = follow(Tracker(sigmas), frames)
    assert found[7] == [0, 1] and found[10] == [0] and found[12:] == [[0, 1]] * 9


def test_poses_tell_people_apart_whose_boxes_do_not():
    upside_down = FIGURE * (1, -1) + (0, 1)
    boxes = boxes_at([(100, 100), (106, 100)])
    people = np.concatenate([figures_in(boxes[:1]), figures_in(boxes[1:], upside_down)])
    swapped = boxes[::-1]  # a step that boxes alone cannot see
    swapped_people = np.concatenate([figures_in(swapped[:1]), figures_in(swapped[1:], upside_down)])
    for sigmas, scores, expected in (
        (SIGMAS, None, [0, 1]),
        (None, None, [1, 0]),
        (SIGMAS, np.zeros((2, 5)), [1, 0]),
        (SIGMAS, np.full((2, 5), np.nan), [1, 0]),
    ):
        tracker = Tracker(sigmas)
        tracker.update(boxes, people, scores, 0.0)
        assert tracker.update(swapped, swapped_people, scores, 0.1).tolist() == expected


@pytest.mark.parametrize(
    'sigmas, score, expected', [(SIGMAS, 1, 0), (SIGMAS, 0, 1), (SIGMAS, 0.05, 1), (None, 1, 1)]
)
def test_keypoints_may_match_where_boxes_hardly_do(sigmas, score, expected):
    """A box that lost the legs: IoU 0.25, below the threshold, but the same keypoints."""
    whole = boxes_at([(100, 100)])
    cut = whole * (1, 1, 1, 0) + (0, 0, 0, 75)
    points, scores = figures_in(whole), np.full((1, 5), score)
    tracker = Tracker(sigmas)
    tracker.update(whole, points, scores, 0.0)
    assert tracker.update(cut, points, scores, 0.1).tolist() == [expected]


@both
def test_boxes_may_match_where_poses_do_not(sigmas):
    """IoU 0.43, OKS about 0."""
    boxes = boxes_at([(100, 100), (116, 100)])
    points = np.stack([FIGURE, 1 - FIGURE[::-1]]) * (40, 100) + boxes[:, None, :2]
    tracker = Tracker(sigmas, threshold=0.4)
    tracker.update(boxes[:1], points[:1], None, 0.0)
    assert tracker.update(boxes[1:], points[1:], None, 0.1).tolist() == [0]


def test_keypoints_that_are_missing_leave_the_decision_to_the_box():
    boxes = boxes_at([(100, 100)])
    lost = np.full((1, 5, 2), np.nan)
    tracker = Tracker(SIGMAS)
    frames = [lost, figures_in(boxes), None, figures_in(boxes), lost]
    for index, points in enumerate(frames):
        assert tracker.update(boxes, points, None, index / 10).tolist() == [0]


@both
@pytest.mark.parametrize('gap, expected', [(0.9, 0), (1.1, 1)])
def test_who_comes_back_within_the_gap_keeps_the_id(sigmas, gap, expected):
    tracker = Tracker(sigmas, max_gap=1.0)
    boxes = boxes_at([(100, 100)])
    tracker.update(boxes, figures_in(boxes), None, 5.0)
    tracker.update([], [], None, 5.0 + gap / 2)
    assert tracker.update(boxes, figures_in(boxes), None, 5.0 + gap).tolist() == [expected]


@both
@pytest.mark.parametrize('turns_back', [False, True])
def test_who_walks_and_is_hidden_is_found_ahead_or_where_it_was(sigmas, turns_back):
    frames = [[(100 + 12 * t, 100)] for t in range(5)] + [[]] * 6
    last = (148, 100) if turns_back else (100 + 12 * 11, 100)
    assert follow(Tracker(sigmas), [*frames, [last]])[-1] == [0]


@both
def test_velocity_carries_people_who_leave_their_boxes(sigmas):
    """From 6 px per frame up to 60 px, with boxes 40 px wide: IoU is 0 at the end."""
    speeds = np.minimum(6 * np.arange(1, 31), 60)
    frames = [[(x, 100), (4000, 100)] for x in np.cumsum(speeds)]
    assert speeds[-1] > 40
    assert follow(Tracker(sigmas), frames) == [[0, 1]] * 30
    # It is the velocity that does it: nobody is known who starts so fast.
    assert follow(Tracker(sigmas), frames[-2:]) == [[0, 1], [2, 1]]


def test_time_between_frames_may_vary():
    rng = np.random.default_rng(1)
    tracker = Tracker(SIGMAS)
    times = np.concatenate([[0.0, 0.05], 0.05 + rng.uniform(0.03, 0.4, 40).cumsum()])
    for now in times:
        boxes = boxes_at([(300 * now, 100)])
        assert tracker.update(boxes, figures_in(boxes), None, now).tolist() == [0]


@both
def test_classes_are_not_mixed(sigmas):
    tracker = Tracker(sigmas)
    boxes = boxes_at([(100, 100), (100, 100)])
    points = figures_in(boxes)
    assert tracker.update(boxes, points, None, 0.0, [3, 5]).tolist() == [0, 1]
    assert tracker.update(boxes, points, None, 0.1, [5, 3]).tolist() == [1, 0]
    assert tracker.update(boxes, points, None, 0.2, [3, 4]).tolist() == [0, 2]


def test_one_good_match_outweighs_two_poor_ones():
    """The second left, a third came: IoU 0.9 for the first, 0.5 each for the exchange."""
    tracker = Tracker()
    tracker.update([[0, 0, 100, 100], [39, 0, 139, 100]], None, None, 0.0)
    ids = tracker.update([[5, 0, 105, 100], [-34, 0, 66, 100]], None, None, 0.1)
    assert ids.tolist() == [0, 2]


@pytest.mark.parametrize('threshold, expected', [(0.49, 0), (0.51, 1)])
def test_threshold_is_an_iou(threshold, expected):
    tracker = Tracker(threshold=threshold)
    tracker.update([[0, 0, 10, 10]], None, None, 0.0)
    assert tracker.update([[0, 0, 10, 5]], None, None, 0.1).tolist() == [expected]


@pytest.mark.filterwarnings('error')
def test_boxes_that_are_not_finite_are_new_and_harm_nobody():
    tracker = Tracker(SIGMAS)
    boxes = boxes_at([(100, 100), (300, 100), (500, 100)])
    points = figures_in(boxes)
    boxes[1, 2], boxes[2, 0] = np.nan, -np.inf
    assert tracker.update(boxes, points, None, 0.0).tolist() == [0, 1, 2]
    assert tracker.update(boxes, points, None, 0.1).tolist() == [0, 3, 4]


def test_ids_are_never_used_again_and_memory_is_bounded():
    """Twenty times everybody leaves and others come."""
    tracker = Tracker(max_gap=0.5)
    found = []
    for index in range(20):
        boxes = boxes_at([(100 + 200 * person, 100) for person in range(30)])
        found += tracker.update(boxes, None, None, float(index)).tolist()
        assert len(tracker._tracks) == 30
    assert found == list(range(600))


def test_input_and_output_are_not_the_trackers_memory():
    tracker = Tracker(SIGMAS)
    boxes = boxes_at([(100, 100)])
    points = figures_in(boxes)
    ids = tracker.update(boxes, points, None, 0.0)
    ids[:], boxes[:], points[:] = 7, 0, 0
    boxes = boxes_at([(100, 100)])
    assert tracker.update(boxes, figures_in(boxes), None, 0.1).tolist() == [0]


@pytest.mark.parametrize('seconds', [1.0, 0.5, math.nan, math.inf])
def test_time_has_to_increase(seconds):
    boxes, points = boxes_at([(100, 100)]), np.zeros((1, 5, 2))
    tracker, smoother = Tracker(), OneEuroSmoother()
    tracker.update(boxes, None, None, 1.0)
    smoother.update([0], points, boxes, 1.0)
    with pytest.raises(ValueError, match=r'seconds must .* \(1\.0\), got'):
        tracker.update(boxes, None, None, seconds)
    with pytest.raises(ValueError, match=r'seconds must .* \(1\.0\), got'):
        smoother.update([0], points, boxes, seconds)
    assert tracker.update(boxes, None, None, 1.1).tolist() == [0]


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(boxes=np.zeros((2, 5))), r'boxes must have the shape \(2, 4\), got \(2, 5\)'),
        (dict(keypoints=np.zeros((2, 4, 2))), r'keypoints must .* \(2, 5, 2\), got \(2, 4, 2\)'),
        (dict(scores=np.zeros((2, 5, 1))), r'scores must have the shape \(2, 5\)'),
        (dict(classes=[0]), r'classes must have the shape \(2,\), got \(1,\)'),
    ],
    ids=['boxes', 'keypoints', 'scores', 'classes'],
)
def test_wrong_shapes_change_nothing(changed, message):
    boxes = boxes_at([(100, 100), (300, 100)])
    right = dict(boxes=boxes, keypoints=figures_in(boxes), scores=np.ones((2, 5)), classes=[0, 0])
    tracker = Tracker(SIGMAS)
    tracker.update(**right, seconds=0.0)
    with pytest.raises(ValueError, match=message):
        tracker.update(**{**right, **changed}, seconds=0.1)
    assert tracker.update(**right, seconds=0.1).tolist() == [0, 1]


@pytest.mark.parametrize(
    'kind, parameters',
    [
        (Tracker, dict(sigmas=[0.1, 0.0])),
        (Tracker, dict(sigmas=[[0.1]])),
        (Tracker, dict(threshold=0.0)),
        (Tracker, dict(threshold=1.1)),
        (Tracker, dict(max_gap=0)),
        (OneEuroSmoother, dict(min_cutoff=0)),
        (OneEuroSmoother, dict(beta=-0.1)),
        (OneEuroSmoother, dict(derivative_cutoff=math.inf)),
        (OneEuroSmoother, dict(max_gap=math.nan)),
    ],
    ids=str,
)
def test_parameters_out_of_range(kind, parameters):
    ((name, value),) = parameters.items()
    with pytest.raises(ValueError, match=f'{name} must be .*got ') as caught:
        kind(**parameters)
    assert str(value) in str(caught.value)


def test_a_crowd_in_time():
    """300 people of 133 keypoints, who walk about and are missed now and then, over 50 frames."""
    rng = np.random.default_rng(0)
    sigmas = rng.uniform(0.02, 0.1, 133)
    figures = rng.uniform(0, 1, (300, 133, 2))
    places = np.stack(np.meshgrid(np.arange(20) * 60, np.arange(15) * 90), -1).reshape(-1, 2)
    velocity = rng.uniform(-60, 60, (300, 2))
    tracker, smoother = Tracker(sigmas), OneEuroSmoother()
    ids_of = {}
    durations, wrong = [], 0
    for index in range(50):
        now = index / 25
        there = rng.permutation(300)[: 300 if index == 0 else 285]
        boxes = boxes_at(
            places[there] + velocity[there] * now + rng.normal(0, 0.5, (len(there), 2))
        )
        points = figures_in(boxes, figures[there])
        start = time.perf_counter()
        ids = tracker.update(boxes, points, np.full(points.shape[:2], 0.9), now)
        durations.append(time.perf_counter() - start)
        assert len(set(ids)) == len(ids)
        if index == 0:
            ids_of = dict(zip(there, ids))
        wrong += sum(ids_of[person] != id_ for person, id_ in zip(there, ids))
        smoother.update(ids, points, boxes, now)
    assert wrong == 0
    assert len(tracker._tracks) == 300 and len(smoother._states) == 300
    # some 5 ms of an idle core; loops over pairs of people would take seconds
    assert np.median(durations) < 0.1


class NaiveOneEuro:
    """Algorithm 1 of Casiez, Roussel and Vogel, for one number."""

    def __init__(self, min_cutoff, beta, derivative_cutoff):
        self.min_cutoff, self.beta, self.derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self.last = None

    def alpha(self, rate, cutoff):
        tau = 1.0 / (2 * math.pi * cutoff)
        return 1.0 / (1.0 + tau * rate)

    def __call__(self, x, seconds, length):
        if self.last is None:
            self.last = x, 0.0, seconds
            return x
        before, derivative, then = self.last
        rate = 1.0 / (seconds - then)
        alpha = self.alpha(rate, self.derivative_cutoff)
        derivative = alpha * (x - before) * rate + (1 - alpha) * derivative
        cutoff = self.min_cutoff + self.beta * abs(derivative) / length
        alpha = self.alpha(rate, cutoff)
        x = alpha * x + (1 - alpha) * before
        self.last = x, derivative, seconds
        return x


@pytest.mark.parametrize(
    'parameters', [(1.0, 10.0, 1.0), (0.3, 0.0, 1.0), (2.0, 3.0, 0.5)], ids=str
)
def test_equals_the_paper_for_single_numbers(parameters):
    """Irregular time stamps; people in changing order, of changing size, and missing at times."""
    rng = np.random.default_rng(2)
    smoother = OneEuroSmoother(*parameters)
    naive = {}
    compared = 0
    now = 3.0
    for _ in range(60):
        now += rng.uniform(0.005, 0.2)
        ids = rng.permutation(6)[: rng.integers(4, 7)]
        points = rng.normal(200, 60, (len(ids), 3, 2))
        wh = rng.uniform(20, 300, (len(ids), 2))
        boxes = np.concatenate([np.zeros((len(ids), 2)), wh], 1)
        found = smoother.update(ids, points, boxes, now)
        for (row, k, axis), x in np.ndenumerate(points):
            key = ids[row], k, axis
            one = naive.setdefault(key, NaiveOneEuro(*parameters))
            if one.last is not None and now - one.last[2] > 1:
                one.last = None
            expected = one(x, now, wh[row].max())
            assert abs(found[row, k, axis] - expected) < 1e-9
            compared += expected != x
    assert compared > 1500


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('gap, anew', [(0.9, False), (1.1, True)])
def test_first_detections_are_not_moved(dtype, gap, anew):
    rng = np.random.default_rng(3)
    smoother = OneEuroSmoother(max_gap=1.0)
    boxes = boxes_at([(100, 100), (300, 100)])
    points = rng.lognormal(3, 3, (4, 2, 5, 2)).astype(dtype)  # sums round
    kept = points.copy()
    first = smoother.update([4, 9], points[0], boxes, 0.0)
    assert first.dtype == dtype and np.array_equal(first, points[0])
    smoother.update([4], points[1, :1], boxes[:1], 0.1)
    smoother.update([], [], [], 0.2)
    found = smoother.update([2, 4], points[2], boxes, 0.1 + gap)
    assert np.array_equal(found[0], points[2, 0])
    assert np.array_equal(found[1], points[2, 1]) == anew
    # Nor does the speed before the gap count.
    after = smoother.update([4], points[3, :1], boxes[1:], 0.2 + gap)
    fresh = OneEuroSmoother()
    fresh.update([4], points[2, 1:], boxes[1:], 0.1 + gap)
    expected = fresh.update([4], points[3, :1], boxes[1:], 0.2 + gap)
    assert np.array_equal(after, expected) == anew
    assert np.array_equal(points, kept)


def test_nobody_to_smooth():
    smoother = OneEuroSmoother()
    assert smoother.update([], np.zeros((0, 17, 2)), np.zeros((0, 4)), 0.0).shape == (0, 17, 2)
    smoother.update([0], np.zeros((1, 5, 2)), boxes_at([(0, 0)]), 0.1)
    assert smoother.update([], [], [], 0.2).shape == (0, 5, 2)


def test_who_stands_still_stays_put():
    smoother = OneEuroSmoother()
    boxes = boxes_at([(100, 100)])
    points = figures_in(boxes).astype(np.float32) / 3
    for index in range(20):
        assert np.array_equal(smoother.update([1], points, boxes, index / 25), points)


def smooth_all(points, fps, length, **parameters):
    """(T, K, 2) of one person, smoothed."""
    smoother = OneEuroSmoother(**parameters)
    boxes = np.array([[0, 0, length / 3, length]])
    return np.stack(
        [smoother.update([0], frame[None], boxes, t / fps)[0] for t, frame in enumerate(points)]
    )


@pytest.mark.parametrize('length', [30.0, 900.0])
def test_trembling_is_reduced(length):
    """By what the class says, for 1 % of the length at 30 frames per second."""
    points = np.random.default_rng(4).normal(0, 0.01 * length, (300, 50, 2))
    found = smooth_all(points, 30, length)[30:]
    assert found.std() < 0.5 * points[30:].std()
    changes, raw_changes = np.diff(found, axis=0).std(), np.diff(points[30:], axis=0).std()
    assert changes < 0.25 * raw_changes


@pytest.mark.parametrize('length', [30.0, 900.0])
def test_fast_motion_lags_little(length):
    """Two lengths per second: at once less than 4 % of the length, in the end 1.5 %."""
    speed = 2 * length
    points = np.clip(np.arange(90) / 30 - 1, 0, None)[:, None, None] * [speed, -speed]
    lag = np.abs(points - smooth_all(points, 30, length))
    assert lag.max() < 0.04 * length and lag[-1].max() < 0.015 * length
    assert lag.max() < 0.020 * speed  # seconds
    # Without beta it is a filter of 1 Hz, which lags by 1 / (2 pi) seconds.
    slow = np.abs(points - smooth_all(points, 30, length, beta=0))
    assert slow[-1].max() == pytest.approx(speed / (2 * math.pi), rel=0.01)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('missing', [np.nan, np.inf])
def test_missing_keypoints_wait_for_the_next(missing):
    """NaN comes back as NaN, and what follows is as if that keypoint had not been given."""
    boxes = boxes_at([(100, 100)])
    rng = np.random.default_rng(5)
    points = rng.normal(100, 5, (12, 1, 2, 2))
    points[4:6, 0, 0, 1] = missing  # y of the first keypoint
    smoother, patient = OneEuroSmoother(), OneEuroSmoother()
    for index, frame in enumerate(points):
        found = smoother.update([0], frame, boxes, index / 25)
        if index in (4, 5):
            assert np.array_equal(found[0, 0], frame[0, 0], equal_nan=True)
            assert np.isfinite(found[0, 1]).all() and not np.array_equal(found[0, 1], frame[0, 1])
            continue
        expected = patient.update([0], frame[:, :1], boxes, index / 25)
        np.testing.assert_allclose(found[:, :1], expected, rtol=1e-12)


def test_a_keypoint_missing_for_long_starts_anew():
    boxes = boxes_at([(100, 100)])
    smoother = OneEuroSmoother(max_gap=0.3)
    points = np.random.default_rng(6).normal(100, 5, (6, 1, 2, 2))
    points[1:5, 0, 0] = np.nan
    for index, frame in enumerate(points):
        found = smoother.update([0], frame, boxes, index / 10)
    assert np.array_equal(found[0, 0], points[-1, 0, 0])
    assert not np.array_equal(found[0, 1], points[-1, 0, 1])


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('beta', [0.0, 10.0])
@pytest.mark.parametrize('box', [[5, 5, 5, 5], [np.nan] * 4])
def test_a_box_without_size_does_not_smooth(box, beta):
    smoother = OneEuroSmoother(beta=beta)
    points = np.random.default_rng(7).normal(100, 5, (4, 1, 5, 2))
    for index, frame in enumerate(points):
        assert np.array_equal(smoother.update([0], frame, [box], index / 25), frame)
    found = smoother.update([0], points[0], boxes_at([(100, 100)]), 1.0)
    assert np.isfinite(found).all() and not np.array_equal(found, points[0])


def test_smoothers_memory_is_bounded():
    smoother = OneEuroSmoother(max_gap=0.5)
    boxes = boxes_at(np.zeros((30, 2)))
    for index in range(20):
        ids = np.arange(30) + 30 * index
        smoother.update(ids, figures_in(boxes), boxes, float(index))
        assert len(smoother._states) == 30
    smoother.update([], [], [], 30.0)
    assert len(smoother._states) == 0


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(ids=[3, 3]), r'ids must differ, got \[3, 3\]'),
        (dict(ids=[3]), r'keypoints must have the shape \(1, 5, 2\), got \(2, 5, 2\)'),
        (dict(keypoints=np.zeros((2, 6, 2))), r'keypoints must .* \(2, 5, 2\), got \(2, 6, 2\)'),
        (dict(boxes=np.zeros((1, 4))), r'boxes must have the shape \(2, 4\), got \(1, 4\)'),
    ],
    ids=['same ids', 'ids', 'keypoints', 'boxes'],
)
def test_smoothers_wrong_input_changes_nothing(changed, message):
    boxes = boxes_at([(100, 100), (300, 100)])
    right = dict(ids=[3, 8], keypoints=figures_in(boxes), boxes=boxes)
    smoother, other = OneEuroSmoother(), OneEuroSmoother()
    for one in (smoother, other):
        one.update(**right, seconds=0.0)
    with pytest.raises(ValueError, match=message):
        smoother.update(**{**right, **changed}, seconds=0.1)
    right['keypoints'] = right['keypoints'] + 3
    found, expected = (one.update(**right, seconds=0.2) for one in (smoother, other))
    assert np.array_equal(found, expected)
