"""Whether boxes and keypoints are what the format says, or something else explains them better."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from .coco_file import People
from .findings import LEAST_PEOPLE, Finding, severity_by_share

FROM_THE_FORMAT = "COCO's format wants px of the image: 'bbox' (left, top, width, height), "
KEYPOINTS_WANTED = FROM_THE_FORMAT + "'keypoints' (x, y, visibility, ...)."
# Share of labelled keypoints that lie in the box: at least 0.9 in good files (COCO 0.96), and a
# reading that explains a file must do better by the margin.
GOOD_FIT, MARGIN = 0.8, 0.3
LARGEST_NORMALISED, LEAST_SIDE = 2.0, 16  # px


def share_inside(people: People, boxes: np.ndarray, places: np.ndarray) -> float:
    """Share of labelled keypoints, read as (N, K, 2), in their boxes (N, 4), corners, and images.

    The images tell which of boxes and keypoints is exchanged, if one is.
    """
    inside = (places >= boxes[:, None, :2]) & (places <= boxes[:, None, 2:])
    inside &= places <= people.sizes[:, None] + 1
    return float((inside.all(-1) & people.labelled).sum() / max(people.labelled.sum(), 1))


def corners(boxes: np.ndarray) -> np.ndarray:
    """(left, top, width, height) to (left, top, right, bottom)."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def corners_from_centers(boxes: np.ndarray) -> np.ndarray:
    """(centre x, centre y, width, height) to (left, top, right, bottom)."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def check_geometry(people: People) -> list[Finding]:
    """What boxes and keypoints really are; where they are right, those that lie outside.

    Args:
        people: With labelled keypoints, all numbers finite.
    """
    usable = people.labelled.any(1) & np.isfinite(people.boxes).all(1)
    usable &= np.isfinite(people.keypoints).all((1, 2)) & np.isfinite(people.sizes).all(1)
    usable &= (people.boxes[:, 2:] > 0).all(1)
    people = people[usable]
    if not len(people):
        return []
    for check in (_normalised, _exchanged_in_all, _other_reading):
        if len(people) >= LEAST_PEOPLE:
            found = check(people)
            if found:
                return found
    return list(_outside(people))


def _all(people: People, kind: str, message: str, advice: str) -> list[Finding]:
    everyone = np.ones(len(people), bool)
    return [
        Finding(
            'fault', kind, message, advice, count=len(people), examples=people.examples(everyone)
        )
    ]


def _normalised(people: People) -> list[Finding]:
    large = (people.sizes >= LEAST_SIDE).all(1)
    labelled = people.labelled
    small_boxes = large & (np.abs(people.boxes) <= LARGEST_NORMALISED).all(1)
    places = np.where(labelled[..., None], np.abs(people.keypoints[..., :2]), 0)
    small_places = large & (places <= LARGEST_NORMALISED).all((1, 2))
    found = []
    for kind, chosen, what in (
        ('normalised-boxes', small_boxes, 'boxes'),
        ('normalised-keypoints', small_places, 'keypoints'),
    ):
        severity = severity_by_share(chosen.sum(), len(people), 0.5, 0.05)
        if severity is not None:
            found.append(
                Finding(
                    severity,
                    kind,
                    f'The {what} of {chosen.sum()} of {len(people)} people are numbers of about 0 '
                    'to 1, in images of hundreds of px: normalised coordinates.',
                    f'Multiply x by width and y by height of the image. {KEYPOINTS_WANTED}',
                    count=int(chosen.sum()),
                    examples=people.examples(chosen),
                )
            )
    return found


def _exchanged_in_all(people: People) -> list[Finding]:
    """x and y exchanged in boxes and keypoints alike, which shows at the images' borders alone."""
    labelled, places = people.labelled, people.keypoints[..., :2]

    def outside(sizes: np.ndarray) -> float:
        beyond = (places > sizes[:, None] + 1).any(-1) & labelled
        return beyond.sum() / labelled.sum()

    if outside(people.sizes) < 0.02 or outside(people.sizes[:, ::-1]) > 0.002:
        return []
    boxes = corners(people.boxes)[:, None]
    in_box = ((places >= boxes[..., :2]) & (places <= boxes[..., 2:])).all(-1) & labelled
    if in_box.sum() < GOOD_FIT * labelled.sum():
        return []
    return _all(
        people,
        'xy-exchanged',
        f'{outside(people.sizes):.0%} of the labelled keypoints lie outside of their image, and '
        'none would if x and y, or width and height of the images, were exchanged.',
        'Either annotations have (y, x), or width and height stand the wrong way round in '
        "'images' (as with EXIF rotation). Compare a picture with its annotation.",
    )


def _other_reading(people: People) -> list[Finding]:
    boxes = people.boxes
    places = people.keypoints[..., :2]
    as_wanted = corners(boxes)
    fit = share_inside(people, as_wanted, places)

    if _are_corners(people, fit):
        return _all(
            people,
            'boxes-as-corners',
            f'The boxes of all {len(people)} people read as (left, top, right, bottom): the third '
            'and fourth number always exceed the first and second, and hold the keypoints so.',
            'Write (left, top, width, height): subtract left from right and top from bottom.',
        )
    if fit > GOOD_FIT:
        return []
    readings: tuple[tuple[str, Callable[[], float], str, str], ...] = (
        (
            'boxes-as-centers',
            lambda: share_inside(people, corners_from_centers(boxes), places),
            'boxes are read as (centre x, centre y, width, height)',
            'Subtract half the width from the first and half the height from the second number.',
        ),
        (
            'keypoints-relative-to-box',
            lambda: share_inside(people, as_wanted, places + boxes[:, None, :2]),
            "keypoints are counted from their box's left upper corner",
            'Add left and top of the box to the keypoints.',
        ),
        (
            'keypoints-xy-exchanged',
            lambda: share_inside(people, as_wanted, places[..., ::-1]),
            'the keypoints are read as (y, x)',
            'Exchange x and y of the keypoints.',
        ),
        (
            'boxes-xy-exchanged',
            lambda: share_inside(people, corners(boxes[:, [1, 0, 3, 2]]), places),
            'the boxes are read as (top, left, height, width)',
            'Exchange x and y, width and height of the boxes.',
        ),
    )
    best = max(readings, key=lambda reading: reading[1]())
    kind, better, how, advice = best
    if better() < max(GOOD_FIT, fit + MARGIN):
        return []
    return _all(
        people,
        kind,
        f'Only {fit:.0%} of the labelled keypoints lie in the box of their person, but '
        f'{better():.0%} do if {how}.',
        f'{advice} {KEYPOINTS_WANTED}',
    )


def _are_corners(people: People, fit: float) -> bool:
    boxes = people.boxes
    ordered = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if ordered.mean() < 0.98:
        return False
    # boxes that begin near the image's corner are the same in both readings
    extent_wanted, extent = boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]
    if (extent.clip(0).prod(1) / extent_wanted.prod(1).clip(1e-9)).mean() > 0.9:
        return False
    return share_inside(people, boxes, people.keypoints[..., :2]) >= fit - 0.02


def _outside(people: People) -> Iterator[Finding]:
    labelled, places = people.labelled, people.keypoints[..., :2]
    # LSP and others annotate what is just beyond the border, which does no harm
    slack = 0.02 * people.sizes[:, None]
    beyond = ((places < -slack) | (places > people.sizes[:, None] + slack)).any(-1) & labelled
    box_slack = 0.5 * people.boxes[:, None, 2:]
    box = corners(people.boxes)[:, None]
    far = ((places < box[..., :2] - box_slack) | (places > box[..., 2:] + box_slack)).any(-1)
    far &= labelled
    is_told = False
    for kind, chosen, fault_from, where, advice in (
        (
            'keypoints-outside-image',
            beyond,
            0.05,
            'outside of their image',
            'Compare the images with those that were annotated: were they cropped or resized?',
        ),
        (
            'keypoints-outside-box',
            far,
            0.1,
            'further than half a box away from the box of their person',
            'Crops will not show them. Do boxes and keypoints belong to the same person?',
        ),
    ):
        share = chosen.sum() / labelled.sum()
        if len(people) < LEAST_PEOPLE:
            fault_from = math.inf
        severity = severity_by_share(chosen.sum(), labelled.sum(), fault_from, 0.005)
        if severity is not None:
            is_told = True
            yield Finding(
                severity,
                kind,
                f'{chosen.sum()} of {labelled.sum()} labelled keypoints ({share:.1%}) lie {where}.',
                advice,
                count=int(chosen.sum()),
                examples=people.examples(chosen.any(1)),
            )
    if is_told:
        return
    wanted = corners(people.boxes)
    overhang = (wanted[:, 2:] - people.sizes).clip(0) + (-wanted[:, :2]).clip(0)
    hanging = (overhang > 0.1 * people.boxes[:, 2:]).any(1)
    severity = severity_by_share(hanging.sum(), len(people), 2.0, 0.1)
    if severity is not None and len(people) >= LEAST_PEOPLE:
        yield Finding(
            severity,
            'boxes-outside-image',
            f'{hanging.sum()} of {len(people)} boxes reach beyond their image by more than a tenth '
            'of their width or height; they are cut off there.',
            "Compare the 'width' and 'height' of images, and boxes, with the pictures.",
            count=int(hanging.sum()),
            examples=people.examples(hanging),
        )


def check_sizes(
    people: People,
    input_wh: tuple[int, int],
    heatmap_wh: tuple[int, int],
    padding: float = 1.25,
) -> Iterator[Finding]:
    """People who are too small for the heatmaps.

    Args:
        input_wh: Width and height of the crop, input px.
        heatmap_wh: Width and height of the heatmaps.
        padding: How much larger than the box the crop is.
    """
    people = people[(people.labelled.sum(1) >= 2) & (people.boxes[:, 2:] > 0).all(1)]
    if len(people) < LEAST_PEOPLE:
        return
    aspect = input_wh[0] / input_wh[1]
    width = np.maximum(people.boxes[:, 2], people.boxes[:, 3] * aspect) * padding  # of the crop
    cells = heatmap_wh[0] / width  # heatmap px in an image px
    masked = np.where(people.labelled[..., None], people.keypoints[..., :2], np.nan)
    extent = np.nanmax(masked, 1) - np.nanmin(masked, 1)  # (N, 2), image px
    in_one = (extent * cells[:, None] < 1).all(1)
    coarse = cells >= 3
    for kind, chosen, what, advice in (
        (
            'keypoints-in-one-cell',
            in_one,
            'all of their labelled keypoints in one pixel of the heatmap',
            'Are their boxes far too large, or the keypoints those of a part? The crop is '
            f'{padding:g} x the box.',
        ),
        (
            'tiny-people',
            coarse,
            'so small boxes that a px of the image covers 3 or more of the heatmap',
            'They teach little; take out boxes of a few px, or annotate larger pictures.',
        ),
    ):
        severity = severity_by_share(chosen.sum(), len(people), 0.5, 0.05)
        if severity is not None:
            yield Finding(
                severity,
                kind,
                f'{chosen.sum()} of {len(people)} people have {what}.',
                advice,
                count=int(chosen.sum()),
                examples=people.examples(chosen),
            )
