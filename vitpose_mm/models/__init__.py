from .backbones import ViT
from .heads import (
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
)

__all__ = [
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'ViT',
]
