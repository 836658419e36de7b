from .heatmap_heads import (
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
    ViTPoseHead,
)
from .multi_dataset_head import MultiDatasetHead

__all__ = [
    'MultiDatasetHead',
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'ViTPoseHead',
]
