"""Agreement with the official code, its checkpoints loaded as they are by mmpose's functions."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import load
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import Pose2DInferencer, inference_topdown, init_model
from mmpose.structures import PoseDataSample

from vitpose_mm.engine import build_runner, set_test_options

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASE = 'body/vitpose_base_{}_8xb64-210e_coco-256x192.py'


# The recorded end-to-end model; its file holds no config.
E2E = dict(kind='classic', embed_dim=32, depth=3, num_heads=4, ratio=1, deconv_filters=16)


def config_of(recorded: dict, input_hw) -> Config:
    """A published config cut down to the size of a recorded model."""
    cfg = Config.fromfile(CONFIGS / BASE.format(recorded['kind']))
    rows, columns = (side // 4 * recorded['ratio'] for side in input_hw)
    codec = dict(
        type='BatchedUDPHeatmap', input_size=input_hw[::-1], heatmap_size=(columns, rows), sigma=2
    )
    cfg.model.backbone.update(
        arch=dict(
            embed_dim=recorded['embed_dim'],
            depth=recorded['depth'],
            num_heads=recorded['num_heads'],
        ),
        img_size=input_hw,
        ratio=recorded['ratio'],
    )
    cfg.model.head.update(in_channels=recorded['embed_dim'], decoder=codec)
    if recorded['kind'] == 'classic':
        cfg.model.head.deconv_out_channels = (recorded['deconv_filters'],) * 2
    return cfg


def samples_of(model, center: np.ndarray, scale: np.ndarray, input_wh) -> list:
    samples = []
    for one_center, one_scale in zip(center, scale):
        sample = PoseDataSample(
            metainfo=dict(
                input_center=one_center,
                input_scale=one_scale,
                input_size=input_wh,
                flip_indices=model.dataset_meta['flip_indices'],
            )
        )
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        samples.append(sample)
    return samples


def sensitivity(heatmaps: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Image px by which each keypoint moves for a change of 1 in its heatmap, to first order.

    DARK divides the gradient of a log-heatmap by its Hessian. Random weights give flat heatmaps,
    where that is a lot; where no value is above 0 the official code reads beside the heatmap.
    """
    rows, columns = heatmaps.shape[2:]
    result = np.full(heatmaps.shape[:2], np.inf)
    for index in np.ndindex(result.shape):
        heatmap = heatmaps[index]
        if heatmap.max() <= 0:
            continue
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape) + np.array([1, 1])
        blurred = cv2.GaussianBlur(heatmap, (11, 11), 0).clip(1e-3, 50).astype(np.float64)
        p = np.pad(np.log(blurred), 1, mode='edge')[y - 1 : y + 2, x - 1 : x + 2]
        gradient = np.array([p[1, 2] - p[1, 0], p[2, 1] - p[0, 1]]) / 2
        dxx = p[1, 2] - 2 * p[1, 1] + p[1, 0]
        dyy = p[2, 1] - 2 * p[1, 1] + p[0, 1]
        dxy = (p[2, 2] - p[1, 2] - p[2, 1] + 2 * p[1, 1] - p[1, 0] - p[0, 1] + p[0, 0]) / 2
        smallest = np.linalg.svd([[dxx, dxy], [dxy, dyy]])[1].min()
        if smallest > 0:
            offset = np.linalg.norm(np.linalg.solve([[dxx, dxy], [dxy, dyy]], gradient))
            step = (scale[index[0]] / np.array([columns - 1, rows - 1])).max()
            result[index] = step * (1 + offset) / (smallest * np.exp(p[1, 1]))
    return result


@pytest.mark.parametrize('name', ['official_classic', 'official_simple', 'official_stride8'])
def test_features_heatmaps_and_keypoints(reference_dir, load_reference, name):
    case = load_reference(name)
    cfg = config_of(case['config'], (64, 48))
    model = init_model(cfg, str(reference_dir / f'{name}.pth'), device='cpu')
    inputs = torch.from_numpy(case['inputs'])
    with torch.no_grad():
        np.testing.assert_allclose(model.backbone(inputs)[0], case['features'], atol=1e-5)
        np.testing.assert_allclose(model(inputs, None), case['heatmaps_0'], atol=1e-5)

        for flip_test, expected in ((True, 'preds_0'), (False, 'preds_noflip_0')):
            model.test_cfg.update(flip_test=flip_test, output_heatmaps=True)
            samples = samples_of(model, case['center_0'], case['scale_px_0'], (48, 64))
            samples = model.predict(inputs, samples)
            heatmaps = np.stack([s.pred_fields.heatmaps for s in samples])
            recorded = case['heatmaps_flip_0' if flip_test else 'heatmaps_0']
            np.testing.assert_allclose(heatmaps, recorded, atol=1e-5)

            keypoints = np.concatenate([s.pred_instances.keypoints for s in samples])
            scores = np.concatenate([s.pred_instances.keypoint_scores for s in samples])
            np.testing.assert_allclose(scores, case[expected][..., 2], atol=1e-5)
            distance = np.abs(keypoints - case[expected][..., :2]).max(-1)
            # Each keypoint lies within what a rounding of 1e-6 in its heatmap can do, which is less
            # than 1e-3 px where the heatmap is well conditioned.
            reach = 1e-6 * sensitivity(recorded, case['scale_px_0'])
            assert (distance <= np.maximum(reach, 1e-3)).all()
            found = case[expected][..., 2] > 0
            print(
                f'{name}, flip_test {flip_test}: {(distance[found] < 1e-3).mean():.0%} of '
                f'{found.sum()} keypoints within 1e-3 px, of which {(reach < 1e-3).sum()} must be'
            )
            assert (distance[found] < 1e-3).mean() > 0.5


@pytest.mark.parametrize('way', ['inferencer', 'load_from'])
@pytest.mark.parametrize(
    'name', ['official_moe', 'official_classic', 'mmpose1_classic', 'hf_classic', 'hf_moe']
)
def test_files_of_others_as_they_are(reference_dir, load_reference, tmp_path, way, name):
    """By mmpose's inferencer, and by ``load_from`` as ``tools/test.py`` has it."""
    case = load_reference(name)
    recorded = dict(kind='classic', embed_dim=32, depth=3, num_heads=4, ratio=1, deconv_filters=16)
    if name.startswith('hf'):
        recorded['deconv_filters'] = 256
    cfg = config_of(recorded, (64, 48))
    path = str(reference_dir / f'{name}.pth')
    if way == 'inferencer':
        cfg.dump(tmp_path / 'config.py')
        options = dict(device='cpu', det_model='whole_image')
        model = Pose2DInferencer(str(tmp_path / 'config.py'), path, **options).model
    else:
        cfg.work_dir = str(tmp_path)
        for part in ('train', 'val', 'test'):
            cfg[f'{part}_dataloader'] = cfg[f'{part}_cfg'] = None
        cfg.val_evaluator = cfg.test_evaluator = cfg.optim_wrapper = cfg.param_scheduler = None
        cfg.auto_scale_lr = None
        set_test_options(cfg, path)
        runner = build_runner(cfg)
        runner.load_or_resume()
        model = runner.model.eval()
    heatmaps = case['heatmaps_0' if name.startswith('official') else 'heatmaps']
    samples = case['dataset_idx'] == 0 if name.endswith('moe') else slice(None)
    with torch.no_grad():
        output = model(torch.from_numpy(case['inputs'][samples]), None)
    np.testing.assert_allclose(output, heatmaps[samples], atol=1e-5)


def test_from_box_to_image_pixels(reference_dir, real_data_dir, load_reference):
    case = load_reference('official_e2e')
    cfg = config_of(E2E, (256, 192))
    model = init_model(cfg, str(reference_dir / 'official_e2e.pth'), device='cpu')
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    keypoints, scores = [], []
    for file_name, box in zip(case['file_name'], case['bbox_xywh']):
        path = str(real_data_dir / 'coco' / file_name)
        (sample,) = inference_topdown(model, path, box[None], bbox_format='xywh')
        keypoints.append(sample.pred_instances.keypoints[0])
        scores.append(sample.pred_instances.keypoint_scores[0])
    inputs = torch.cat(seen[::2])  # every second one is the flipped picture
    np.testing.assert_allclose(inputs.mean((1, 2, 3)), case['input_mean'], atol=1e-3)
    difference = np.abs(inputs[:2].numpy() - case['inputs_first2'].astype(np.float32))
    assert np.quantile(difference, 0.999) < 0.02  # recorded in half precision
    distance = np.linalg.norm(np.array(keypoints) - case['preds'][..., :2], axis=-1)
    print(f'median {np.median(distance):.1e} px, {(distance < 0.05).mean():.0%} within 0.05 px')
    assert np.median(distance) < 0.05
    np.testing.assert_allclose(scores, case['preds'][..., 2], atol=1e-3)


def test_from_annotations_to_image_pixels_by_the_runner(
    reference_dir, real_data_dir, load_reference, tmp_path
):
    """What ``tools/test.py CONFIG official_e2e.pth --dump`` does."""
    case = load_reference('official_e2e')
    cfg = config_of(E2E, (256, 192))
    cfg.work_dir = str(tmp_path)
    annotations = str(real_data_dir / 'coco/test_coco.json')
    loader = cfg.test_dataloader
    loader.update(num_workers=0, persistent_workers=False, batch_size=5)
    loader.dataset.update(
        data_root='',
        ann_file=annotations,
        bbox_file=None,
        data_prefix=dict(img=str(real_data_dir / 'coco')),
    )
    cfg.test_evaluator.ann_file = annotations
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    set_test_options(cfg, str(reference_dir / 'official_e2e.pth'), str(tmp_path / 'out.pkl'))
    metrics = build_runner(cfg).test()
    assert 'coco/AP' in metrics
    predictions = {p['id']: p['pred_instances'] for p in load(tmp_path / 'out.pkl')}
    assert len(predictions) == 12, 'mmpose leaves out the two people without keypoints'
    rows = [list(case['annotation_id']).index(annotation_id) for annotation_id in predictions]
    keypoints = np.array([prediction['keypoints'][0] for prediction in predictions.values()])
    distance = np.linalg.norm(keypoints - case['preds'][rows][..., :2], axis=-1)
    assert np.median(distance) < 0.05
