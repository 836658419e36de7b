from .batched_heatmap import BatchedMSRAHeatmap, BatchedUDPHeatmap

__all__ = ['BatchedMSRAHeatmap', 'BatchedUDPHeatmap']
