from .apt36k import APT36KDataset
from .collate import stacked_collate
from .interhand2d_single import InterHand2DSingleDataset
from .loading import GetCheckedBBoxCenterScale, ImageError, LoadCheckedImage
from .multi_dataset import MultiDataset, in_order
from .pretraining import PretrainingImages, RandomResizedBoxCrop
from .transforms import (
    FastRandomBBoxTransform,
    FastRandomFlip,
    PackPersonInputs,
    TopdownAffineByCodec,
    ZeroBasedKeypoints,
)

__all__ = [
    'APT36KDataset',
    'FastRandomBBoxTransform',
    'FastRandomFlip',
    'GetCheckedBBoxCenterScale',
    'ImageError',
    'InterHand2DSingleDataset',
    'LoadCheckedImage',
    'MultiDataset',
    'PackPersonInputs',
    'PretrainingImages',
    'RandomResizedBoxCrop',
    'TopdownAffineByCodec',
    'ZeroBasedKeypoints',
    'in_order',
    'stacked_collate',
]
