"""A data set of generated people in COCO's format, for demonstrations and tests without downloads.

Scene ``i`` of a split depends on ``(seed, split, i)`` alone. Left and right are decidable: from
the face, the shirt's front with a pocket on the wearer's left, feet and bending knees and elbows.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from .figure_drawing import (
    IDS_PER_PERSON,
    MAX_PEOPLE,
    SKIN_BGR,
    capsule,
    draw_figure,
    keypoints_in_sight,
    sample_look,
)
from .figures import KEYPOINT_NAMES, Figure, sample_figure

GENERATOR_VERSION = 2  # raise it with every change of the pictures, so that old sets are not reused
SPLITS = ('train', 'val')
PARAMETERS_FILE = 'parameters.json'

PERSON_CATEGORY = {
    'id': 1,
    'name': 'person',
    'supercategory': 'person',
    'keypoints': list(KEYPOINT_NAMES),
    # COCO's own list: indices from 1.
    'skeleton': [
        [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8],
        [7, 9], [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
    ],
}  # fmt: skip

# A person of whom less is seen than this share of height**2 gets no annotation: nobody could say
# who it is. An unhidden person covers about 0.25.
_LEAST_SHARE_IN_SIGHT = 0.02


def _pale(colour_bgr: np.ndarray) -> np.ndarray:
    return 0.4 * colour_bgr + 0.6 * colour_bgr.mean()


def _draw_ground(rng: np.random.Generator, image_wh: tuple[int, int]) -> np.ndarray:
    """A textured picture (H, W, 3) uint8 with shapes and limb-like sticks, but without people."""
    width, height = image_wh
    rough = rng.uniform(0, 255, (rng.integers(2, 7), rng.integers(2, 7), 3)).astype(np.float32)
    fine = rng.normal(0, rng.uniform(2, 12), (height // 4, width // 4, 1)).astype(np.float32)
    # Grounds are paler and of less contrast than clothes: in photographs, too, people stand out.
    rough += rng.uniform(0.4, 1) * (rough.mean(axis=2, keepdims=True) - rough)
    contrast = rng.uniform(0.1, 0.5)
    ground = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC) * contrast
    ground += (1 - contrast) * rng.uniform(40, 220)
    ground += cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    image = np.clip(ground, 0, 255).astype(np.uint8)

    if rng.random() < 0.4:  # a floor or a wall
        top = int(height * rng.uniform(0.45, 0.85))
        floor = image[top:].astype(np.float32) * 0.5 + 0.5 * rng.uniform(40, 220)
        image[top:] = floor.astype(np.uint8)
    for _ in range(rng.integers(0, 6)):
        colour = tuple(_pale(rng.uniform(20, 235, 3)))
        x, y = rng.uniform(0, (width, height))
        size = rng.uniform(8, 0.35 * height, 2)
        angle = rng.uniform(0, 180)
        if rng.random() < 0.5:
            box = cv2.boxPoints(((x, y), tuple(size), angle))
            cv2.fillConvexPoly(image, np.int32(box), colour, cv2.LINE_AA)
        else:
            cv2.ellipse(image, ((x, y), tuple(size), angle), colour, -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        _draw_stick(rng, image)
    return image


def _draw_stick(rng: np.random.Generator, image: np.ndarray, ids: np.ndarray | None = None) -> None:
    """A straight or bent stick, sometimes with a ball, that could be taken for a limb."""
    height, width = image.shape[:2]
    points = [rng.uniform(0, (width, height))]
    for _ in range(rng.integers(1, 3)):
        angle = rng.uniform(0, 2 * np.pi)
        step = rng.uniform(0.08, 0.3) * height * np.array((np.cos(angle), np.sin(angle)))
        points.append(points[-1] + step)
    bare = rng.random() < 0.4
    colour = np.array(SKIN_BGR[rng.integers(len(SKIN_BGR))] if bare else rng.uniform(10, 245, 3))
    radius = rng.uniform(0.008, 0.03) * height
    for start, end in zip(points, points[1:]):
        outline = np.int32(np.round(capsule(start, end, radius, radius)))
        cv2.fillConvexPoly(image, outline, tuple(colour * rng.uniform(0.6, 1)), cv2.LINE_AA)
        if ids is not None:
            cv2.fillConvexPoly(ids, outline, 0)
    if ids is None and rng.random() < 0.3:
        centre = tuple(int(value) for value in points[0])
        cv2.circle(image, centre, int(2.5 * radius) + 1, tuple(colour * 0.9), -1, cv2.LINE_AA)


def _spoil(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Brightness, contrast, blur and noise of a camera; one value a pixel for the noise."""
    pixels = image.astype(np.float32) * rng.uniform(0.7, 1.15) + rng.uniform(-15, 15)
    if rng.random() < 0.5:
        pixels = cv2.GaussianBlur(pixels, (3, 3), rng.uniform(0.3, 0.9))
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32) * rng.uniform(0, 7)
    return np.clip(pixels + noise[..., None], 0, 255).astype(np.uint8)


def _box_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over the smaller area of two boxes (x1, y1, x2, y2)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(sides.clip(0)) / smaller)


def _place_figures(rng: np.random.Generator, image_wh: tuple[int, int], count: int) -> list[Figure]:
    """Up to ``count`` figures, the farthest (smallest) first, no two of them over each other.

    Boxes may share 30% of the smaller one. Some reach over the picture's edge.
    """
    placed, boxes = [], []
    picture = np.array(image_wh, dtype=float)
    for _ in range(count):
        figure = sample_figure(rng)
        span = np.ptp(figure.joints[:, :2], axis=0) + 0.12
        unit = min(picture[1] * rng.uniform(0.45, 1.0), *(picture / span))
        overhang = 0.22 if rng.random() < 0.1 else 0.0
        least = np.minimum(span * unit * (0.5 - overhang), picture / 2)
        for _ in range(8):
            centre = rng.uniform(least, picture - least)
            candidate = figure.placed(unit, centre)
            margin = 0.05 * unit
            joints_xy = candidate.joints[:, :2]
            box = np.concatenate([joints_xy.min(0) - margin, joints_xy.max(0) + margin])
            if all(_box_overlap(box, other) < 0.3 for other in boxes):
                placed.append(candidate)
                boxes.append(box)
                break
    return sorted(placed, key=lambda figure: figure.unit)


def generate_scene(
    seed: Sequence[int] | np.random.Generator,
    image_wh: tuple[int, int] = (320, 240),
    num_people: tuple[int, int] = (1, 4),
) -> tuple[np.ndarray, list[dict]]:
    """Draws one picture of people.

    Args:
        seed: Integers, not negative, that determine the scene, or a generator to draw from.
        image_wh: Size in pixels, at least 64 each.
        num_people: Least and largest number of people; fewer where there is no room for all.

    Returns:
        The picture, (H, W, 3) uint8 in BGR order, and one COCO annotation a person without
        ``id`` and ``image_id``: ``keypoints`` (51 numbers: x, y, visibility) in image px, where
        visibility is 2 in sight, 1 hidden and 0 (with x = y = 0) outside the picture; ``bbox``
        (x, y, w, h) and ``area`` of the pixels in sight; ``num_keypoints``, ``iscrowd``,
        ``category_id``.

    Raises:
        ValueError: For a size or a number of people that cannot be drawn.
    """
    if min(image_wh) < 64:
        raise ValueError(f'image_wh={image_wh}: both sides must be at least 64 px')
    if not 1 <= num_people[0] <= num_people[1] <= MAX_PEOPLE:
        raise ValueError(
            f'num_people={num_people}: must be (least, most), 1 <= least <= most <= {MAX_PEOPLE}'
        )
    rng = np.random.default_rng(seed)
    image = _draw_ground(rng, image_wh)
    ids = np.zeros(image.shape[:2], dtype=np.uint8)
    figures = _place_figures(rng, image_wh, rng.integers(num_people[0], num_people[1] + 1))
    for person, figure in enumerate(figures):
        draw_figure(image, ids, figure, sample_look(rng), person)
    if rng.random() < 0.1:
        _draw_stick(rng, image, ids)
    annotations = [annotate(ids, figure, person) for person, figure in enumerate(figures)]
    return _spoil(rng, image), [annotation for annotation in annotations if annotation is not None]


def annotate(ids: np.ndarray, figure: Figure, person: int) -> dict | None:
    """COCO annotation of one drawn figure from the scene's finished id map (H, W), or None.

    None says that too little of the person is in sight to be found.
    """
    height, width = ids.shape
    first = IDS_PER_PERSON * person
    mask = ((ids > first) & (ids < first + IDS_PER_PERSON)).view(np.uint8)
    area = cv2.countNonZero(mask)
    if area < _LEAST_SHARE_IN_SIGHT * figure.unit**2:
        return None
    keypoints_xy = figure.joints[: len(KEYPOINT_NAMES), :2]
    inside = ((keypoints_xy >= 0) & (keypoints_xy <= (width - 1, height - 1))).all(axis=1)
    visibility = inside * (1 + keypoints_in_sight(ids, figure, person))
    keypoints = np.column_stack([np.round(keypoints_xy, 2) * inside[:, None], visibility])
    if not inside.any():
        return None
    return {
        'category_id': PERSON_CATEGORY['id'],
        'iscrowd': 0,
        'bbox': [float(value) for value in cv2.boundingRect(mask)],
        'area': float(area),
        'keypoints': keypoints.ravel().tolist(),
        'num_keypoints': int(inside.sum()),
    }


def _write_split(
    folder: Path, split: str, num_scenes: int, seed: int, scene_options: dict,
    on_scene: Callable[[], None],
) -> None:  # fmt: skip
    image_folder = folder / 'images' / split
    image_folder.mkdir(parents=True)
    images, annotations = [], []
    for index in range(num_scenes):
        image, people = generate_scene([seed, SPLITS.index(split), index], **scene_options)
        name = f'{index:06d}.jpg'
        coded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (image_folder / name).write_bytes(coded.tobytes())
        height, width = image.shape[:2]
        # COCO's evaluation takes the id 0 for "no match", hence from 1.
        images.append({'id': index + 1, 'file_name': name, 'width': width, 'height': height})
        for person in people:
            annotations.append({'id': len(annotations) + 1, 'image_id': index + 1, **person})
        on_scene()
    content = {
        'info': {'description': 'generated people', 'version': str(GENERATOR_VERSION)},
        'images': images,
        'annotations': annotations,
        'categories': [PERSON_CATEGORY],
    }
    annotation_folder = folder / 'annotations'
    annotation_folder.mkdir(exist_ok=True)
    (annotation_folder / f'person_keypoints_{split}.json').write_text(json.dumps(content))


def _holds(out_dir: Path, parameters: dict) -> bool:
    """Whether ``out_dir`` is a complete data set of these parameters."""
    parameters_path = out_dir / PARAMETERS_FILE
    if not parameters_path.is_file() or json.loads(parameters_path.read_text()) != parameters:
        return False
    return all(
        (out_dir / 'annotations' / f'person_keypoints_{split}.json').is_file()
        and len(list((out_dir / 'images' / split).glob('*.jpg'))) == parameters[f'num_{split}']
        for split in SPLITS
    )


def write_dataset(
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int = 0,
    image_wh: tuple[int, int] = (320, 240),
    num_people: tuple[int, int] = (1, 4),
    on_progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Writes ``images/{train,val}/*.jpg`` and ``annotations/person_keypoints_{train,val}.json``.

    The folder appears whole or not at all: everything is written beside it and renamed at the end.

    Args:
        on_progress: Called after every scene with (scenes written, scenes in all).

    Returns:
        True if it was written, False if ``out_dir`` already held exactly this data set.

    Raises:
        ValueError: If a number is out of range or ``out_dir`` holds anything else.
    """
    out_dir = Path(out_dir)
    for name, value, least in (
        ('num_train', num_train, 1), ('num_val', num_val, 1), ('seed', seed, 0)
    ):  # fmt: skip
        if value < least:
            raise ValueError(f'{name}={value}: must be at least {least}')
    scene_options = {'image_wh': list(image_wh), 'num_people': list(num_people)}
    parameters = {
        'generator_version': GENERATOR_VERSION, 'num_train': num_train, 'num_val': num_val,
        'seed': seed, **scene_options,
    }  # fmt: skip
    if out_dir.exists():
        if out_dir.is_dir() and _holds(out_dir, parameters):
            return False
        if not out_dir.is_dir() or any(out_dir.iterdir()):
            raise ValueError(
                f'out_dir={str(out_dir)!r}: must be absent, an empty folder, or hold exactly the '
                f'data set {parameters}; it holds something else, which is not overwritten'
            )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    partial = out_dir.with_name(f'.{out_dir.name}.{os.getpid()}.partial')
    total, done = num_train + num_val, 0

    def on_scene() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    try:
        partial.mkdir()
        for split, num_scenes in (('train', num_train), ('val', num_val)):
            _write_split(partial, split, num_scenes, seed, scene_options, on_scene)
        (partial / PARAMETERS_FILE).write_text(json.dumps(parameters))
        if out_dir.exists():
            out_dir.rmdir()
        partial.rename(out_dir)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return True


def mean_pose_results(train_annotations: list[dict], val_annotations: list[dict]) -> list[dict]:
    """The baseline without any picture: the training set's mean pose in every given box.

    The mean is taken over labelled keypoints, in coordinates of the box (0 to 1 along each side).

    Returns:
        COCO keypoint results, one for each of ``val_annotations``, in image px.
    """
    boxes = np.array([annotation['bbox'] for annotation in train_annotations])[:, None]
    keypoints = np.array([annotation['keypoints'] for annotation in train_annotations])
    keypoints = keypoints.reshape(len(train_annotations), -1, 3)
    labelled = keypoints[..., 2:] > 0
    relative = (keypoints[..., :2] - boxes[..., :2]) / boxes[..., 2:]
    mean_pose = (relative * labelled).sum(0) / labelled.sum(0).clip(1)  # (17, 2)
    results = []
    for annotation in val_annotations:
        box = np.array(annotation['bbox'])
        pose = np.column_stack([box[:2] + mean_pose * box[2:], np.ones(len(mean_pose))])
        results.append({
            'image_id': annotation['image_id'], 'category_id': annotation['category_id'],
            'keypoints': pose.ravel().tolist(), 'score': 1.0,
        })  # fmt: skip
    return results


def keypoint_average_precision(annotation_path: str | os.PathLike, results: list[dict]) -> float:
    """COCO's keypoint AP (OKS 0.50 to 0.95) of results against an annotation file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its tables
        truth = COCO(os.fspath(annotation_path))
        evaluation = COCOeval(truth, truth.loadRes(results), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
