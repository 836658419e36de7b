"""People and detections made at random, as arrays and as files of COCO's."""

from typing import Optional

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vitpose_mm.evaluation.similarities import ImagePeople

NAMES = ('nose', 'left_hand', 'right_hand', 'left_foot', 'right_foot')
FLIP = (0, 2, 1, 4, 3)
SIGMAS = np.array([0.026, 0.062, 0.062, 0.089, 0.089])


def make_annotations(seed: int = 0, num_images: int = 30, num_keypoints: int = 5) -> dict:
    """An annotation file: images of 0 to 5 people near each other, some without keypoints."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image_id in range(1, num_images + 1):
        for index in range(rng.integers(0, 6)):
            size = np.exp(rng.uniform(np.log(25), np.log(300)))
            start = rng.uniform(0, 200, 2)
            keypoints = start + rng.uniform(0, size, (num_keypoints, 2))
            visible = rng.integers(0, 3, num_keypoints) * (rng.random() < 0.9)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=1,
                    bbox=[*start.tolist(), size, size],
                    area=0.6 * size**2,
                    keypoints=np.column_stack([keypoints, visible]).ravel().tolist(),
                    num_keypoints=int((visible > 0).sum()),
                    iscrowd=int(index == 4),
                )
            )
    return dict(
        images=[dict(id=index) for index in range(1, num_images + 1)],
        categories=[dict(id=1, name='person')],
        annotations=annotations,
    )


def make_detections(
    annotations: dict, seed: int = 0, spread: float = 0.05, scores: bool = True
) -> list[dict]:
    """Results of COCO's format: most people with noise, some twice, and some of nobody."""
    rng = np.random.default_rng(seed)
    results = []
    for person in annotations['annotations']:
        for _ in range(rng.choice([0, 1, 2], p=[0.1, 0.75, 0.15])):
            triples = np.array(person['keypoints']).reshape(-1, 3)
            triples[:, :2] += (
                rng.normal(0, spread * rng.uniform(0.1, 2), triples[:, :2].shape)
                * (person['bbox'][2])
            )
            triples[:, 2] = 1
            results.append(_result(person['image_id'], triples, rng.random()))
    for image in annotations['images'][::3]:
        triples = np.ones((len(triples), 3))
        triples[:, :2] = rng.uniform(400, 600, (len(triples), 2))
        results.append(_result(image['id'], triples, rng.random()))
    return results


def _result(image_id: int, triples: np.ndarray, score: float) -> dict:
    sides = np.ptp(triples[:, :2], axis=0)
    box = [*triples[:, :2].min(0).tolist(), *sides.tolist()]
    return dict(
        image_id=image_id,
        category_id=1,
        keypoints=triples.ravel().tolist(),
        bbox=box,
        score=score,
    )


def run_coco(annotations: dict, results: list[dict], sigmas: np.ndarray = SIGMAS) -> COCOeval:
    """COCO's own evaluation."""
    coco = COCO()
    coco.dataset = dict(annotations, info={})
    coco.createIndex()
    # with 'keypoints' first it would take extents of keypoints for areas
    evaluation = COCOeval(coco, coco.loadRes([dict(each) for each in results]), 'keypoints')
    evaluation.params.kpt_oks_sigmas = sigmas
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def image_people(annotations: dict, results: list[dict]) -> list[ImagePeople]:
    """The same people and detections as arrays."""
    num_keypoints = len(annotations['annotations'][0]['keypoints']) // 3
    images = []
    for image in annotations['images']:
        people = [each for each in annotations['annotations'] if each['image_id'] == image['id']]
        found = [each for each in results if each['image_id'] == image['id']]
        triples = _array(people, 'keypoints').reshape(-1, num_keypoints, 3)
        reads = _array(found, 'keypoints').reshape(-1, num_keypoints, 3)
        boxes = _array(people, 'bbox').reshape(-1, 4)
        labelled = triples[..., 2] > 0
        crowd = _array(people, 'iscrowd').astype(bool)
        images.append(
            ImagePeople(
                image_id=image['id'],
                keypoints=triples[..., :2],
                labelled=labelled,
                boxes=boxes,
                areas=_array(people, 'area'),
                ignored=crowd | ~labelled.any(1),
                crowd=crowd,
                categories=_array(people, 'category_id').astype(int),
                detections=reads[..., :2],
                scores=_array(found, 'score'),
                detection_areas=_array(found, 'bbox').reshape(-1, 4)[:, 2:].prod(1),
                detection_categories=_array(found, 'category_id').astype(int),
                own=None,
                sides=boxes[:, 2:].max(1),
            )
        )
    return images


def _array(rows: list[dict], name: str, default: Optional[float] = None) -> np.ndarray:
    return np.array([each.get(name, default) for each in rows], np.float64)
