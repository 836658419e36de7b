"""MAE pre-training in the runner: pictures, processes, resuming, and what comes after."""

import copy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from tiny_training import (
    INPUT_WH,
    finish,
    make_coco,
    start_distributed,
    start_tool,
    tiny_config,
)

from vitpose_mm.checkpoints import load_file
from vitpose_mm.engine import ReconstructionHook, build_runner

NUM_CROPS = 40


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data')
    make_coco(folder)
    return folder


def mae_config(
    data: Path, batch_size: int = 8, max_epochs: int = 2, num_workers: int = 0
) -> Config:
    cfg = tiny_config(data, batch_size, num_workers)
    cfg.train_cfg.max_epochs = max_epochs
    cfg.optim_wrapper = dict(
        optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    )
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True)]
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg.pop(key)
    cfg.model = dict(
        type='MAE',
        data_preprocessor=cfg.model.data_preprocessor,
        backbone=dict(
            type='ViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=INPUT_WH[::-1]
        ),
        decoder_dim=16,
        decoder_depth=1,
        decoder_num_heads=2,
    )
    cfg.train_dataloader.dataset = dict(
        type='PretrainingImages',
        data_root=str(data),
        sources=[dict(ann_file='annotations.json', img_dir='.')],
        pipeline=[
            dict(type='SeedAugmentation'),
            dict(type='LoadCheckedImage', on_error='skip'),
            dict(type='RandomResizedBoxCrop', input_size=INPUT_WH),
            dict(type='FastRandomFlip', direction='horizontal'),
            dict(type='PackPersonInputs'),
        ],
    )
    cfg.custom_hooks = [
        dict(type='SeedIterationHook'),
        dict(type='CheckDataHook'),
        dict(type='SkippedImagesHook'),
    ]
    return cfg


def weights_of(path: Path) -> dict:
    return load_file(str(path))['state_dict']


def test_trains_draws_and_starts_a_pose_model(data, tmp_path):
    cfg = mae_config(data, max_epochs=3)
    cfg.custom_hooks.append(dict(type='ReconstructionHook', interval=2, num_images=4))
    cfg.custom_hooks.append(dict(type='EMAHook'))
    cfg.work_dir = str(tmp_path / 'mae')
    # by default the second it starts, and visualizers of one name are one
    cfg.experiment_name = str(tmp_path)
    runner = build_runner(cfg)
    begin = copy.deepcopy(runner.model.state_dict())
    runner.train()
    end = runner.model.state_dict()
    same = {name for name in end if torch.equal(end[name], begin[name])}
    assert same == {'backbone.pos_embed', 'decoder.pos_embed'}

    pictures = sorted((tmp_path / 'mae').rglob('reconstructions_*.png'))
    assert [path.name for path in pictures] == ['reconstructions_2.png', 'reconstructions_3.png']
    before, after = (cv2.imread(str(path)).astype(int) for path in pictures)
    width, height = INPUT_WH
    assert before.shape == (3 * height, 4 * width, 3)
    # the same images with the same patches hidden, painted in another way
    assert (before[: 2 * height] == after[: 2 * height]).all()
    original, visible, painted = np.split(after, 3)
    is_hidden = (visible == 128).all(-1)
    hidden_patches = is_hidden.reshape(height // 16, 16, -1, 16).all((1, 3))
    assert hidden_patches.mean() == 0.75
    is_hidden = hidden_patches.repeat(16, 0).repeat(16, 1)
    assert (visible[~is_hidden] == original[~is_hidden]).all()
    assert abs(painted - original)[~is_hidden].max() <= 1  # rounding
    assert abs(painted - original)[is_hidden].mean() > 5
    assert (painted != np.split(before, 3)[2]).any()

    pose = tiny_config(data, batch_size=8)
    pose.train_cfg.max_epochs = 1
    pose.param_scheduler = []
    pose.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'mae/epoch_3.pth')
    )
    pose.work_dir = str(tmp_path / 'pose')
    runner = build_runner(pose)
    runner.model.init_weights()
    trained = weights_of(tmp_path / 'mae/epoch_3.pth')
    for name, parameter in runner.model.backbone.named_parameters():
        if name != 'pos_embed':
            assert torch.equal(parameter, trained[f'backbone.{name}']), name
    runner.train()


def test_two_processes_learn_alike_and_save_one_picture(data, tmp_path):
    cfg = mae_config(data, batch_size=4, max_epochs=1)
    cfg.custom_hooks.append(dict(type='ReconstructionHook'))
    cfg.custom_hooks.append(dict(type='RecordHook'))
    cfg.train_dataloader.dataset.pipeline[-1].meta_keys = ('dataset_name', 'img_path')
    cfg.dump(tmp_path / 'two.py')
    finish(start_distributed('dist_train.sh', tmp_path / 'two.py', 2, '--work-dir', tmp_path))
    ranks = [load_file(str(tmp_path / f'rank_{rank}.pth')) for rank in (0, 1)]
    assert len(ranks[0]['losses']) == NUM_CROPS / 8
    # each saw other images, so that only common gradients lead to common weights
    mine, theirs = (rank['parameters'] for rank in ranks)
    assert all(torch.equal(theirs[name], parameter) for name, parameter in mine.items())
    assert len(list(tmp_path.rglob('reconstructions_*.png'))) == 1


def test_resumed_equals_uninterrupted(data, tmp_path):
    cfg = mae_config(data, num_workers=1)
    cfg.custom_hooks.append(dict(type='ReconstructionHook', interval=1))
    cfg.dump(tmp_path / 'whole.py')
    cfg.custom_hooks.append(dict(type='KillHook', after=7))  # of 5 in an epoch
    cfg.dump(tmp_path / 'killed.py')
    whole = start_tool('train.py', tmp_path / 'whole.py', '--work-dir', tmp_path / 'whole')
    killed = start_tool('train.py', tmp_path / 'killed.py', '--work-dir', tmp_path / 'killed')
    finish(whole)
    killed.communicate(timeout=300)
    folder = tmp_path / 'killed'
    assert not (folder / 'epoch_2.pth').exists()
    finish(start_tool('train.py', tmp_path / 'whole.py', '--work-dir', folder, '--resume'))
    expected, found = (weights_of(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'killed'))
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize('model', ['pose', 'no preprocessor'])
def test_what_paints_nothing_is_refused_at_the_start(model, data, tmp_path):
    cfg = mae_config(data)
    if model == 'pose':
        cfg.model = tiny_config(data, 8).model
    else:
        cfg.model.data_preprocessor = dict(type='StackedPoseDataPreprocessor')
    runner = SimpleNamespace(model=MODELS.build(cfg.model))
    with pytest.raises(ValueError, match='needs a MAE whose data_preprocessor has mean and std'):
        ReconstructionHook().before_train(runner)


@pytest.mark.parametrize('options', [dict(interval=0), dict(num_images=0), dict(interval=1.5)])
def test_bad_intervals_are_named(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f'{name} must be a positive whole number, got {value}'):
        ReconstructionHook(**options)
