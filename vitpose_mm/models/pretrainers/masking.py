"""Patches of images, which of them are hidden, and where they are."""

import torch
from torch import Tensor


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images (B, 3, H, W) into patches (B, N, p * p * 3), row by row.

    The numbers of a patch go pixel by pixel, row by row, with a pixel's channels side by side
    (official ``models_mae.py``).
    """
    batch_size, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    patches = images.reshape(batch_size, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch_size, rows * columns, -1)


def unpatchify(patches: Tensor, grid_hw: tuple[int, int], patch_size: int) -> Tensor:
    """Join patches (B, N, p * p * 3) to images (B, 3, H, W), the inverse of :func:`patchify`."""
    rows, columns = grid_hw
    images = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1)
    return images.permute(0, 5, 1, 3, 2, 4).reshape(
        len(patches), -1, rows * patch_size, columns * patch_size
    )


def normalise_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the numbers of each patch (B, N, D) to mean 0 and variance 1.

    Returns:
        The patches, and what they had: mean and standard deviation (B, N, 1), the variance of a
        sample (D - 1) with 1e-6 added to it (official ``forward_loss``).
    """
    variance, mean = torch.var_mean(patches, -1, keepdim=True)
    deviation = (variance + 1e-6) ** 0.5
    return (patches - mean) / deviation, mean, deviation


def random_masking(noise: Tensor, num_visible: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the patches that stay visible: those of least noise.

    Args:
        noise: A random number for each patch, (B, N).
        num_visible: How many of N stay.

    Returns:
        Numbers of the visible patches (B, num_visible); the mask (B, N), float32, 0 for visible
        and 1 for hidden; and ``restore_ids`` (B, N), which :func:`restore_order` needs.
    """
    order = noise.argsort(1)
    restore_ids = order.argsort(1)
    mask = (restore_ids >= num_visible).float()
    return order[:, :num_visible], mask, restore_ids


def restore_order(tokens: Tensor, restore_ids: Tensor) -> Tensor:
    """Put tokens (B, N, C), the visible ones first, where their patches are."""
    return tokens.gather(1, restore_ids[:, :, None].expand(-1, -1, tokens.shape[-1]))


def sine_positions(grid_hw: tuple[int, int], dim: int) -> Tensor:
    """Positions of patches as sines and cosines (official ``pos_embed.py``).

    Half of the channels are the column's, the others the row's, and of each half the first half
    are sines, of wavelengths from 2 pi to 10000 * 2 pi patches.

    Args:
        grid_hw: Rows and columns.
        dim: Number of channels C.

    Returns:
        (1, 1 + rows * columns, C); the first row is the class token's, zero.

    Raises:
        ValueError: C is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f'positions by sines need a multiple of 4 channels, got {dim}')
    rows, columns = (torch.arange(n, dtype=torch.float64, device='cpu') for n in grid_hw)
    frequencies = 1e4 ** -(torch.arange(dim // 4, dtype=torch.float64, device='cpu') / (dim // 4))
    of_rows, of_columns = (
        torch.cat([torch.sin(angles), torch.cos(angles)], -1)
        for angles in (rows[:, None] * frequencies, columns[:, None] * frequencies)
    )
    positions = torch.cat(
        [
            of_columns.expand(len(rows), -1, -1),
            of_rows[:, None].expand(-1, len(columns), -1),
        ],
        -1,
    ).flatten(0, 1)
    return torch.cat([torch.zeros_like(positions[:1]), positions])[None].float()
