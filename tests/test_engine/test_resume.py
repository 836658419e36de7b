"""A run killed by SIGKILL and resumed ends with the weights of the run that was left alone."""

import shutil
import signal

import pytest
import torch
from tiny_training import finish, make_coco, start_tool, tiny_config

from vitpose_mm.checkpoints import load_file

ITERATIONS_PER_EPOCH = 5


def config(data_root):
    return tiny_config(
        data_root,
        batch_size=8,
        num_workers=2,
        model__backbone__drop_path_rate=0.1,
        default_hooks__checkpoint__max_keep_ckpts=1,
    )


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Working folders of a run over 4 epochs, and of the same killed inside the third."""
    folder = tmp_path_factory.mktemp('runs')
    make_coco(folder)
    config(folder).dump(folder / 'left_alone.py')
    killed_cfg = config(folder)
    killed_cfg.custom_hooks.append({'type': 'KillHook', 'after': 2 * ITERATIONS_PER_EPOCH + 2})
    killed_cfg.dump(folder / 'killed.py')
    left_alone, killed = (
        start_tool('train.py', folder / f'{name}.py', '--work-dir', folder / name)
        for name in ('left_alone', 'killed')
    )
    finish(killed, returncode=-signal.SIGKILL)
    finish(left_alone)
    return folder


@pytest.mark.parametrize(
    ('seed', 'num_workers'), [(7, 2), (None, 0)], ids=['same config', 'no seed and no workers']
)
def test_killed_in_epoch_3_of_4_then_resumed(tmp_path, runs, seed, num_workers):
    cfg = config(runs)
    cfg.randomness.seed = seed  # without one, a run draws its own before it reads the checkpoint's
    cfg.train_dataloader.num_workers = num_workers
    cfg.train_dataloader.persistent_workers = num_workers > 0
    cfg.dump(tmp_path / 'config.py')
    work_dir = shutil.copytree(runs / 'killed', tmp_path / 'resumed')
    assert [path.name for path in work_dir.glob('*.pth*')] == ['epoch_2.pth']
    log = finish(start_tool('train.py', tmp_path / 'config.py', '--work-dir', work_dir, '--resume'))
    assert 'resumed epoch: 2, iter: 10' in log

    expected = load_file(runs / 'left_alone' / 'epoch_4.pth')
    found = load_file(work_dir / 'epoch_4.pth')
    assert expected['meta']['iter'] == found['meta']['iter'] == 4 * ITERATIONS_PER_EPOCH
    assert expected['state_dict'].keys() == found['state_dict'].keys()
    for name, weight in expected['state_dict'].items():
        assert torch.equal(weight, found['state_dict'][name]), name
    for index, state in expected['optimizer']['state'].items():
        for name, value in state.items():
            assert torch.equal(value, found['optimizer']['state'][index][name])
