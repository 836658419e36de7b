"""Weights of other projects under this project's names."""

import io
import re
from pathlib import Path
from typing import Union

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


def convert_timm(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a ``VisionTransformer`` of timm, or a DeiT, into the backbone of a ViTPose.

    The class token and the classifier are dropped. A ViTPose adds the class token's position to
    every patch (official ``vit.py``), timm does not: it becomes zero, so that patches keep the
    positions that they were trained with. The grid of positions stays as it is; ``ViT`` resizes it
    to its own when it loads the file.

    Returns:
        Tensors under the names of a pose estimator, ``backbone.*``.

    Raises:
        CheckpointError: Names that do not belong to such a model, or no class token.
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
    if 'cls_token' not in state_dict or 'pos_embed' not in state_dict:
        raise CheckpointError('a timm or DeiT encoder has cls_token and pos_embed')
    positions = converted['backbone.pos_embed'].clone()
    positions[:, 0] = 0
    converted['backbone.pos_embed'] = positions
    return converted


def convert_file(source: Union[str, Path], target: Union[str, Path]) -> None:
    """Read a timm or DeiT encoder, ``.pth`` or ``.npz``, and write it as ours, whole or not at all.

    Raises:
        FileNotFoundError: There is no such source.
        CheckpointError: The source cannot be read, or is something else.
    """
    content = load_file(str(source))
    for wrapper in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f'{source} holds no state dict of tensors')
    buffer = io.BytesIO()
    torch.save(dict(state_dict=convert_timm(content)), buffer)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    AtomicLocalBackend().put(buffer.getvalue(), target)
