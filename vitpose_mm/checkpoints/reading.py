"""Weights of any source read under this project's names."""

import re
from pathlib import Path
from typing import Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CheckpointError
from .experts import EXPERT, merged_expert, num_experts
from .fitting import Parts, list_with_shapes, shape_of, shorten
from .loading import load_file, state_dict_of
from .notes import notes_of
from .positions import begins_with_class_position, require_class_position
from .sources import SOURCES, Source, recognise
from .weights import Weights, num_keypoints

# Heads by their keypoints, in the order of the official multi-data-set models.
DATASETS_BY_KEYPOINTS = {
    (17, 14): ('coco', 'aic'),
    (17, 14, 16): ('coco', 'aic', 'mpii'),
    (17, 16, 14): ('coco', 'mpii', 'aic'),
    (17, 14, 16, 14): ('coco', 'aic', 'mpii', 'crowdpose'),
    (17, 14, 16, 17, 17, 133): ('coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody'),
}
VITPOSE_PLUS_DATASETS = DATASETS_BY_KEYPOINTS[17, 14, 16, 17, 17, 133]


# Names, without numbers, to how many dimensions their tensors have.
DIMENSIONS = (
    (r'pos_embed|cls_token|knowledge_tokens', 3),
    (r'patch_embed\.proj\.weight', 4),
    (r'(deconv_layers\.[0369]|final_layer)\.weight', 4),
    (r'(.*norm[12]?|deconv_layers\.[147])\.(weight|running_\w+)', 1),
    (r'.*\.bias', 1),
    (r'knowledge_proj\.weight|blocks\..*\.(weight|rel_pos_[hw])', 2),
)


def read_weights(
    checkpoint: Union[str, Path, dict[str, Tensor]],
    notes: Optional[dict] = None,
    join: bool = True,
) -> Weights:
    """Recognise weights by their names, and translate these.

    Args:
        checkpoint: A file or folder, see :func:`load_file`, or the state dict of a whole model or
            of a backbone.
        notes: What is known besides, see :data:`NOTES`; by default what is attached to the
            state dict.
        join: Whether to join what the source splits, or merges; else it comes as :class:`Parts`,
            which :func:`copy_weights` knows.

    Raises:
        CheckpointError: The names are of no known source, or contradict each other.
    """
    if not isinstance(checkpoint, dict):
        checkpoint = state_dict_of(load_file(str(checkpoint))) or {}
    others = [
        str(name)
        for name, value in checkpoint.items()
        if not isinstance(name, str) or not isinstance(value, (Tensor, Parts))
    ]
    if not checkpoint or len(others) == len(checkpoint):
        holds = f' but {shorten(others)}' if others else ''
        raise CheckpointError(f'the checkpoint holds no tensors by name{holds}')
    if others:
        raise CheckpointError(f'among the weights are no tensors: {shorten(others)}')
    if notes is None:
        notes = notes_of(checkpoint, checkpoint)
    if all(name.startswith('module.') for name in checkpoint):
        checkpoint = {name.removeprefix('module.'): value for name, value in checkpoint.items()}
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in checkpoint) else ''
    source = recognise(name.removeprefix(prefix) for name in checkpoint)
    if source is None:
        raise CheckpointError(
            f'the checkpoint is in no known format ({", ".join(SOURCES)}); it holds '
            + list_with_shapes(checkpoint)
        )
    weights, numbered_heads = _translate(source, checkpoint, prefix, join)
    grid_hw = notes.get('grid_hw')
    weights.grid_hw = grid_hw and tuple(grid_hw)
    weights.num_heads = notes.get('num_heads')
    weights.patches = {key: notes[key] for key in ('ratio', 'patch_padding') if key in notes}
    weights.attention = notes.get('attention', 'full')
    weights.joined = join
    if source.name in ('mmpose', 'timm', 'mae') or notes.get('class_token') == 'keep':
        weights.class_token = 'keep'
    _require_plausible_tensors(weights, numbered_heads)
    _settle_positions(weights)
    _settle_names(weights, numbered_heads, notes)
    return weights


def _translate(
    source: Source, state_dict: dict[str, Tensor], prefix: str, join: bool
) -> tuple[Weights, dict[Union[int, str], dict[str, Tensor]]]:
    weights = Weights(source.name, {})
    heads: dict[Union[int, str], dict[str, Tensor]] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in state_dict.items():
        inner = name.removeprefix(prefix)
        place = source.place(inner)
        if place is not None and prefix and (place.head is None) != (inner != name):
            place = None  # a name of a backbone outside of it, or of a head inside
        if place is not None:
            group = weights.backbone if place.head is None else heads.setdefault(place.head, {})
            group[place.name] = tensor
            if place.part is not None:
                parts.setdefault(place.name, {})[place.part] = tensor
        elif source.reason_to_drop(inner) is not None:
            weights.dropped[name] = source.reason_to_drop(inner)
        else:
            weights.unknown[name] = tensor
    for name, pieces in parts.items():
        if len(pieces) != 3:
            del weights.backbone[name]
            continue
        in_order = [pieces[index] for index in range(3)]
        whole = Parts(name, in_order)
        if len(set(map(len, in_order))) != 1:
            raise CheckpointError(f'the parts of {name} have {list(map(len, in_order))} rows')
        weights.backbone[name] = whole.join() if join else whole
    return weights, heads


def _require_plausible_tensors(
    weights: Weights, heads: dict[Union[int, str], dict[str, Tensor]]
) -> None:
    """Refuse numbers of dimensions and kinds of numbers that no model has under such names."""
    for group in (weights.backbone, *heads.values()):
        for name, tensor in group.items():
            wanted = next((n for pattern, n in DIMENSIONS if re.fullmatch(pattern, name)), None)
            if wanted is None:
                continue
            if (
                len(tensor.shape) != wanted
                or 0 in tensor.shape
                or not tensor.dtype.is_floating_point
            ):
                raise CheckpointError(
                    f'{name} must be floating-point numbers in {wanted} dimensions, the checkpoint '
                    f'has {shape_of(tensor)} of {tensor.dtype}'
                )


def _settle_positions(weights: Weights) -> None:
    """Give every position embedding one row for a class token, and none for other tokens."""
    backbone = weights.backbone
    positions = backbone.get('pos_embed')
    if positions is None:
        return
    if 'cls_token' in backbone and weights.class_token == 'keep':
        if 'dist_token' in weights.dropped:
            positions = torch.cat([positions[:, :1], positions[:, 2:]], 1)
        if weights.source in ('timm', 'mae') and weights.grid_hw is None:
            require_class_position(positions)
    elif weights.source == 'mmpose':
        if begins_with_class_position(positions.shape[1]):
            positions = positions[:, 1:]
        positions = F.pad(positions, (0, 0, 1, 0))
    backbone['pos_embed'] = positions


def _settle_names(
    weights: Weights, numbered: dict[Union[int, str], dict[str, Tensor]], notes: dict
) -> None:
    """Name heads and experts, and drop what the official splitting script leaves behind."""
    for number in list(numbered):
        if all(name.endswith('num_batches_tracked') for name in numbered[number]):
            del numbered[number]
            weights.dropped[f'head {number}: num_batches_tracked'] = 'its head was split off'
    by_name = [name for name in numbered if isinstance(name, str)]
    if by_name and len(by_name) != len(numbered):
        raise CheckpointError(f'the checkpoint holds a single head and heads for {by_name}')
    numbers = list(numbered) if by_name else sorted(numbered)
    heads = [numbered[number] for number in numbers]
    stated_heads = (notes.get('heads') if heads else None) or by_name
    weights.stated = bool(stated_heads or notes.get('experts'))
    names = list(stated_heads or _names_by_keypoints(heads))
    if len(names) != len(heads):
        raise CheckpointError(f'the checkpoint says its heads are {names} and holds {len(heads)}')
    count = num_experts(weights.backbone)
    experts = _names_of_experts(count, names, notes)
    shared = weights.backbone.get('blocks.0.mlp.fc2.weight')
    projection = weights.backbone.get('blocks.0.attn.proj.weight')
    is_whole = None not in (shared, projection) and shape_of(shared)[0] == shape_of(projection)[0]
    if experts and is_whole:
        index = merged_expert(weights.backbone)
        for name in [name for name in weights.backbone if EXPERT.fullmatch(name)]:
            del weights.backbone[name]
            weights.dropped[name] = 'left over: fc2 already holds all outputs'
        if index is not None and heads:
            # the file's only head, or that of the expert
            place = numbers.index(index) if index in numbers and len(heads) > 1 else 0
            for name in names[:place] + names[place + 1 :]:
                weights.dropped[f'head {name}'] = f'left over: {experts[index]} is merged'
            names, heads = [experts[index]], [heads[place]]
    else:
        weights.experts = experts
        if len(heads) < count and not stated_heads and weights.source != 'vitpose_mm':
            # head and expert of a data set have the same number
            names = [experts[number] if number < count else n for number, n in zip(numbers, names)]
    weights.heads = dict(zip(names, heads))


def _names_of_experts(count: int, heads: list[str], notes: dict) -> tuple[str, ...]:
    if not count:
        return ()
    experts = notes.get('experts') or (heads if len(heads) == count > 1 else None)
    if experts is None and count == len(VITPOSE_PLUS_DATASETS):
        experts = VITPOSE_PLUS_DATASETS
    experts = tuple(experts or (f'expert_{index}' for index in range(count)))
    if len(experts) != count:
        raise CheckpointError(f'the checkpoint says its experts are {experts} and holds {count}')
    return experts


def _names_by_keypoints(heads: list[dict[str, Tensor]]) -> list[str]:
    counts = tuple(map(num_keypoints, heads))
    return list(
        DATASETS_BY_KEYPOINTS.get(counts) or (f'head_{index}' for index in range(len(heads)))
    )
