"""Every config loads and builds, and does one forward in its real shape (the largest: meta)."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import (
    DATA_SAMPLERS,
    HOOKS,
    KEYPOINT_CODECS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
)

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ALL = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py'))
POSE = [name for name in ALL if 'vitpose' in name]
DETECTION = [name for name in ALL if name not in POSE]
LARGE = ('large', 'huge', 'giant')

# Table 1 of the paper: layer decay, drop path; channels; parameters with the classic head (M)
RECIPE = {
    'small': (0.8, 0.1, 384, 24.3),
    'base': (0.75, 0.3, 768, 90.0),
    'large': (0.8, 0.5, 1024, 308.5),
    'huge': (0.8, 0.55, 1280, 637.2),
}


@pytest.mark.parametrize('name', POSE)
def test_pose_config_builds_and_runs(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    device = 'meta' if any(arch in name for arch in LARGE) else 'cpu'
    with torch.device(device):
        model = MODELS.build(cfg.model).eval()
        width, height = cfg.codec.input_size
        inputs = torch.zeros(1, 3, height, width)
    with torch.no_grad():
        heatmaps = model(inputs, None)
    assert heatmaps.shape == (1, cfg.model.head.out_channels, *cfg.codec.heatmap_size[::-1])
    assert (height, width) == tuple(cfg.model.backbone.img_size)
    assert f'{height}x{width}' in name

    # what the runner builds
    pipeline = cfg.train_dataloader.dataset.pipeline
    for transform in [*pipeline, *cfg.val_dataloader.dataset.pipeline]:
        TRANSFORMS.build(transform)
    affine = [t for t in pipeline if t.type == 'TopdownAffine']
    assert [tuple(t.input_size) for t in affine] == [(width, height)]
    assert DATA_SAMPLERS.get(cfg.train_dataloader.sampler.type)
    assert METRICS.get(cfg.val_evaluator.type)
    for hook in [*cfg.custom_hooks, cfg.default_hooks.checkpoint]:
        HOOKS.build(hook)
    KEYPOINT_CODECS.build(cfg.codec)
    assert OPTIM_WRAPPERS.get(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    assert f'{cfg.train_cfg.max_epochs}e' in name
    assert f'xb{cfg.train_dataloader.batch_size}-' in name


@pytest.mark.parametrize('arch', RECIPE)
@pytest.mark.parametrize('decoder', ['classic', 'simple'])
def test_recipe_of_the_paper(arch, decoder):
    from vitpose_mm.engine import layer_scales

    cfg = Config.fromfile(CONFIGS / f'body/vitpose_{arch}_{decoder}_8xb64-210e_coco-256x192.py')
    layer_decay, drop_path, channels, millions = RECIPE[arch]
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    if decoder == 'classic':
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.01)
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert model.backbone.blocks[-1].drop_path.drop_prob == pytest.approx(drop_path)
    assert model.head.in_channels == channels
    assert cfg.optim_wrapper.paramwise_cfg == dict(layer_decay_rate=layer_decay)
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1
    )
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0, norm_type=2)
    assert cfg.train_cfg.max_epochs == 210
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, warm_up.start_factor, warm_up.by_epoch) == (500, 0.001, False)
    assert (steps.milestones, steps.gamma) == ([170, 200], 0.1)
    assert cfg.auto_scale_lr.base_batch_size == 512
    scales = layer_scales(model, layer_decay)
    depth = len(model.backbone.blocks)
    assert scales[model.backbone.pos_embed] == pytest.approx(layer_decay ** (depth + 1))


def test_recipe_of_the_example_for_own_data(monkeypatch):
    monkeypatch.setenv('DATA_ROOT', '/people')
    name = 'custom/vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py'
    cfg = Config.fromfile(CONFIGS / name)
    assert cfg.train_dataloader.dataset.data_root == '/people/'
    assert cfg.val_dataloader.dataset.data_root == '/people/'
    assert cfg.val_evaluator.ann_file == '/people/person_keypoints_val.json'
    assert cfg.val_dataloader.dataset.bbox_file is None
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (64, 10)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.8
    assert cfg.model.backbone.drop_path_rate == 0.1
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, steps.milestones) == (70, [7, 9])
    assert cfg.model.test_cfg.flip_test


@pytest.mark.parametrize('name', DETECTION)
def test_detection_config_builds(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope('mmdet')
    model = DETECTORS.build(cfg.model)
    assert model.bbox_head.num_classes == 1
    assert cfg.train_dataloader.dataset.metainfo.classes == ('person',)
