"""The model of a config: whether it builds, what its heads give, what its weights begin with."""

import os
from collections.abc import Iterator, Mapping
from typing import Optional

import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn

from vitpose_mm.analysis.models import config_scope
from vitpose_mm.models import MultiDatasetHead

from .findings import Finding

ENOUGH_FOR_RANDOM_WEIGHTS = 20_000  # people
CHECKPOINT_ENTRIES = ('checkpoint', 'teacher_checkpoint')


def build_on_meta(cfg: Config) -> nn.Module:
    """The model without memory for its weights, of any size; its codecs work as usual."""
    with config_scope(cfg), torch.device('meta'):
        return MODELS.build(cfg.model)


def check_heatmaps(model: nn.Module) -> Iterator[Finding]:
    """Compare the size of the heads' heatmaps with that of their codecs' targets."""
    head = getattr(model, 'head', None)
    heads = head.heads if isinstance(head, MultiDatasetHead) else {None: head}
    features = None
    for name, each in heads.items():
        codec = getattr(each, 'decoder', None)
        if not hasattr(codec, 'heatmap_size') or not hasattr(codec, 'input_size'):
            continue
        width, height = codec.input_size
        if features is None:
            features = _features(model, height, width)
        with torch.no_grad():
            heatmaps = each(features)
        wanted = tuple(codec.heatmap_size)
        given = tuple(heatmaps.shape[:1:-1])
        if given != wanted:
            part = 'model.head' if name is None else f'model.head.heads.{name}'
            yield Finding(
                'fault',
                'heatmap-size',
                f'{part} gives heatmaps of {given[0]} x {given[1]} px (width x height) for input '
                f'of {width} x {height} px, but its codec makes targets of {wanted[0]} x '
                f'{wanted[1]}.',
                f'Set heatmap_size={given} in the codec, or change input_size or the upsampling '
                'of the head.',
            )


def _features(model: nn.Module, height: int, width: int) -> object:
    model.eval()
    device = next(model.parameters()).device
    inputs = torch.zeros(1, 3, height, width, device=device)
    routing = (torch.zeros(1, dtype=torch.long),) if getattr(model.backbone, 'experts', ()) else ()
    with torch.no_grad():
        features = model.backbone(inputs, *routing)
        return model.neck(features) if getattr(model, 'with_neck', False) else features


def check_weights(cfg: Mapping, num_people: Optional[int]) -> Iterator[Finding]:
    """Checkpoints that are not there, and random weights where there are few people.

    Args:
        num_people: In the training set; None if it is not known.
    """
    named = list(_checkpoints(cfg.get('model') or {}, 'model'))
    if cfg.get('load_from'):
        named.append(('load_from', cfg['load_from']))
    for entry, path in named:
        if '://' not in path and not os.path.exists(os.path.expanduser(path)):
            yield Finding(
                'fault',
                'checkpoint-missing',
                f'{entry}: there is no file {path}.',
                f'Get the weights (docs/weights.md), or name another file: --cfg-options '
                f'{entry}=FILE.',
            )
    backbone = (cfg.get('model') or {}).get('backbone')
    if named or not isinstance(backbone, Mapping) or 'head' not in cfg['model']:
        return
    if num_people is not None and num_people < ENOUGH_FOR_RANDOM_WEIGHTS:
        yield Finding(
            'warning',
            'random-weights',
            f'The backbone begins with random weights, and there are {num_people} people; '
            'transformers need some ten thousands to learn from nothing.',
            "Begin with pre-trained weights: model.backbone.init_cfg=dict(type='Pretrained', "
            'checkpoint=FILE), see docs/weights.md.',
            count=num_people,
        )


def _checkpoints(node: object, name: str) -> Iterator[tuple[str, str]]:
    """Entries and paths of the weights that a part of a config names."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in CHECKPOINT_ENTRIES and isinstance(value, str):
                yield f'{name}.{key}', value
            else:
                yield from _checkpoints(value, f'{name}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _checkpoints(value, f'{name}[{index}]')
