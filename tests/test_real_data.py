"""A few training steps and an evaluation on real images, each data set with its own metric."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vitpose_mm.engine import build_runner, load_config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CONFIG = CONFIGS / 'body/vitpose_small_simple_8xb64-210e_coco-256x192.py'
CUSTOM_CONFIG = CONFIGS / 'custom/vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py'
UPPER_NECK, HEAD_TOP = 8, 9  # MPII's joints


def coco(data_dir: Path, _: Path) -> dict:
    annotations = str(data_dir / 'coco/test_coco.json')
    return dict(
        dataset=dict(
            type='CocoDataset',
            ann_file=annotations,
            data_prefix=dict(img=str(data_dir / 'coco')),
        ),
        test_options=dict(bbox_file=str(data_dir / 'coco/test_coco_det_AP_H_56.json')),
        evaluator=dict(type='CocoMetric', ann_file=annotations),
        num_keypoints=17,
        metrics=('coco/AP', 'coco/AR'),
    )


def aic(data_dir: Path, _: Path) -> dict:
    annotations = str(data_dir / 'aic/test_aic.json')
    return dict(
        dataset=dict(
            type='AicDataset', ann_file=annotations, data_prefix=dict(img=str(data_dir / 'aic'))
        ),
        test_options={},
        evaluator=dict(type='CocoMetric', ann_file=annotations, use_area=False),
        num_keypoints=14,
        metrics=('coco/AP', 'coco/AR'),
    )


def mpii(data_dir: Path, tmp_path: Path) -> dict:
    annotations = data_dir / 'mpii/test_mpii.json'
    # MPII's head boxes are not in the sample: neck to top of the head stands in for them.
    people = json.loads(annotations.read_text())
    corners = [np.array(p['joints'])[[UPPER_NECK, HEAD_TOP]] for p in people]
    savemat(tmp_path / 'heads.mat', dict(headboxes_src=np.stack(corners, axis=-1)))
    return dict(
        dataset=dict(
            type='MpiiDataset',
            ann_file=str(annotations),
            data_prefix=dict(img=str(data_dir / 'mpii')),
        ),
        test_options=dict(headbox_file=str(tmp_path / 'heads.mat')),
        evaluator=dict(type='MpiiPCKAccuracy'),
        num_keypoints=16,
        metrics=('PCK',),
    )


@pytest.mark.parametrize('describe', [coco, aic, mpii])
def test_trains_and_evaluates(describe, real_data_dir, tmp_path):
    case = describe(real_data_dir, tmp_path)
    cfg = load_config(CONFIG, tmp_path / 'work')
    cfg.randomness = dict(seed=0)
    cfg.model.backbone.arch = dict(embed_dim=32, depth=2, num_heads=2)
    cfg.model.head.update(in_channels=32, out_channels=case['num_keypoints'])
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=20, val_interval=20)
    cfg.optim_wrapper.optimizer.lr = 2e-3
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint.update(by_epoch=False, save_best=None)
    cfg.default_hooks.logger.interval = 1
    for loader, options in (
        (cfg.train_dataloader, {}),
        (cfg.val_dataloader, case['test_options']),
    ):
        pipeline, test_mode = loader.dataset.pipeline, loader.dataset.get('test_mode', False)
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset = dict(
            **case['dataset'],
            **options,
            data_mode='topdown',
            pipeline=pipeline,
            test_mode=test_mode,
        )
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.val_evaluator = case['evaluator']

    runner = build_runner(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    losses = scalars['train/loss_kpt'].data[0]
    assert len(losses) == 20
    assert np.isfinite(losses).all()
    first, last = losses[:5].mean(), losses[-5:].mean()
    assert last < first
    for metric in case['metrics']:
        value = scalars[f'val/{metric}'].current()
        print(f'{describe.__name__}: loss {first:.5f} -> {last:.5f}, {metric} {value:.3f}')
        assert value >= 0


def test_own_data_from_an_encoder_of_deit(real_data_dir, real_weights_dir, tmp_path, monkeypatch):
    """The example config, its data root given from outside, in its real shape."""
    monkeypatch.setenv('DATA_ROOT', str(real_data_dir / 'coco_persons'))
    cfg = load_config(CUSTOM_CONFIG, tmp_path / 'work')
    cfg.randomness = dict(seed=0)
    cfg.model.backbone.init_cfg.checkpoint = str(real_weights_dir / 'deit_tiny_patch16_224.npz')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=4)
    cfg.optim_wrapper.optimizer.lr = 1e-5
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.logger.interval = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.indices = 16
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None

    runner = build_runner(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    losses = scalars['train/loss_kpt'].data[0]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert 0 < scalars['val/loss_kpt'].current() < losses[0]
    assert scalars['val/coco/AP'].current() >= 0
