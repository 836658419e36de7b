"""Experts of ViTPose++: merged into a plain ViT, or made from one.

In a partially shared feed-forward network (arXiv 2212.04246) the first channels of the output come
from ``fc2``, which all data sets share, the last ones from the data set's own ``experts.<index>``.
These are pure functions on the names and tensors of a backbone.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Optional

import torch
from torch import Tensor

from .errors import CheckpointError
from .fitting import Parts

EXPERT = re.compile(r'(?P<mlp>.*\bmlp\.)experts\.(?P<index>\d+)\.(?P<leaf>weight|bias)')
SHARED = re.compile(r'(?P<mlp>.*\bmlp\.)fc2\.(?P<leaf>weight|bias)')


def num_experts(names: Iterable[str]) -> int:
    """The number of experts in each block, 0 for a plain ViT.

    Raises:
        CheckpointError: Some numbers are left out.
    """
    matches = [EXPERT.fullmatch(name) for name in names]
    return count_up('experts', (int(match['index']) for match in matches if match))


def count_up(what: str, numbers: Iterable[int]) -> int:
    """How many different numbers there are, which must be those from 0 on.

    Raises:
        CheckpointError: Some are left out.
    """
    numbers = set(numbers)
    if numbers and max(numbers) + 1 != len(numbers):
        raise CheckpointError(
            f'the {what} are numbered up to {max(numbers)}, but there are only {len(numbers)}'
        )
    return len(numbers)


def require_names(argument: str, names: object) -> tuple[str, ...]:
    """Names of data sets as a tuple.

    Raises:
        ValueError: They are not different, non-empty strings without dots.
    """
    if (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not all(isinstance(name, str) and name and '.' not in name for name in names)
        or len(set(names)) != len(names)
    ):
        raise ValueError(f'{argument} must be different names of data sets, got {names!r}')
    return tuple(names)


def merge_expert(backbone: dict[str, Tensor], index: int, join: bool = True) -> dict[str, Tensor]:
    """Make a plain ViT of one expert: ``fc2 <- cat([fc2, experts.index])`` along the outputs.

    Args:
        backbone: Weights of a ViT with experts; names may have a prefix.
        index: The expert's number.
        join: Whether to join shared part and expert; else they come as :class:`Parts`.

    Raises:
        CheckpointError: Some block has no such expert.
    """
    merged = {}
    for name, tensor in backbone.items():
        match = SHARED.fullmatch(name)
        if match:
            expert = f'{match["mlp"]}experts.{index}.{match["leaf"]}'
            if expert not in backbone:
                raise CheckpointError(f'{expert} is missing, so that expert cannot be merged')
            parts = Parts(name, [tensor, backbone[expert]])
            tensor = parts.join() if join else parts
        if not EXPERT.fullmatch(name):
            merged[name] = tensor
    return merged


def spread_into_experts(
    backbone: dict[str, Tensor], count: int, part_features: Optional[int] = None
) -> dict[str, Tensor]:
    """Put a plain ViT into all experts, as a start for training with several data sets.

    Each of the experts gets a copy of the last outputs of ``fc2``: whichever is chosen, the network
    computes what it did before.

    Args:
        backbone: Weights of a plain ViT; names may have a prefix.
        count: The number of experts.
        part_features: Number of outputs that are the experts'; by default a quarter, as published.

    Raises:
        CheckpointError: There are experts already, or not that many outputs.
    """
    if num_experts(backbone):
        raise CheckpointError(f'the weights hold {num_experts(backbone)} experts already')
    spread = {}
    for name, tensor in backbone.items():
        match = SHARED.fullmatch(name)
        if not match:
            spread[name] = tensor
            continue
        part = len(tensor) // 4 if part_features is None else part_features
        if not isinstance(part, int) or not 0 < part < len(tensor):
            raise CheckpointError(
                f'part_features must be a whole number between 0 and the {len(tensor)} outputs of '
                f'{name}, got {part}'
            )
        spread[name] = tensor[:-part]
        for index in range(count):
            spread[f'{match["mlp"]}experts.{index}.{match["leaf"]}'] = tensor[-part:]
    return spread


def reorder_experts(backbone: dict[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """Put expert ``order[i]`` in place ``i``; one may take several places, or none."""
    reordered = {}
    for name, tensor in backbone.items():
        match = EXPERT.fullmatch(name)
        if match is None:
            reordered[name] = tensor
            continue
        for new, old in enumerate(order):
            if old == int(match['index']):
                reordered[f'{match["mlp"]}experts.{new}.{match["leaf"]}'] = tensor
    return reordered


def merged_expert(backbone: dict[str, Tensor]) -> Optional[int]:
    """Tell which expert ``fc2`` already ends with in all blocks, None if none.

    Files split by the official ``tools/model_split.py`` keep the experts beside the merged ones.
    """
    candidates = set(range(num_experts(backbone)))
    for name, tensor in backbone.items():
        match = EXPERT.fullmatch(name)
        index = int(match['index']) if match else None
        if index in candidates:
            shared = backbone.get(f'{match["mlp"]}fc2.{match["leaf"]}')
            if shared is None or not torch.equal(shared[-len(tensor) :], tensor):
                candidates.discard(index)
    return min(candidates, default=None)
