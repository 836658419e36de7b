from numbers import Integral, Real
from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitpose_mm.checkpoints import require_exact_match

from ..layers import Block, PatchEmbedding, infer_grid, resize_positions

# The paper's giant is ViTAE-G, whose dimensions and weights are not published; this one is
# ViT-g/14 of arXiv 2106.04560, of the same size (1.0 B parameters).
ARCHITECTURES = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=12),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
    'huge': dict(embed_dim=1280, depth=32, num_heads=16),
    'giant': dict(embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11),
}


@MODELS.register_module()
class ViT(BaseModule):
    """The plain vision transformer of ViTPose (arXiv 2204.12484, section 3.1).

    Parameters bear the names of the official code (``mmpose/models/backbones/vit.py``), so that its
    checkpoints load as they are.

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
        activation_checkpointing: Recompute each block in the backward pass instead of storing what
            it needs.
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
        activation_checkpointing: bool = False,
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
        self.embed_dim = arch['embed_dim']
        self.activation_checkpointing = activation_checkpointing
        if pretrained_grid_hw is not None:
            pretrained_grid_hw = _require_hw('pretrained_grid_hw', pretrained_grid_hw)
        self.pretrained_grid_hw = pretrained_grid_hw

        self.patch_embed = PatchEmbedding(self.embed_dim, patch_size, ratio, patch_padding)
        self.grid_hw = self.patch_embed.grid_hw(_require_hw('img_size', img_size))
        # The first position belongs to a class token that ViTPose does not have.
        num_positions = 1 + self.grid_hw[0] * self.grid_hw[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_positions, self.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        rates = torch.linspace(0, drop_path_rate, arch['depth'], device='cpu').tolist()
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dim,
                arch['num_heads'],
                round(self.embed_dim * arch['mlp_ratio']),
                qkv_bias,
                rate,
            )
            for rate in rates
        )
        self.last_norm = nn.LayerNorm(self.embed_dim, eps=1e-6)
        self._register_load_state_dict_pre_hook(self._prepare_state_dict)
        self._register_state_dict_hook(_note_grid)

    def embed_patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to patch tokens (B, N, C), row by row, and their (rows, columns).

        Raises:
            ValueError: H or W is not a multiple of the patch size.
        """
        grid_hw = self.patch_embed.grid_hw(tuple(images.shape[-2:]))
        return self.patch_embed(images), grid_hw

    def add_positions(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Add to each patch token its position and the class token's, as the official code does."""
        positions = resize_positions(self.pos_embed[:, 1:], self.grid_hw, grid_hw)
        return tokens + positions + self.pos_embed[:, :1]

    def encode(self, tokens: Tensor) -> Tensor:
        """Run tokens (B, N, C) through all blocks and the final norm."""
        for block in self.blocks:
            if self.activation_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return self.last_norm(tokens)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Extract features.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            One feature map (B, C, H / stride, W / stride), in a tuple as mmpose expects it. It is a
            view of the tokens, channels last in memory, which convolutions like best.

        Raises:
            ValueError: H or W is not a multiple of the patch size.
        """
        tokens, grid_hw = self.embed_patches(images)
        tokens = self.encode(self.add_positions(tokens, grid_hw))
        return (tokens.transpose(1, 2).unflatten(2, grid_hw),)

    def layer_depths(self) -> dict[nn.Parameter, int]:
        """Tell each parameter's depth, for layer-wise learning-rate decay.

        Returns:
            0 for patch and position embedding, i + 1 for block i, depth + 1 for the final norm
            (official ``layer_decay_optimizer_constructor.py``).
        """
        depths = dict.fromkeys((*self.patch_embed.parameters(), self.pos_embed), 0)
        for index, block in enumerate(self.blocks):
            depths.update(dict.fromkeys(block.parameters(), index + 1))
        depths.update(dict.fromkeys(self.last_norm.parameters(), len(self.blocks) + 1))
        return depths

    def _prepare_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict, *_: object
    ) -> None:
        """Resize loaded positions to this model's grid and refuse what does not fit."""
        key = prefix + 'pos_embed'
        loaded = state_dict.get(key)
        if loaded is not None:
            # Our own files say which grid they hold, others may need to be told.
            source_hw = local_metadata.get('grid_hw') or self.pretrained_grid_hw
            if source_hw is None and loaded.shape[1] == self.pos_embed.shape[1]:
                source_hw = self.grid_hw
            elif source_hw is None:
                source_hw = infer_grid(loaded.shape[1] - 1, self.grid_hw)
            if source_hw[0] * source_hw[1] != loaded.shape[1] - 1:
                raise ValueError(
                    f'pretrained_grid_hw {source_hw} does not fit the {loaded.shape[1] - 1} '
                    f'positions of the checkpoint'
                )
            grid = resize_positions(loaded[:, 1:], source_hw, self.grid_hw)
            state_dict[key] = torch.cat([loaded[:, :1], grid], 1)
        require_exact_match(self, state_dict, prefix)


def _note_grid(vit: ViT, _: dict, __: str, local_metadata: dict) -> None:
    local_metadata['grid_hw'] = vit.grid_hw


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
