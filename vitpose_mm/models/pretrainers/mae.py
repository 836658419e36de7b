from numbers import Integral, Real
from typing import Optional, Union

import torch
from mmengine.model import BaseModel
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from vitpose_mm.checkpoints import require_exact_match

from ..backbones import ViT
from ..layers import Block
from .masking import (
    normalise_patches,
    patchify,
    random_masking,
    restore_order,
    sine_positions,
    unpatchify,
)


@MODELS.register_module()
class MAE(BaseModel):
    """Masked autoencoder (arXiv 2111.06377), which pre-trains a ``ViT`` on images alone.

    A share of each image's patches is hidden. The encoder sees the visible ones only, which makes
    it fast; a light decoder paints the hidden ones. The loss is their mean squared error.

    Its checkpoints, and MAE's own, are a start for pose estimation as they are
    (``model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE)``), and both go on being
    pre-trained from (``load_from``).

    Args:
        backbone: Config of the ``ViT``. By default it has MAE's class token in its sequence and no
            padding around images (``class_token='keep'``, ``patch_padding=0``), and begins with
            MAE's initial weights; its positions are sines, which are not learned.
        decoder_dim: Number of channels in the decoder.
        decoder_depth: Its number of blocks.
        decoder_num_heads: Their number of attention heads.
        mask_ratio: Share of the patches that are hidden.
        norm_pix_loss: Whether the decoder paints each patch normalised by its own mean and
            variance (section 4.1), which gives better features.
        data_preprocessor: See mmengine's ``BaseModel``.

    Raises:
        ValueError: ``mask_ratio`` hides nothing or everything; or the backbone has experts, windows
            or relative positions, padding around images or overlapping patches.
    """

    def __init__(
        self,
        backbone: dict,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        data_preprocessor: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor)
        defaults = dict(type='ViT', class_token='keep', patch_padding=0, init_cfg=[])
        self.backbone: ViT = MODELS.build({**defaults, **backbone})
        _require_plain(self.backbone)
        grid_hw = self.backbone.grid_hw
        num_patches = grid_hw[0] * grid_hw[1]
        is_share = isinstance(mask_ratio, Real) and 0 < mask_ratio < 1  # false for NaN and bool
        # as the official code rounds
        self.num_visible = int(num_patches * (1 - mask_ratio)) if is_share else 0
        if not 0 < self.num_visible < num_patches:
            raise ValueError(
                'mask_ratio must be between 0 and 1 and leave at least one patch visible and one '
                f'hidden, got {mask_ratio!r} of {num_patches} patches; 0.75 is usual'
            )
        if not isinstance(norm_pix_loss, bool):
            raise ValueError(f'norm_pix_loss must be True or False, got {norm_pix_loss!r}')
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        self.patch_size = self.backbone.patch_embed.patch_size
        self.decoder = MAEDecoder(
            self.backbone.embed_dim,
            grid_hw,
            3 * self.patch_size**2,
            decoder_dim,
            decoder_depth,
            decoder_num_heads,
            self.backbone.cls_token is not None,
        )
        self.backbone.pos_embed.requires_grad = False
        _set_initial_values(self)
        self._register_load_state_dict_pre_hook(self._prepare_state_dict)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[list[PoseDataSample]] = None,
        mode: str = 'tensor',
    ) -> Union[dict[str, Tensor], Tensor, tuple[Tensor, Tensor]]:
        """Run what mmengine's runner asks for.

        Args:
            inputs: Images (B, 3, H, W), normalised, of the backbone's ``img_size``.
            data_samples: Not used.
            mode: 'loss', see :meth:`loss`; 'predict', see :meth:`reconstruct`; or 'tensor' for the
                decoder's patches alone.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return self.reconstruct(inputs)
        if mode == 'tensor':
            latent, _, restore_ids = self.encode_visible(inputs)
            return self.decoder(latent, restore_ids)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def encode_visible(
        self, images: Tensor, noise: Optional[Tensor] = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode the patches that are not hidden.

        Args:
            images: (B, 3, H, W), normalised.
            noise: A number for each patch (B, N), row by row; those of least noise stay visible.
                Random by default.

        Returns:
            Their tokens, after the class token where it is kept, (B, 1 + visible, C); the mask
            (B, N), 1 for hidden patches; and ``restore_ids`` (B, N) for the decoder.

        Raises:
            ValueError: The images are not of the backbone's ``img_size``.
        """
        tokens, grid_hw = self.backbone.embed_patches(images)
        if grid_hw != self.backbone.grid_hw:
            raise ValueError(
                f'model.backbone.img_size gives {self.backbone.grid_hw} patches, images of '
                f'{tuple(images.shape[2:])} px give {grid_hw}: crop them to img_size'
            )
        tokens = self.backbone.add_positions(tokens, grid_hw)
        if noise is None:
            noise = torch.rand(tokens.shape[:2], device=tokens.device)
        visible_ids, mask, restore_ids = random_masking(noise, self.num_visible)
        visible_ids = visible_ids[:, :, None].expand(-1, -1, tokens.shape[-1])
        return self.backbone.encode(tokens.gather(1, visible_ids)), mask, restore_ids

    def loss(self, inputs: Tensor, noise: Optional[Tensor] = None) -> dict[str, Tensor]:
        """Mean squared error of the hidden patches, ``loss_pixels``.

        Args:
            inputs: Images (B, 3, H, W), normalised.
            noise: See :meth:`encode_visible`.
        """
        latent, mask, restore_ids = self.encode_visible(inputs, noise)
        predicted = self.decoder(latent, restore_ids)
        target = patchify(inputs, self.patch_size)
        if self.norm_pix_loss:
            target, _, _ = normalise_patches(target)
        errors = (predicted - target).square().mean(-1)  # (B, N)
        return dict(loss_pixels=(errors * mask).sum() / mask.sum())

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, noise: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        """Paint the hidden patches.

        With ``norm_pix_loss`` they get the mean and variance of the true ones, which the decoder
        does not know.

        Args:
            inputs: Images (B, 3, H, W), normalised.
            noise: See :meth:`encode_visible`.

        Returns:
            The images with hidden patches painted, (B, 3, H, W), normalised; and which pixels are
            of hidden patches, (B, 1, H, W), bool.
        """
        latent, mask, restore_ids = self.encode_visible(inputs, noise)
        predicted = self.decoder(latent, restore_ids).float()
        target = patchify(inputs, self.patch_size)
        if self.norm_pix_loss:
            _, mean, deviation = normalise_patches(target)
            predicted = predicted * deviation + mean
        is_hidden = mask[:, :, None].bool()
        painted = torch.where(is_hidden, predicted, target)
        grid_hw = self.backbone.grid_hw
        hidden = is_hidden.expand(-1, -1, self.patch_size**2)
        return (
            unpatchify(painted, grid_hw, self.patch_size),
            unpatchify(hidden, grid_hw, self.patch_size),
        )

    def _prepare_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
        """Take MAE's own files, too; the backbone fits its own part."""
        names = [name for name in state_dict if name.startswith(prefix)]
        if not any(name.startswith(f'{prefix}backbone.') for name in names):
            for name in names:
                inner = name[len(prefix) :]
                if inner.startswith('decoder_'):
                    inner = inner.replace('decoder_', 'decoder.', 1)
                elif inner == 'mask_token':
                    inner = 'decoder.mask_token'
                elif not inner.startswith('data_preprocessor.'):
                    inner = f'backbone.{inner}'
                state_dict[prefix + inner] = state_dict.pop(name)
        require_exact_match(self.decoder, state_dict, f'{prefix}decoder.', ENCODER_ALONE)


ENCODER_ALONE = (
    'To start from an encoder alone, drop load_from and set model.backbone.init_cfg='
    "dict(type='Pretrained', checkpoint=FILE)"
)


class MAEDecoder(nn.Module):
    """Transformer that paints hidden patches; it is not needed after pre-training.

    Args:
        in_dim: Number of channels C of the encoder's tokens.
        grid_hw: Rows and columns of patches.
        out_dim: Numbers in a patch, D.
        dim: Number of its own channels.
        depth: Number of blocks.
        num_heads: Number of their attention heads.
        class_token: Whether the encoder's first token is the class token.
    """

    def __init__(
        self,
        in_dim: int,
        grid_hw: tuple[int, int],
        out_dim: int,
        dim: int,
        depth: int,
        num_heads: int,
        class_token: bool,
    ) -> None:
        super().__init__()
        for name, value in (('dim', dim), ('depth', depth), ('num_heads', num_heads)):
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f'decoder_{name} must be a positive whole number, got {value!r}')
        if dim % 4 or dim % num_heads:
            raise ValueError(
                'decoder_dim must be a multiple of decoder_num_heads and, for its positions, of 4, '
                f'got {dim} and {num_heads}'
            )
        self.class_token = class_token
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        positions = sine_positions(grid_hw, dim)
        # on the default device, which may be meta
        self.register_buffer('pos_embed', torch.zeros(positions.shape).copy_(positions))
        self.blocks = nn.ModuleList(Block(dim, num_heads, 4 * dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pred = nn.Linear(dim, out_dim)

    def forward(self, latent: Tensor, restore_ids: Tensor) -> Tensor:
        """Paint patches.

        Args:
            latent: Tokens of the visible patches, after the class token where it is kept,
                (B, 1 + visible, C).
            restore_ids: (B, N), see :func:`random_masking`.

        Returns:
            Patches (B, N, D), row by row.
        """
        x = self.embed(latent)
        class_token, x = x.split([int(self.class_token), x.shape[1] - self.class_token], 1)
        num_hidden = restore_ids.shape[1] - x.shape[1]
        hidden = self.mask_token.to(x.dtype).expand(len(x), num_hidden, -1)
        x = restore_order(torch.cat([x, hidden], 1), restore_ids)
        x = torch.cat([class_token, x], 1)
        x = x + (self.pos_embed if self.class_token else self.pos_embed[:, 1:])
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))[:, int(self.class_token) :]


def _require_plain(vit: ViT) -> None:
    if not isinstance(vit, ViT):
        raise ValueError(f"model.backbone must be of type='ViT', got {type(vit).__name__}")
    if vit.experts:
        raise ValueError(
            f'pre-training knows no data sets, but model.backbone.experts are {list(vit.experts)}: '
            'leave them out; when pose training starts, what was learned goes into each expert'
        )
    if any(attention.needs_map for attention in vit.attentions):
        raise ValueError(
            'windows and relative positions need all patches of an image, of which MAE hides most: '
            f"model.backbone.attention must be 'full', got '{vit.attention}'. Pose training may "
            'choose others, the weights are the same'
        )
    padding = vit.patch_embed.proj.padding[0]
    if vit.ratio != 1 or padding:
        raise ValueError(
            'MAE paints the patches that the encoder sees: model.backbone.ratio must be 1 and '
            f'patch_padding 0, got {vit.ratio} and {padding}. Pose training may choose others, the '
            'weights are the same'
        )


@torch.no_grad()
def _set_initial_values(model: MAE) -> None:
    """MAE's initial weights (official ``initialize_weights``)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias) if module.bias is not None else None
    vit = model.backbone
    # a linear layer in effect
    nn.init.xavier_uniform_(vit.patch_embed.proj.weight.flatten(1))
    vit.pos_embed.copy_(sine_positions(vit.grid_hw, vit.embed_dim))
    nn.init.normal_(model.decoder.mask_token, std=0.02)
    if vit.cls_token is not None:
        nn.init.normal_(vit.cls_token, std=0.02)
