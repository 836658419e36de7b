from .collate import stacked_collate
from .loading import GetCheckedBBoxCenterScale, ImageError, LoadCheckedImage
from .transforms import FastRandomBBoxTransform, FastRandomFlip, PackPersonInputs

__all__ = [
    'FastRandomBBoxTransform',
    'FastRandomFlip',
    'GetCheckedBBoxCenterScale',
    'ImageError',
    'LoadCheckedImage',
    'PackPersonInputs',
    'stacked_collate',
]
