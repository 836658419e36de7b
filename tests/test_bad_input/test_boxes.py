"""Boxes in which nobody can be are named; all others give mmpose's numbers."""

import numpy as np
import pytest
from mmpose.apis import inference_topdown, init_model
from mmpose.datasets.transforms import GetBBoxCenterScale

from vitpose_mm.datasets import GetCheckedBBoxCenterScale

NAN, INF = float('nan'), float('inf')
BAD = {
    'no width': ([10, 20, 10, 60], 'has no area'),
    'no height': ([10, 20, 40, 20], 'has no area'),
    'right of left': ([40, 20, 10, 60], 'has no area'),
    'upside down': ([10, 60, 40, 20], 'has no area'),
    'nan': ([10, NAN, 40, 60], 'is not finite'),
    'inf': ([10, 20, INF, 60], 'is not finite'),
    '-inf': ([-INF, 20, 40, 60], 'is not finite'),
    'all inf': ([INF, INF, INF, INF], 'is not finite'),
    'to the left': ([-40, 20, -10, 60], 'lies outside of the image of 96 x 80 px'),
    'to the right': ([96, 20, 120, 60], 'lies outside of the image of 96 x 80 px'),
    'above': ([10, -60, 40, 0], 'lies outside of the image of 96 x 80 px'),
    'below': ([10, 80, 40, 90], 'lies outside of the image of 96 x 80 px'),
}


def results(*boxes: list, dtype: type = np.float32) -> dict:
    return dict(bbox=np.array(boxes, dtype), img_shape=(80, 96), img_path='a.jpg', id=7)


@pytest.mark.parametrize('kind', BAD)
def test_bad_boxes_are_named(kind):
    box, problem = BAD[kind]
    numbers = r'\[' + ', '.join(str(float(value)) for value in box) + r'\]'
    wanted = rf'^box {numbers} in a\.jpg, annotation 7 {problem}; wanted are .* left < right'
    with pytest.raises(ValueError, match=wanted):
        GetCheckedBBoxCenterScale()(results(box))
    with pytest.raises(ValueError, match=wanted):
        GetCheckedBBoxCenterScale()(results([10, 20, 40, 60], box))


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.int64])
def test_same_numbers_as_mmpose(dtype):
    rng = np.random.default_rng(0)
    for _ in range(100):
        corner, size = rng.uniform(-20, 70, (3, 2)), rng.uniform(21, 200, (3, 2))
        boxes = np.concatenate([corner, corner + size], 1)
        ours = GetCheckedBBoxCenterScale(padding=1.3)(results(*boxes, dtype=dtype))
        theirs = GetBBoxCenterScale(padding=1.3)(results(*boxes, dtype=dtype))
        for key in ('bbox_center', 'bbox_scale'):
            assert ours[key].dtype == theirs[key].dtype
            assert np.array_equal(ours[key], theirs[key])


def test_an_unknown_image_size_is_not_asked_for():
    given = results([500, 500, 600, 600])
    del given['img_shape']
    assert GetCheckedBBoxCenterScale()(given)['bbox_center'].tolist() == [[550, 550]]


def test_centers_and_scales_of_the_data_set_are_checked_too():
    def given(center: list, scale: list) -> dict:
        arrays = dict(bbox_center=np.array([center]), bbox_scale=np.array([scale]))
        return dict(arrays, img_shape=(80, 96))

    with pytest.warns(UserWarning, match='Use the existing'):
        checked = GetCheckedBBoxCenterScale()(given([30.0, 30.0], [20.0, 40.0]))
    assert checked['bbox_scale'].tolist() == [[25, 50]]
    for bad in (given([30.0, 30.0], [0.0, 40.0]), given([-30.0, 30.0], [20.0, 40.0])):
        with pytest.raises(ValueError, match=r'in the image given (has no area|lies outside)'):
            GetCheckedBBoxCenterScale()(bad)


def test_boxes_with_scores_are_refused():
    with pytest.raises(ValueError, match=r'has shape \(1, 5\) instead of \(N, 4\)'):
        GetCheckedBBoxCenterScale()(results([10, 20, 40, 60, 0.9]))


def test_inference_names_a_bad_box(cfg):
    model = init_model(cfg, device='cpu')
    image = np.zeros((80, 96, 3), np.uint8)
    good = [10, 20, 40, 60]
    assert len(inference_topdown(model, image, [good, [-5, -5, 200, 200]])) == 2
    for box, problem in BAD.values():
        with pytest.raises(ValueError, match=f'in the image given {problem}'):
            inference_topdown(model, image, [good, box])
    with pytest.raises(ValueError, match='has no area'):
        inference_topdown(model, image, [[10, 20, 0, 40]], bbox_format='xywh')
