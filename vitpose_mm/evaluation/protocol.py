"""COCO's average precision of given similarities."""

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
from pycocotools.cocoeval import COCOeval

from .similarities import ImagePeople

# px^2, ends included, as in COCO's evaluation, which knows no small people
SIZES = dict(small=(0, 32**2), medium=(32**2, 96**2), large=(96**2, 1e5**2))
ALL = dict(all=(0, 1e5**2))
MAX_DETECTIONS = 20


class SimilarityEvaluation(COCOeval):
    """``COCOeval`` for keypoints whose similarities are given.

    Its matching of detections with people is done for all thresholds at once, since data sets have
    up to 133 keypoints; figures are gathered by its own code.

    Args:
        images: The people, by image.
        similarities: Of detections and people, (D, G) for each image.
        ignored: Who need not be found, (G,) for each image; None for those of ``images``.
        scores: What detections are ranked by, (D,) for each image; None for those of ``images``.
        areas: Ranges of areas to evaluate, px^2, by name.
        thresholds: Least similarities of matches, by default COCO's 0.5, 0.55, ..., 0.95.
    """

    def __init__(
        self,
        images: Sequence[ImagePeople],
        similarities: Sequence[np.ndarray],
        ignored: Optional[Sequence[np.ndarray]] = None,
        scores: Optional[Sequence[np.ndarray]] = None,
        areas: Mapping[str, tuple[float, float]] = ALL,
        thresholds: Optional[Sequence[float]] = None,
    ) -> None:
        super().__init__(iouType='keypoints')
        self.images = images
        self.similarities = similarities
        self.ignored = ignored or [people.ignored for people in images]
        self.scores = scores or [people.scores for people in images]
        self.params.imgIds = list(range(len(images)))
        self.params.catIds = sorted({each for people in images for each in people.categories})
        self.params.areaRng = [list(limits) for limits in areas.values()]
        self.params.areaRngLbl = list(areas)
        self.params.maxDets = [MAX_DETECTIONS]
        if thresholds is not None:
            self.params.iouThrs = np.array(thresholds)
        self.evaluate()
        with contextlib.redirect_stdout(io.StringIO()):  # it tells what it does
            self.accumulate()

    def evaluate(self) -> None:
        """Match detections with people, in the order that ``accumulate`` expects."""
        self._paramsEval = copy.deepcopy(self.params)
        self.evalImgs = [
            self._match_image(index, category, limits)
            for category in self.params.catIds
            for limits in self.params.areaRng
            for index in self.params.imgIds
        ]

    def precision(self, area: str = 'all', threshold: Optional[float] = None) -> float:
        """AP, in [0, 1], at one threshold or the mean over all; -1 where nobody is to be found."""
        return self._mean(self.eval['precision'], area, threshold)

    def recall(self, area: str = 'all', threshold: Optional[float] = None) -> float:
        """AR, as :meth:`precision`."""
        return self._mean(self.eval['recall'], area, threshold)

    def summary(self, area: str = 'all') -> dict[str, float]:
        """Figures of a range of areas, by their usual names."""
        return {
            'AP': self.precision(area),
            'AP50': self.precision(area, 0.5),
            'AP75': self.precision(area, 0.75),
            'AR': self.recall(area),
        }

    def matches(self) -> list[np.ndarray]:
        """Rows of the people whom detections were matched with at the first threshold.

        Returns:
            For each image (D,), -1 for detections without any.
        """
        found = [np.full(len(people.scores), -1) for people in self.images]
        for each in filter(None, self.evalImgs):
            found[each['image_id']][each['rows']] = each['dtMatches'][0] - 1
        return found

    def _mean(self, values: np.ndarray, area: str, threshold: Optional[float]) -> float:
        values = values[..., self.params.areaRngLbl.index(area), 0]
        if threshold is not None:
            values = values[np.isclose(self.params.iouThrs, threshold)]
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    def _match_image(self, index: int, category: int, limits: Sequence[float]) -> Optional[dict]:
        """Match the detections of an image and category, as ``evaluateImg`` does."""
        people = self.images[index]
        (rows,) = np.nonzero(people.detection_categories == category)
        (columns,) = np.nonzero(people.categories == category)
        if not len(rows) and not len(columns):
            return None
        scores = self.scores[index]
        rows = rows[np.argsort(-scores[rows], kind='mergesort')][:MAX_DETECTIONS]
        ignored = self.ignored[index] | ~_within(people.areas, limits)
        matches = match_detections(
            self.similarities[index][np.ix_(rows, columns)],
            ignored[columns],
            people.crowd[columns],
            self.params.iouThrs,
        )  # (D, T)
        is_matched = matches >= 0
        found = np.append(columns, -1)[matches]
        beyond = ~_within(people.detection_areas[rows], limits)[:, None]
        is_ignored = np.where(is_matched, np.append(ignored, False)[found], beyond)
        return dict(
            image_id=index,
            rows=rows,
            dtScores=scores[rows],
            dtMatches=found.T + 1,  # 0 for none
            dtIgnore=is_ignored.T,
            gtIgnore=ignored[columns],
        )


def match_detections(
    similarities: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Match each detection in turn with the most similar person who is left, by threshold.

    People who are ignored are only taken where there is no other; of equals the last is taken.

    Args:
        similarities: Of the detections, best score first, and the people, (D, G).
        ignored: Who need not be found, (G,).
        crowd: Who may be matched more than once, (G,).
        thresholds: Least similarities of matches, (T,).

    Returns:
        Indices of people, (D, T), -1 for none.
    """
    limits = np.minimum(thresholds, 1 - 1e-10)[:, None]
    matches = np.full((len(similarities), len(limits)), -1)
    free = np.ones((len(limits), len(ignored)), bool)
    for index, similarity in enumerate(similarities):
        fits = (similarity >= limits) & (free | crowd)  # (T, G)
        wanted = fits & ~ignored
        fits = np.where(wanted.any(1, keepdims=True), wanted, fits)
        (hits,) = np.nonzero(fits.any(1))
        if not len(hits):
            continue
        from_last = np.where(fits[hits], similarity, -1)[:, ::-1].argmax(1)
        matches[index, hits] = len(ignored) - 1 - from_last
        free[hits, matches[index, hits]] = False
    return matches


def _within(areas: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    return (areas >= limits[0]) & (areas <= limits[1])
