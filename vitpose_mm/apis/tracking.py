"""Ids for people over the frames of a video, and keypoints that tremble less."""

from typing import Optional

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

# Over which a velocity is averaged: long enough for boxes that tremble by a few percent, short
# enough for a person who turns round.
VELOCITY_SECONDS = 0.25


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (M, N) of boxes (M, 4) with others (N, 4), xyxy.

    mmpose's ``bbox_overlaps`` is torch, whose threads wait long for each other on a busy machine.
    """
    left, top, right, bottom = boxes.T[:, :, None].copy()  # each (M, 1)
    lefts, tops, rights, bottoms = others.T.copy()  # each (N,)
    width = (np.minimum(right, rights) - np.maximum(left, lefts)).clip(0)
    height = (np.minimum(bottom, bottoms) - np.maximum(top, tops)).clip(0)
    common = width * height
    union = _areas(boxes)[:, None] + _areas(others) - common
    return common / np.maximum(union, 1e-6)  # px², only for two boxes without area


def keypoint_similarity(
    squares: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    weights: np.ndarray,
    otherwise: np.ndarray,
) -> np.ndarray:
    """COCO's OKS (P,) of pairs of people; mmpose's ``oks_iou`` is a loop of the same.

    Args:
        squares: (P, K) squared distances, px².
        areas: (P,) of the people, px².
        sigmas: (K,).
        weights: (P, K) from 0 to 1: how far a keypoint decides. 1 is COCO's definition.
        otherwise: (P,) similarities that decide for the rest.
    """
    close = np.exp(-squares / (2 * sigmas) ** 2 / (2 * areas[:, None] + np.spacing(1)))
    return (weights * close + (1 - weights) * otherwise[:, None]).mean(-1)


class Tracker:
    """Ids of people over the frames of one video.

    A person is looked for where its track leads at constant velocity and then, if nobody is there,
    where it was last seen. IoU of the boxes or OKS of the keypoints has to reach ``threshold``; who
    is who is then the assignment with the greatest sum of both.

    Args:
        sigmas: (K,) of COCO's OKS, from the data set's meta information. None: boxes alone decide.
        threshold: Least similarity of a person in two frames, above 0 and at most 1.
        max_gap: Seconds that a person may be missing without losing its id.

    Raises:
        ValueError: A parameter is out of its range.
    """

    def __init__(
        self, sigmas: Optional[np.ndarray] = None, threshold: float = 0.3, max_gap: float = 1.0
    ) -> None:
        self._sigmas = np.zeros(0) if sigmas is None else np.asarray(sigmas, dtype=float)
        if self._sigmas.ndim != 1 or not (self._sigmas > 0).all():
            raise ValueError(f'sigmas must be (K,) numbers above 0, got {sigmas}')
        if not 0 < threshold <= 1:
            raise ValueError(f'threshold must be above 0 and at most 1, got {threshold}')
        self._threshold = threshold
        self._max_gap = _positive('max_gap', max_gap)
        self._seconds = -np.inf
        self._next_id = 0
        num_keypoints = len(self._sigmas)
        fields = [('id', np.int64), ('class', np.int64), ('seconds', float), ('num_steps', int)]
        fields += [('box', float, 4), ('velocity', float, 2)]  # px, px per second
        shape = (num_keypoints,)
        fields += [('keypoints', np.float32, (*shape, 2)), ('weights', np.float32, shape)]
        self._tracks = np.zeros(0, fields)  # everybody seen within max_gap, as last seen

    def update(
        self,
        boxes: ArrayLike,
        keypoints: Optional[ArrayLike],
        scores: Optional[ArrayLike],
        seconds: float,
        classes: Optional[ArrayLike] = None,
    ) -> np.ndarray:
        """Take in the people of the next frame.

        Args:
            boxes: (N, 4) xyxy, image px. One that is not finite is like no other.
            keypoints: (N, K, 2), image px, or None. Those that are not finite do not count.
            scores: (N, K), or None for all 1. Below 1 the box decides in part, at 0 alone.
            seconds: Time of the frame.
            classes: (N,) integers, or None for all 0. Only equal ones are matched.

        Returns:
            Ids (N,) int64: 0, 1, 2 ... in the order of first appearance, never used again.

        Raises:
            ValueError: Time does not increase, or a shape is wrong; the tracks stay as they were.
        """
        _check_later(seconds, self._seconds)
        people = np.zeros(len(boxes), self._tracks.dtype)
        people['seconds'] = seconds
        boxes = _shaped('boxes', boxes, people['box'].shape)
        people['box'] = np.where(np.isfinite(boxes).all(-1)[:, None], boxes, 0.0)
        if classes is not None:
            people['class'] = _shaped('classes', classes, people['class'].shape)
        if keypoints is not None and len(self._sigmas):
            points = _shaped('keypoints', keypoints, people['keypoints'].shape)
            weights = np.ones(1) if scores is None else _shaped('scores', scores, points.shape[:2])
            usable = np.isfinite(points).all(-1) & np.isfinite(weights)  # (N, K)
            people['keypoints'] = np.where(usable[..., None], points, 0.0)
            people['weights'] = np.where(usable, weights.clip(0, 1), 0.0)

        tracks = self._tracks[seconds - self._tracks['seconds'] <= self._max_gap]
        ahead = tracks['velocity'] * (seconds - tracks['seconds'])[:, None]  # (T, 2) px
        track_of = np.full(len(people), -1)
        for moves in (ahead, np.zeros_like(ahead)):
            free_tracks = np.setdiff1d(np.arange(len(tracks)), track_of)
            free_people = np.flatnonzero(track_of < 0)
            rows, columns = self._match(
                tracks[free_tracks], people[free_people], moves[free_tracks]
            )
            track_of[free_people[columns]] = free_tracks[rows]

        known = track_of >= 0
        last = tracks[track_of[known]]
        elapsed = seconds - last['seconds'][:, None]
        steps = last['num_steps'] + 1
        # a plain mean at first, so that the second frame of a person already gives a velocity
        share = np.maximum(1 / steps[:, None], 1 - np.exp(-elapsed / VELOCITY_SECONDS))
        velocity = (_centers(people['box'][known]) - _centers(last['box'])) / elapsed
        people['velocity'][known] = last['velocity'] + share * (velocity - last['velocity'])
        people['num_steps'][known] = steps
        people['id'][known] = last['id']
        num_new = len(people) - len(last)
        people['id'][~known] = self._next_id + np.arange(num_new)

        self._seconds = seconds
        self._next_id += num_new
        self._tracks = np.concatenate([np.delete(tracks, track_of[known]), people])
        return people['id'].copy()

    def _match(
        self, tracks: np.ndarray, people: np.ndarray, moves: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Indices of tracks, moved by (T, 2) px, and those of the people who continue them."""
        iou = pairwise_iou(tracks['box'] + np.tile(moves, 2), people['box'])  # (T, N)
        # Of 300 x 300 pairs few overlap, and only those need OKS.
        rows, columns = np.nonzero((iou > 0) & (tracks['class'][:, None] == people['class']))
        boxes_similar = poses_similar = iou[rows, columns]
        if len(self._sigmas):
            moved = tracks['keypoints'] + moves[:, None].astype(np.float32)
            distances = moved[rows] - people['keypoints'][columns]
            poses_similar = keypoint_similarity(
                np.einsum('pkc,pkc->pk', distances, distances),
                (_areas(tracks['box'])[rows] + _areas(people['box'])[columns]) / 2,
                self._sigmas,
                np.minimum(tracks['weights'][rows], people['weights'][columns]),
                boxes_similar,
            )
        allowed = np.maximum(boxes_similar, poses_similar) >= self._threshold
        # Less the threshold, so that one good match outweighs two poor ones; and of two who are
        # expected in one place, the one who was not hidden before is the one to be seen.
        gains = boxes_similar + poses_similar - self._threshold
        gains /= 1 + (people['seconds'][columns] - tracks['seconds'][rows]) / self._max_gap
        table = np.zeros(iou.shape)
        table[rows[allowed], columns[allowed]] = gains[allowed]
        rows, columns = linear_sum_assignment(table, maximize=True)
        matched = table[rows, columns] > 0
        return rows[matched], columns[matched]


class OneEuroSmoother:
    """One-Euro filter for the keypoints of tracked people (Casiez, Roussel and Vogel, CHI 2012).

    Each coordinate goes through algorithm 1 of the paper, with the time that has really passed.
    Speeds are in lengths of the person per second, a length being the longer side of the box, so
    that one setting serves small and large people. With the defaults, at 30 frames per second,
    trembling by 1 % of the length loses half of its spread and three quarters of its change from
    frame to frame, while a keypoint that starts off at two lengths per second lags by 20 ms.

    Args:
        min_cutoff: Hz, of a keypoint at rest. Lower: less trembling.
        beta: Hz by which one length per second raises the cutoff. Higher: less lag.
        derivative_cutoff: Hz, of the speeds themselves.
        max_gap: Seconds after which a keypoint that was missing starts anew.

    Raises:
        ValueError: A parameter is not above 0 (``beta``: below 0) or not finite.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 10.0,
        derivative_cutoff: float = 1.0,
        max_gap: float = 1.0,
    ) -> None:
        self._min_cutoff = _positive('min_cutoff', min_cutoff)
        self._beta = beta if beta == 0 else _positive('beta', beta)
        self._derivative_cutoff = _positive('derivative_cutoff', derivative_cutoff)
        self._max_gap = _positive('max_gap', max_gap)
        self._seconds = -np.inf
        self._states = _keypoint_states(0, 0)  # of everybody seen within max_gap

    def update(
        self, ids: ArrayLike, keypoints: ArrayLike, boxes: ArrayLike, seconds: float
    ) -> np.ndarray:
        """Smooth the keypoints of the next frame.

        Args:
            ids: (N,) integers, each once, as from :meth:`Tracker.update`.
            keypoints: (N, K, 2), image px.
            boxes: (N, 4) xyxy, image px. A person whose box has no size is not smoothed.
            seconds: Time of the frame.

        Returns:
            (N, K, 2) in the type of ``keypoints``, at least float32. A keypoint that is new, or has
            been missing for more than ``max_gap``, keeps every bit. So does one that is not finite:
            it counts as missing, and the next finite one is smoothed with those before.

        Raises:
            ValueError: Time does not increase, an id comes twice, or a shape is wrong; the state
                stays as it was.
        """
        _check_later(seconds, self._seconds)
        given = np.asarray(keypoints)
        num_keypoints = self._states['seconds'].shape[1]
        if not len(self._states) and given.ndim == 3:
            num_keypoints = given.shape[1]
        states = _keypoint_states(len(ids), num_keypoints)
        given = _shaped('keypoints', given, states['position'].shape)
        boxes = _shaped('boxes', boxes, (len(ids), 4))
        states['id'] = _shaped('ids', ids, (len(ids),))
        if len(np.unique(states['id'])) < len(ids):
            raise ValueError(f'ids must differ, got {states["id"].tolist()}')
        old = self._states if len(self._states) else states[:0]
        _, rows, old_rows = np.intersect1d(states['id'], old['id'], True, return_indices=True)
        states[rows] = old[old_rows]

        seen = np.isfinite(given).all(-1)  # (N, K), of which P are true
        points, position, velocity = given[seen], states['position'][seen], states['velocity'][seen]
        gaps = seconds - states['seconds'][seen][:, None]  # (P, 1)
        gaps[gaps > self._max_gap] = np.inf  # which makes the velocity 0
        raw_velocity = (points - position) / gaps
        velocity += _alpha(self._derivative_cutoff, gaps) * (raw_velocity - velocity)
        lengths = np.repeat((boxes[:, 2:] - boxes[:, :2]).max(-1), seen.sum(-1))[:, None]
        sized = lengths > 0
        cutoffs = self._min_cutoff + self._beta * np.abs(velocity) / np.where(sized, lengths, 1)
        moved = position + _alpha(cutoffs, gaps) * (points - position)
        states['position'][seen] = np.where(sized & np.isfinite(gaps), moved, points)
        states['velocity'][seen] = velocity
        states['seconds'][seen] = seconds

        everybody = np.concatenate([np.delete(old, old_rows), states])
        recent = (seconds - everybody['seconds'] <= self._max_gap).any(1)
        self._seconds, self._states = seconds, everybody[recent]
        smoothed = given.astype(np.result_type(given, np.float32))
        smoothed[seen] = states['position'][seen]
        return smoothed


def _keypoint_states(num_people: int, num_keypoints: int) -> np.ndarray:
    """Records of people of whom nothing was seen yet."""
    shape = (num_keypoints,)
    fields = [('id', np.int64), ('seconds', float, shape)]  # when each keypoint was last seen
    fields += [('position', float, (*shape, 2)), ('velocity', float, (*shape, 2))]  # px, px/s
    states = np.zeros(num_people, fields)
    states['seconds'] = -np.inf
    return states


def _alpha(cutoffs: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """The paper's smoothing factor for cutoffs in Hz and seconds between samples."""
    return 1 / (1 + 1 / (2 * np.pi * cutoffs * gaps))


def _centers(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def _shaped(name: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0 and 0 in shape:
        return array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f'{name} must have the shape {shape}, got {array.shape}')
    return array


def _positive(name: str, value: float) -> float:
    if not 0 < value < np.inf:
        raise ValueError(f'{name} must be a finite number above 0, got {value}')
    return value


def _check_later(seconds: float, last: float) -> None:
    if not last < seconds < np.inf:
        raise ValueError(f'seconds must be finite and above those before ({last}), got {seconds}')
