from .heatmap_heads import (
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
    ViTPoseHead,
)
from .multi_dataset_head import MultiDatasetHead
from .pretrained_keypoints import PretrainedKeypoints

__all__ = [
    'MultiDatasetHead',
    'PretrainedKeypoints',
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'ViTPoseHead',
]
