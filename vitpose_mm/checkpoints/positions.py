"""What positions and patches in a file stand for."""

import math
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

from .errors import CheckpointError

GridHW = tuple[int, int]
USUAL_SHAPES = ((1, 1), (4, 3))


def infer_grid(num_positions: int, target_hw: GridHW) -> GridHW:
    """Tell which grid a number of positions stands for, where nothing else says so.

    Three shapes are considered: the target's own, a square (ImageNet, MAE), and the 4:3 of
    256 x 192 and 384 x 288.

    Raises:
        CheckpointError: None of them fits, or more than one does.
    """
    found = grids_of(num_positions, {target_hw, *USUAL_SHAPES})
    if len(found) != 1:
        problem = f'could be any of {sorted(found)}' if found else 'is neither square nor 4:3'
        raise CheckpointError(
            f'the grid of {num_positions} positions {problem}; '
            'say which it is by pretrained_grid_hw=(rows, columns)'
        )
    return found.pop()


def grids_of(num_positions: int, shapes: Iterable[GridHW]) -> set[GridHW]:
    """The grids of so many positions that have one of the shapes, at any size."""
    found = set()
    for height, width in shapes:
        divisor = math.gcd(height, width)
        unit_height, unit_width = height // divisor, width // divisor
        scale = math.isqrt(num_positions // (unit_height * unit_width))
        if scale and scale**2 * unit_height * unit_width == num_positions:
            found.add((scale * unit_height, scale * unit_width))
    return found


def begins_with_class_position(num_positions: int) -> bool:
    """Whether positions of which no class token tells are one more than a square or 4:3 grid."""
    is_grid = bool(grids_of(num_positions, USUAL_SHAPES))
    return bool(grids_of(num_positions - 1, USUAL_SHAPES)) and not is_grid


def fold_class_token(backbone: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the class token of an encoder that has one in its sequence.

    A ViTPose adds the class token's position to every patch (official ``vit.py``); MAE, timm and
    DeiT do not. It becomes zero, so that patches keep the positions they were trained with. (In
    MAE's files it is zero.)
    """
    folded = {name: tensor for name, tensor in backbone.items() if name != 'cls_token'}
    if 'cls_token' in backbone and 'pos_embed' in backbone:
        folded['pos_embed'] = backbone['pos_embed'].clone()
        folded['pos_embed'][:, 0] = 0
    return folded


def require_class_position(pos_embed: Tensor) -> None:
    num_positions = pos_embed.shape[1]
    if math.isqrt(num_positions) ** 2 == num_positions > 1:
        raise CheckpointError(
            f'pos_embed has {num_positions} positions, those of a square of patches without one of '
            "the class token (timm's no_embed_class), which is not supported"
        )


def pad_kernel(kernel: Tensor, patch_size: int) -> Tensor:
    """Put a zero on every side of a kernel (C, 3, 14, 14) for patches of 16 px; others stay.

    So encoders of 14-px patches, MAE's huge, become ones of 16 px (official
    ``mmcv_custom/checkpoint.py``).
    """
    return F.pad(kernel, (1, 1, 1, 1)) if (kernel.shape[-1], patch_size) == (14, 16) else kernel
