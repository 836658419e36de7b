from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS
from torch import nn

from vitpose_mm.models import MultiDatasetHead


@contextmanager
def config_scope(cfg: Config) -> Iterator[None]:
    """Build from ``cfg`` inside this, in the scope that the runner would use."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpose')):
        yield


def build_model(cfg: Config) -> BaseModel:
    """Build the model of a config with random weights; nothing pre-trained is read.

    A model of several data sets reads images as of ``test_cfg.dataset``, or else of the first.

    Raises:
        ValueError: The model has no head.
    """
    with config_scope(cfg):
        model = MODELS.build(cfg.model)
    if getattr(model, 'head', None) is None:
        raise ValueError(
            f'only models with a head can be measured, {type(model).__name__} has none'
        )
    if isinstance(model.head, MultiDatasetHead) and model.test_cfg.get('dataset') is None:
        model.test_cfg['dataset'] = next(iter(model.head.routes))
    return model


def predicting_head(model: BaseModel) -> nn.Module:
    """The head that reads images: of several, that of ``test_cfg.dataset``."""
    head = model.head
    if isinstance(head, MultiDatasetHead):
        return head.heads[head.route(model.test_cfg['dataset']).head]
    return head


def input_hw(cfg: Config) -> tuple[int, int]:
    """Height and width of the network's input, px.

    Raises:
        ValueError: Neither the codec of the head nor the backbone tells.
    """
    model = cfg.get('model', {})
    codec = model.get('head', {}).get('decoder')
    if codec is not None and 'input_size' in codec:
        width, height = codec['input_size']
        return height, width
    if 'img_size' in model.get('backbone', {}):
        height, width = model['backbone']['img_size']
        return height, width
    raise ValueError(
        'the config must have model.head.decoder.input_size or model.backbone.img_size, from which '
        'the size of the input is read'
    )
