"""Similarities of read and annotated keypoints, as COCO's evaluation measures them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np


@dataclass(frozen=True)
class ImagePeople:
    """The G people annotated in an image and the D detections in it, K keypoints each.

    Attributes:
        image_id: Id of the image.
        keypoints: Annotated keypoints, (G, K, 2), image px.
        labelled: Which of them are labelled, visible or not, (G, K).
        boxes: Annotated boxes, (G, 4), left, top, width and height in image px.
        areas: Areas of the people, (G,), px^2; those of their segments where these are known.
        ignored: Who need not be found, (G,): crowds, and people without labelled keypoints.
        crowd: Who may be matched by several detections, (G,).
        categories: Category ids of the people, (G,).
        detections: Read keypoints, (D, K, 2), image px.
        scores: What detections are ranked by, (D,).
        detection_areas: Areas of the detections, (D,), px^2.
        detection_categories: Their category ids, (D,).
        own: What was read from each person's own box, (G, K, 2), NaN for those without; None where
            boxes were detected.
        sides: Longer sides of the boxes, (G,), px, the unit of PCK.
    """

    image_id: int
    keypoints: np.ndarray
    labelled: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    ignored: np.ndarray
    crowd: np.ndarray
    categories: np.ndarray
    detections: np.ndarray
    scores: np.ndarray
    detection_areas: np.ndarray
    detection_categories: np.ndarray
    own: Optional[np.ndarray]
    sides: np.ndarray


@dataclass(frozen=True)
class ImageSimilarities:
    """Similarities of the D detections and G people of an image.

    Attributes:
        keypoints: Of keypoints to the same ones of people, labelled or not, (D, G, K).
        boxes: Of detections to people of whom nothing is labelled, (D, G): to where they may be.
    """

    keypoints: np.ndarray
    boxes: np.ndarray

    def objects(self, labelled: np.ndarray) -> np.ndarray:
        """Object keypoint similarities (OKS), (D, G), where these keypoints are labelled, (G, K).

        They are COCO's (``COCOeval.computeOks``): means over a person's labelled keypoints, and
        for people without any, over the keypoints' nearness to their boxes.
        """
        counts = labelled.sum(1)
        sums = np.where(labelled, self.keypoints, 0).sum(2)
        return np.where(counts > 0, sums / np.maximum(counts, 1), self.boxes)


def similarities_of(people: ImagePeople, sigmas: Sequence[float]) -> ImageSimilarities:
    """All similarities of an image, for keypoints of these K sigmas."""
    reads = people.detections[:, None]
    return ImageSimilarities(
        keypoint_similarities(reads, people.keypoints, people.areas, sigmas),
        box_similarities(people.detections, people.boxes, people.areas, sigmas),
    )


def keypoint_similarities(
    read: np.ndarray, annotated: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """Similarities exp(-d^2 / (2 area (2 sigma)^2)) of keypoints at distances d, COCO's.

    Args:
        read: Keypoints, (..., K, 2), image px.
        annotated: Keypoints of people, of a shape that broadcasts, such as (G, K, 2).
        areas: Areas of these people, (G,), px^2.
        sigmas: K standard deviations of people who annotate, over the root of the area.

    Returns:
        In [0, 1], (..., K).
    """
    return _fall_off(((read - annotated) ** 2).sum(-1), areas, sigmas)


def box_similarities(
    detections: np.ndarray, boxes: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """Nearness of detections to people of whom only the box is known, as COCO measures it.

    Distances are those to the box with its size added on each side, 0 within it.

    Args:
        detections: Keypoints, (D, K, 2), image px.
        boxes: Left, top, width and height, (G, 4), image px.
        areas: Areas of these people, (G,), px^2.
        sigmas: Of the keypoints, (K,).

    Returns:
        Means over the keypoints, (D, G).
    """
    corners, sizes = boxes[:, None, :2], boxes[:, None, 2:]  # (G, 1, 2)
    reads = detections[:, None]  # (D, 1, K, 2)
    before = np.maximum(0, corners - sizes - reads)
    behind = np.maximum(0, reads - corners - 2 * sizes)
    return _fall_off(((before + behind) ** 2).sum(-1), areas, sigmas).mean(-1)


def _fall_off(squares: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    # in COCO's order and precision, for its very numbers: mmpose has its sigmas in float32
    variances = (np.asarray(sigmas) * 2) ** 2
    return np.exp(-squares / variances / (areas[:, None] + np.spacing(1)) / 2)
