"""Input sizes and finer features, from weights of others."""

import pytest
import torch
from mmpose.registry import MODELS

from vitpose_mm.models import ViT
from vitpose_mm.models.layers import resize_positions

TINY = dict(arch=dict(embed_dim=32, depth=2, num_heads=4), img_size=(64, 48))


def tiny_vit(**options) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**{**TINY, **options})
    vit.init_weights()
    return vit.eval()


@pytest.mark.parametrize('ratio', [1, 2, 4])
@pytest.mark.parametrize('img_size', [(64, 48), (96, 96), (128, 80)])
def test_weights_trained_at_ratio_1_go_into_finer_features_of_any_size(ratio, img_size):
    source = tiny_vit()
    vit = tiny_vit(img_size=img_size, ratio=ratio)
    vit.load_state_dict(source.state_dict())
    grid_hw = (img_size[0] * ratio // 16, img_size[1] * ratio // 16)
    expected = resize_positions(source.pos_embed[:, 1:], (4, 3), grid_hw)
    torch.testing.assert_close(vit.pos_embed[:, 1:], expected)
    for name, weight in source.named_parameters():
        if name != 'pos_embed':
            assert torch.equal(vit.state_dict()[name], weight), name
    assert vit(torch.randn(1, 3, *img_size))[0].shape == (1, 32, *grid_hw)


def test_finer_features_look_at_the_places_between_the_coarse_ones():
    """Patch i begins at px 16 i - 2 with ratio 1, patch 2 i + 1 at 8 (2 i + 1) - 4 with ratio 2."""
    coarse, fine = tiny_vit(), tiny_vit(ratio=2)
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 64, 48)
    between = fine.patch_embed(image).unflatten(1, (8, 6))[:, 1::2, 1::2]
    moved = coarse.patch_embed(image.roll((-6, -6), (2, 3))).unflatten(1, (4, 3))
    # the last ones reach beyond the edge
    torch.testing.assert_close(between[:, 1:-1, 1:-1], moved[:, 1:-1, 1:-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    'ratio, head, divisor',
    [
        # stay at 1/4 of the input ...
        (1, dict(type='TopdownHeatmapSimpleHead'), 4),
        (2, dict(deconv_out_channels=(8,), deconv_kernel_sizes=(4,)), 4),
        (4, dict(deconv_out_channels=None, deconv_kernel_sizes=None), 4),
        (1, dict(type='TopdownHeatmapBilinearHead'), 4),
        (2, dict(type='TopdownHeatmapBilinearHead', upsample=2), 4),
        (4, dict(type='TopdownHeatmapBilinearHead', upsample=1), 4),
        (1, dict(type='TopdownHeatmapPixelShuffleHead'), 4),
        (2, dict(type='TopdownHeatmapPixelShuffleHead', upsample=2), 4),
        (4, dict(type='TopdownHeatmapPixelShuffleHead', upsample=1), 4),
        # ... or follow the features
        (2, dict(deconv_out_channels=(8, 8)), 2),
        (4, dict(deconv_out_channels=(8, 8)), 1),
        (2, dict(type='TopdownHeatmapBilinearHead'), 2),
        (2, dict(type='TopdownHeatmapPixelShuffleHead'), 2),
    ],
)
def test_heatmaps_stay_at_a_quarter_or_follow_the_features(ratio, head, divisor):
    head = MODELS.build(
        dict(dict(type='TopdownHeatmapSimpleHead', in_channels=32, out_channels=5), **head)
    )
    heatmaps = head(tiny_vit(ratio=ratio)(torch.randn(2, 3, 64, 48)))
    assert heatmaps.shape == (2, 5, 64 // divisor, 48 // divisor)
