"""Labelled pictures as every reader returns them, in COCO's terms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

# Of a box's area, as mmpose estimates the area of a person where none is stated.
AREA_OF_BOX = 0.53
# Of the longer side of the rectangle around the keypoints, on each of the four sides.
BOX_MARGIN = 1 / 8


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with labelled keypoints. Coordinates are image px.

    Attributes:
        images: COCO's ``id``, ``file_name`` (relative to the folder of images), ``width`` and
            ``height``, and what else the source says.
        annotations: COCO's ``id``, ``image_id``, ``category_id``, ``bbox`` (left, top, width,
            height), ``keypoints`` (3K: x, y, visibility), ``num_keypoints``, ``area`` and
            ``iscrowd``, and what else the source says.
        category: The only one: COCO's ``id`` (1), ``name``, ``keypoints`` (their names) and
            ``skeleton`` (pairs that count from 1).
        flip_indices: Which keypoint takes the place of each in a mirrored picture, if the source
            says it.
        notes: What was mended or assumed, in plain words, with counts.
        as_is: Whether the source is a COCO file that mmpose's ``CocoDataset`` and ``CocoMetric``
            read unchanged with the same result.
        source: Path of the file or folder.
        images_folder: What file names are relative to; None where no image was found.
        has_val: Whether the source sets pictures apart for validation and this is not they.
    """

    images: list[dict]
    annotations: list[dict]
    category: dict
    flip_indices: list[int] | None
    notes: list[str]
    as_is: bool
    source: str
    images_folder: str | None = None
    has_val: bool = False


def to_coco(labelled: LabelledSet) -> dict:
    """The content of a COCO annotation file."""
    return {
        'images': labelled.images,
        'annotations': labelled.annotations,
        'categories': [labelled.category],
    }


def split(
    labelled: LabelledSet, share: float, by: str = 'images'
) -> tuple[LabelledSet, LabelledSet]:
    """Set a share of the pictures apart for validation.

    A picture's side depends on the SHA-256 of its ``file_name`` and on ``share`` alone: it stays
    where it is when others come or go, and entries of the same file never part.

    Args:
        share: Of the pictures, for validation; met on average.
        by: 'images', or 'folders', by the folder in ``file_name`` in place of the name, so that
            for instance the frames of a video stay together.

    Returns:
        What to train on, and what to validate with.

    Raises:
        ValueError: ``share`` is not between 0 and 1, ``by`` is something else, or a side would
            have no picture.
    """
    if not 0 < share < 1:
        raise ValueError(f'share must be between 0 and 1, got {share}')
    if by not in ('images', 'folders'):
        raise ValueError(f"by must be 'images' or 'folders', got {by!r}")

    def of_val(image: dict) -> bool:
        name = image['file_name']
        key = name if by == 'images' else str(PurePosixPath(name).parent)
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big') < share * 2**64

    ids = {image['id'] for image in labelled.images if of_val(image)}
    if not 0 < len(ids) < len(labelled.images):
        raise ValueError(
            f'with the share {share} by {by}, {len(ids)} of the {len(labelled.images)} pictures of '
            f'{labelled.source} would be for validation, and each side needs one at least: choose '
            'another share, or give labels for validation'
        )

    def part(wanted: bool) -> LabelledSet:
        return replace(
            labelled,
            images=[image for image in labelled.images if (image['id'] in ids) == wanted],
            annotations=[a for a in labelled.annotations if (a['image_id'] in ids) == wanted],
            as_is=False,
            has_val=False,
        )

    return part(False), part(True)


def box_around(keypoints: Sequence[float], width: float, height: float) -> list[float] | None:
    """(left, top, width, height) around the labelled keypoints, ``BOX_MARGIN`` wider on each side.

    Cut at the picture.

    Args:
        keypoints: 3K numbers: x, y, visibility.
        width: Of the picture, px, likewise ``height``.

    Returns:
        None if fewer than two different points are labelled, or they lie outside of the picture.
    """
    extent = keypoint_extent(keypoints)
    if extent is None:
        return None
    left, top, right, bottom = extent
    margin = BOX_MARGIN * max(right - left, bottom - top)
    left, right = max(left - margin, 0), min(right + margin, width)
    top, bottom = max(top - margin, 0), min(bottom + margin, height)
    if right <= left or bottom <= top:
        return None
    return [round(value, 3) for value in (left, top, right - left, bottom - top)]


def keypoint_extent(keypoints: Sequence[float]) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) of the labelled keypoints, None without any."""
    labelled = [i for i, visible in enumerate(keypoints[2::3]) if visible > 0]
    if not labelled:
        return None
    xs, ys = ([keypoints[3 * i + axis] for i in labelled] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def check_names(names: Sequence[str], num_keypoints: int, source: object) -> list[str]:
    """Names given for keypoints that have none.

    Raises:
        ValueError: They are not as many as the keypoints.
    """
    if len(names) != num_keypoints:
        raise ValueError(
            f'{len(names)} names of keypoints are given ({", ".join(names)}) and {source} has '
            f'{num_keypoints} keypoints'
        )
    return list(names)


def no_names_message(source: object, num_keypoints: object) -> str:
    return (
        f'{source} has {num_keypoints} keypoints without names: give them in their order '
        '(--keypoints nose left_eye right_eye ..., in Python keypoint_names), as pairs of left and '
        'right are found by names'
    )
