"""Encoders of timm and DeiT become backbones."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS

from vitpose_mm.checkpoints import CheckpointError, load_file
from vitpose_mm.conversion import advice_on_heads, convert_file, convert_timm


def small_vit(**options) -> BaseModule:
    arch = dict(embed_dim=32, depth=3, num_heads=4)
    return MODELS.build(
        dict(type='ViT', arch=arch, img_size=(64, 48), patch_padding=0, **options)
    ).eval()


def test_timm_tokens(reference_dir, load_reference, tmp_path):
    case = load_reference('timm_vit')
    source = reference_dir / 'timm_vit.pth'
    convert_file(source, tmp_path / 'vit.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'), prefix='backbone.')
    vit = small_vit(init_cfg=init_cfg)
    vit.init_weights()
    state = load_file(str(source))
    with torch.no_grad():
        patches, grid_hw = vit.embed_patches(torch.from_numpy(case['inputs']))
        patches = vit.add_positions(patches, grid_hw)
        # timm keeps a class token, which ViTPose leaves out: put it back for the comparison
        token = (state['cls_token'] + state['pos_embed'][:, :1]).expand(len(patches), -1, -1)
        tokens = vit.encode(torch.cat([token, patches], 1))
    np.testing.assert_allclose(tokens, case['tokens'], atol=1e-5)


def test_real_deit_loads_at_another_size(real_weights_dir, tmp_path):
    convert_file(real_weights_dir / 'deit_tiny_patch16_224.npz', tmp_path / 'deit.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'deit.pth'), prefix='backbone.')
    vit = MODELS.build(dict(type='ViT', arch='tiny', img_size=(256, 192), init_cfg=init_cfg))
    vit.init_weights()
    state = load_file(str(real_weights_dir / 'deit_tiny_patch16_224.npz'))
    assert torch.equal(vit.blocks[11].attn.qkv.weight, state['blocks.11.attn.qkv.weight'])
    assert torch.equal(vit.last_norm.weight, state['norm.weight'])
    assert vit.pos_embed.shape == (1, 1 + 16 * 12, 192)
    assert vit.pos_embed[:, 0].abs().max() == 0
    grid = state['pos_embed'][:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, (16, 12), mode='bicubic')
    torch.testing.assert_close(vit.pos_embed[:, 1:], resized.flatten(2).transpose(1, 2))


def timm_state() -> dict:
    vit = small_vit()
    state = {name.replace('last_norm', 'norm'): w for name, w in vit.state_dict().items()}
    return {**state, 'cls_token': torch.ones(1, 1, 32), 'head.weight': torch.ones(5, 32)}


@pytest.mark.parametrize('wrapper', [None, 'model', 'state_dict'])
def test_files_with_and_without_wrapper(wrapper, tmp_path):
    state = timm_state()
    torch.save({wrapper: state, 'epoch': 3} if wrapper else state, tmp_path / 'timm.pth')
    convert_file(tmp_path / 'timm.pth', tmp_path / 'new' / 'ours.pth')
    converted = load_file(str(tmp_path / 'new' / 'ours.pth'))['state_dict']
    assert converted.keys() == {f'backbone.{name}' for name in small_vit().state_dict()}


def test_what_is_not_such_an_encoder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='not of a timm or DeiT encoder: dist_token'):
        convert_timm({**timm_state(), 'dist_token': torch.zeros(1, 1, 32)})
    with pytest.raises(CheckpointError, match=r'is missing: backbone\.blocks\.0.*more'):
        convert_timm({'norm.weight': torch.zeros(3)})
    truncated = {k: v for k, v in timm_state().items() if 'blocks.1' not in k}
    with pytest.raises(CheckpointError, match=r'is missing: backbone\.blocks\.1\.attn'):
        convert_timm(truncated)
    with pytest.raises(CheckpointError, match='is missing: cls_token'):
        convert_timm({k: v for k, v in timm_state().items() if k != 'cls_token'})
    with pytest.raises(CheckpointError, match=r'16 positions.*no_embed_class'):
        convert_timm({**timm_state(), 'pos_embed': torch.zeros(1, 16, 32)})
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth does not exist'):
        convert_file(tmp_path / 'nothing.pth', tmp_path / 'ours.pth')
    torch.save(dict(epoch=3), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other\.pth holds no state dict of tensors'):
        convert_file(tmp_path / 'other.pth', tmp_path / 'ours.pth')
    np.savez(tmp_path / 'objects.npz', norm=np.array([dict(a=1)], dtype=object))
    with pytest.raises(CheckpointError, match=r'objects\.npz'):
        convert_file(tmp_path / 'objects.npz', tmp_path / 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()


def test_a_width_that_has_two_numbers_of_heads_is_pointed_out():
    state = {'backbone.pos_embed': torch.zeros(1, 197, 384)}
    assert 'num_heads=6' in advice_on_heads(state)
    assert advice_on_heads({'backbone.pos_embed': torch.zeros(1, 197, 192)}) is None
