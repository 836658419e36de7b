"""Positions stay where they are when a grid becomes another: shown by value."""

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS

from vitpose_mm.checkpoints import read_weights

DIM = 32


def coordinates(grid_hw: tuple) -> torch.Tensor:
    """An embedding (1, 1 + h * w, C) that holds its own y and x, in shares of height and width."""
    rows, columns = grid_hw
    y = (torch.arange(rows) + 0.5) / rows
    x = (torch.arange(columns) + 0.5) / columns
    grid = torch.zeros(rows, columns, DIM)
    grid[..., 0], grid[..., 1] = y[:, None], x[None]
    grid[..., 2] = 1
    return torch.cat([torch.full((1, 1, DIM), 7.0), grid.flatten(0, 1)[None]], 1)


def encoder(source_hw: tuple, names: str) -> dict:
    vit = MODELS.build(
        dict(
            type='ViT',
            arch=dict(embed_dim=DIM, depth=1, num_heads=2),
            img_size=tuple(16 * side for side in source_hw),
            class_token='keep' if names == 'timm' else 'fold',
        )
    )
    state = {**vit.state_dict(), 'pos_embed': coordinates(source_hw)}
    if names == 'timm':
        return {name.replace('last_norm', 'norm'): tensor for name, tensor in state.items()}
    return {f'backbone.{name}': tensor for name, tensor in state.items()}


@pytest.mark.parametrize('names', ['timm', 'official'])
@pytest.mark.parametrize('source_hw', [(14, 14), (16, 16), (24, 24)])
@pytest.mark.parametrize('img_size', [(256, 192), (384, 288), (192, 256), (256, 256)])
def test_a_square_grid_at_other_sizes(tmp_path, names, source_hw, img_size):
    torch.save(dict(model=encoder(source_hw, names)), tmp_path / 'encoder.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'encoder.pth'))
    arch = dict(embed_dim=DIM, depth=1, num_heads=2)
    vit = MODELS.build(dict(type='ViT', arch=arch, img_size=img_size, init_cfg=init_cfg))
    vit.init_weights()
    grid_hw = tuple(side // 16 for side in img_size)
    loaded, wanted = vit.pos_embed.detach(), coordinates(grid_hw)
    # timm's class token has its position for itself, the official code adds it to all patches
    assert (loaded[:, 0] == (0 if names == 'timm' else 7)).all()
    y, x, one = loaded[0, 1:, :3].unflatten(0, grid_hw).unbind(-1)
    torch.testing.assert_close(one, torch.ones(grid_hw))
    assert (y[1:] > y[:-1]).all()
    assert (x[:, 1:] > x[:, :-1]).all()
    for each, axis in ((y, 0), (x, 1)):
        torch.testing.assert_close(each, 1 - each.flip(axis))
        assert torch.allclose(each.std(1 - axis), torch.zeros(1), atol=1e-6)
    # torch's bicubic kernel bends straight lines a little, and flattens them at the borders
    cells = torch.tensor(source_hw)
    off = ((loaded[0, 1:, :2] - wanted[0, 1:, :2]) * cells).abs()
    assert off.max() < 0.2
    if source_hw == grid_hw:
        assert torch.equal(loaded[:, 1:], wanted[:, 1:])


def test_the_resized_grid_is_saved_and_not_resized_again(tmp_path):
    torch.save(dict(model=encoder((14, 14), 'timm')), tmp_path / 'encoder.pth')
    arch = dict(embed_dim=DIM, depth=1, num_heads=2)
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'encoder.pth'))
    vit = MODELS.build(dict(type='ViT', arch=arch, img_size=(256, 192), init_cfg=init_cfg))
    vit.init_weights()
    torch.save(dict(state_dict=vit.state_dict()), tmp_path / 'ours.pth')
    again = MODELS.build(dict(type='ViT', arch=arch, img_size=(256, 192)))
    load_checkpoint(again, str(tmp_path / 'ours.pth'), map_location='cpu')
    assert torch.equal(again.pos_embed, vit.pos_embed)
    # 192 positions could be 16x12 or 12x16: the file says which
    turned = MODELS.build(dict(type='ViT', arch=arch, img_size=(192, 256)))
    load_checkpoint(turned, str(tmp_path / 'ours.pth'), map_location='cpu')
    y = turned.pos_embed[0, 1:, 0].unflatten(0, (12, 16))
    assert (y[1:] > y[:-1]).all()
    assert torch.allclose(y[:, 0], y[:, 8], atol=1e-5)
    assert read_weights(tmp_path / 'ours.pth').grid_hw == (16, 12)
