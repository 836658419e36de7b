from .backbones import ViT
from .data_preprocessor import StackedPoseDataPreprocessor
from .heads import (
    MultiDatasetHead,
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
)
from .pose_estimators import TopdownViTPose

__all__ = [
    'MultiDatasetHead',
    'StackedPoseDataPreprocessor',
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'TopdownViTPose',
    'ViT',
]
