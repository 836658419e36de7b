"""From boxes to the crops that a top-down model reads, and back to image px."""

from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
import torch
from mmpose.datasets.transforms import TopdownAffine
from mmpose.structures.bbox import bbox_xyxy2cs
from torch import Tensor


@dataclass(frozen=True)
class CropGeometry:
    """Which part of an image a model sees of a person.

    Attributes:
        input_wh: Width and height of the crops, px.
        padding: How many times larger than the box the crop is.
        use_udp: Whether pixel centres of the crop's edges are mapped (UDP, arXiv 1911.07524), or
            its borders.
    """

    input_wh: tuple[int, int]
    padding: float = 1.25
    use_udp: bool = True

    def place(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centers (N, 2) and sizes (N, 2) of the crops of boxes (N, 4), image px.

        As mmpose's ``GetBBoxCenterScale`` and ``TopdownAffine``.
        """
        centers, sizes = bbox_xyxy2cs(boxes, self.padding)
        width, height = self.input_wh
        return centers, TopdownAffine._fix_aspect_ratio(sizes, width / height)

    def matrices(self, centers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Maps (N, 2, 3) from image px to input px, float32.

        As mmpose's ``get_udp_warp_matrix`` and ``get_warp_matrix`` without rotation.
        """
        wh = np.array(self.input_wh, dtype=np.float64)
        matrices = np.zeros((len(centers), 2, 3), dtype=np.float32)
        if self.use_udp:
            scales = (wh - 1) / sizes
            offsets = scales * (0.5 * sizes - centers)
        else:
            scales = np.broadcast_to(wh[:1] / sizes[:, :1], sizes.shape)
            offsets = 0.5 * wh - scales * centers
        matrices[:, [0, 1], [0, 1]] = scales
        matrices[:, :, 2] = offsets
        return matrices


def to_image(
    keypoints: np.ndarray, centers: np.ndarray, sizes: np.ndarray, input_wh: tuple[int, int]
) -> np.ndarray:
    """Keypoints (N, K, 2) from input px to image px, as mmpose's ``add_pred_to_datasample``."""
    sizes = sizes[:, None]
    return keypoints / np.array(input_wh, keypoints.dtype) * sizes + (
        centers[:, None] - 0.5 * sizes
    )


def crop_on_host(
    image: np.ndarray,
    matrices: np.ndarray,
    input_wh: tuple[int, int],
    out: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Cut crops by OpenCV.

    Args:
        image: (H, W, 3) uint8.
        matrices: (N, 2, 3), image px to input px.
        input_wh: Width and height of the crops, px.
        out: Where to write the crops, (N, h, w, 3) uint8.

    Returns:
        Crops (N, h, w, 3) uint8; black where the image ends.
    """
    width, height = input_wh
    if out is None:
        out = np.empty((len(matrices), height, width, 3), dtype=np.uint8)
    for matrix, crop in zip(matrices, out):
        cv2.warpAffine(image, matrix, input_wh, dst=crop, flags=cv2.INTER_LINEAR)
    return out


def crop_on_device(image: Tensor, matrices: Tensor, input_wh: tuple[int, int]) -> Tensor:
    """Cut crops on the device of the image, to within one grey level of :func:`crop_on_host`.

    Args:
        image: (H, W, 3) uint8.
        matrices: (N, 2, 3) without rotation or shear, image px to input px.
        input_wh: Width and height of the crops, px.

    Returns:
        Crops (N, h, w, 3) uint8; black where the image ends.
    """
    columns, column_weights = _neighbours(matrices[:, 0, [0, 2]], input_wh[0], image.shape[1])
    rows, row_weights = _neighbours(matrices[:, 1, [1, 2]], input_wh[1], image.shape[0])
    crops = 0.0
    for row, row_weight in zip(rows, row_weights):
        for column, column_weight in zip(columns, column_weights):
            pixels = image[row[:, :, None], column[:, None, :]].float()  # (N, h, w, 3)
            crops = crops + pixels * (row_weight[:, :, None] * column_weight[:, None, :])[..., None]
    return crops.round_().to(torch.uint8)


def _neighbours(lines: Tensor, length: int, limit: int) -> tuple[Tensor, Tensor]:
    """Two pixels of an image's axis for each position of a crop's, and their weights.

    Args:
        lines: (N, 2), slope and offset from the image's px to the crop's.
        length: Size of the crop along the axis.
        limit: Size of the image along the axis.

    Returns:
        Indices (2, N, length) within the image, and weights (2, N, length), 0 beyond it.
    """
    # OpenCV inverts the map in double precision, too
    slopes, offsets = lines.double().unbind(1)
    positions = torch.arange(length, device=lines.device, dtype=torch.float64)
    sources = (positions - offsets[:, None]) / slopes[:, None]
    first = sources.floor()
    fractions = sources - first
    indices = torch.stack([first, first + 1])
    weights = torch.stack([1 - fractions, fractions])
    weights = torch.where((indices >= 0) & (indices < limit), weights, 0.0)
    return indices.clamp(0, limit - 1).long(), weights.float()
