"""tools/convert_checkpoint.py and tools/inspect_checkpoint.py from the command line."""

import json
import sys

import pytest
import torch
from tiny_training import ROOT, finish, start

from vitpose_mm.checkpoints import read_weights

DATASETS = ['coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody']


def run(tool: str, *arguments: object, error: bool = False) -> str:
    process = start(sys.executable, '-W', 'ignore', ROOT / 'tools' / tool, *arguments)
    return finish(process, returncode=2 if error else 0)


def test_help():
    output = ' '.join(run('convert_checkpoint.py', '--help').split())
    assert '--to {vitpose_mm,official,mmpose,huggingface,mae}' in output
    assert 'keep only the head of this data set' in output
    assert 'heads with their keypoints' in ' '.join(run('inspect_checkpoint.py', '--help').split())


def test_extract_and_inspect(reference_dir, tmp_path):
    source = reference_dir / 'official_moe.pth'
    options = ('--to', 'mmpose', '--dataset', 'mpii', '--merge-experts')
    output = run('convert_checkpoint.py', source, tmp_path / 'mpii.pth', *options)
    assert f'{source}: official' in output
    assert 'mmpose; heads: mpii; experts: 0' in output
    assert 'left out: head coco_wholebody (mpii was chosen)' in output
    report = tmp_path / 'report.json'
    files = (source, tmp_path / 'mpii.pth')
    output = run('inspect_checkpoint.py', *files, '--json', report)
    assert 'source: official' in output
    assert 'source: mmpose' in output
    assert 'coco_wholebody: 133' in output
    assert f'experts: {", ".join(DATASETS)}' in output
    first, second = json.loads(report.read_text())
    assert first['heads']['coco_wholebody'] == 133
    assert (second['heads'], second['experts']) == ({'mpii': 16}, [])


def test_a_start_for_vitpose_plus_and_back_to_transformers(reference_dir, tmp_path):
    start_file = tmp_path / 'start.safetensors'
    options = ('--spread-experts', 'people', 'dogs', '--part-features', '12')
    run('convert_checkpoint.py', reference_dir / 'timm_vit.pth', start_file, *options)
    weights = read_weights(start_file)
    assert weights.experts == ('people', 'dogs')
    assert weights.backbone['blocks.0.mlp.fc2.weight'].shape == (20, 128)
    source = reference_dir / 'hf_simple.pth'
    output = run(
        'convert_checkpoint.py', source, tmp_path / 'hf', '--to', 'huggingface', error=True
    )
    assert output.endswith('say it by --num-heads N (num_heads=N in Python)\n')
    run('convert_checkpoint.py', source, tmp_path / 'hf', '--to', 'huggingface', '--num-heads', '4')
    assert json.loads((tmp_path / 'hf/config.json').read_text())['use_simple_decoder'] is True


@pytest.mark.parametrize('tool', ['convert_checkpoint.py', 'inspect_checkpoint.py'])
def test_errors_are_one_sentence(tool, tmp_path, reference_dir):
    target = [tmp_path / 'new.pth'] if tool.startswith('convert') else []
    for name, content in (('gone.pth', None), ('text.pth', b'text'), ('other.pth', {})):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save({'conv.weight': torch.zeros(2)}, path)
        output = run(tool, path, *target, error=True)
        assert f'{tool}: error: ' in output.splitlines()[-1]
        assert name in output.splitlines()[-1]
        assert 'Traceback' not in output
    assert not (tmp_path / 'new.pth').exists()
