"""Weights of any source under this project's names, with every name in the file accounted for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .experts import EXPERT, merge_expert, merged_expert, num_experts, spread_into_experts
from .fitting import Parts, shorten
from .loading import CheckpointError, load_file, state_dict_of
from .positions import (
    GridHW,
    begins_with_class_position,
    fold_class_token,
    require_class_position,
)
from .sources import SOURCES, Source, recognise

# Heads by their keypoints, in the order of the official multi-data-set models.
DATASETS_BY_KEYPOINTS = {
    (17, 14): ('coco', 'aic'),
    (17, 14, 16): ('coco', 'aic', 'mpii'),
    (17, 16, 14): ('coco', 'mpii', 'aic'),
    (17, 14, 16, 14): ('coco', 'aic', 'mpii', 'crowdpose'),
    (17, 14, 16, 17, 17, 133): ('coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody'),
}
VITPOSE_PLUS_DATASETS = DATASETS_BY_KEYPOINTS[17, 14, 16, 17, 17, 133]


def _are_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


# What a file may say of itself, and how such values look.
NOTES = {
    'heads': _are_names,
    'experts': _are_names,
    'grid_hw': lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    ),
    'num_heads': lambda value: isinstance(value, int) and value > 0,
    'class_token': lambda value: value in ('fold', 'keep'),
}
# Under this name, after its prefix, a model hands the notes of a file to the ViT inside of it.
NOTES_KEY = '_notes'
BLOCK_MODULES = ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')


@dataclass
class Weights:
    """The weights of a ViT and of pose heads under this project's names.

    Args:
        source: Name of the source they were recognised as.
        backbone: Tensors by name, without prefix.
        heads: The same of each head by its data set, or 'head_0', 'head_1', ... where neither the
            file nor the numbers of keypoints tell; in the file's order.
        experts: Data sets of the experts, in order; or 'expert_0', 'expert_1', ...
        stated: Whether the file itself names data sets; else they follow the official models.
        grid_hw: Rows and columns of positions, where the file says so.
        num_heads: Number of attention heads, where the file says so; weights do not tell.
        class_token: 'keep' where a class token, if there is one, is part of the sequence; 'fold'
            where it is left over from pre-training, as in some official files.
        joined: Whether all tensors are; else some may be :class:`Parts`.
        dropped: Names in the file that have no place here, with reasons.
        unknown: Tensors by names in the file that the source does not know.
    """

    source: str
    backbone: dict[str, Tensor]
    heads: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    experts: tuple[str, ...] = ()
    stated: bool = False
    grid_hw: Optional[GridHW] = None
    num_heads: Optional[int] = None
    class_token: str = 'fold'
    joined: bool = True
    dropped: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, Tensor] = field(default_factory=dict)

    def only_head(self, dataset: Optional[str], advice: str) -> 'Weights':
        """Leave one head; experts stay.

        Args:
            dataset: The head's. Not needed where there is one head, which takes any name if the
                file does not tell its data set.
            advice: How to name one, for the error.

        Raises:
            CheckpointError: There is no such head, or there are several and none is named.
        """
        names = list(self.heads)
        if not names or (len(names) == 1 and dataset is None):
            return self
        if names == ['head_0']:
            return replace(self, heads={dataset: self.heads['head_0']})
        if dataset not in names:
            which = 'name one' if dataset is None else f'none of them is {dataset!r}'
            raise CheckpointError(f'the checkpoint holds heads for {names}, {which}: {advice}')
        dropped = {f'head {name}': f'{dataset} was chosen' for name in names if name != dataset}
        return replace(
            self, heads={dataset: self.heads[dataset]}, dropped={**self.dropped, **dropped}
        )

    def merge_experts(self, dataset: Optional[str], advice: str) -> 'Weights':
        """Merge a data set's expert into the shared part, see :func:`merge_expert`.

        Args:
            dataset: The expert's; not needed for a plain ViT, which stays as it is.
            advice: How to name one, for the error.

        Raises:
            CheckpointError: There is no such expert.
        """
        if not self.experts:
            return self
        if dataset not in self.experts:
            which = 'name one' if dataset is None else f'none of them is {dataset!r}'
            raise CheckpointError(
                f'the checkpoint holds experts for {list(self.experts)}, {which}: {advice}'
            )
        backbone = merge_expert(self.backbone, self.experts.index(dataset), self.joined)
        return replace(self, backbone=backbone, experts=())

    def spread_into_experts(
        self, names: Sequence[str], part_features: Optional[int] = None
    ) -> 'Weights':
        """Make experts of a plain ViT, all alike, see :func:`spread_into_experts`."""
        backbone = spread_into_experts(self.backbone, len(names), part_features)
        return replace(self, backbone=backbone, experts=tuple(names), stated=True)

    def fold_class_token(self) -> 'Weights':
        """Drop the class token where there is one, and its position unless it was folded before.

        See :func:`fold_class_token`.
        """
        if 'cls_token' not in self.backbone:
            return self
        if self.class_token == 'keep':
            backbone = fold_class_token(self.backbone)
            reason = "ViTPose's sequence has no class token; its position becomes zero"
        else:
            backbone = {name: t for name, t in self.backbone.items() if name != 'cls_token'}
            reason = 'left over from pre-training, the official code never uses it'
        dropped = {**self.dropped, 'cls_token': reason}
        return replace(self, backbone=backbone, class_token='fold', dropped=dropped)

    def require_complete(self) -> None:
        """Refuse names that the source does not know, and weights without which no model works.

        Raises:
            CheckpointError: Lists them.
        """
        if self.unknown:
            raise CheckpointError(
                f'the checkpoint was taken for one of {self.source}, which does not know: '
                + shorten(f'{name} {tuple(tensor.shape)}' for name, tensor in self.unknown.items())
            )
        missing = backbone_names(self.backbone) - self.backbone.keys()
        for name, head in self.heads.items():
            missing |= {f'{name}: {key}' for key in head_names(head) - head.keys()}
        if missing:
            raise CheckpointError(
                f'the checkpoint was taken for one of {self.source}, of which is missing, by our '
                f'names: {shorten(missing)}'
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
        notes: What is known besides, see :func:`note_names`; by default what is attached to the
            state dict.
        join: Whether to join what the source splits, or merges; else it comes as :class:`Parts`,
            which :func:`copy_weights` knows.

    Raises:
        CheckpointError: The names are of no known source, or contradict each other.
    """
    if not isinstance(checkpoint, dict):
        checkpoint = state_dict_of(load_file(str(checkpoint))) or {}
    others = [
        str(name) for name, value in checkpoint.items() if not isinstance(value, (Tensor, Parts))
    ]
    if others or not checkpoint:
        holds = f' but {shorten(others)}' if others else ''
        raise CheckpointError(f'the checkpoint holds no tensors by name{holds}')
    notes = notes_of(checkpoint) if notes is None else notes
    if all(name.startswith('module.') for name in checkpoint):
        checkpoint = {name.removeprefix('module.'): value for name, value in checkpoint.items()}
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in checkpoint) else ''
    source = recognise(name.removeprefix(prefix) for name in checkpoint)
    if source is None:
        listed = shorten(f'{name} {tuple(value.shape)}' for name, value in checkpoint.items())
        raise CheckpointError(
            f'the checkpoint is in no known format ({", ".join(SOURCES)}); it holds {listed}'
        )
    weights, numbered_heads = _translate(source, checkpoint, prefix, join)
    grid_hw = notes.get('grid_hw')
    weights.grid_hw = grid_hw and tuple(grid_hw)
    weights.num_heads = notes.get('num_heads')
    weights.joined = join
    if source.name in ('mmpose', 'timm', 'mae') or notes.get('class_token') == 'keep':
        weights.class_token = 'keep'
    _settle_positions(weights)
    _settle_names(weights, numbered_heads, notes)
    return weights


def notes_of(state_dict: dict[str, Tensor], local_metadata: Optional[dict] = None) -> dict:
    """What a file says about its names: see :func:`note_names` and the ``ViT``'s own."""
    metadata = getattr(state_dict, '_metadata', None) or {}
    notes = {}
    for entry in (metadata.get('backbone'), metadata.get(''), local_metadata):
        notes.update({key: entry[key] for key in NOTES if isinstance(entry, dict) and key in entry})
    unusable = {key: value for key, value in notes.items() if not NOTES[key](value)}
    if unusable:
        raise CheckpointError(f'the checkpoint says of itself what cannot be: {unusable}')
    return notes


def match_names(stored: Sequence[str], wanted: Sequence[str], stated: bool) -> dict[str, str]:
    """Tell which of the data sets in a file each of a model's is.

    Args:
        stored: The file's, in order.
        wanted: The model's, in order.
        stated: Whether the file itself names them. If it does not, a model with names of its own
            takes them in order; but a name that both have must then be at the same place.

    Returns:
        The file's name by the model's.

    Raises:
        CheckpointError: They do not fit.
    """
    if set(stored) == set(wanted):
        return {name: name for name in wanted}
    shared = set(stored) & set(wanted)
    in_order = len(stored) == len(wanted) and all(
        list(stored).index(name) == list(wanted).index(name) for name in shared
    )
    if stated or not in_order:
        raise CheckpointError(
            f'the checkpoint is for the data sets {list(stored)}, the model for {list(wanted)}'
        )
    return dict(zip(wanted, stored))


def num_keypoints(head: dict[str, Tensor]) -> Optional[int]:
    """Number of keypoints of a head, None where its decoder is unknown."""
    outputs = head['final_layer.weight'].shape[0] if 'final_layer.weight' in head else None
    return outputs // 16 if decoder_of(head) == 'minimal' else outputs


def decoder_of(head: dict[str, Tensor]) -> Optional[str]:
    """'classic', 'simple', 'minimal' (in that order, arXiv 2204.12484 and 2212.04246), or None."""
    final = head.get('final_layer.weight')
    if final is None:
        return None
    if any(name.startswith('deconv_layers.') for name in head):
        return 'classic'
    return 'simple' if final.shape[-1] == 3 else 'minimal'


def backbone_names(names: Sequence[str]) -> set[str]:
    """All names of a backbone of as many blocks and experts as there are names of."""
    blocks = [re.match(r'blocks\.(\d+)\.', name) for name in names]
    depth = max((int(match[1]) + 1 for match in blocks if match), default=1)
    modules = ['patch_embed.proj', 'last_norm']
    for block in (f'blocks.{index}.' for index in range(depth)):
        modules += [block + module for module in BLOCK_MODULES]
        modules += [f'{block}mlp.experts.{index}' for index in range(num_experts(names))]
    complete = {f'{module}.{leaf}' for module in modules for leaf in ('weight', 'bias')}
    # models without a bias of queries, keys and values have it in no block
    if not any(name.endswith('attn.qkv.bias') for name in names):
        complete = {name for name in complete if not name.endswith('attn.qkv.bias')}
    return complete | {'pos_embed'}


def head_names(names: Sequence[str]) -> set[str]:
    """All names of a head of as many deconvolutions as there are names of, but counters."""
    layers = [re.match(r'deconv_layers\.(\d+)\.', name) for name in names]
    complete = {'final_layer.weight', 'final_layer.bias'}
    for index in range(0, max((int(match[1]) + 1 for match in layers if match), default=0), 3):
        complete.add(f'deconv_layers.{index}.weight')
        complete |= {
            f'deconv_layers.{index + 1}.{leaf}'
            for leaf in ('weight', 'bias', 'running_mean', 'running_var')
        }
    return complete


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
        parts_in_order = Parts([pieces[index] for index in range(3)])
        weights.backbone[name] = parts_in_order.join() if join else parts_in_order
    return weights, heads


def _settle_positions(weights: Weights) -> None:
    """Give every position embedding one row for a class token, and none for other tokens."""
    backbone = weights.backbone
    positions = backbone.get('pos_embed')
    if positions is None:
        return
    if 'cls_token' in backbone and weights.class_token == 'keep':
        if 'dist_token' in weights.dropped:
            positions = torch.cat([positions[:, :1], positions[:, 2:]], 1)
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
    heads = numbered if by_name else dict(sorted(numbered.items()))
    count = num_experts(weights.backbone)
    stated_heads = (notes.get('heads') if heads else None) or by_name
    weights.stated = bool(stated_heads or notes.get('experts'))
    names = stated_heads or _names_by_keypoints(list(heads.values()))
    if len(names) != len(heads):
        raise CheckpointError(f'the checkpoint says its heads are {names} and holds {len(heads)}')
    weights.heads = dict(zip(names, heads.values()))
    if not count:
        return
    experts = notes.get('experts') or (names if len(names) == count > 1 else None)
    if experts is None and count == len(VITPOSE_PLUS_DATASETS):
        experts = VITPOSE_PLUS_DATASETS
    experts = tuple(experts or (f'expert_{index}' for index in range(count)))
    if len(experts) != count:
        raise CheckpointError(f'the checkpoint says its experts are {experts} and holds {count}')
    weights.experts = experts
    shared = weights.backbone.get('blocks.0.mlp.fc2.weight')
    projection = weights.backbone.get('blocks.0.attn.proj.weight')
    if shared is not None and projection is not None and len(shared) == len(projection):
        _drop_left_over_experts(weights)


def _names_by_keypoints(heads: list[dict[str, Tensor]]) -> list[str]:
    counts = tuple(map(num_keypoints, heads))
    return list(
        DATASETS_BY_KEYPOINTS.get(counts) or (f'head_{index}' for index in range(len(heads)))
    )


def _drop_left_over_experts(weights: Weights) -> None:
    index = merged_expert(weights.backbone)
    dataset = None if index is None else weights.experts[index]
    chosen = dataset if dataset in weights.heads else next(iter(weights.heads), None)
    for name in [name for name in weights.backbone if EXPERT.fullmatch(name)]:
        del weights.backbone[name]
        weights.dropped[name] = 'left over: fc2 already holds all outputs'
    for name in [name for name in weights.heads if name != chosen]:
        del weights.heads[name]
        weights.dropped[f'head {name}'] = f'left over: the experts are merged for {dataset}'
    if dataset is not None and weights.heads:
        weights.heads = {dataset: weights.heads[chosen]}
    weights.experts = ()
