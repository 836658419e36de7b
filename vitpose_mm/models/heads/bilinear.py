"""Bilinear upsampling followed by a 3 x 3 convolution, computed at the lower resolution."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vitpose_mm.torch_versions import is_compiling


def _upsample_and_shift(length: int, factor: int, device: torch.device) -> Tensor:
    """Matrix (length * factor, 3 * length): upsample, then look one pixel back, here, and ahead.

    Column block t holds what tap t of a convolution with zero padding sees.
    """
    identity = torch.eye(length, device=device)[None]
    upsampled = F.interpolate(identity, scale_factor=factor, mode='linear')[0].T
    padded = F.pad(upsampled, (0, 0, 1, 1))
    taps = [padded[tap : tap + length * factor] for tap in range(3)]
    return torch.cat(taps, 1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is cached may be used in training later
def _cached_upsample_and_shift(length: int, factor: int, device: torch.device) -> Tensor:
    return _upsample_and_shift(length, factor, device)


def conv3x3_after_bilinear(features: Tensor, weight: Tensor, bias: Tensor, factor: int) -> Tensor:
    """``conv2d(interpolate(features, scale_factor=factor, mode='bilinear'), weight, padding=1)``.

    Upsampling acts on pixels, each tap of the kernel on channels, so the two change places: the
    taps first project the few low-resolution pixels to K channels each, and what is left, to
    upsample, shift and add, is one small matrix from either side.

    Args:
        features: (B, C, h, w).
        weight: (K, C, 3, 3).
        bias: (K,).
        factor: How many times finer the result is.

    Returns:
        (B, K, h * factor, w * factor).
    """
    num_outputs, num_channels = weight.shape[:2]
    height, width = features.shape[2:]
    taps = weight.permute(2, 3, 0, 1).reshape(9 * num_outputs, num_channels, 1, 1)
    projected = F.conv2d(features, taps)  # (B, 9K, h, w)
    projected = projected.unflatten(1, (3, 3, num_outputs))
    # (B, K, 3h, 3w): tap and pixel side by side along both axes
    projected = projected.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    # A compiler cannot look into a cache; it gets the few small operations themselves.
    matrix = _upsample_and_shift if is_compiling() else _cached_upsample_and_shift
    rows = matrix(height, factor, features.device).to(projected.dtype)
    columns = matrix(width, factor, features.device).to(projected.dtype)
    return rows @ projected @ columns.T + bias[:, None, None]
