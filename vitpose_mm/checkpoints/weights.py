"""Weights of any source under this project's names, with every name in the file accounted for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CheckpointError
from .experts import (
    EXPERT,
    count_up,
    merge_expert,
    merged_expert,
    num_experts,
    require_names,
    spread_into_experts,
)
from .fitting import Parts, shape_of, shorten
from .loading import load_file, state_dict_of
from .notes import notes_of
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


BLOCK_MODULES = ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')
# Names, without numbers, to how many dimensions their tensors have.
DIMENSIONS = (
    (r'pos_embed|cls_token', 3),
    (r'patch_embed\.proj\.weight', 4),
    (r'(deconv_layers\.[0369]|final_layer)\.weight', 4),
    (r'(.*norm[12]?|deconv_layers\.[147])\.(weight|running_\w+)', 1),
    (r'.*\.bias', 1),
    (r'blocks\..*\.weight', 2),
)


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
        patches: What the file says of its patches, ``ratio`` and ``patch_padding`` of a ``ViT``,
            where these are not as usual.
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
    patches: dict[str, int] = field(default_factory=dict)
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
        names = require_names('experts', names)
        if not names:
            raise ValueError('experts must be at least one name of a data set, got none')
        backbone = spread_into_experts(self.backbone, len(names), part_features)
        return replace(self, backbone=backbone, experts=names, stated=True)

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
        for dataset, head in self.heads.items():
            missing |= {f'{dataset}: {name}' for name in head_names(head) - head.keys()}
        if missing:
            raise CheckpointError(
                f'the checkpoint was taken for one of {self.source}, of which is missing, by our '
                f'names: {shorten(missing)}'
            )
        first = {n: shape_of(t) for n, t in self.backbone.items() if n.startswith('blocks.0.')}
        unlike = [
            f'{name} {shape_of(tensor)}'
            for name, tensor in self.backbone.items()
            if name.startswith('blocks.')
            and shape_of(tensor) != first[re.sub(r'^blocks\.\d+', 'blocks.0', name)]
        ]
        if unlike:
            raise CheckpointError(f'not of the shape of the first block are: {shorten(unlike)}')


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
        metadata = getattr(checkpoint, '_metadata', None) or {}
        notes = notes_of(checkpoint.values(), metadata.get(''), metadata.get('backbone'))
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
    weights.patches = {key: notes[key] for key in ('ratio', 'patch_padding') if key in notes}
    weights.joined = join
    if source.name in ('mmpose', 'timm', 'mae') or notes.get('class_token') == 'keep':
        weights.class_token = 'keep'
    _require_plausible_tensors(weights, numbered_heads)
    _settle_positions(weights)
    _settle_names(weights, numbered_heads, notes)
    return weights


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
    depth = count_up('blocks', (int(match[1]) for match in blocks if match)) or 1
    modules = ['patch_embed.proj', 'last_norm']
    inner = [*BLOCK_MODULES, *(f'mlp.experts.{index}' for index in range(num_experts(names)))]
    modules += [f'blocks.{index}.{module}' for index in range(depth) for module in inner]
    complete = {f'{module}.{leaf}' for module in modules for leaf in ('weight', 'bias')}
    # models without a bias of queries, keys and values have it in no block
    if not any(name.endswith('attn.qkv.bias') for name in names):
        complete = {name for name in complete if not name.endswith('attn.qkv.bias')}
    return complete | {'pos_embed'}


def head_names(names: Sequence[str]) -> set[str]:
    """All names of a head of as many deconvolutions as there are names of, but counters."""
    layers = [re.match(r'deconv_layers\.(\d+)\.', name) for name in names]
    # three layers each: deconvolution, batch norm, ReLU
    count = count_up('deconvolutions', (int(match[1]) // 3 for match in layers if match))
    complete = {'final_layer.weight', 'final_layer.bias'}
    for index in range(0, 3 * count, 3):
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
        if weights.source in ('timm', 'mae'):
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
        for name in [name for name in weights.backbone if EXPERT.fullmatch(name)]:
            weights.dropped[name] = 'left over: fc2 already holds all outputs'
        index = merged_expert(weights.backbone)
        for name in [name for name in weights.backbone if EXPERT.fullmatch(name)]:
            del weights.backbone[name]
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
