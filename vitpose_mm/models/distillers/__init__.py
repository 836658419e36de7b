from .frozen_teacher import FrozenTeacher
from .heatmap_distiller import HeatmapDistiller

__all__ = ['FrozenTeacher', 'HeatmapDistiller']
