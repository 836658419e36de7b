"""From a config file and a tool's options to the config of a run."""

import logging

import pytest
import torch.distributed
from mmengine.config import Config
from mmengine.logging import MMLogger

from vitpose_mm import engine
from vitpose_mm.engine import distributed, launch


@pytest.fixture
def cfg(tmp_path) -> Config:
    return Config(
        {
            'work_dir': str(tmp_path),
            'load_from': None,
            'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 0.1}},
            'auto_scale_lr': {'base_batch_size': 512},
            'default_hooks': {'visualization': {'type': 'PoseVisualizationHook'}},
            'val_cfg': {},
            'val_dataloader': {},
            'val_evaluator': {},
            'test_evaluator': {'type': 'CocoMetric'},
        }
    )


def touch(path) -> str:
    path.write_bytes(b'')
    return str(path)


@pytest.mark.parametrize(
    ('content', 'work_dir', 'options', 'expected'),
    [
        ('a = 1', None, None, './work_dirs/tiny'),
        ('work_dir = "own"', None, None, 'own'),
        ('work_dir = "own"', None, {'work_dir': 'option'}, 'option'),
        ('work_dir = "own"', 'argument', {'work_dir': 'option'}, 'argument'),
    ],
)
def test_work_dir(tmp_path, content, work_dir, options, expected):
    path = tmp_path / 'tiny.py'
    path.write_text(content)
    assert engine.load_config(path, work_dir, options).work_dir == expected


def test_options_reach_into_the_config(tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text('model = dict(backbone=dict(depth=1))')
    cfg = engine.load_config(path, cfg_options={'model.backbone.depth': 2})
    assert cfg.model.backbone.depth == 2


def test_missing_config():
    with pytest.raises(ValueError, match=r'Config nowhere\.py does not exist'):
        engine.load_config('nowhere.py')


def test_no_options_change_nothing(cfg):
    before = cfg.to_dict()
    engine.set_training_options(cfg)
    engine.set_visualization(cfg)
    engine.prepare_environment(cfg, 'none')
    assert cfg.to_dict() == {**before, 'launcher': 'none'}


def test_resume_from_a_file(cfg, tmp_path):
    path = touch(tmp_path / 'epoch_3.pth')
    engine.set_training_options(cfg, resume=path)
    assert (cfg.resume, cfg.load_from) == (True, path)


def test_resume_from_the_last_checkpoint(cfg, tmp_path):
    path = touch(tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text(path)
    engine.set_training_options(cfg, resume='auto')
    assert (cfg.resume, cfg.load_from) == (True, path)


def test_resume_after_the_folder_was_moved(cfg, tmp_path):
    path = touch(tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    engine.set_training_options(cfg, resume='auto')
    assert cfg.load_from == path


def test_resume_with_nothing_to_resume_keeps_load_from(cfg, tmp_path):
    cfg.load_from = touch(tmp_path / 'pretrained.pth')
    engine.set_training_options(cfg, resume='auto')
    assert 'resume' not in cfg
    assert cfg.load_from == str(tmp_path / 'pretrained.pth')


def test_other_training_options(cfg, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    engine.set_training_options(cfg, amp=True, validate=False, auto_scale_lr=True)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.auto_scale_lr == {'base_batch_size': 512, 'enable': True}


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, {'resume': 'no.pth'}, r'Checkpoint no\.pth does not exist'),
        ({'load_from': 'no.pth'}, {}, r'Checkpoint no\.pth does not exist'),
        ({}, {'amp': True}, 'amp needs a GPU'),
        ({'auto_scale_lr': None}, {'auto_scale_lr': True}, 'auto_scale_lr.base_batch_size'),
    ],
)
def test_refused_training_options(cfg, monkeypatch, changes, options, message):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    cfg.merge_from_dict(changes)
    with pytest.raises(ValueError, match=message):
        engine.set_training_options(cfg, **options)


def test_refused_resume_of_a_checkpoint_that_is_gone(cfg, tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    with pytest.raises(ValueError, match=r"'/elsewhere/epoch_3\.pth', named by .*last_checkpoint"):
        engine.set_training_options(cfg, resume='auto')


def test_addresses_of_checkpoints_pass(cfg):
    engine.set_test_options(cfg, 'https://example.com/vitpose.pth')
    assert cfg.load_from == 'https://example.com/vitpose.pth'


@pytest.mark.parametrize('as_list', [True, False])
def test_dump_joins_the_metrics(cfg, tmp_path, as_list):
    if as_list:
        cfg.test_evaluator = [cfg.test_evaluator]
    engine.set_test_options(cfg, touch(tmp_path / 'a.pth'), dump='predictions.pkl', out='a.json')
    assert cfg.test_evaluator == [
        {'type': 'CocoMetric'},
        {'type': 'DumpResults', 'out_file_path': 'predictions.pkl'},
    ]


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, {'checkpoint': 'no.pth'}, r'Checkpoint no\.pth does not exist'),
        ({}, {'dump': 'a.json'}, r'dump must end with one of \.pkl, \.pickle, got a\.json'),
        ({}, {'out': 'a.txt'}, r'out must end with one of \.json.*, got a\.txt'),
        (
            {'test_evaluator': {'type': 'MultiDatasetEvaluator', 'metrics': []}},
            {'dump': 'a.pkl'},
            "got the evaluator 'MultiDatasetEvaluator'",
        ),
    ],
)
def test_refused_test_options(cfg, tmp_path, changes, options, message):
    cfg.merge_from_dict(changes)
    options = {'checkpoint': touch(tmp_path / 'a.pth'), **options}
    with pytest.raises(ValueError, match=message):
        engine.set_test_options(cfg, **options)


def test_visualization(cfg):
    engine.set_visualization(cfg, show_dir='pictures', interval=5)
    assert cfg.default_hooks.visualization == {
        'type': 'PoseVisualizationHook',
        'enable': True,
        'show': False,
        'out_dir': 'pictures',
        'interval': 5,
        'wait_time': 1.0,
    }
    cfg.default_hooks.pop('visualization')
    with pytest.raises(ValueError, match=r'default_hooks\.visualization'):
        engine.set_visualization(cfg, show=True)


def test_unknown_launcher(cfg):
    with pytest.raises(ValueError, match=r"'none', 'pytorch', 'slurm', 'mpi'.*'ray'"):
        engine.prepare_environment(cfg, 'ray')


@pytest.mark.parametrize(('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')])
def test_process_that_no_launcher_started(cfg, monkeypatch, launcher, variable):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f'{launcher}.*{variable}.*srun'):
        engine.prepare_environment(cfg, launcher)


@pytest.fixture
def one_process(monkeypatch):
    """The variables of a launcher that starts one process, and no group afterwards."""
    for names in distributed.RANK_VARIABLES.values():
        for name, value in zip(names, '010'):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv('SLURM_NODELIST', 'node')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', '0')
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_gpus_are_left_to_mmengine(cfg, monkeypatch, one_process):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cuda')
    cfg.sync_bn = 'torch'
    before = cfg.to_dict()
    engine.prepare_environment(cfg, 'pytorch')
    assert cfg.to_dict() == {**before, 'launcher': 'pytorch'}
    assert not torch.distributed.is_initialized()


def test_batch_norm_that_waits_for_absent_data_sets(cfg, one_process):
    cfg.merge_from_dict({'sync_bn': 'mmcv', 'model': {'head': {'type': 'MultiDatasetHead'}}})
    with pytest.raises(ValueError, match="MultiDatasetHead needs sync_bn='torch', got 'mmcv'"):
        engine.prepare_environment(cfg, 'pytorch')


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_processes_without_gpus(cfg, monkeypatch, one_process, launcher):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [handler])
    cfg.merge_from_dict({'sync_bn': 'torch', 'find_unused_parameters': True})
    cfg.merge_from_dict({'env_cfg': {'dist_cfg': {'backend': 'nccl', 'timeout': 60}}})

    engine.prepare_environment(cfg, launcher)

    assert torch.distributed.get_backend() == 'gloo'
    assert torch.distributed.get_world_size() == 1
    assert cfg.env_cfg == {'dist_cfg': {'backend': 'gloo', 'timeout': 60}}
    assert cfg.model_wrapper_cfg == {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': True,
        'device_ids': None,
    }
    assert 'sync_bn' not in cfg
    (warning,) = (record for record in records if record.levelno >= logging.WARNING)
    assert 'sync_bn is dropped' in warning.getMessage()


def test_wrapper_of_the_config_is_kept(cfg):
    cfg.model_wrapper_cfg = {'type': 'MMFullyShardedDataParallel', 'use_orig_params': True}
    distributed.wrap_without_devices(cfg)
    assert cfg.model_wrapper_cfg == {
        'type': 'MMFullyShardedDataParallel',
        'use_orig_params': True,
    }
    cfg.model_wrapper_cfg = {'static_graph': True}
    distributed.wrap_without_devices(cfg)
    assert cfg.model_wrapper_cfg == {
        'static_graph': True,
        'type': 'MMDistributedDataParallel',
        'device_ids': None,
    }
