"""Figures of the paper's models, and a model small enough to count by hand."""

from pathlib import Path

import pytest
from mmengine.config import Config

from vitpose_mm.analysis import Cost, complexity_report, count_complexity, format_complexity

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'body'
# multiply-adds at 256x192 (G) of the backbone and with the classic head, parameters (M) with it
PUBLISHED = {
    'small': (4.47, 5.59, 24.3),
    'base': (17.10, 18.52, 90.0),
    'large': (59.9, 61.6, 308.5),
    'huge': (124.0, 125.8, 637.2),
}


@pytest.mark.parametrize('arch', PUBLISHED)
def test_published_figures(arch):
    cfg = Config.fromfile(CONFIGS / f'vitpose_{arch}_classic_8xb64-210e_coco-256x192.py')
    report = complexity_report(cfg)
    backbone, total, parameters = PUBLISHED[arch]
    assert report['backbone']['macs'] / 1e9 == pytest.approx(backbone, rel=0.002)
    assert report['total']['macs'] / 1e9 == pytest.approx(total, rel=0.002)
    assert report['total']['parameters'] / 1e6 == pytest.approx(parameters, rel=0.002)
    # The published figures hold the products of attention: without them they are missed by more.
    products = report['parts']['attention: QK^T, AV']['macs']
    assert (report['backbone']['macs'] - products) / 1e9 < 0.98 * backbone


def tiny(head: dict) -> Config:
    return Config(
        dict(
            default_scope='mmpose',
            model=dict(
                type='TopdownPoseEstimator',
                backbone=dict(
                    type='ViT',
                    arch=dict(embed_dim=8, depth=3, num_heads=2, mlp_ratio=2),
                    img_size=(64, 48),
                ),
                head=dict(in_channels=8, out_channels=5, **head),
            ),
        )
    )


def test_tiny_model_counted_by_hand():
    cfg = tiny(
        dict(type='TopdownHeatmapSimpleHead', deconv_out_channels=(6,), deconv_kernel_sizes=(4,))
    )
    depth, channels, hidden, tokens = 3, 8, 16, 4 * 3
    pixels, expected = 16 * 16 * 3, {}
    expected['patch embedding'] = Cost(pixels * 8 + 8, tokens * pixels * 8)
    expected['positions'] = Cost((tokens + 1) * channels, 0)
    expected['attention: qkv, proj'] = Cost(
        depth * (8 * 24 + 24 + 8 * 8 + 8), depth * tokens * (8 * 24 + 8 * 8)
    )
    expected['attention: QK^T, AV'] = Cost(0, depth * 2 * tokens * tokens * channels)
    expected['feed-forward'] = Cost(
        depth * (2 * channels * hidden + hidden + channels), depth * tokens * 2 * channels * hidden
    )
    expected['norms'] = Cost((2 * depth + 1) * 2 * channels, 0)
    # deconvolution without bias: each input pixel meets each weight; batch norm; 1 x 1 convolution
    expected['head'] = Cost(
        8 * 6 * 4 * 4 + 2 * 6 + 6 * 5 + 5, tokens * 8 * 6 * 4 * 4 + 4 * tokens * 6 * 5
    )
    assert count_complexity(cfg, (64, 48)) == expected


def test_bilinear_head_counts_what_is_computed():
    cost = count_complexity(tiny(dict(type='TopdownHeatmapBilinearHead')), (64, 48))['head']
    (height, width), taps, keypoints = (4, 3), 9, 5
    convolution = height * width * 8 * taps * keypoints
    # a matrix (4h, 3h) from the left, then one (3w, 4w) from the right, for each keypoint
    upsampling = keypoints * (4 * height * 3 * height * 3 * width)
    upsampling += keypoints * (4 * height * 3 * width * 4 * width)
    assert cost == Cost(8 * taps * keypoints + keypoints, convolution + upsampling)


def test_other_input_size_changes_multiply_adds_alone():
    cfg = tiny(dict(type='TopdownHeatmapPixelShuffleHead'))
    small, large = (count_complexity(cfg, size) for size in ((64, 48), (128, 96)))
    assert all(small[part].parameters == large[part].parameters for part in small)
    assert large['feed-forward'].macs == 4 * small['feed-forward'].macs
    assert large['attention: QK^T, AV'].macs == 16 * small['attention: QK^T, AV'].macs


def test_table_tells_the_convention():
    cfg = tiny(dict(type='TopdownHeatmapPixelShuffleHead'))
    table = format_complexity(complexity_report(cfg))
    assert 'Input 64x48' in table
    assert 'half the FLOPs' in table and 'QK^T and AV' in table
