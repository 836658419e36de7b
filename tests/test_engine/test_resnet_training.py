"""The configs with a ResNet train, save, load and test as those with a ViT do."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpose.registry import MODELS
from tiny_training import make_coco

from vitpose_mm.checkpoints import CheckpointError, load_file
from vitpose_mm.engine import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NUM_PEOPLE = 16


def resnet_config(folder: Path, decoder: str, work_dir: Path) -> Config:
    """ResNet-50 of an eighth of the width at 64x64, two steps on generated people."""
    cfg = load_config(CONFIGS / f'body/resnet50_{decoder}_8xb64-210e_coco-256x192.py')
    sizes = {'input_size': (64, 64), 'heatmap_size': (16, 16)}
    options = {
        'work_dir': str(work_dir),
        'randomness.seed': 0,
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'param_scheduler': [],  # the first steps of the warm-up hardly change anything
        'model.backbone.init_cfg': None,
        'model.backbone.zero_init_residual': False,  # else most gradients begin as zeros
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.head.in_channels': 256,
        'default_hooks.checkpoint.save_optimizer': False,
        'val_evaluator.ann_file': str(folder / 'annotations.json'),
        'test_evaluator.ann_file': str(folder / 'annotations.json'),
    }
    if decoder == 'classic':
        options['model.head.deconv_out_channels'] = (16, 16, 16)
    for loader in ('train', 'val', 'test'):
        options |= {
            f'{loader}_dataloader.num_workers': 0,
            f'{loader}_dataloader.persistent_workers': False,
            f'{loader}_dataloader.batch_size': NUM_PEOPLE // 2,
            f'{loader}_dataloader.dataset.data_root': str(folder),
            f'{loader}_dataloader.dataset.ann_file': 'annotations.json',
            f'{loader}_dataloader.dataset.data_prefix.img': '',
        }
        for step in cfg[f'{loader}_dataloader'].dataset.pipeline:
            if step.type == 'TopdownAffine':
                step.input_size = sizes['input_size']
        if loader != 'train':
            options[f'{loader}_dataloader.dataset.bbox_file'] = None
    cfg.merge_from_dict(options)
    cfg.model.head.decoder.update(sizes)
    return cfg


@pytest.mark.parametrize('decoder', ['classic', 'simple'])
def test_trains_saves_loads_and_tests(tmp_path, decoder):
    make_coco(tmp_path, num_images=NUM_PEOPLE // 4)
    cfg = resnet_config(tmp_path, decoder, tmp_path / 'run')
    runner = Runner.from_cfg(cfg)
    before = {name: weight.clone() for name, weight in runner.model.state_dict().items()}
    runner.train()
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    assert len(losses) == 2 and all(0 < loss < 1 for loss in losses)
    trained = runner.model.state_dict()
    parameters = dict(runner.model.named_parameters())
    assert [name for name in parameters if torch.equal(before[name], trained[name])] == []

    file = tmp_path / 'run' / 'epoch_1.pth'
    assert load_file(file)['state_dict'].keys() == trained.keys()
    cfg.load_from = str(file)
    cfg.work_dir = str(tmp_path / 'tested')
    tester = Runner.from_cfg(cfg)
    metrics = tester.test()
    loaded = tester.model.state_dict()
    assert [name for name in trained if not torch.equal(trained[name], loaded[name])] == []
    assert 0 <= metrics['coco/AP'] <= 1


def test_checkpoint_of_another_decoder_is_refused(tmp_path):
    models = {
        decoder: resnet_config(tmp_path, decoder, tmp_path).model
        for decoder in ('classic', 'simple')
    }
    classic, simple = (MODELS.build(models[decoder]) for decoder in ('classic', 'simple'))
    with pytest.raises(CheckpointError, match='deconv_layers'):
        simple.load_state_dict(classic.state_dict())


def test_checkpoint_of_another_depth_is_refused(tmp_path):
    model = resnet_config(tmp_path, 'simple', tmp_path).model
    deeper = MODELS.build({**model, 'backbone': {**model.backbone, 'depth': 101}})
    with pytest.raises(CheckpointError, match=r'left over: layer3\.'):
        MODELS.build(model).load_state_dict(deeper.state_dict())
