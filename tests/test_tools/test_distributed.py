"""Two CPU processes against one, through the shell scripts."""

import json

import pytest
import torch
from tiny_training import finish, make_coco, start_distributed, start_tool, tiny_config

from vitpose_mm.checkpoints import load_file


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coco')
    make_coco(folder)
    return folder


def train_by_one_and_two(folder, data_root, **changes) -> str:
    """Train one process with batch 8 into ``one``, two with batch 4 into ``two``.

    Returns the log of the latter.
    """
    for name, batch_size in (('one', 8), ('two', 4)):
        cfg = tiny_config(data_root, batch_size, train_cfg__max_epochs=1, **changes)
        cfg.custom_hooks.append({'type': 'RecordHook'})
        cfg.dump(folder / f'{name}.py')
    one = start_tool('train.py', folder / 'one.py', '--work-dir', folder / 'one')
    two = start_distributed('dist_train.sh', folder / 'two.py', 2, '--work-dir', folder / 'two')
    finish(one)
    return finish(two)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp('equal')
    train_by_one_and_two(folder, data_root)
    return folder


def test_two_processes_equal_one_with_the_doubled_batch(trained):
    one, rank_0, rank_1 = (
        load_file(trained / name) for name in ('one/rank_0.pth', 'two/rank_0.pth', 'two/rank_1.pth')
    )
    assert len(one['losses']) == 5
    assert one['losses'][4] < one['losses'][0]
    assert rank_0['losses'] == rank_1['losses'] == pytest.approx(one['losses'], abs=1e-5)

    expected = load_file(trained / 'one' / 'epoch_1.pth')['state_dict']
    found = load_file(trained / 'two' / 'epoch_1.pth')['state_dict']
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-5, msg=name)


def test_dist_test_equals_test(trained, tmp_path):
    checkpoint = trained / 'one' / 'epoch_1.pth'
    one = start_tool(
        'test.py',
        trained / 'one.py',
        checkpoint,
        *('--work-dir', tmp_path / 'one', '--out', tmp_path / 'one.json'),
    )
    two = start_distributed(
        'dist_test.sh',
        trained / 'two.py',
        checkpoint,
        2,
        *('--work-dir', tmp_path / 'two', '--out', tmp_path / 'two.json'),
    )
    finish(one)
    finish(two)
    metrics = json.loads((tmp_path / 'one.json').read_text())
    assert set(metrics) == {'PCK'}
    assert 0 < metrics['PCK'] <= 1
    assert json.loads((tmp_path / 'two.json').read_text()) == pytest.approx(metrics)


def test_batch_norm_keeps_statistics_per_process(tmp_path, data_root):
    head = {'type': 'TopdownHeatmapSimpleHead', 'deconv_out_channels': (8, 8)}
    log = train_by_one_and_two(
        tmp_path,
        data_root,
        model__head={**tiny_config(data_root, 1).model.head, **head},
        sync_bn='torch',
        train_dataloader__num_batch_per_epoch=1,
    )
    assert 'sync_bn is dropped' in log

    # After one step from equal weights a running mean is momentum times the mean over a batch.
    key = 'head.deconv_layers.1.running_mean'
    one, rank_0, rank_1 = (
        load_file(tmp_path / name)['buffers'][key]
        for name in ('one/rank_0.pth', 'two/rank_0.pth', 'two/rank_1.pth')
    )
    assert (rank_0 - rank_1).abs().max() > 1e-4
    torch.testing.assert_close((rank_0 + rank_1) / 2, one, rtol=0, atol=1e-6)
    saved = load_file(tmp_path / 'two' / 'epoch_1.pth')['state_dict'][key]
    assert torch.equal(saved, rank_0)
