"""Siblings of mmpose's heatmap codecs that encode and decode whole batches on the device."""

from abc import ABCMeta, abstractmethod
from typing import Optional

import numpy as np
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from . import functional

VARIANTS = ('official', 'mmpose')


class BatchedHeatmapCodec(metaclass=ABCMeta):
    """What both codecs share: checks, units, and the way from device to host.

    ``encode`` and ``decode`` take one sample in numpy, for pipelines with ``GenerateTarget``, and
    give the same numbers as their batched siblings. These are mmpose's, but for Gaussians cut at
    the left or upper border where 3 sigma is no integer: mmpose's are out of place there.
    """

    def _set_variant(self, variant: str) -> None:
        if variant not in VARIANTS:
            raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}')
        if self.blur_kernel_size % 2 != 1:
            raise ValueError(f'blur_kernel_size must be odd, got {self.blur_kernel_size}')
        self.variant = variant

    @abstractmethod
    def _draw(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and weights of keypoints in heatmap px."""

    @abstractmethod
    def _refine(self, heatmaps: Tensor, pixels: Tensor, values: Tensor) -> Tensor:
        """Offsets (B, K, 2) of the keypoints from their maxima, heatmap px."""

    @abstractmethod
    def _to_input(self, keypoints: Tensor) -> Tensor:
        """Heatmap px to input px."""

    def batch_encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Make the training targets of a batch on the device of ``keypoints``.

        Args:
            keypoints: (B, K, 2) or more coordinates, of which (x, y) come first; input px.
            visible: (B, K), 0 for unlabelled keypoints.

        Returns:
            Heatmaps (B, K, H, W) and keypoint weights (B, K), float32.
        """
        if keypoints.ndim != 3 or visible.shape != keypoints.shape[:2]:
            raise ValueError(
                'keypoints must be (B, K, 2) and visible (B, K), got '
                f'{tuple(keypoints.shape)} and {tuple(visible.shape)}'
            )
        scale_x, scale_y = self.scale_factor.tolist()
        x, y = keypoints[..., :2].float().unbind(-1)
        return self._draw(torch.stack([x / scale_x, y / scale_y], -1), visible.float())

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: Optional[np.ndarray] = None
    ) -> dict[str, np.ndarray]:
        """Encode one sample.

        Args:
            keypoints: (1, K, 2), input px.
            keypoints_visible: (1, K); all visible if not given.

        Returns:
            ``heatmaps`` (K, H, W) and ``keypoint_weights`` (1, K).
        """
        if len(keypoints) != 1:
            raise ValueError(f'keypoints must be those of one sample, got {keypoints.shape}')
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        heatmaps, weights = self.batch_encode(
            torch.from_numpy(keypoints), torch.from_numpy(keypoints_visible)
        )
        return dict(heatmaps=heatmaps[0].numpy(), keypoint_weights=weights.numpy())

    def decode_tensor(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a batch on its device.

        Args:
            heatmaps: (B, K, H, W) of this codec's ``heatmap_size``.

        Returns:
            Keypoints (B, K, 2) in input px and scores (B, K), float32. A heatmap without a value
            above zero gives the pixel (-1, -1), as in mmpose and the official code.
        """
        width, height = self.heatmap_size
        if heatmaps.ndim != 4 or heatmaps.shape[2:] != (height, width):
            raise ValueError(
                f'heatmaps must be (B, K, {height}, {width}) for heatmap_size {(width, height)}, '
                f'got {tuple(heatmaps.shape)}'
            )
        # Half precision does for the network, but not for parts of a pixel.
        with torch.autocast(heatmaps.device.type, enabled=False):
            pixels, values = functional.heatmap_maxima(heatmaps)
            values = values.float()
            offsets = self._refine(heatmaps, pixels, values)
        found = (values > 0)[..., None]
        keypoints = pixels + torch.where(found, offsets, 0.0)
        return self._to_input(keypoints), values

    def batch_decode(self, batch_heatmaps: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """:meth:`decode_tensor`, handed over as mmpose's heads expect it.

        Returns:
            For each sample keypoints (1, K, 2) in input px and scores (1, K).
        """
        keypoints, scores = self.decode_tensor(batch_heatmaps.detach())
        result = torch.cat([keypoints, scores[..., None]], -1).cpu().numpy()  # one transfer
        return list(result[:, None, :, :2]), list(result[:, None, :, 2])

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode one sample.

        Args:
            encoded: Heatmaps (K, H, W).

        Returns:
            Keypoints (1, K, 2) in input px and scores (1, K).
        """
        keypoints, scores = self.batch_decode(torch.from_numpy(encoded)[None])
        return keypoints[0], scores[0]


@KEYPOINT_CODECS.register_module()
class BatchedUDPHeatmap(BatchedHeatmapCodec, UDPHeatmap):
    """UDP heatmaps (arXiv 1911.07524) decoded by DARK, batched on the device.

    The official code and mmpose 1.x differ in how they blur before DARK: the official code reflects
    heatmaps at their borders, mmpose puts zeros around and scales the result back to the old
    maximum. Away from borders and from very low maxima they agree.

    Args:
        input_size: Width and height of the network's input.
        heatmap_size: Width and height of the heatmaps.
        sigma: Standard deviation of the targets, heatmap px.
        blur_kernel_size: Width of the blur before DARK, heatmap px, odd.
        variant: Whose numbers to give, 'official' or 'mmpose'.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float = 2.0,
        blur_kernel_size: int = 11,
        variant: str = 'official',
    ) -> None:
        super().__init__(input_size, heatmap_size, sigma=sigma, blur_kernel_size=blur_kernel_size)
        self._set_variant(variant)

    def _draw(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        return functional.gaussian_heatmaps(
            keypoints, visible, self.heatmap_size[::-1], self.sigma, subpixel_center=True
        )

    def _refine(self, heatmaps: Tensor, pixels: Tensor, values: Tensor) -> Tensor:
        floor = 1e-3
        if self.variant == 'official':
            patches = functional.blur_around(
                heatmaps, pixels, self.blur_kernel_size, reach=1, border='reflect'
            )
        else:
            patches = functional.blur_around_like_mmpose(
                heatmaps, pixels, values, self.blur_kernel_size, reach=1, floor=floor
            )
        return functional.refine_dark_udp(patches.clamp(floor, 50.0).log())

    def _to_input(self, keypoints: Tensor) -> Tensor:
        x, y = keypoints.unbind(-1)
        (width, height), (input_width, input_height) = self.heatmap_size, self.input_size
        return torch.stack([x / (width - 1) * input_width, y / (height - 1) * input_height], -1)


@KEYPOINT_CODECS.register_module()
class BatchedMSRAHeatmap(BatchedHeatmapCodec, MSRAHeatmap):
    """Plain heatmaps (arXiv 1804.06208), with DARK if ``unbiased``, batched on the device.

    Without DARK, a keypoint in the second or last row or column is moved along the other axis by
    mmpose only; the official code leaves it where it is.

    Args:
        input_size: Width and height of the network's input.
        heatmap_size: Width and height of the heatmaps.
        sigma: Standard deviation of the targets, heatmap px.
        unbiased: Whether to centre targets between pixels and to decode by DARK (arXiv 1910.06278).
        blur_kernel_size: Width of the blur before DARK, heatmap px, odd.
        variant: Whose numbers to give at borders, 'official' or 'mmpose'.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float = 2.0,
        unbiased: bool = False,
        blur_kernel_size: int = 11,
        variant: str = 'official',
    ) -> None:
        super().__init__(
            input_size,
            heatmap_size,
            sigma=sigma,
            unbiased=unbiased,
            blur_kernel_size=blur_kernel_size,
        )
        self._set_variant(variant)

    def _draw(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        return functional.gaussian_heatmaps(
            keypoints,
            visible,
            self.heatmap_size[::-1],
            self.sigma,
            subpixel_center=self.unbiased,
            truncate=not self.unbiased,
        )

    def _refine(self, heatmaps: Tensor, pixels: Tensor, values: Tensor) -> Tensor:
        x, y = pixels.unbind(-1)
        width, height = self.heatmap_size

        def between(low: int, margin: int) -> Tensor:
            """Whether x and y lie above ``low`` and below size - ``margin``, (B, K, 2)."""
            within_x = (x > low) & (x < width - margin)
            within_y = (y > low) & (y < height - margin)
            return torch.stack([within_x, within_y], -1)

        if self.unbiased:
            floor = 1e-10
            patches = functional.blur_around_like_mmpose(
                heatmaps, pixels, values, self.blur_kernel_size, reach=2, floor=floor
            )
            offsets = functional.refine_dark(patches.clamp_min(floor).log())
            movable = between(1, 2).all(-1, keepdim=True)
        else:
            offsets = functional.refine_quarter(heatmaps, pixels)
            movable = between(1, 1)
            if self.variant == 'official':
                movable = movable.all(-1, keepdim=True)
            else:
                movable = movable & between(0, 0).flip(-1)
        return torch.where(movable, offsets, 0.0)

    def _to_input(self, keypoints: Tensor) -> Tensor:
        scale_x, scale_y = self.scale_factor.tolist()
        return torch.stack([keypoints[..., 0] * scale_x, keypoints[..., 1] * scale_y], -1)


def is_udp(codec: type) -> bool:
    """Whether a class of codecs needs crops by UDP's affine (``TopdownAffine(use_udp=True)``)."""
    return issubclass(codec, UDPHeatmap)
