"""Models of the size of the recorded ones: width 32, three blocks, 64x48 px."""

from typing import Optional

import torch
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from torch import Tensor

ARCH = dict(embed_dim=32, depth=3, num_heads=4)
DATASETS = dict(coco=17, aic=14, mpii=16, ap10k=17, apt36k=17, coco_wholebody=133)


def head_config(keypoints: int = 17, decoder: str = 'classic', filters: int = 16) -> dict:
    config = dict(in_channels=32, out_channels=keypoints)
    if decoder == 'classic':
        filters = (filters, filters)
        return dict(config, type='TopdownHeatmapSimpleHead', deconv_out_channels=filters)
    kinds = dict(simple='TopdownHeatmapBilinearHead', minimal='TopdownHeatmapPixelShuffleHead')
    return dict(config, type=kinds[decoder])


def build(head: dict, pretrained_dataset: Optional[str] = None, **backbone: object) -> BaseModel:
    """A model with weights far enough from their start for every one to matter; outputs near 1."""
    config = dict(
        type='TopdownViTPose',
        backbone={'type': 'ViT', 'arch': ARCH, 'img_size': (64, 48), **backbone},
        head=head,
        pretrained_dataset=pretrained_dataset,
    )
    model = MODELS.build(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('running_var'):
                tensor.add_(torch.rand_like(tensor))
            elif tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.02)
    return model


def plain(decoder: str = 'classic', keypoints: int = 17, filters: int = 16, **options) -> BaseModel:
    return build(head_config(keypoints, decoder, filters), **options)


def vitpose_plus(datasets: dict = DATASETS, filters: int = 16, **backbone: object) -> BaseModel:
    """Experts and a head for each data set."""
    heads = {name: head_config(count, 'classic', filters) for name, count in datasets.items()}
    head = dict(type='MultiDatasetHead', heads=heads, order=list(datasets))
    return build(head, **{'experts': tuple(datasets), **backbone})


def save(model: BaseModel, path: object, **content: object) -> str:
    torch.save(dict(state_dict=model.state_dict(), **content), path)
    return str(path)


def load(model: BaseModel, path: object) -> BaseModel:
    load_checkpoint(model, str(path), map_location='cpu')
    return model


def pretrained(path: object, prefix: Optional[str] = None, **options: object) -> BaseModel:
    """What ``init_cfg`` makes of a file, in one line of a config."""
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
    options = {'type': 'ViT', 'arch': ARCH, 'img_size': (64, 48), 'init_cfg': init_cfg, **options}
    vit = MODELS.build(options).eval()
    vit.init_weights()
    return vit


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 64, 48, generator=torch.Generator().manual_seed(0))


def heatmaps(model: BaseModel, inputs: Tensor, dataset: Optional[str] = None) -> Tensor:
    """Of a plain model; or of one with experts and heads, everything routed to one data set."""
    with torch.no_grad():
        if dataset is None:
            return model(inputs, None)
        ids = None
        if model.backbone.experts:
            ids = torch.full((len(inputs),), model.backbone.experts.index(dataset))
        return model.head.heads[dataset](model.backbone(inputs, ids))
