from .batched_heatmap import BatchedHeatmapCodec, BatchedMSRAHeatmap, BatchedUDPHeatmap, is_udp

__all__ = ['BatchedHeatmapCodec', 'BatchedMSRAHeatmap', 'BatchedUDPHeatmap', 'is_udp']
