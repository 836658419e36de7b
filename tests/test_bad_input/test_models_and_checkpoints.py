"""Models that cannot be and checkpoints that do not fit, as users meet them.

See also test_checkpoints.py and test_models/test_vit.py.
"""

import os
import random

import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model

from vitpose_mm.checkpoints import CheckpointError, convert_file, load_file
from vitpose_mm.models import ViT

TINY = dict(embed_dim=32, depth=2, num_heads=2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch=3), "arch must be one of .*'base'.* or a dict, got 3"),
        (dict(arch=dict(TINY, num_heads=0)), 'num_heads in arch must be a positive whole .* got 0'),
        (dict(arch=dict(TINY, embed_dim='32')), "embed_dim in arch must be .* whole .* got '32'"),
        (dict(arch=dict(TINY, depth=0)), 'depth in arch must be a positive whole number, got 0'),
        (dict(arch=dict(TINY, depth=1.5)), 'depth in arch must be a positive whole .* got 1.5'),
        (dict(arch=dict(TINY, mlp_ratio=-4)), 'mlp_ratio in arch must be a positive num.* got -4'),
        (dict(arch=dict(TINY, heads=2)), "must have the keys .*'num_heads'.* got .*'heads': 2"),
        (dict(arch=TINY, img_size=256), r'img_size must be two .* \(height, width\), got 256'),
        (dict(arch=TINY, img_size=(256, 192, 16)), r'\(height, width\), got \(256, 192, 16\)'),
        (dict(arch=TINY, img_size=(256.0, 192)), r'\(height, width\), got \(256.0, 192\)'),
        (
            dict(arch=TINY, pretrained_grid_hw=14),
            r'pretrained_grid_hw must be two whole numbers \(height, width\), got 14',
        ),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**options)


@pytest.mark.parametrize('input_wh', [(50, 64), (48, 60)])
def test_an_input_size_that_does_not_fit_the_patch(cfg, input_wh):
    cfg.test_dataloader.dataset.pipeline[2].input_size = input_wh
    model = init_model(cfg, device='cpu')
    width, height = input_wh
    with pytest.raises(
        ValueError, match=rf'must be multiples of the patch size 16, got \({height}, {width}\)'
    ):
        inference_topdown(model, np.zeros((80, 96, 3), np.uint8), [[10, 20, 40, 60]])


# --- checkpoints, through mmpose's init_model ---


@pytest.fixture
def checkpoint(cfg, tmp_path) -> str:
    """A checkpoint that fits the config."""
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=init_model(cfg, device='cpu').state_dict()), path)
    return str(path)


def test_a_checkpoint_that_fits(cfg, checkpoint):
    model = init_model(cfg, checkpoint, device='cpu')
    assert model.backbone.embed_dim == 32


def test_a_checkpoint_of_another_size(cfg, checkpoint):
    cfg.model.backbone.arch = dict(embed_dim=48, depth=1, num_heads=2)
    cfg.model.head.in_channels = 48
    with pytest.raises(
        CheckpointError,
        match=r"does not fit ViT under 'backbone.'; left over: blocks\.1\..*; of another shape: "
        r'blocks\.0\.attn\.proj\.bias \(32,\) for \(48,\)',
    ):
        init_model(cfg, checkpoint, device='cpu')


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_a_checkpoint_of_another_model(cfg, tmp_path, prefix):
    path = str(tmp_path / 'resnet.pth')
    torch.save(dict(state_dict={f'{prefix}layer1.0.conv1.weight': torch.zeros(4, 3, 3, 3)}), path)
    with pytest.raises(CheckpointError, match=r'in no known format .* holds .*layer1\.0\.conv1'):
        init_model(cfg, path, device='cpu')


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('truncated', 'is damaged or no checkpoint'),
        ('zero bytes', 'is damaged or no checkpoint'),
        ('text', '(was not loaded: it is no checkpoint|is damaged or no checkpoint)'),
    ],
)
def test_a_damaged_checkpoint(cfg, checkpoint, kind, message):
    with open(checkpoint, 'rb') as file:
        whole = file.read()
    content = {
        'truncated': whole[: len(whole) // 2],
        'zero bytes': b'',
        'text': b'<html>404</html>',
    }
    with open(checkpoint, 'wb') as file:
        file.write(content[kind])
    with pytest.raises(CheckpointError, match=f'^{checkpoint} {message}'):
        init_model(cfg, checkpoint, device='cpu')


class RunsCode:
    def __init__(self, trap: str) -> None:
        self.trap = trap

    def __reduce__(self):
        return os.makedirs, (self.trap,)


def test_a_checkpoint_that_would_run_code(cfg, checkpoint, tmp_path):
    trap = tmp_path / 'trap'
    torch.save(dict(torch.load(checkpoint), meta=RunsCode(str(trap))), checkpoint)
    with pytest.raises(
        CheckpointError, match=f'^{checkpoint} was not loaded: .* could run code .*makedirs'
    ):
        init_model(cfg, checkpoint, device='cpu')
    assert not trap.exists()


@pytest.mark.parametrize('kind', ['truncated', 'damaged', 'text', 'pickled', 'of strings'])
def test_an_npz_that_cannot_be_read(cfg, tmp_path, kind):
    path = tmp_path / 'weights.npz'
    arrays = dict(weight=np.random.default_rng(0).normal(size=(40, 40)))
    if kind == 'pickled':
        arrays['object'] = np.array([RunsCode(str(tmp_path / 'trap'))], dtype=object)
    if kind == 'of strings':
        arrays['name'] = np.array(['nose'])
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    if kind == 'truncated':
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == 'damaged':
        path.write_bytes(whole[:2000] + b'\xff' * 200 + whole[2200:])
    elif kind == 'text':
        path.write_bytes(b'<html>404</html>')
    with pytest.raises(CheckpointError, match=f'^{path} is damaged or no checkpoint'):
        init_model(cfg, str(path), device='cpu')
    assert not (tmp_path / 'trap').exists()


def test_an_npz_of_something_else(cfg, tmp_path):
    path = tmp_path / 'weights.npz'
    np.savez(path, **{'conv/kernel': np.zeros((3, 3))})
    with pytest.raises(CheckpointError, match=r'no known format .* holds conv/kernel \(3, 3\)'):
        init_model(cfg, str(path), device='cpu')
    with pytest.raises(CheckpointError, match=r'weights\.npz: .* in no known format'):
        convert_file(path, tmp_path / 'converted.pth')
    assert not (tmp_path / 'converted.pth').exists()


@pytest.mark.parametrize('suffix', ['pth', 'npz'])
def test_whatever_damage_does_the_error_names_the_file(tmp_path, suffix):
    path = tmp_path / f'file.{suffix}'
    if suffix == 'pth':
        torch.save(dict(state_dict=dict(a=torch.ones(20)), meta=dict(s=np.ones(3))), path)
    else:
        np.savez_compressed(path, a=np.ones((20, 20)))
    whole = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(10):
            content[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            load_file(str(path))
        except CheckpointError as error:
            refused += 1
            assert str(error).startswith(str(path))
    assert refused > 75
