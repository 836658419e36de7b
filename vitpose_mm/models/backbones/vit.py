import logging
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from operator import index
from typing import Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from vitpose_mm.architectures import ARCHITECTURES
from vitpose_mm.checkpoints import (
    TABLES,
    CheckpointError,
    Weights,
    copy_weights,
    infer_grid,
    match_names,
    note_with,
    notes_of,
    pad_kernel,
    read_weights,
    reorder_experts,
    require_exact_match,
    require_names,
    spread_into_experts,
)

from ..layers import (
    Block,
    PatchEmbedding,
    block_attentions,
    describe_attentions,
    plan_steps,
    rearrange,
    require_recomputation,
    resize_positions,
    resize_table,
    run_block,
)

USUAL_PADDING = 2  # at ratio 1, in the official code and its ports
WHOLE_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@MODELS.register_module()
class ViT(BaseModule):
    """The plain vision transformer of ViTPose (arXiv 2204.12484, section 3.1).

    Parameters bear the names of the official code (``mmpose/models/backbones/vit.py``). Checkpoints
    of every source in ``vitpose_mm.checkpoints`` load as they are, those of whole models, too, of
    which the backbone is taken; what does not fit to the last name and shape is refused.

    Args:
        arch: A name in ``ARCHITECTURES``, or a dict with ``embed_dim``, ``depth``, ``num_heads``
            and optionally ``mlp_ratio`` (4).
        img_size: Height and width of the input that the position embedding is made for, px. Other
            sizes work at run time: positions are then resized in every forward.
        patch_size: Side of a patch, px.
        ratio: Tokens per patch along each axis: 1 gives features at 1/16 of the input, 2 at 1/8
            with overlapping patches.
        patch_padding: Zeros around the input, px; by default the official code's.
        qkv_bias: Whether queries, keys and values have a bias.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        activation_checkpointing: Compute each block again in the backward pass instead of storing
            what it needs: False, True, or 'selective', which stores the results of matrix products
            and attention and computes the cheap rest again.
        attention: Who attends to whom (section 3.3): 'full', 'window', 'shift' (every other block's
            windows are half a window further), 'pool' (windows hear of each other by their means),
            'shift+pool'; or a sequence of these for the blocks, in which 'shift' means that very
            block, repeated until the last: ('window', 'window', 'full') is ViTDet's B. Weights are
            the same for all of them.
        window_hw: Rows and columns of a window, tokens. They need not divide the map.
        relative_positions: Whether each block has tables ``rel_pos_h`` and ``rel_pos_w`` of
            decomposed relative positions, as in ViTDet; zero where a checkpoint has none, resampled
            where its windows have another size.
        frozen_stages: -1: none; 0: patch and position embedding (and class token); n: and the first
            n blocks; with all blocks the final norm, too.
        freeze_attn: Freeze attention and the norm before it, in all blocks (Table 6).
        freeze_ffn: Freeze feed-forward networks and the norm before them, in all blocks. The
            official code freezes patch and position embedding with them: ``frozen_stages=0``.
        class_token: 'fold', as in ViTPose: no token, its position is added to every patch; or
            'keep', as in MAE and timm: a token in the sequence, not in the feature map.
        experts: Data sets that have an expert of their own in each feed-forward network, as in
            ViTPose++ (arXiv 2212.04246); by default none has.
        part_features: Number of channels that are the experts'; by default a quarter.
        num_knowledge_tokens: Number of knowledge tokens (section 3.5), which join the patch tokens
            without a position, are attended to by all of them, and are not in the feature map.
            ``TokenDistillationHook`` fits them on a teacher and hands them to a student.
        knowledge_dim: Number of channels of the teacher that they come from, if it is not the
            model's: they then go through a projection, which learns.
        pretrained_expert: The data set whose expert to merge from checkpoints with experts to load
            into a model without; or to begin with for data sets that a checkpoint has no expert of,
            while the others take their own. A plain ViT is put into each of them anyway.
        pretrained_grid_hw: Rows and columns of positions in checkpoints to load that do not say so
            themselves. Only needed where the grid is neither the model's own, nor square, nor 4:3.
        init_cfg: See mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        img_size: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        ratio: int = 1,
        patch_padding: Optional[int] = None,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        activation_checkpointing: Union[bool, str] = False,
        attention: Union[str, Sequence[str]] = 'full',
        window_hw: Optional[tuple[int, int]] = None,
        relative_positions: bool = False,
        frozen_stages: int = -1,
        freeze_attn: bool = False,
        freeze_ffn: bool = False,
        class_token: str = 'fold',
        experts: Sequence[str] = (),
        part_features: Optional[int] = None,
        num_knowledge_tokens: int = 0,
        knowledge_dim: Optional[int] = None,
        pretrained_expert: Optional[str] = None,
        pretrained_grid_hw: Optional[tuple[int, int]] = None,
        init_cfg: Optional[Union[dict, list]] = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='TruncNormal', layer='Linear', std=0.02),
                dict(type='Constant', layer='LayerNorm', val=1.0),
            ]
        super().__init__(init_cfg)
        arch = _resolve_arch(arch)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
        if class_token not in ('fold', 'keep'):
            raise ValueError(f"class_token must be 'fold' or 'keep', got {class_token!r}")
        self.experts = require_names('experts', experts)
        if part_features is not None and not self.experts:
            raise ValueError(f'part_features {part_features} needs experts, there are none')
        self.embed_dim = arch['embed_dim']
        self.num_heads = arch['num_heads']
        self.pretrained_expert = pretrained_expert
        self.activation_checkpointing = require_recomputation(
            'activation_checkpointing', activation_checkpointing
        )
        self.attentions = block_attentions(attention, window_hw, relative_positions, arch['depth'])
        self.attention = describe_attentions(self.attentions)
        for name, value in (
            ('relative_positions', relative_positions),
            ('freeze_attn', freeze_attn),
            ('freeze_ffn', freeze_ffn),
        ):
            if not isinstance(value, bool):
                raise ValueError(f'{name} must be True or False, got {value!r}')
        stages = range(-1, arch['depth'] + 1)
        if (
            not isinstance(frozen_stages, Integral)
            or isinstance(frozen_stages, bool)
            or frozen_stages not in stages
        ):
            raise ValueError(
                f'frozen_stages must be from -1 (none) to {arch["depth"]} (all blocks), got '
                f'{frozen_stages!r}'
            )
        self.frozen_stages = frozen_stages
        self.freeze_attn = freeze_attn
        self.freeze_ffn = freeze_ffn
        if pretrained_grid_hw is not None:
            pretrained_grid_hw = _require_hw('pretrained_grid_hw', pretrained_grid_hw)
        self.pretrained_grid_hw = pretrained_grid_hw

        self.ratio = ratio
        self.patch_embed = PatchEmbedding(self.embed_dim, patch_size, ratio, patch_padding)
        self.grid_hw = self.patch_embed.grid_hw(_require_hw('img_size', img_size))
        # The first position is the class token's, also where that is not in the sequence.
        num_positions = 1 + self.grid_hw[0] * self.grid_hw[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_positions, self.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if class_token == 'keep':
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        else:
            self.cls_token = None
        self.num_knowledge_tokens = _require_count('num_knowledge_tokens', num_knowledge_tokens, 0)
        self.knowledge_tokens = self.knowledge_proj = None
        if num_knowledge_tokens:
            dim = self.embed_dim
            if knowledge_dim is not None:
                dim = _require_count('knowledge_dim', knowledge_dim, 1)
                self.knowledge_proj = nn.Linear(dim, self.embed_dim)
            self.knowledge_tokens = nn.Parameter(torch.zeros(1, num_knowledge_tokens, dim))
            nn.init.trunc_normal_(self.knowledge_tokens, std=0.02)
        elif knowledge_dim is not None:
            raise ValueError(f'knowledge_dim {knowledge_dim} needs num_knowledge_tokens')
        self.part_features = self.embed_dim // 4 if part_features is None else part_features
        rates = torch.linspace(0, drop_path_rate, arch['depth'], device='cpu').tolist()
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dim,
                arch['num_heads'],
                round(self.embed_dim * arch['mlp_ratio']),
                qkv_bias,
                rate,
                len(self.experts),
                self.part_features,
                (attention.window_hw or self.grid_hw) if relative_positions else None,
            )
            for rate, attention in zip(rates, self.attentions)
        )
        self.last_norm = nn.LayerNorm(self.embed_dim, eps=1e-6)
        for parameter in self._frozen_parameters():
            parameter.requires_grad = False
        self._register_load_state_dict_pre_hook(self._prepare_state_dict)
        self._register_state_dict_hook(_note)

    def embed_patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to patch tokens (B, N, C), row by row, and their (rows, columns).

        Raises:
            ValueError: H or W is not a multiple of the patch size.
        """
        grid_hw = self.patch_embed.grid_hw(tuple(images.shape[-2:]))
        return self.patch_embed(images), grid_hw

    def add_positions(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Add its position to each patch token, and the class token's where that is folded."""
        positions = resize_positions(self.pos_embed[:, 1:], self.grid_hw, grid_hw)
        if self.cls_token is not None:
            return tokens + positions
        return tokens + positions + self.pos_embed[:, :1]

    def encode(
        self,
        tokens: Tensor,
        grid_hw: Optional[tuple[int, int]] = None,
        expert_ids: Optional[Tensor] = None,
    ) -> Tensor:
        """Run patch tokens through all blocks and the final norm.

        Args:
            tokens: (B, N, C), positions added. The last ones are those of the map, row by row;
                tokens before them attend to all, and are attended to by all.
            grid_hw: Rows and columns of the map; not needed for full attention without relative
                positions, which takes any tokens.
            expert_ids: See :meth:`forward`.

        Returns:
            (B, N, C), or (B, 1 + N, C) with the class token first where it is kept. Knowledge
            tokens are left out.

        Raises:
            ValueError: The tokens are not those of a map, which the attention needs.
        """
        num_given = tokens.shape[1]
        if self.cls_token is not None:
            class_token = self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat([class_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        if self.knowledge_tokens is not None:
            knowledge = self.knowledge_tokens
            if self.knowledge_proj is not None:
                knowledge = self.knowledge_proj(knowledge)
            knowledge = knowledge.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([knowledge, tokens], 1)
        order = routing = None
        if self.experts or expert_ids is not None:
            order, routing = self._route(expert_ids, len(tokens))
            tokens = tokens[order.to(tokens.device)]
        if any(attention.needs_map for attention in self.attentions):
            if grid_hw is None or grid_hw[0] * grid_hw[1] > num_given:
                raise ValueError(
                    'windows and relative positions need all tokens of a map, row by row, got '
                    f"{num_given} tokens and grid_hw {grid_hw}; attention='full' takes any"
                )
            # A compiler that makes sizes symbols takes an index for a constant.
            rows, columns, num_tokens = map(index, (*grid_hw, tokens.shape[1]))
            num_extra = num_tokens - rows * columns
            steps, back = plan_steps(self.attentions, (rows, columns), num_extra, tokens.device)
        else:
            steps, back = [(None, None)] * len(self.blocks), None
        recomputation = self._is_learning() and self.activation_checkpointing
        for block, (move, grouping) in zip(self.blocks, steps):
            tokens = rearrange(tokens, move)
            tokens = run_block(block, recomputation, tokens, grouping, routing)
        tokens = self.last_norm(rearrange(tokens, back)[:, self.num_knowledge_tokens :])
        return tokens if order is None else tokens[order.argsort().to(tokens.device)]

    def forward(self, images: Tensor, expert_ids: Optional[Tensor] = None) -> tuple[Tensor]:
        """Extract features.

        Args:
            images: (B, 3, H, W), normalised.
            expert_ids: For a model with experts: which of ``experts`` each image goes through,
                whole numbers (B,), best on the CPU, where the samples are sorted.

        Returns:
            One feature map (B, C, H / stride, W / stride), in a tuple as mmpose expects it. It is a
            view of the tokens, channels last in memory, which convolutions like best.

        Raises:
            ValueError: H or W is not a multiple of the patch size, or ``expert_ids`` do not fit.
        """
        tokens, grid_hw = self.embed_patches(images)
        tokens = self.encode(self.add_positions(tokens, grid_hw), grid_hw, expert_ids)
        if self.cls_token is not None:
            tokens = tokens[:, 1:]
        return (tokens.transpose(1, 2).unflatten(2, grid_hw),)

    def _is_learning(self) -> bool:
        """Also in evaluation mode, where only knowledge tokens are fitted."""
        tokens = self.knowledge_tokens
        fits_tokens = tokens is not None and tokens.requires_grad and torch.is_grad_enabled()
        return self.training or fits_tokens

    def _route(self, expert_ids: Optional[Tensor], batch_size: int) -> tuple[Tensor, list[int]]:
        """Samples sorted by expert (B,), and how many there are of each; once for all blocks."""
        if expert_ids is None or not self.experts:
            got = 'none' if expert_ids is None else 'some'
            raise ValueError(
                f'expert_ids say which expert of {list(self.experts)} each image goes through, got '
                f'{got}; a model of one data set is made by tools/convert_checkpoint.py --dataset '
                'NAME --merge-experts'
            )
        fits = isinstance(expert_ids, Tensor) and expert_ids.dtype in WHOLE_NUMBERS
        if fits:
            expert_ids = expert_ids.cpu()
            is_known = (expert_ids >= 0) & (expert_ids < len(self.experts))
            fits = expert_ids.shape == (batch_size,) and bool(is_known.all())
        if not fits:
            raise ValueError(
                f'expert_ids must be {batch_size} whole numbers from 0 to {len(self.experts) - 1}, '
                f'one for each image, got {expert_ids}'
            )
        counts = torch.bincount(expert_ids, minlength=len(self.experts)).tolist()
        return expert_ids.argsort(stable=True), counts

    def train(self, mode: bool = True) -> 'ViT':
        """Switch to training or evaluation; frozen blocks drop no paths in either."""
        super().train(mode)
        for block in self.blocks[: max(self.frozen_stages, 0)]:
            block.eval()
        return self

    def _frozen_parameters(self) -> Iterator[nn.Parameter]:
        stages = self.frozen_stages
        if stages >= 0:
            yield from self._embeddings()
        for block in self.blocks[: max(stages, 0)]:
            yield from block.parameters()
        if stages == len(self.blocks):
            yield from self.last_norm.parameters()
        for block in self.blocks:
            if self.freeze_attn:
                yield from (*block.norm1.parameters(), *block.attn.parameters())
            if self.freeze_ffn:
                yield from (*block.norm2.parameters(), *block.mlp.parameters())

    def _embeddings(self) -> list[nn.Parameter]:
        """Parameters before the first block."""
        embeddings = [*self.patch_embed.parameters(), self.pos_embed]
        return embeddings if self.cls_token is None else [*embeddings, self.cls_token]

    def layer_depths(self) -> dict[nn.Parameter, int]:
        """Tell each parameter's depth, for layer-wise learning-rate decay.

        Returns:
            0 for patch and position embedding, i + 1 for block i, depth + 1 for the final norm
            (official ``layer_decay_optimizer_constructor.py``).
        """
        depths = dict.fromkeys(self._embeddings(), 0)
        for depth, block in enumerate(self.blocks, 1):
            depths.update(dict.fromkeys(block.parameters(), depth))
        depths.update(dict.fromkeys(self.last_norm.parameters(), len(self.blocks) + 1))
        return depths

    def _prepare_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict, *_: object
    ) -> None:
        """Translate, fit and copy the weights of any source; refuse what does not fit."""
        names = [name for name in state_dict if name.startswith(prefix)]
        given = {name[len(prefix) :]: state_dict.pop(name) for name in names}
        try:
            notes = notes_of(given, state_dict, local_metadata)
            weights = read_weights(given, notes, join=False)
            fitted = self._fit(weights)
        except CheckpointError as error:
            where = f' under {prefix!r}' if prefix else ''
            raise CheckpointError(
                f'the checkpoint does not fit {type(self).__name__}{where}: {error}'
            ) from error
        if weights.attention not in ('full', self.attention):
            print_log(
                f"the checkpoint was trained with attention '{weights.attention}', the model has "
                f"'{self.attention}'",
                'current',
            )
        # Of the file of a whole model the other parts are of no interest here.
        whole_model = any(name.startswith('backbone.') for name in given)
        for name, tensor in weights.unknown.items():
            if not whole_model or name.startswith('backbone.'):
                fitted[name.removeprefix('backbone.')] = tensor
        state_dict.update({prefix + name: tensor for name, tensor in fitted.items()})
        require_exact_match(self, state_dict, prefix)
        copy_weights(self, state_dict, prefix, local_metadata)

    def _fit(self, weights: Weights) -> dict[str, Tensor]:
        """Bring class token, experts, patches and positions of weights to this model's."""
        if self.cls_token is None:
            weights = weights.fold_class_token()
        elif 'cls_token' in weights.backbone and weights.class_token == 'fold':
            raise CheckpointError(
                'the class token is left over from pre-training and its position folded: use '
                "model.backbone.class_token='fold', not 'keep'"
            )
        self._check_num_heads(weights)
        if weights.experts and self.experts:
            # the model's own checkpoints need no expert to begin with
            if self.pretrained_expert is None or set(weights.experts) == set(self.experts):
                stored = match_names(weights.experts, self.experts, weights.stated)
            elif self.pretrained_expert in weights.experts:
                stored = {
                    name: name if name in weights.experts else self.pretrained_expert
                    for name in self.experts
                }
            else:
                raise CheckpointError(
                    f'the checkpoint holds experts for {list(weights.experts)}, none of them is '
                    f'{self.pretrained_expert!r} (model.backbone.pretrained_expert)'
                )
            order = [weights.experts.index(stored[name]) for name in self.experts]
            fitted = reorder_experts(weights.backbone, order)
        elif self.experts:
            fitted = spread_into_experts(weights.backbone, len(self.experts), self.part_features)
        else:
            advice = 'name one by model.backbone.pretrained_expert'
            fitted = dict(weights.merge_experts(self.pretrained_expert, advice).backbone)
        if 'patch_embed.proj.weight' in fitted:
            kernel = pad_kernel(fitted['patch_embed.proj.weight'], self.patch_embed.patch_size)
            fitted['patch_embed.proj.weight'] = kernel
        if 'pos_embed' in fitted:
            fitted['pos_embed'] = self._fit_positions(fitted['pos_embed'], weights.grid_hw)
        self._fit_tables(fitted)
        self._fit_knowledge(fitted)
        return fitted

    def _fit_tables(self, fitted: dict[str, Tensor]) -> None:
        """Resample tables of relative positions; where there are none, begin with zeros."""
        given = [name for name in fitted if name.endswith(TABLES)]
        even = [name for name in given if len(fitted[name]) % 2 == 0]
        if even:
            raise CheckpointError(
                f'{even[0]} must have 2 n - 1 rows, it has {len(fitted[even[0]])}'
            )
        # Not of the parameters, which wrappers rename and split.
        wanted = {
            f'blocks.{number}.attn.rel_pos_{side}': extent
            for number, attention in enumerate(self.attentions)
            if attention.relative_positions
            for side, extent in zip('hw', attention.window_hw or self.grid_hw)
        }
        if given and not wanted:
            raise CheckpointError(
                'the checkpoint has tables of relative positions: set '
                'model.backbone.relative_positions=True'
            )
        for name, extent in wanted.items():
            if name in given:
                fitted[name] = resize_table(fitted[name], extent)
            elif not given and 'pos_embed' in fitted:
                size = (2 * extent - 1, self.embed_dim // self.num_heads)
                fitted[name] = fitted['pos_embed'].new_zeros(size)

    def _fit_knowledge(self, fitted: dict[str, Tensor]) -> None:
        """Where there are no knowledge tokens, begin with the model's own."""
        given = {name for name in fitted if name.startswith('knowledge_')}
        if self.knowledge_tokens is None:
            if 'knowledge_tokens' in given:
                _, count, dim = fitted['knowledge_tokens'].shape
                and_dim = f' and knowledge_dim={dim}' if len(given) > 1 else ''
                raise CheckpointError(
                    'the checkpoint has knowledge tokens: set '
                    f'model.backbone.num_knowledge_tokens={count}{and_dim}'
                )
        elif not given and 'pos_embed' in fitted:
            print_log(
                'the checkpoint has no knowledge tokens: they are random until '
                'TokenDistillationHook fits or loads them',
                'current',
                logging.WARNING,
            )
            fitted['knowledge_tokens'] = self.knowledge_tokens.detach()
            if self.knowledge_proj is not None:
                fitted['knowledge_proj.weight'] = self.knowledge_proj.weight.detach()
                fitted['knowledge_proj.bias'] = self.knowledge_proj.bias.detach()

    def _fit_positions(self, loaded: Tensor, stated_hw: Optional[tuple[int, int]]) -> Tensor:
        # Some files say which grid they hold, others may need to be told.
        count = loaded.shape[1] - 1
        told = [hw for hw in (stated_hw, self.pretrained_grid_hw) if hw is not None]
        fitting = [hw for hw in told if hw[0] * hw[1] == count]
        if told and not fitting:
            who = 'the checkpoint says, and' if stated_hw else ''
            raise CheckpointError(
                f'{who} pretrained_grid_hw {told[-1]} does not fit the {count} positions of the '
                'checkpoint'
            )
        if fitting:
            source_hw = fitting[0]
        elif loaded.shape == self.pos_embed.shape:
            source_hw = self.grid_hw
        else:
            source_hw = infer_grid(count, self.grid_hw)
        if source_hw == self.grid_hw:
            return loaded
        grid = resize_positions(loaded[:, 1:], source_hw, self.grid_hw)
        return torch.cat([loaded[:, :1], grid], 1)

    def _check_num_heads(self, weights: Weights) -> None:
        if weights.num_heads not in (None, self.num_heads):
            raise CheckpointError(
                f'the checkpoint has {weights.num_heads} attention heads, model.backbone.arch has '
                f'{self.num_heads}'
            )
        if weights.source == 'timm' and self.embed_dim == 384 and self.num_heads == 12:
            print_log(
                "DeiT-S and timm's models of width 384 have 6 attention heads, 'small' has 12, and "
                'the weights fit both: if the checkpoint is one of them, use arch=dict(embed_dim='
                '384, depth=12, num_heads=6)',
                'current',
                logging.WARNING,
            )


def _note(vit: ViT, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    notes: dict[str, object] = dict(grid_hw=vit.grid_hw, num_heads=vit.num_heads)
    if vit.experts:
        notes['experts'] = list(vit.experts)
    if vit.cls_token is not None:
        notes['class_token'] = 'keep'
    padding = vit.patch_embed.proj.padding[0]
    if vit.ratio != 1:
        notes['ratio'] = vit.ratio
    if padding != USUAL_PADDING:
        notes['patch_padding'] = padding
    if vit.attention != 'full':
        notes['attention'] = vit.attention
    local_metadata.update(notes)
    note_with(state_dict.get(prefix + 'pos_embed'), notes)


def _resolve_arch(arch: Union[str, dict]) -> dict:
    if isinstance(arch, str):
        arch = ARCHITECTURES.get(arch, arch)
    if not isinstance(arch, dict):
        raise ValueError(f'arch must be one of {list(ARCHITECTURES)} or a dict, got {arch!r}')
    arch = {'mlp_ratio': 4.0, **arch}
    expected = {'embed_dim', 'depth', 'num_heads', 'mlp_ratio'}
    if set(arch) != expected:
        raise ValueError(f'arch as a dict must have the keys {sorted(expected)}, got {arch}')
    for name, value in arch.items():
        allowed = Real if name == 'mlp_ratio' else Integral
        if not isinstance(value, allowed) or isinstance(value, bool) or value <= 0:
            kind = 'number' if name == 'mlp_ratio' else 'whole number'
            raise ValueError(f'{name} in arch must be a positive {kind}, got {value!r}')
    return arch


def _require_hw(name: str, value: object) -> tuple[int, int]:
    if not (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(side, Integral) for side in value)
    ):
        raise ValueError(f'{name} must be two whole numbers (height, width), got {value!r}')
    return tuple(value)


def _require_count(name: str, value: object, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f'{name} must be a whole number from {least}, got {value!r}')
    return value
