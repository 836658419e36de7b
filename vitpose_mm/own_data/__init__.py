"""Labelled pictures of one's own: read, and described as mmpose wants it."""

from .coco_style import read_coco_style
from .creation import Choices, Labels, NewDataset, new_dataset, parse_input_size
from .labelled import LabelledSet, split, to_coco
from .lsp import read_lsp
from .meta import infer_metainfo
from .reading import kind_of, read_labelled
from .yolo import read_yolo

__all__ = [
    'Choices',
    'LabelledSet',
    'Labels',
    'NewDataset',
    'infer_metainfo',
    'kind_of',
    'new_dataset',
    'parse_input_size',
    'read_coco_style',
    'read_labelled',
    'read_lsp',
    'read_yolo',
    'split',
    'to_coco',
]
