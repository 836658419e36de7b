"""Patches, their positions, and how positions go from one grid to another."""

import math
from numbers import Integral
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

GridHW = tuple[int, int]


class PatchEmbedding(nn.Module):
    """Cut images into patches and project each to a token.

    Args:
        dim: Number of channels C of a token.
        patch_size: Side of a patch, input px.
        ratio: How many times denser than one patch per ``patch_size`` the tokens are, along each
            axis; above 1 patches overlap. The stride is ``patch_size // ratio``.
        padding: Zeros around the image, input px. By default as the official code has it: 2 for
            ratio 1, 4 for ratio 2, 6 for ratio 4 (MAE and timm: 0).
        in_channels: Number of image channels.
    """

    def __init__(
        self,
        dim: int,
        patch_size: int = 16,
        ratio: int = 1,
        padding: Optional[int] = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not isinstance(ratio, Integral) or ratio < 1 or patch_size % ratio:
            raise ValueError(f'ratio must divide patch_size {patch_size}, got {ratio!r}')
        if padding is None and ratio > 4:
            raise ValueError(f'ratio must be 1, 2 or 4 unless padding is given, got {ratio}')
        self.stride = patch_size // ratio
        if padding is None:
            padding = 4 + 2 * (ratio // 2 - 1)
        # One token per stride needs this much overhang, and no more than a stride beyond it.
        overhang = patch_size - self.stride
        if not overhang <= 2 * padding < overhang + self.stride:
            raise ValueError(
                f'padding must be at least {math.ceil(overhang / 2)} and below '
                f'{overhang / 2 + self.stride / 2:g} for patch_size {patch_size} and ratio '
                f'{ratio}, got {padding}'
            )
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, dim, patch_size, self.stride, padding)

    def grid_hw(self, image_hw: tuple[int, int]) -> GridHW:
        """Tell how many tokens an image gives along each axis.

        Raises:
            ValueError: A side of the image is not a positive multiple of the patch size.
        """
        if any(side < self.patch_size or side % self.patch_size for side in image_hw):
            raise ValueError(
                f'height and width of the input must be multiples of the patch size '
                f'{self.patch_size}, got {tuple(image_hw)}'
            )
        return image_hw[0] // self.stride, image_hw[1] // self.stride

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to tokens (B, N, C), row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


def resize_positions(positions: Tensor, source_hw: GridHW, target_hw: GridHW) -> Tensor:
    """Resample the embeddings of a grid of positions bicubically.

    Args:
        positions: (1, h * w, C), row by row.
        source_hw: The grid that ``positions`` stand for.
        target_hw: The grid wanted.

    Returns:
        (1, H * W, C).
    """
    if source_hw == target_hw:
        return positions
    grid = positions.unflatten(1, source_hw).permute(0, 3, 1, 2)
    # Bicubic resampling is not implemented in half precision everywhere.
    grid = F.interpolate(grid.float(), size=target_hw, mode='bicubic', align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(positions.dtype)
