"""AP and AR are COCO's own, for all keypoints and for each alone."""

import copy
import dataclasses

import numpy as np
import pytest
from made_people import (
    FLIP,
    NAMES,
    SIGMAS,
    image_people,
    make_annotations,
    make_detections,
    run_coco,
)
from mmpose.evaluation.functional import keypoint_pck_accuracy

from vitpose_mm.evaluation import analyse
from vitpose_mm.evaluation.errors import match_people
from vitpose_mm.evaluation.per_keypoint import keypoint_precisions, read_people
from vitpose_mm.evaluation.protocol import ALL, SIZES, SimilarityEvaluation
from vitpose_mm.evaluation.similarities import similarities_of

SUMMARY = ('AP', 'AP50', 'AP75', 'AR')
OF_COCO = (0, 1, 2, 5)  # where those are in COCO's


def made(seed: int, **options):
    annotations = make_annotations(seed)
    results = make_detections(annotations, seed, **options)
    images = image_people(annotations, results)
    return annotations, results, images, [similarities_of(each, SIGMAS) for each in images]


@pytest.mark.parametrize('seed', range(4))
def test_totals_are_those_of_coco(seed):
    annotations, results, images, similarities = made(seed)
    stats = run_coco(annotations, results).stats
    objects = [each.objects(people.labelled) for people, each in zip(images, similarities)]
    evaluation = SimilarityEvaluation(images, objects, areas={**ALL, **SIZES})
    assert list(evaluation.summary().values()) == stats[list(OF_COCO)].tolist()
    for index, area in ((3, 'medium'), (4, 'large')):
        assert evaluation.precision(area) == stats[index]
        assert evaluation.recall(area) == stats[index + 5]
    assert 0.2 < stats[0] < 0.8


@pytest.mark.parametrize('categories', [2, 3])
def test_totals_of_several_categories_are_those_of_coco(categories):
    annotations, results, *_ = made(7)
    annotations['categories'] = [dict(id=2 * index, name='') for index in range(categories)]
    for index, each in enumerate([*annotations['annotations'], *results]):
        each['category_id'] = 2 * (index % categories)
    images = image_people(annotations, results)
    similarities = [similarities_of(each, SIGMAS) for each in images]
    objects = [each.objects(people.labelled) for people, each in zip(images, similarities)]
    stats = run_coco(annotations, results).stats
    assert SimilarityEvaluation(images, objects).summary()['AP'] == stats[0] > 0


@pytest.mark.parametrize('keypoint', range(len(NAMES)))
def test_a_keypoint_alone_is_coco_with_the_others_unlabelled(keypoint):
    annotations, results, images, similarities = made(3)
    alone = copy.deepcopy(annotations)
    for person in alone['annotations']:
        triples = np.array(person['keypoints']).reshape(-1, 3)
        triples[np.arange(len(NAMES)) != keypoint, 2] = 0
        person.update(keypoints=triples.ravel().tolist(), num_keypoints=int(triples[:, 2].any()))
    stats = run_coco(alone, results).stats
    found = keypoint_precisions(images, similarities, keypoint)
    assert list(found) == list(SUMMARY)
    assert list(found.values()) == stats[list(OF_COCO)].tolist()


def test_a_single_keypoint_has_the_ap_of_all():
    annotations = make_annotations(5, num_keypoints=1)
    images = image_people(annotations, make_detections(annotations, 5))
    report = analyse(images, ['nose'], [0.1], [0])
    assert 0.1 < report['all']['AP'] < 0.9
    for name in (*SUMMARY, 'OKS', 'PCK@0.1', 'good', 'miss'):
        assert report['keypoints']['nose'][name] == report['all'][name]


def test_keypoints_displaced_alike_are_all_alike():
    annotations = make_annotations(6, num_images=60)
    # alone in their images: to others they are not displaced alike
    alone = {person['image_id']: person for person in annotations['annotations']}
    annotations['annotations'] = list(alone.values())
    rng = np.random.default_rng(6)
    results = []
    for person in annotations['annotations']:
        triples = np.array(person['keypoints']).reshape(-1, 3)
        triples[:, 2] = 2
        person.update(keypoints=triples.ravel().tolist(), num_keypoints=5)
        triples[:, :2] += rng.normal(0, 0.1, 2) * person['bbox'][2]
        results.append({**make_result(person), 'keypoints': triples.ravel().tolist()})
    images = image_people(annotations, results)
    report = analyse(images, NAMES, [0.08] * 5, FLIP)
    assert 0.1 < report['all']['AP'] < 0.9
    for row in report['keypoints'].values():
        assert [row[name] for name in SUMMARY] == [report['all'][name] for name in SUMMARY]
        assert row['OKS'] == pytest.approx(report['all']['OKS'], abs=1e-12)


def make_result(person: dict) -> dict:
    score = float(np.random.default_rng(person['id']).random())
    return dict(image_id=person['image_id'], category_id=1, bbox=person['bbox'], score=score)


def test_mean_similarities_make_the_mean_oks_of_coco():
    annotations, results, images, similarities = made(8)
    matches = match_people(images, similarities)
    readings = read_people(images, matches, SIGMAS)
    evaluation = run_coco(annotations, results)
    expected = []
    for people, rows in zip(images, matches):
        order = np.argsort(-people.scores, kind='mergesort')
        for row in np.flatnonzero(~people.ignored):
            (detections,) = np.nonzero(rows[order] == row)
            ious = evaluation.ious[people.image_id, 1]
            expected.append(ious[detections[0], row] if len(detections) else 0)
    assert 0 in expected
    assert readings.mean_oks() == pytest.approx(np.mean(expected), abs=1e-12)
    # keypoints weighted as in the OKS: each person's weigh one together
    weights = readings.labelled / readings.labelled.sum(1, keepdims=True)
    by_keypoint = (readings.similarities * weights).sum(0)
    assert by_keypoint.sum() / len(weights) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize('threshold', [0.1, 0.2])
def test_pck_is_that_of_mmpose(threshold):
    _, _, images, _ = made(9)
    rng = np.random.default_rng(9)
    reads = [each.keypoints + rng.normal(0, 20, each.keypoints.shape) for each in images]
    images = [dataclasses.replace(each, own=read) for each, read in zip(images, reads)]
    found = read_people(images, [np.zeros(0, int)] * len(images), SIGMAS).correct(threshold)
    wanted = [~each.ignored for each in images]
    sides = np.concatenate([each.sides[chosen] for each, chosen in zip(images, wanted)])
    expected, mean, _ = keypoint_pck_accuracy(
        np.concatenate([read[chosen] for read, chosen in zip(reads, wanted)]),
        np.concatenate([each.keypoints[chosen] for each, chosen in zip(images, wanted)]),
        np.concatenate([each.labelled[chosen] for each, chosen in zip(images, wanted)]),
        threshold,
        np.repeat(sides[:, None], 2, axis=1),
    )
    np.testing.assert_array_equal(found, expected)
    assert found.mean() == mean
    assert 0.1 < mean < 0.9


def test_people_not_found_have_no_keypoint_right():
    _, _, images, _ = made(10)
    nobody = [np.full(len(each.scores), -1) for each in images]
    readings = read_people(images, nobody, SIGMAS)
    assert readings.mean_oks() == 0
    assert readings.correct(10).tolist() == [0] * 5
