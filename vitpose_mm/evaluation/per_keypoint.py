"""How well each keypoint is read: AP and AR as COCO's, similarity, PCK."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .protocol import SimilarityEvaluation
from .similarities import ImagePeople, ImageSimilarities, keypoint_similarities


@dataclass(frozen=True)
class Readings:
    """What was read of all P people who are to be found, each compared with its annotation.

    Attributes:
        labelled: Which keypoints count, (P, K).
        similarities: In [0, 1], (P, K), 0 for people who were not found.
        distances: In longer sides of the person's box, (P, K), infinite for those not found.
    """

    labelled: np.ndarray
    similarities: np.ndarray
    distances: np.ndarray

    def mean_oks(self) -> float:
        """Mean over people of their OKS, that is of the mean over their labelled keypoints."""
        counts = np.maximum(self.labelled.sum(1), 1)
        return _mean((self.similarities * self.labelled).sum(1) / counts)

    def mean_similarities(self) -> np.ndarray:
        """Means over people, (K,), NaN for keypoints that nobody has."""
        return _means(self.similarities, self.labelled)

    def correct(self, threshold: float) -> np.ndarray:
        """Shares of keypoints nearer than ``threshold`` (PCK), (K,), NaN for those nobody has."""
        return _means(self.distances < threshold, self.labelled)


def keypoint_precisions(
    images: Sequence[ImagePeople], similarities: Sequence[ImageSimilarities], keypoint: int
) -> dict[str, float]:
    """AP, AP50, AP75 and AR by COCO's protocol as if only one keypoint were labelled.

    People without it are ignored, as COCO ignores those without keypoints.

    Args:
        images: The people, by image.
        similarities: Their similarities with detections, by image.
        keypoint: Its index.

    Returns:
        In [0, 1], -1 where nobody has it.
    """
    own, ignored = [], []
    for people, each in zip(images, similarities):
        has_it = people.labelled[:, keypoint]
        own.append(np.where(has_it, each.keypoints[:, :, keypoint], each.boxes))
        ignored.append(people.ignored | ~has_it)
    return SimilarityEvaluation(images, own, ignored).summary()


def read_people(
    images: Sequence[ImagePeople], matches: Sequence[np.ndarray], sigmas: Sequence[float]
) -> Readings:
    """Compare people with what was read from their own boxes or, if unknown, with their matches.

    Args:
        images: The people, by image.
        matches: Rows of the people whom detections were matched with, (D,), -1 for none, by image.
        sigmas: Of the K keypoints.
    """
    labelled, near, distances = [], [], []
    for people, rows in zip(images, matches):
        read = people.own
        if read is None:
            read = np.full(people.keypoints.shape, np.nan)
            read[rows[rows >= 0]] = people.detections[rows >= 0]
        found = keypoint_similarities(read, people.keypoints, people.areas, sigmas)
        lengths = np.linalg.norm(read - people.keypoints, axis=-1) / people.sides[:, None]
        wanted = ~people.ignored
        labelled.append(people.labelled[wanted])
        near.append(np.nan_to_num(found[wanted]))
        distances.append(np.nan_to_num(lengths[wanted], nan=np.inf))
    return Readings(np.concatenate(labelled), np.concatenate(near), np.concatenate(distances))


def _means(values: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    counts = labelled.sum(0)
    means = (values * labelled).sum(0) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float('nan')
