"""What the tools say to --help and to arguments they cannot use."""

import os
import stat
import subprocess

import pytest
from tiny_training import ROOT, finish, start, start_tool

USAGES = {
    'dist_train.sh': 'CONFIG PROCESSES [options of train.py]',
    'dist_test.sh': 'CONFIG CHECKPOINT PROCESSES [options of test.py]',
    'slurm_train.sh': 'PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]',
    'slurm_test.sh': 'PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]',
}


@pytest.mark.parametrize(
    ('tool', 'what_comes_out'), [('train.py', 'last_checkpoint'), ('test.py', 'Metrics come out')]
)
def test_help(tool, what_comes_out):
    output = finish(start_tool(tool, '--help'))
    assert what_comes_out in output
    for option in ('--work-dir', '--cfg-options', '--launcher', '--show-dir'):
        assert option in output
    # mim takes this word for a tool of OpenMMLab 1.0, and passes it on
    assert '--gpus' not in output


def test_unusable_arguments_give_one_sentence(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('work_dir = "work"')
    expected = {
        ('train.py', 'nowhere.py'): 'train.py: error: Config nowhere.py does not exist.',
        ('train.py', config, '--resume', 'nowhere.pth'): (
            'train.py: error: Checkpoint nowhere.pth does not exist.'
        ),
        ('test.py', config, 'nowhere.pth'): (
            'test.py: error: Checkpoint nowhere.pth does not exist.'
        ),
    }
    started = [(start_tool(*arguments), message) for arguments, message in expected.items()]
    for process, message in started:
        output = finish(process, returncode=2)
        assert output.splitlines()[-1] == message
        assert 'Traceback' not in output


@pytest.mark.parametrize('script', USAGES)
def test_scripts_are_valid_and_tell_their_usage(script):
    path = ROOT / 'tools' / script
    subprocess.run(['bash', '-n', path], check=True)
    assert path.stat().st_mode & stat.S_IXUSR
    output = finish(start('bash', path, 'only one'), returncode=2)
    assert output.splitlines() == [f'usage: {path} {USAGES[script]}']


@pytest.mark.parametrize(
    ('gpus_per_node', 'resources'),
    [('2', ['--gres=gpu:2', '--ntasks-per-node=2']), ('0', [])],
    ids=['gpus', 'cpus'],
)
@pytest.mark.parametrize(
    ('script', 'tool', 'last', 'passed_on'),
    [
        ('slurm_train.sh', 'train.py', 'work', ['--work-dir=work']),
        ('slurm_test.sh', 'test.py', 'a.pth', ['a.pth']),
    ],
)
def test_slurm_command(tmp_path, script, tool, last, passed_on, gpus_per_node, resources):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\n')
    srun.chmod(0o755)
    environment = {
        'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
        'GPUS': '2',
        'GPUS_PER_NODE': gpus_per_node,
        'SRUN_ARGS': '--qos fast',
    }
    path = ROOT / 'tools' / script
    arguments = ('part', 'my job', 'config.py', last, '--cfg-options', 'a=[1, 2]')
    lines = finish(start('bash', path, *arguments, environment=environment)).splitlines()
    assert lines == [
        *('-p', 'part', '--job-name=my job', '--ntasks=2', *resources),
        *('--cpus-per-task=5', '--kill-on-bad-exit=1', '--qos', 'fast'),
        *('python', '-u', str(ROOT / 'tools' / tool), 'config.py', *passed_on),
        *('--launcher=slurm', '--cfg-options', 'a=[1, 2]'),
    ]
