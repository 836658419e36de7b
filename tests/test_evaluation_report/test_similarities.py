"""Similarities are COCO's."""

import numpy as np
import pytest
from made_people import SIGMAS, image_people, make_annotations, make_detections, run_coco

from vitpose_mm.evaluation.similarities import keypoint_similarities, similarities_of


@pytest.mark.parametrize(
    ('distance', 'area', 'sigma', 'expected'),
    [
        (0, 100, 0.05, 1),
        (1, 100, 0.05, np.exp(-0.5)),  # 2 sigma of 10 px
        (2, 100, 0.05, np.exp(-2)),
        (10, 400, 0.25, np.exp(-0.5)),
    ],
)
def test_a_similarity(distance, area, sigma, expected):
    read, annotated = np.array([[[3.0, 5]]]), np.array([[[3.0, 5 + distance]]])
    found = keypoint_similarities(read, annotated, np.array([area]), [sigma])
    np.testing.assert_allclose(found, [[expected]], rtol=1e-12)


@pytest.mark.parametrize('seed', [0, 1])
def test_oks_is_that_of_coco(seed):
    annotations = make_annotations(seed)
    results = make_detections(annotations, seed)
    evaluation = run_coco(annotations, results)
    num_compared, num_unlabelled = 0, 0
    for people in image_people(annotations, results):
        expected = evaluation.ious[people.image_id, 1]
        if not len(expected):
            continue
        found = similarities_of(people, SIGMAS).objects(people.labelled)
        order = np.argsort(-people.scores, kind='mergesort')  # as COCO has them
        np.testing.assert_allclose(found[order], expected, rtol=0, atol=1e-12)
        num_compared += expected.size
        num_unlabelled += len(order) * (~people.labelled.any(1)).sum()
    assert num_compared > 100
    assert num_unlabelled > 0  # compared by their boxes
