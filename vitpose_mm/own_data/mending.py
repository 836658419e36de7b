"""Annotations in nearly COCO's format, one at a time, with what they lack.

Functions count in ``mended`` what they changed, by a sentence with ``{n}`` for the number.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from .labelled import AREA_OF_BOX, box_around, keypoint_extent

NUMBER = (int, float)
WHOLE_BODY_KEYS = ('foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')
# what annotations lack or have in another form, with what was done
_NESTED = '{n} annotations have a list for each keypoint: joined'
_NO_KEYPOINTS = '{n} annotations have no keypoints: kept with none labelled'
_NULL = '{n} annotations have keypoints of null: not labelled'
_NO_VISIBILITY = (
    '{n} annotations have keypoints without visibility: all labelled but those at (0, 0)'
)
_BOOLEAN = (
    '{n} annotations have visibility as true and false: 2 (visible) for true; for false 0 (not '
    'labelled) at (0, 0), else 1 (hidden)'
)
_COUNT = '{n} annotations have no num_keypoints, or a wrong one: counted'
_NO_BOX = (
    '{n} annotations have no box with an area: that around the labelled keypoints, 1/8 of the '
    'longer side wider on each side, cut at the picture'
)
_NEVER_BOX = '{n} annotations have no box, and too few keypoints for one: a box of zeros'
_NO_AREA = '{n} annotations have no area: 0.53 of the box'
_CROWD = '{n} annotations have no iscrowd of 0 or 1: 0, or what is_crowd says'


def id_key(number: object) -> object:
    """An id that compares equal however it is written: 7, 7.0 and '7'."""
    if isinstance(number, str) and number.strip().isdigit():
        return int(number)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, (int, str)) or number is None else str(number)


def with_flat_keypoints(annotation: dict, mended: Counter) -> dict:
    """A list of numbers or None as ``keypoints``, empty where there are none."""
    keypoints = annotation.get('keypoints')
    if not keypoints:
        mended[_NO_KEYPOINTS] += 1
        return {**annotation, 'keypoints': [], 'num_keypoints': 0}
    name = f'annotation {annotation.get("id")}'
    if not isinstance(keypoints, list):
        raise ValueError(f'{name} has keypoints of {type(keypoints).__name__}; wanted is a list')
    first = next((point for point in keypoints if isinstance(point, list)), None)
    if first is not None:
        mended[_NESTED] += 1
        points = [[None] * len(first) if point is None else point for point in keypoints]
        if any(not isinstance(point, list) or len(point) != len(first) for point in points):
            raise ValueError(f'{name} has keypoints of different lengths: {keypoints}')
        keypoints = list(chain.from_iterable(points))
        annotation = {**annotation, 'keypoints': keypoints}
    wrong = next((v for v in keypoints if v is not None and not isinstance(v, NUMBER)), None)
    if wrong is not None:
        raise ValueError(f'{name} has {wrong!r} in its keypoints; wanted are numbers')
    return annotation


def with_visibility(annotation: dict, count: int, mended: Counter) -> dict:
    """3K numbers as ``keypoints``."""
    keypoints = annotation['keypoints']
    if len(keypoints) == 3 * count and not any(
        v is None or v is True or v is False for v in keypoints
    ):
        return annotation
    if not keypoints:
        return {**annotation, 'keypoints': [0] * (3 * count)}
    step = len(keypoints) // count
    result, found = [], set()
    if step == 2:
        found.add(_NO_VISIBILITY)
    for start in range(0, len(keypoints), step):
        x, y = keypoints[start : start + 2]
        visible = keypoints[start + 2] if step == 3 else None
        if x is None or y is None:
            x = y = visible = 0
            found.add(_NULL)
        elif visible is None:
            visible = 2 if x or y else 0
            found.add(_NO_VISIBILITY)
        elif isinstance(visible, bool):
            visible = 2 if visible else int(bool(x or y))
            found.add(_BOOLEAN)
        result += [x, y, visible]
    mended.update(found)
    return {**annotation, 'keypoints': result}


def completed(annotation: dict, size: tuple[float, float], mended: Counter) -> dict:
    """With ``num_keypoints``, ``bbox``, ``area`` and ``iscrowd``."""
    result = dict(annotation)
    count = sum(visible > 0 for visible in result['keypoints'][2::3])
    stated = result.get('num_keypoints')
    # others, such as CrowdPose, count in another way; what matters is whether there are any
    if not isinstance(stated, NUMBER) or bool(stated) != bool(count):
        result['num_keypoints'] = count
        mended[_COUNT] += 1
    box = result.get('bbox')
    if isinstance(box, list) and len(box) not in (0, 4):
        raise ValueError(f'annotation {result["id"]} has bbox {box}; wanted are 4 numbers')
    whole = isinstance(box, list) and len(box) == 4 and all(isinstance(v, NUMBER) for v in box)
    if not whole or (count and 0 in box[2:]):
        derived = box_around(result['keypoints'], *size)
        if derived is not None:
            result['bbox'] = derived
            mended[_NO_BOX] += 1
        elif not whole:
            result['bbox'] = [0, 0, 0, 0]
            mended[_NEVER_BOX] += 1
    area, (width, height) = result.get('area'), result['bbox'][2:]
    if not isinstance(area, NUMBER) or (area == 0 and count and width * height > 0):
        result['area'] = round(AREA_OF_BOX * abs(width * height), 3)
        mended[_NO_AREA] += 1
    if result.get('iscrowd') not in (0, 1):
        result['iscrowd'] = int(bool(result.get('is_crowd', 0)))
        mended[_CROWD] += 1
    return result


def remarks(annotations: list[dict]) -> list[str]:
    """Of what stays as it is."""
    notes = []
    others = sum(any(v not in (0, 1, 2) for v in a['keypoints'][2::3]) for a in annotations)
    if others:
        notes.append(f'{others} annotations have visibility other than 0, 1 and 2: left so')
    labelled = [(a['bbox'], keypoint_extent(a['keypoints'])) for a in annotations]
    labelled = [(box, extent) for box, extent in labelled if extent is not None]
    tight = 0
    for (x, y, width, height), extent in labelled:
        corners = (x, y, x + width, y + height)
        tight += all(abs(a - b) <= 1 for a, b in zip(corners, extent))
    if tight > len(labelled) / 2:
        notes.append(
            f'{tight} of {len(labelled)} boxes are exactly around the keypoints, as CVAT and Label '
            'Studio write them: boxes around the whole object are better, left so'
        )
    if any(key in annotation for annotation in annotations[:100] for key in WHOLE_BODY_KEYS):
        notes.append(
            f'keypoints beside the list ({", ".join(WHOLE_BODY_KEYS)}) are not read; '
            'for COCO-WholeBody there are configs'
        )
    return notes
