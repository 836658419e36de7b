from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS


@contextmanager
def config_scope(cfg: Config) -> Iterator[None]:
    """Build from ``cfg`` inside this, in the scope that the runner would use."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpose')):
        yield


def build_model(cfg: Config) -> BaseModel:
    """Build the model of a config with random weights; nothing pre-trained is read."""
    with config_scope(cfg):
        return MODELS.build(cfg.model)


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
