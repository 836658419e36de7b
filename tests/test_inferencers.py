"""mmpose's own interfaces on real photos, with our config and a real person detector."""

import json
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
import torch
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model

CONFIG = (
    Path(__file__).resolve().parents[1]
    / 'configs/body/vitpose_small_simple_8xb64-210e_coco-256x192.py'
)


@pytest.fixture(scope='module')
def pose_weights(tmp_path_factory) -> str:
    torch.manual_seed(0)
    model = init_model(str(CONFIG), device='cpu')
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def annotated_boxes(data_dir: Path, file_name: str) -> np.ndarray:
    annotations = json.loads((data_dir / 'coco/test_coco.json').read_text())
    ids = {image['file_name']: image['id'] for image in annotations['images']}
    boxes = [a['bbox'] for a in annotations['annotations'] if a['image_id'] == ids[file_name]]
    return np.array(boxes, dtype=np.float32)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    inside = np.prod((high - low).clip(0))
    return inside / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - inside)


def test_mmpose_inferencer_with_an_mmdet_detector(
    real_data_dir, real_weights_dir, pose_weights, tmp_path
):
    inferencer = MMPoseInferencer(
        pose2d=str(CONFIG),
        pose2d_weights=pose_weights,
        det_model=str(
            Path(mmdet.__file__).with_name('.mim') / 'configs/yolox/yolox_nano_8xb8-300e_coco.py'
        ),
        det_weights=str(real_weights_dir / 'yolox_nano_coco.pth'),
        det_cat_ids=[0],
        device='cpu',
    )
    photo = real_data_dir / 'coco/000000000785.jpg'
    (result,) = inferencer(
        str(photo),
        vis_out_dir=str(tmp_path / 'vis'),
        pred_out_dir=str(tmp_path / 'pred'),
        kpt_thr=0,
    )
    (people,) = result['predictions']
    (x, y, width, height) = annotated_boxes(real_data_dir, photo.name)[0]
    annotated = np.array([x, y, x + width, y + height])
    overlaps = [overlap(np.array(person['bbox'][0]), annotated) for person in people]
    assert max(overlaps) > 0.7, 'the detector found the skier'
    assert np.array(people[0]['keypoints']).shape == (17, 2)
    assert np.isfinite(people[0]['keypoints']).all()
    drawn, original = cv2.imread(str(tmp_path / 'vis' / photo.name)), cv2.imread(str(photo))
    assert drawn.shape == original.shape
    assert (drawn != original).any(), 'a skeleton is drawn'
    assert len(json.loads((tmp_path / 'pred/000000000785.json').read_text())) == len(people)


def test_inference_topdown_on_all_people_of_a_photo(real_data_dir, pose_weights):
    model = init_model(str(CONFIG), pose_weights, device='cpu')
    assert model.dataset_meta['dataset_name'] == 'coco'
    photo = real_data_dir / 'coco/000000197388.jpg'
    boxes = annotated_boxes(real_data_dir, photo.name)
    assert len(boxes) > 1
    together = inference_topdown(model, str(photo), boxes, bbox_format='xywh')
    assert len(together) == len(boxes)
    for sample, box in zip(together, boxes):
        (alone,) = inference_topdown(model, str(photo), box[None], bbox_format='xywh')
        assert sample.pred_instances.keypoints.shape == (1, 17, 2)
        np.testing.assert_allclose(
            sample.pred_instances.keypoint_scores, alone.pred_instances.keypoint_scores, atol=1e-5
        )
