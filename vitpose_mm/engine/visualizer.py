"""Pictures of several data sets' results."""

import numpy as np
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer


@VISUALIZERS.register_module()
class DatasetPoseVisualizer(PoseLocalVisualizer):
    """mmpose's visualizer, same arguments, that draws each sample with its own data set's skeleton.

    mmpose draws all with the one that ``set_dataset_meta`` was given, here that of the first data
    set in a ``MultiDataset``.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: PoseDataSample,
        *arguments: object,
        **options: object,
    ) -> np.ndarray:
        """Draw a sample and return the picture, see mmpose's ``PoseLocalVisualizer``."""
        whole = self.dataset_meta or {}
        own = whole.get('sources', {}).get(data_sample.metainfo.get('dataset_name'))
        if own is not None:
            self.set_dataset_meta(own)
        try:
            return super().add_datasample(name, image, data_sample, *arguments, **options)
        finally:
            if own is not None:
                self.set_dataset_meta(whole)
