"""Weights of any source under this project's names, with every name in the file accounted for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from torch import Tensor

from .errors import CheckpointError
from .experts import (
    count_up,
    merge_expert,
    num_experts,
    require_names,
    spread_into_experts,
)
from .fitting import list_with_shapes, shape_of, shorten
from .positions import (
    GridHW,
    fold_class_token,
    infer_grid,
    pad_kernel,
)

USUAL_GRID = (16, 12)
TABLES = ('rel_pos_h', 'rel_pos_w')
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
        patches: What the file says of its patches, ``ratio`` and ``patch_padding`` of a ``ViT``,
            where these are not as usual.
        attention: Who attends to whom in the model that was trained, in words.
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
    attention: str = 'full'
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

    def pad_patches(self, patch_size: int = 16) -> 'Weights':
        """Make patches of 14 px ones of 16, see :func:`pad_kernel`; others stay."""
        kernel = self.backbone.get('patch_embed.proj.weight')
        if kernel is None:
            return self
        padded = {'patch_embed.proj.weight': pad_kernel(kernel, patch_size)}
        return replace(self, backbone={**self.backbone, **padded})

    def require_complete(self) -> None:
        """Refuse names that the source does not know, and weights without which no model works.

        Raises:
            CheckpointError: Lists them.
        """
        if self.unknown:
            raise CheckpointError(
                f'the checkpoint was taken for one of {self.source}, which does not know: '
                + list_with_shapes(self.unknown)
            )
        missing = backbone_names(self.backbone) - self.backbone.keys()
        for dataset, head in self.heads.items():
            missing |= {f'{dataset}: {name}' for name in head_names(head) - head.keys()}
        if missing:
            raise CheckpointError(
                f'the checkpoint was taken for one of {self.source}, of which is missing, by our '
                f'names: {shorten(missing)}'
            )
        # blocks with windows of their own size have tables of their own length
        blocks = {
            name: tensor
            for name, tensor in self.backbone.items()
            if name.startswith('blocks.') and not name.endswith(TABLES)
        }
        first = {n: shape_of(t) for n, t in blocks.items() if n.startswith('blocks.0.')}
        unlike = {
            name: tensor
            for name, tensor in blocks.items()
            if shape_of(tensor) != first[re.sub(r'^blocks\.\d+', 'blocks.0', name)]
        }
        if unlike:
            raise CheckpointError(
                f'not of the shape of the first block are: {list_with_shapes(unlike)}'
            )

    def input_hw(self) -> tuple[int, int]:
        """Height and width of the input that the positions are for, px.

        Where the file does not tell, they are taken for those of one token per patch, in portrait.

        Raises:
            CheckpointError: The number of positions is none of a usual grid.
        """
        positions = self.backbone['pos_embed'].shape[1] - 1
        rows, columns = self.grid_hw or infer_grid(positions, USUAL_GRID)
        stride = self.backbone['patch_embed.proj.weight'].shape[-1] // self.patches.get('ratio', 1)
        return rows * stride, columns * stride


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
            f'the checkpoint is for the data sets {list(stored)}, the model for {list(wanted)}. To '
            'start from its backbone alone, drop load_from and set model.backbone.init_cfg=dict('
            "type='Pretrained', checkpoint=FILE), and where it has experts model.backbone."
            'pretrained_expert to the one to begin with'
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


def num_blocks(names: Iterable[str]) -> int:
    matches = [re.match(r'blocks\.(\d+)\.', name) for name in names]
    return count_up('blocks', (int(match[1]) for match in matches if match))


def backbone_names(names: Sequence[str]) -> set[str]:
    """All names of a backbone of as many blocks and experts as there are names of."""
    depth = num_blocks(names) or 1
    modules = ['patch_embed.proj', 'last_norm']
    inner = [*BLOCK_MODULES, *(f'mlp.experts.{index}' for index in range(num_experts(names)))]
    modules += [f'blocks.{index}.{module}' for index in range(depth) for module in inner]
    complete = {f'{module}.{leaf}' for module in modules for leaf in ('weight', 'bias')}
    # models without a bias of queries, keys and values have it in no block
    if not any(name.endswith('attn.qkv.bias') for name in names):
        complete = {name for name in complete if not name.endswith('attn.qkv.bias')}
    if any(name.endswith(TABLES) for name in names):
        complete |= {f'blocks.{index}.attn.{name}' for index in range(depth) for name in TABLES}
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
