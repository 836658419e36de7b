"""Steps of MAE pre-training: only visible patches go through the encoder, or all.

    python benchmarks/mae.py --threads 2 --out benchmarks/results/mae

One side puts a mask token in place of each hidden patch before the encoder, as BEiT and SimMIM do.
Before the steps are timed, an encoder that sees all patches but lets nobody attend to hidden ones
must give ours' loss and gradients.
"""

import torch
from common import OURS, Report, parse_arguments, require_agreement
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose_mm.models import MAE
from vitpose_mm.models.layers import Attention
from vitpose_mm.models.pretrainers import random_masking

ALL = 'all patches encoded'
INPUT_HW = (256, 192)


class MAEOfAllPatches(MAE):
    """Encodes hidden patches, too: as mask tokens; or as they are, but attended to by none."""

    def __init__(self, masked_attention: bool, **options: object) -> None:
        super().__init__(**options)
        self.masked_attention = masked_attention
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.backbone.embed_dim))
        if masked_attention:
            for block in self.backbone.blocks:
                block.attn = AttentionToSome(block.attn)

    def encode_visible(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens, grid_hw = self.backbone.embed_patches(images)
        visible_ids, mask, restore_ids = random_masking(noise, self.num_visible)
        is_hidden = mask[:, :, None].bool()
        if not self.masked_attention:
            tokens = torch.where(is_hidden, self.mask_token, tokens)
        tokens = self.backbone.add_positions(tokens, grid_hw)
        is_seen = F.pad(mask == 0, (1, 0), value=True)[:, None, None]  # and the class token
        for block in self.backbone.blocks:
            block.attn.is_seen = is_seen
        tokens = self.backbone.encode(tokens)
        picked = F.pad(visible_ids + 1, (1, 0))[:, :, None].expand(-1, -1, tokens.shape[-1])
        return tokens.gather(1, picked), mask, restore_ids


class AttentionToSome(nn.Module):
    """``Attention`` whose keys are those of ``is_seen`` (B, 1, 1, N) alone."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.num_heads = attention.num_heads

    def forward(self, x: Tensor, grouping: None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=self.is_seen)
        return self.proj(x.transpose(1, 2).flatten(2))


def step(model: MAE, images: Tensor, noise: Tensor) -> Tensor:
    """Forward and backward; the loss."""
    model.zero_grad()
    loss = model.loss(images, noise)['loss_pixels']
    loss.backward()
    return loss.detach()


def check_agreement(ours: MAE, options: dict, images: Tensor, noise: Tensor) -> str:
    peer = MAEOfAllPatches(masked_attention=True, **options)
    peer.load_state_dict(ours.state_dict(), strict=False)
    losses = step(ours, images, noise), step(peer, images, noise)
    said = require_agreement(*losses, 1e-5, 'losses')
    kernels = [m.backbone.blocks[0].mlp.fc1.weight.grad for m in (ours, peer)]
    difference = (kernels[0] - kernels[1]).abs().max() / kernels[0].abs().max()
    if not difference <= 1e-3:
        raise SystemExit(f'gradients differ by {difference:.3g} of the largest')
    return f'loss: {said}; gradient of block 0: {difference:.1e} of the largest'


def compare(report: Report, arch: str, batch_size: int, rounds: int) -> None:
    options = dict(backbone=dict(type='ViT', arch=arch, img_size=INPUT_HW))
    torch.manual_seed(0)
    ours = MODELS.build(dict(type='MAE', **options))
    peer = MAEOfAllPatches(masked_attention=False, **options)
    images = torch.randn(batch_size, 3, *INPUT_HW)
    noise = torch.rand(batch_size, INPUT_HW[0] * INPUT_HW[1] // 256)
    report.agreement[arch] = check_agreement(ours, options, images[:2], noise[:2])
    report.alternate(
        f'{arch}, decoder of 8 blocks of 512 channels, batch {batch_size}',
        {OURS: lambda: step(ours, images, noise), ALL: lambda: step(peer, images, noise)},
        rounds,
        warm_up=1,
        per=batch_size,
    )


def main() -> None:
    arguments = parse_arguments(
        __doc__.splitlines()[0],
        rounds=7,
        add_options=lambda parser: [
            parser.add_argument('--archs', nargs='+', default=['tiny', 'small', 'base']),
            parser.add_argument('--batch-size', type=int, default=8),
        ],
    )
    report = Report('A step of MAE pre-training, forward and backward', {})
    for arch in arguments.archs:
        compare(report, arch, arguments.batch_size, arguments.rounds)
    report.finish(
        arguments.out,
        threads=arguments.threads,
        input='256x192, 192 patches, 48 visible',
        batch_size=arguments.batch_size,
    )


if __name__ == '__main__':
    main()
