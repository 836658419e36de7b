from .boxes import Boxes, BoxesFile
from .detector import Detector
from .inferencer import MMPoseInferencer, ViTPoseInferencer

__all__ = ['Boxes', 'BoxesFile', 'Detector', 'MMPoseInferencer', 'ViTPoseInferencer']
