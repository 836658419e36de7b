"""Weights of other projects under this project's names."""

import io
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Optional, Union

import torch
from torch import Tensor

from .checkpoints import CheckpointError, load_file, shorten
from .engine import AtomicLocalBackend

# Patterns of timm's and DeiT's names; ours, or None for what a ViTPose has no place for:
# the class token, which ViTPose's sequence lacks, and the ImageNet classifier.
TIMM = (
    (r'cls_token', None),
    (r'head\.(?:weight|bias)', None),
    (r'pos_embed', 'pos_embed'),
    (r'(patch_embed\.proj\.(?:weight|bias))', r'\1'),
    (r'(blocks\.\d+\.norm[12]\.(?:weight|bias))', r'\1'),
    (r'(blocks\.\d+\.attn\.(?:qkv|proj)\.(?:weight|bias))', r'\1'),
    (r'(blocks\.\d+\.mlp\.fc[12]\.(?:weight|bias))', r'\1'),
    (r'norm\.(weight|bias)', r'last_norm.\1'),
)
BLOCK_MODULES = ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')


def convert_timm(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a ``VisionTransformer`` of timm, or a DeiT, into the backbone of a ViTPose.

    The class token and the classifier are dropped. A ViTPose adds the class token's position to
    every patch (official ``vit.py``), timm does not: it becomes zero, so that patches keep the
    positions that they were trained with. The grid of positions stays as it is; ``ViT`` resizes it
    to its own when it loads the file.

    How many heads the attention has is not to be seen from the weights: see
    :func:`advice_on_heads`.

    Returns:
        Tensors under the names of a pose estimator, ``backbone.*``.

    Raises:
        CheckpointError: Names that do not belong to such a model, or names that are missing; no
            position of the class token.
    """
    converted, unknown = {}, []
    for name, tensor in state_dict.items():
        for pattern, replacement in TIMM:
            match = re.fullmatch(pattern, name)
            if match:
                if replacement is not None:
                    converted['backbone.' + match.expand(replacement)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise CheckpointError(f'these names are not of a timm or DeiT encoder: {shorten(unknown)}')
    missing = sorted(expected_names(converted) - converted.keys())
    if 'cls_token' not in state_dict:
        missing.append('cls_token')
    if missing:
        raise CheckpointError(f'of a timm or DeiT encoder is missing: {shorten(missing)}')
    num_positions = converted['backbone.pos_embed'].shape[1]
    if math.isqrt(num_positions) ** 2 == num_positions > 1:
        raise CheckpointError(
            f'pos_embed has {num_positions} positions, those of a square of patches without one of '
            "the class token (timm's no_embed_class), which is not supported"
        )
    positions = converted['backbone.pos_embed'].clone()
    positions[:, 0] = 0
    converted['backbone.pos_embed'] = positions
    return converted


def expected_names(converted: Iterable[str]) -> set[str]:
    """All names of a backbone of as many blocks as there are names of."""
    matches = [re.match(r'backbone\.blocks\.(\d+)\.', name) for name in converted]
    depth = max((int(match[1]) + 1 for match in matches if match), default=1)
    modules = ['patch_embed.proj', 'last_norm']
    for index in range(depth):
        modules += [f'blocks.{index}.{module}' for module in BLOCK_MODULES]
    names = {f'backbone.{module}.{kind}' for module in modules for kind in ('weight', 'bias')}
    return names | {'backbone.pos_embed'}


def advice_on_heads(converted: dict[str, Tensor]) -> Optional[str]:
    """What to do where timm and ViTPose give models of the same width other numbers of heads."""
    if converted['backbone.pos_embed'].shape[-1] != 384:
        return None
    return (
        "timm's and DeiT's models of width 384 have 6 heads, ViTPose-S has 12, and the weights fit "
        "both: use model.backbone.arch=dict(embed_dim=384, depth=12, num_heads=6), not 'small'."
    )


def convert_file(source: Union[str, Path], target: Union[str, Path]) -> dict[str, Tensor]:
    """Read a timm or DeiT encoder, ``.pth`` or ``.npz``, and write it as ours, whole or not at all.

    Returns:
        What :func:`convert_timm` made of it.

    Raises:
        FileNotFoundError: There is no such source.
        CheckpointError: The source cannot be read, or is something else.
    """
    content = load_file(str(source))
    for wrapper in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    is_state_dict = isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not is_state_dict:
        raise CheckpointError(f'{source} holds no state dict of tensors')
    buffer = io.BytesIO()
    converted = convert_timm(content)
    torch.save(dict(state_dict=converted), buffer)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    AtomicLocalBackend().put(buffer.getvalue(), target)
    return converted
