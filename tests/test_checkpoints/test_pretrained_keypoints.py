"""A head for keypoints of one's own that begins with those of the same name elsewhere."""

import pytest
import torch
from mmengine.model import initialize
from mmpose.registry import MODELS
from tiny_models import head_config, plain, save, vitpose_plus
from torch import nn

from vitpose_mm.checkpoints import CheckpointError

OWN = (16, None, 0, 5)  # numbers of COCO's keypoints
PER_KEYPOINT = dict(classic=1, simple=1, minimal=16)


def begin(head: nn.Module, path: str, keypoints=OWN, dataset=None) -> nn.Module:
    start = dict(type='PretrainedKeypoints', checkpoint=path, keypoints=list(keypoints))
    initialize(head, dict(start, dataset=dataset))
    return head


@pytest.mark.parametrize('decoder', PER_KEYPOINT)
def test_named_keypoints_are_taken_and_others_begin_anew(decoder, tmp_path):
    trained = plain(decoder)
    path = save(trained, tmp_path / 'trained.pth')
    head = begin(MODELS.build(head_config(4, decoder)), path).eval()
    features = (torch.randn(2, 32, 4, 3, generator=torch.manual_seed(0)),)
    own, given = head(features), trained.head(features)
    torch.testing.assert_close(own[:, [0, 2, 3]], given[:, [16, 0, 5]])

    rows = PER_KEYPOINT[decoder]
    new = head.final_layer.weight.unflatten(0, (4, rows))[1]
    assert 0 < new.std() < 0.002, 'as heads begin, with a deviation of 0.001'
    assert not head.final_layer.bias.unflatten(0, (4, rows))[1].any()


def test_the_head_of_the_data_set_that_is_named(tmp_path):
    trained = vitpose_plus()
    path = save(trained, tmp_path / 'several.pth')
    head = begin(MODELS.build(head_config(4)), path, dataset='ap10k')
    expected = trained.head.heads['ap10k'].final_layer.weight[[16, 0, 5]]
    torch.testing.assert_close(head.final_layer.weight[[0, 2, 3]], expected)
    with pytest.raises(CheckpointError, match=r"heads for .'coco', 'aic'.*name one"):
        begin(MODELS.build(head_config(4)), path)


def test_each_head_of_several_begins_with_its_own(tmp_path):
    trained = plain()
    path = save(trained, tmp_path / 'trained.pth')
    start = dict(type='PretrainedKeypoints', checkpoint=path)
    heads = dict(
        coco=dict(head_config(17), init_cfg=dict(start, keypoints=list(range(17)))),
        own=dict(head_config(4), init_cfg=dict(start, keypoints=list(OWN))),
    )
    head = MODELS.build(dict(type='MultiDatasetHead', heads=heads))
    head.init_weights()
    expected = trained.head.state_dict()
    torch.testing.assert_close(head.heads['coco'].state_dict(), expected)
    torch.testing.assert_close(
        head.heads['own'].final_layer.weight[[0, 2, 3]],
        expected['final_layer.weight'][[16, 0, 5]],
    )


@pytest.mark.parametrize(
    'decoder, filters, keypoints, message',
    [
        ('simple', 16, OWN, 'not that of the TopdownHeatmapBilinearHead'),
        ('classic', 8, OWN, r'deconv_layers.0.weight.*the head has'),
        ('classic', 16, (17, None, 0, 5), r'keypoints 0 to 16, asked for were \[17\]'),
        ('classic', 16, (-1, None, 0, 5), r'keypoints 0 to 16, asked for were \[-1\]'),
    ],
)
def test_what_does_not_fit_is_named(decoder, filters, keypoints, message, tmp_path):
    path = save(plain(), tmp_path / 'trained.pth')
    head = MODELS.build(head_config(4, decoder, filters))
    with pytest.raises(CheckpointError, match=message):
        begin(head, path, keypoints)


def test_misuse_is_named(tmp_path):
    model = plain()
    path = save(model, tmp_path / 'trained.pth')
    with pytest.raises(ValueError, match='has 4 keypoints, the head 5'):
        begin(MODELS.build(head_config(5)), path)
    with pytest.raises(TypeError, match='heads of ViTPose, got a ViT'):
        begin(model.backbone, path)
    backbone = save(model.backbone, tmp_path / 'backbone.pth')
    with pytest.raises(CheckpointError, match='holds no head, only a backbone'):
        begin(MODELS.build(head_config(4)), backbone)
