from .backbones import ViT
from .data_preprocessor import StackedPoseDataPreprocessor
from .distillers import HeatmapDistiller
from .heads import (
    MultiDatasetHead,
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
)
from .pose_estimators import TopdownViTPose
from .pretrainers import MAE

__all__ = [
    'MAE',
    'HeatmapDistiller',
    'MultiDatasetHead',
    'StackedPoseDataPreprocessor',
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'TopdownViTPose',
    'ViT',
]
