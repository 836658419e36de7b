import hashlib
import json

import numpy as np
import pytest
import torch
from tiny_models import DATASETS, plain, save, vitpose_plus

from vitpose_mm.checkpoints import CheckpointError, convert_file, inspect_file


def test_official_vitpose_plus(reference_dir):
    path = reference_dir / 'official_moe.pth'
    report = inspect_file(path)
    assert report['source'] == 'official'
    assert report['heads'] == DATASETS
    assert set(report['decoder'].values()) == {'classic'}
    assert report['experts'] == list(DATASETS)
    assert report['input_hw'] == [64, 48]
    assert (report['arch']['embed_dim'], report['arch']['depth']) == (32, 3)
    assert report['dropped'] == {}
    assert report['problem'] is None
    assert report['sha256'] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    'name, source, decoder',
    [
        ('official_simple', 'official', 'simple'),
        ('mmpose1_classic', 'mmpose', 'classic'),
        ('hf_simple', 'huggingface', 'simple'),
    ],
)
def test_one_head(reference_dir, name, source, decoder):
    report = inspect_file(reference_dir / f'{name}.pth')
    assert (report['source'], report['heads']) == (source, {'head_0': 17})
    assert report['decoder'] == {'head_0': decoder}
    assert report['experts'] == []


def test_encoders(reference_dir, real_weights_dir):
    report = inspect_file(real_weights_dir / 'deit_tiny_patch16_224.npz')
    assert (report['source'], report['arch']['name']) == ('timm', 'tiny')
    assert report['input_hw'] == [224, 224]
    assert report['class_token'] == 'keep'
    assert sorted(report['dropped']['classifies images']) == ['head.bias', 'head.weight']
    assert report['parameters'] == 5_524_416
    report = inspect_file(reference_dir / 'mae.pth')
    assert (report['source'], report['heads']) == ('mae', {})


def test_what_a_run_has_saved(tmp_path):
    meta = dict(
        epoch=7,
        iter=700,
        seed=0,
        mmengine_version='0.10.7',
        dataset_meta=dict(dataset_name='coco', sigmas=np.ones(17)),
        cfg='a long text',
    )
    report = inspect_file(save(plain('minimal'), tmp_path / 'ours.pth', meta=meta, optimizer={}))
    assert report['training'] == dict(
        epoch=7,
        iter=700,
        seed=0,
        mmengine_version='0.10.7',
        dataset_name='coco',
        optimizer=True,
    )
    assert report['source'] == 'vitpose_mm'
    assert report['decoder'] == {'head_0': 'minimal'}
    assert report['heads'] == {'head_0': 17}
    assert report['arch']['num_heads'] == 4
    json.dumps(report)


def test_folders_and_names_that_the_file_tells(tmp_path):
    path = save(vitpose_plus(dict(dogs=17, cats=20), filters=256), tmp_path / 'ours.pth')
    report = inspect_file(path)
    assert report['heads'] == dict(dogs=17, cats=20)
    assert report['named_by'] == 'the file'
    convert_file(path, tmp_path / 'hf', 'huggingface', dataset='cats')
    report = inspect_file(tmp_path / 'hf')
    assert (report['source'], report['heads']) == ('huggingface', dict(cats=20))
    assert report['experts'] == ['dogs', 'cats']
    assert report['sha256'].keys() == {'model.safetensors'}


def test_finer_features_of_our_own(tmp_path):
    path = save(plain(ratio=2), tmp_path / 'ours.pth')
    assert inspect_file(path)['input_hw'] == [64, 48]


def test_incomplete_and_foreign_files(tmp_path):
    state = {n: t for n, t in plain().state_dict().items() if 'blocks.1.norm2' not in n}
    torch.save(dict(state_dict=state), tmp_path / 'part.pth')
    assert 'is missing' in inspect_file(tmp_path / 'part.pth')['problem']
    torch.save(dict(state_dict={'conv.weight': torch.zeros(2)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other\.pth: .*no known format.* conv\.weight \(2,'):
        inspect_file(tmp_path / 'other.pth')
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth does not exist'):
        inspect_file(tmp_path / 'nothing.pth')
