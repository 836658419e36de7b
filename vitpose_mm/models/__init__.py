from .backbones import ViT
from .data_preprocessor import StackedPoseDataPreprocessor
from .heads import (
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
)

__all__ = [
    'StackedPoseDataPreprocessor',
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'ViT',
]
