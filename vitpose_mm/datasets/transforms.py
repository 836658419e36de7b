"""mmpose's training transforms where their time goes, with the same results."""

import cv2
import numpy as np
import torch
from mmpose.datasets.transforms import PackPoseInputs, RandomBBoxTransform, RandomFlip
from mmpose.registry import TRANSFORMS

PIXEL = np.zeros((1, 1, 3), dtype=np.uint8)
FLIP_CODES = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}


@TRANSFORMS.register_module()
class FastRandomFlip(RandomFlip):
    """mmpose's ``RandomFlip``, same arguments and results, with an image that lies in memory.

    mmpose's is a view with negative strides, which the following ``cv2.warpAffine`` copies pixel by
    pixel before it begins, in several times the time of its own work.
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        results = super().transform(results)
        if results['flip'] and isinstance(image, np.ndarray) and image.ndim == 3:
            flipped = cv2.flip(image, FLIP_CODES[results['flip_direction']])
            results['img'] = flipped.reshape(image.shape)  # OpenCV drops a single channel's axis
        return results


@TRANSFORMS.register_module()
class FastRandomBBoxTransform(RandomBBoxTransform):
    """mmpose's ``RandomBBoxTransform``: same arguments, same distributions, without scipy.

    scipy takes longer to draw four numbers from a truncated normal distribution than OpenCV to
    decode a small photo.
    """

    @staticmethod
    def _truncnorm(low: float = -1.0, high: float = 1.0, size: tuple = ()) -> np.ndarray:
        count = int(np.prod(size))
        kept = np.empty(0)
        while len(kept) < count:
            drawn = np.random.standard_normal(4 * count)
            kept = np.concatenate([kept, drawn[(drawn >= low) & (drawn <= high)]])
        return kept[:count].reshape(size).astype(np.float32)


@TRANSFORMS.register_module()
class PackPersonInputs(PackPoseInputs):
    """mmpose's ``PackPoseInputs`` without copying the crop.

    ``inputs`` is a view (3, H, W) of the crop (H, W, 3). :func:`stacked_collate` copies the crops
    of a batch once, as they lie in memory.
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if not (isinstance(image, np.ndarray) and image.ndim == 3 and image.flags.c_contiguous):
            return super().transform(results)
        packed = super().transform({**results, 'img': PIXEL})
        packed['inputs'] = torch.from_numpy(image).permute(2, 0, 1)
        return packed
