"""Which tokens of a feature map stand together in attention.

Attention variants differ in nothing but the grouping of tokens (arXiv 2204.12484, section 3.3).
Here tokens are sorted, window after window, so that a window is a slice of the sequence. All other
layers treat tokens one by one and do not mind; blocks that group alike follow each other without
moving anything. A window at an edge of the map holds the tokens that are there: there is no
padding, and no mask.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from numbers import Integral
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from torch import Tensor

from vitpose_mm.torch_versions import is_compiling

from .embedding import GridHW

# What blocks do in turn.
VARIANTS = {
    'full': ('full',),
    'window': ('window',),
    'shift': ('window', 'shift'),
    'pool': ('pool',),
    'shift+pool': ('pool', 'shift+pool'),
}


class BlockAttention(NamedTuple):
    """What the tokens of one block attend to.

    Args:
        window_hw: Rows and columns of a window, tokens; None for all tokens of the map.
        shifted: Whether windows begin half a window further down and to the right, as in Swin.
        pooled: Whether the means of all windows' keys and values join those of each window; they
            are those of windows that are not shifted.
        relative_positions: Whether attention depends on the distance of two tokens.
    """

    window_hw: Optional[GridHW] = None
    shifted: bool = False
    pooled: bool = False
    relative_positions: bool = False

    @property
    def needs_map(self) -> bool:
        """Whether it matters where on the map tokens are."""
        return self.window_hw is not None or self.relative_positions


class Windows(NamedTuple):
    """A number of windows of the same size, one after the other."""

    count: int
    hw: GridHW

    @property
    def num_tokens(self) -> int:
        return self.count * self.hw[0] * self.hw[1]


class Grouping(NamedTuple):
    """How the tokens of a map, sorted by window, are divided.

    Args:
        windows: One after the other.
        pooling: Weights of the tokens in the mean of each window, (windows, N); None without pool,
            and where there is one window, which has no others to hear of.
        extent_hw: Rows and columns that two tokens of a window can be apart, plus 1: the whole
            window's also at the edges of the map.
    """

    windows: tuple[Windows, ...]
    pooling: Optional[Tensor]
    extent_hw: GridHW


class Move(NamedTuple):
    """From one order of tokens to another: ``new = old[:, index]``, ``old = new[:, inverse]``."""

    index: Tensor
    inverse: Tensor


class Step(NamedTuple):
    """How a block gets its tokens, and groups them; None where nothing is to be done."""

    move: Optional[Move]
    grouping: Optional[Grouping]


def block_attentions(
    attention: Union[str, Sequence[str]],
    window_hw: Optional[GridHW],
    relative_positions: bool,
    depth: int,
) -> tuple[BlockAttention, ...]:
    """Attention of each block.

    Args:
        attention: One of ``VARIANTS``, in which the windows of every other block are shifted; or
            what each block does, repeated until the last.
        window_hw: Rows and columns of a window, tokens.
        relative_positions: Whether attention depends on the distance of two tokens.
        depth: Number of blocks.

    Raises:
        ValueError: Unknown variant, no windows to speak of, a pattern that does not end with the
            last block.
    """
    if isinstance(attention, str):
        names = (VARIANTS.get(attention, (attention,)) * depth)[:depth]
    elif isinstance(attention, (tuple, list)):
        names = tuple(attention)
    else:
        names = ()
    if not names or not all(isinstance(name, str) and name in VARIANTS for name in names):
        raise ValueError(
            f'attention must be one of {list(VARIANTS)}, or a sequence of these for the blocks, '
            f'got {attention!r}'
        )
    if depth % len(names):
        raise ValueError(
            f'attention {attention!r} repeats every {len(names)} blocks, which does not go into '
            f'the {depth} blocks'
        )
    if window_hw is not None:
        _require_window(window_hw)
    in_windows = [name for name in names if name != 'full']
    if in_windows and window_hw is None:
        raise ValueError(f'attention {attention!r} needs window_hw=(rows, columns), got None')
    if any('shift' in name for name in names) and tuple(window_hw) == (1, 1):
        raise ValueError('windows of one token cannot be shifted by half: window_hw is (1, 1)')
    attentions = [
        BlockAttention(
            None if name == 'full' else tuple(map(int, window_hw)),
            'shift' in name,
            'pool' in name,
            relative_positions,
        )
        for name in names
    ]
    return tuple(attentions) * (depth // len(names))


def describe_attentions(attentions: Sequence[BlockAttention]) -> str:
    """In words, for people to read: 'full', or what each block does until that repeats."""
    if all(attention.window_hw is None for attention in attentions):
        return 'full'
    words = [
        'full'
        if attention.window_hw is None
        else 'window {}x{}'.format(*attention.window_hw)
        + ' shifted' * attention.shifted
        + ' pooled' * attention.pooled
        for attention in attentions
    ]
    depth = len(words)
    period = next(n for n in range(1, depth + 1) if words == (words[:n] * depth)[:depth])
    again = ', and so on' if period < depth else ''
    return ', '.join(words[:period]) + again


def _require_window(window_hw: object) -> None:
    if not (
        isinstance(window_hw, (tuple, list))
        and len(window_hw) == 2
        and all(isinstance(side, Integral) and not isinstance(side, bool) for side in window_hw)
        and min(window_hw) > 0
    ):
        raise ValueError(
            'window_hw must be the rows and columns of a window, each at least 1, got '
            f'{window_hw!r}'
        )


def cut(length: int, window: int, shifted: bool = False) -> list[tuple[int, int]]:
    """Cut one side of a map into windows, as (start, size) of each.

    A shifted side begins with half a window. As in Swin, a window that is not smaller than the side
    is not shifted.
    """
    first = window // 2 if shifted and 1 < window < length else window
    starts = [0, *range(first, length, window)]
    return [(start, end - start) for start, end in zip(starts, [*starts[1:], length])]


def group_tokens(
    grid_hw: GridHW, attention: BlockAttention, device: Optional[torch.device] = None
) -> tuple[np.ndarray, Grouping]:
    """Sort the tokens of a map by window.

    Windows of the same size stand together: the tokens of a map are divided into whole windows and
    those that its edges cut, at most three sizes along each axis.

    Args:
        grid_hw: Rows and columns of the map.
        attention: See :class:`BlockAttention`; without ``window_hw`` the map is one window.
        device: Where the tensors shall be.

    Returns:
        Where each token is in the map row by row (N,), and how they are divided.
    """
    window_hw = grid_hw if attention.window_hw is None else attention.window_hw
    places = np.arange(grid_hw[0] * grid_hw[1]).reshape(grid_hw)

    def windows(shifted: bool) -> list[np.ndarray]:
        sides = [cut(length, side, shifted) for length, side in zip(grid_hw, window_hw)]
        return [
            places[top : top + height, left : left + width]
            for (top, height), (left, width) in product(*sides)
        ]

    by_size: dict[GridHW, list[np.ndarray]] = {}
    for window in windows(attention.shifted):
        by_size.setdefault(window.shape, []).append(window.reshape(-1))
    order = np.concatenate([np.concatenate(members) for members in by_size.values()])
    pooling = None
    # Shifted windows that an edge cuts would make more means, of fewer tokens.
    unshifted = windows(False)
    if attention.pooled and len(unshifted) > 1:
        weights = np.zeros((len(unshifted), places.size), np.float32)
        for row, window in zip(weights, unshifted):
            row[window] = 1 / window.size
        pooling = torch.from_numpy(weights[:, order]).to(device)
    sizes = tuple(Windows(len(members), hw) for hw, members in by_size.items())
    return order, Grouping(sizes, pooling, window_hw)


@torch.compiler.assume_constant_result
def plan_steps(
    attentions: tuple[BlockAttention, ...],
    grid_hw: GridHW,
    num_extra: int,
    device: torch.device,
) -> tuple[tuple[Step, ...], Optional[Move]]:
    """What to do with the tokens before and in each block, and after the last.

    Args:
        attentions: Of each block.
        grid_hw: Rows and columns of the map.
        num_extra: Number of tokens before those of the map, which stay where they are.
        device: Where the tensors shall be.

    Returns:
        A step for each block, and what brings the tokens back to their places, row by row.
    """
    # What is made while a graph is traced belongs to that graph.
    is_tracing = is_compiling() or torch.jit.is_tracing()
    plan = _plan_steps if is_tracing else _kept_plan_steps
    return plan(attentions, grid_hw, num_extra, device)


def _plan_steps(
    attentions: tuple[BlockAttention, ...], grid_hw: GridHW, num_extra: int, device: torch.device
) -> tuple[tuple[Step, ...], Optional[Move]]:
    groupings = {
        attention: group_tokens(grid_hw, attention, device)
        for attention in dict.fromkeys(attentions)
        if attention.needs_map
    }
    row_by_row = np.arange(grid_hw[0] * grid_hw[1])
    present, steps = row_by_row, []
    for attention in attentions:
        wanted, grouping = groupings.get(attention, (present, None))
        steps.append(Step(_move(present, wanted, num_extra, device), grouping))
        present = wanted
    return tuple(steps), _move(present, row_by_row, num_extra, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept may be used in training later
def _kept_plan_steps(*arguments: object) -> tuple[tuple[Step, ...], Optional[Move]]:
    return _plan_steps(*arguments)


def _move(
    present: np.ndarray, wanted: np.ndarray, num_extra: int, device: torch.device
) -> Optional[Move]:
    if np.array_equal(present, wanted):
        return None
    index = np.append(np.arange(num_extra), num_extra + present.argsort()[wanted])
    return Move(*(torch.from_numpy(each).to(device) for each in (index, index.argsort())))


class _Rearrange(torch.autograd.Function):
    """Indexing whose gradient is indexing, too; torch would add up, in which order it likes."""

    @staticmethod
    def forward(ctx: object, tokens: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        return tokens[:, index]

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return _Rearrange.apply(gradient, inverse, index), None, None


def rearrange(tokens: Tensor, move: Optional[Move]) -> Tensor:
    """Bring tokens (B, N, C) into another order."""
    if move is None:
        return tokens
    if torch.is_grad_enabled() and tokens.requires_grad:
        return _Rearrange.apply(tokens, *move)
    return tokens[:, move.index]  # what TorchScript can trace
