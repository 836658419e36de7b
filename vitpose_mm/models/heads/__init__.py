from .heatmap_heads import (
    TopdownHeatmapBilinearHead,
    TopdownHeatmapPixelShuffleHead,
    TopdownHeatmapSimpleHead,
    ViTPoseHead,
)

__all__ = [
    'TopdownHeatmapBilinearHead',
    'TopdownHeatmapPixelShuffleHead',
    'TopdownHeatmapSimpleHead',
    'ViTPoseHead',
]
