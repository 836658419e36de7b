"""mmpose's training transforms where their time goes, with the same results."""

from typing import Optional

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import (
    PackPoseInputs,
    RandomBBoxTransform,
    RandomFlip,
    TopdownAffine,
)
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

from vitpose_mm.codecs import is_udp

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
    of a batch once, as they lie in memory. Whatever ``meta_keys`` are, ``skipped_images`` of
    ``LoadCheckedImage`` are packed into the meta information of the samples that have them.
    ``pack_transformed`` packs nothing where there are no keypoints, so that pipelines that have it
    serve inference, too.
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if 'keypoints' not in results and 'transformed_keypoints' in results:
            # a scalar that mmpose's TopdownAffine puts there
            results = {k: v for k, v in results.items() if k != 'transformed_keypoints'}
        if isinstance(image, np.ndarray) and image.ndim == 3 and image.flags.c_contiguous:
            packed = super().transform({**results, 'img': PIXEL})
            packed['inputs'] = torch.from_numpy(image).permute(2, 0, 1)
        else:
            packed = super().transform(results)
        if 'skipped_images' in results:
            packed['data_samples'].set_metainfo(dict(skipped_images=results['skipped_images']))
        return packed


@TRANSFORMS.register_module()
class ZeroBasedKeypoints(BaseTransform):
    """Keypoints of MPII, whose pixels count from 1, in coordinates that count from 0.

    As the official code (mmpose 0.x, ``TopDownMpiiDataset``) trains; mmpose's ``MpiiDataset`` does
    it to boxes alone. For training only: ``MpiiPCKAccuracy`` adds 1 to predictions and compares
    them with the annotations as they are.
    """

    def transform(self, results: dict) -> dict:
        results['keypoints'] = results['keypoints'] - 1
        return results


@TRANSFORMS.register_module()
class TopdownAffineByCodec(TopdownAffine):
    """mmpose's ``TopdownAffine``, UDP or plain as the codec of the sample's data set needs it.

    So one pipeline serves data sets with different codecs, and pictures that are read as samples of
    any of them.

    Args:
        codecs: Configs of codecs by ``dataset_name``, the same as those of the heads.
        dataset: The data set as whose all samples are read, as ``model.test_cfg.dataset``.

    Raises:
        ValueError: A codec's type is unknown, their input sizes differ, or a sample is of another
            data set.
    """

    def __init__(self, codecs: dict[str, dict], dataset: Optional[str] = None) -> None:
        types = {name: KEYPOINT_CODECS.get(codec['type']) for name, codec in codecs.items()}
        sizes = {tuple(codec['input_size']) for codec in codecs.values()}
        if None in types.values() or len(sizes) != 1:
            raise ValueError(
                f'codecs must be of registered types and have one input_size, got {codecs}'
            )
        super().__init__(sizes.pop())
        self.udp_by_dataset = {name: is_udp(codec) for name, codec in types.items()}
        self.dataset = dataset

    def uses_udp(self, dataset_name: Optional[str]) -> bool:
        """Whether the crops of a data set are UDP's."""
        name = self.dataset or dataset_name
        if name not in self.udp_by_dataset:
            raise ValueError(
                f'TopdownAffineByCodec knows the codecs of {list(self.udp_by_dataset)}, not that '
                f'of {name!r}'
            )
        return self.udp_by_dataset[name]

    def transform(self, results: dict) -> Optional[dict]:
        self.use_udp = self.uses_udp(results.get('dataset_name'))
        return super().transform(results)
