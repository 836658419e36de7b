"""The tools of tools/analysis from the command line, on models of width 32."""

import json
import os
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from tiny_training import ROOT, finish, make_coco, start, tiny_config

TOOLS = {
    'count_flops.py': 'multiply-adds',
    'benchmark_throughput.py': 'Images per second come out',
    'benchmark_training_memory.py': 'megabytes come out',
    'benchmark_data.py': 'Samples per second come out',
    'plot_logs.py': 'A picture comes out',
}


def test_help_says_what_comes_out():
    started = {
        tool: start(sys.executable, ROOT / 'tools/analysis' / tool, '--help') for tool in TOOLS
    }
    for tool, process in started.items():
        assert TOOLS[tool] in ' '.join(finish(process).split())


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a tool in this process and return what it printed; ``error`` expects a usage error."""
    threads = torch.get_num_threads()

    def run(tool: str, *arguments: object, error: bool = False) -> str:
        path = str(ROOT / 'tools/analysis' / tool)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        if not error:
            runpy.run_path(path, run_name='__main__')
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name='__main__')
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    monkeypatch.syspath_prepend(ROOT / 'tools/analysis')  # as Python does for a script
    # what the tool sets for its own process would stay in this one
    monkeypatch.setitem(os.environ, 'KINETO_LOG_LEVEL', '99')
    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path):
    make_coco(tmp_path)
    path = tmp_path / 'config.py'
    tiny_config(tmp_path, batch_size=4).dump(path)
    return path


def test_count_flops(run, config, tmp_path):
    out = tmp_path / 'flops.json'
    printed = run('count_flops.py', config, '--input-size', 128, 96, '--json', out)
    assert 'Input 128x96' in printed and 'QK^T and AV' in printed
    report = json.loads(out.read_text())
    tokens, depth, channels = 8 * 6, 2, 32
    assert report['parts']['attention: QK^T, AV']['macs'] == depth * 2 * tokens**2 * channels


def test_benchmark_throughput(run, config, tmp_path):
    out = tmp_path / 'out.json'
    options = ('--batch-size', 3, '--flip-test', '--decode', '--rounds', 2, '--threads', 1)
    printed = run(
        'benchmark_throughput.py', config, *options, '--device', 'cpu', '--json', out
    ).splitlines()
    for line in (
        'input: 64x48',
        'batch size: 3',
        'dtype: float32',
        'flip test: yes',
        'compiled: no',
        'decoding to keypoints included: yes',
        'threads: 1',
        f'torch: {torch.__version__}',
    ):
        assert line in printed
    report = json.loads(out.read_text())
    rate = report['images per second, median']
    assert report['images per second, slowest round'] <= rate
    assert rate == pytest.approx(3e3 / report['milliseconds per batch, median'])


@pytest.mark.parametrize('recomputation, shown', [((), 'yes'), (('selective',), 'selective')])
def test_benchmark_training_memory(run, config, recomputation, shown):
    printed = run(
        *('benchmark_training_memory.py', config, '--batch-size', 2, '--rounds', 1),
        *('--device', 'cpu', '--activation-checkpointing', *recomputation),
    )
    for words in (
        'peak memory, MB: ',
        "every event of torch's CPU allocator",
        f'activation checkpointing: {shown}',
        'optimizer: AdamW',
    ):
        assert words in printed


def test_benchmark_data(run, config, tmp_path):
    out = tmp_path / 'out.json'
    options = ('--num-workers', 1, '--batch-size', 8, '--num-samples', 60, '--per-transform')
    printed = run('benchmark_data.py', config, *options, '--json', out)
    assert 'samples in an epoch: 40' in printed
    report = json.loads(out.read_text())
    assert report['samples counted'] == 64
    names = [name.split()[-1] for name in report['milliseconds per sample']]
    assert names[1] == 'SeedAugmentation' and 'TopdownAffine' in names
    assert all(value > 0 for value in report['milliseconds per sample'].values())


def test_benchmark_data_of_several_data_sets(run, config, tmp_path):
    cfg = Config.fromfile(config)
    dataset = cfg.train_dataloader.dataset
    pipeline = dataset.pop('pipeline')
    dataset.update(type='CocoDataset', data_root=str(tmp_path))
    datasets = dict(coco=dataset, short=dict(dataset, pipeline=[*pipeline[1:3], *pipeline[-2:]]))
    cfg.train_dataloader.dataset = dict(type='MultiDataset', datasets=datasets, pipeline=pipeline)
    cfg.dump(config)
    out = tmp_path / 'out.json'
    run('benchmark_data.py', config, '--num-samples', 60, '--per-transform', '--json', out)
    timed = json.loads(out.read_text())['milliseconds per sample']
    assert len(timed) == 1 + len(pipeline) + 1 + 4
    assert 'coco: 0 SeedAugmentation' in timed and 'short: 0 LoadCheckedImage' in timed
    assert all(value > 0 for value in timed.values())


def test_plot_logs(run, tmp_path):
    log = tmp_path / 'scalars.json'
    log.write_text('{"loss_kpt": 1.0, "iter": 5, "step": 5}\n{"coco/AP": 0.5, "step": 1}\n')
    out = tmp_path / 'curves.png'
    printed = run('plot_logs.py', log, '--keys', 'loss_kpt', 'coco/AP', '--out', out)
    assert printed.splitlines() == ['loss_kpt: 1 points', 'coco/AP: 1 points', str(out)]
    assert out.stat().st_size > 1000


def test_unusable_arguments_give_one_sentence(run, config, tmp_path):
    expected = {
        ('count_flops.py', 'nowhere.py'): 'Config nowhere.py does not exist.',
        ('benchmark_throughput.py', config, '--checkpoint', 'nowhere.pth'): (
            'Checkpoint nowhere.pth does not exist.'
        ),
        ('benchmark_training_memory.py', config, '--batch-size', '0'): (
            'batch_size must be at least 1, got 0'
        ),
        ('benchmark_data.py', config, '--num-samples', '0'): (
            'num_samples must be at least 1, got 0'
        ),
        ('plot_logs.py', 'nowhere', '--out', 'x.png'): (
            'nowhere is neither a log nor a working folder with */vis_data/scalars.json'
        ),
    }
    for arguments, message in expected.items():
        assert run(*arguments, error=True) == f'{arguments[0]}: error: {message}'


@pytest.mark.parametrize(
    'tool', ['count_flops.py', 'benchmark_throughput.py', 'benchmark_training_memory.py']
)
def test_models_without_a_head_are_refused(run, config, tool):
    cfg = Config.fromfile(config)
    cfg.model = dict(type='MAE', backbone=cfg.model.backbone)
    cfg.dump(config)
    assert 'only models with a head can be measured, MAE has none' in run(tool, config, error=True)
