"""What a checkpoint is."""

import os
from pathlib import Path
from typing import Any, Optional, Union

from vitpose_mm.architectures import ARCHITECTURES
from vitpose_mm.files import file_sha256

from .errors import CheckpointError
from .loading import load_file, state_dict_of
from .reading import read_weights
from .weights import TABLES, Weights, decoder_of, num_keypoints

PARAMETERS = ('weight', 'bias', 'pos_embed', 'cls_token', *TABLES)
META_KEYS = (
    'epoch',
    'iter',
    'seed',
    'time',
    'experiment_name',
    'mmengine_version',
    'mmcv_version',
    'mmpose_version',
)


def inspect_file(path: Union[str, Path]) -> dict[str, Any]:
    """Tell what a checkpoint of any known source is, without executing anything in it.

    Returns:
        Plain values: ``source``, ``arch``, ``decoder``, ``input_hw`` (px; at one token per patch
        where the file says nothing else), ``heads`` ({data set: keypoints}), ``experts``,
        ``class_token`` ('keep' in the sequence, or left over and to 'fold'), ``training``,
        ``sha256`` (of each file), what has no place in a model (``dropped``, {reason: names}), and
        ``problem``, a sentence if the checkpoint is incomplete.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read or is in no known format.
    """
    path = os.path.expanduser(str(path))
    content = load_file(path, mapped=True)
    try:
        weights = read_weights(state_dict_of(content) or {})
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error
    problem = None
    try:
        weights.require_complete()
    except CheckpointError as error:
        problem = str(error)
    parameters = [
        tensor
        for group in (weights.backbone, *weights.heads.values())
        for name, tensor in group.items()
        if name.endswith(PARAMETERS)
    ]
    return dict(
        path=path,
        source=weights.source,
        arch=_describe_arch(weights),
        decoder={name: decoder_of(head) for name, head in weights.heads.items()},
        input_hw=_input_hw(weights),
        heads={name: num_keypoints(head) for name, head in weights.heads.items()},
        named_by='the file' if weights.stated else 'the official order of data sets',
        experts=list(weights.experts),
        class_token=weights.class_token if 'cls_token' in weights.backbone else None,
        parameters=sum(tensor.numel() for tensor in parameters),
        dtypes=sorted({str(tensor.dtype).removeprefix('torch.') for tensor in parameters}),
        dropped=_by_reason(weights.dropped),
        training=_training(content),
        problem=problem,
        sha256=_sha256(path),
    )


def _describe_arch(weights: Weights) -> dict[str, Any]:
    backbone = weights.backbone
    blocks = {name.split('.')[1] for name in backbone if name.startswith('blocks.')}
    patches = backbone.get('patch_embed.proj.weight')
    dim = None if patches is None else len(patches)
    hidden = backbone.get('blocks.0.mlp.fc1.weight')
    names = [
        name
        for name, arch in ARCHITECTURES.items()
        if (arch['embed_dim'], arch['depth']) == (dim, len(blocks))
    ]
    return dict(
        name=names[0] if names else 'unnamed',
        embed_dim=dim,
        depth=len(blocks),
        num_heads=weights.num_heads or 'not told by the file',
        mlp_ratio=None if hidden is None or dim is None else len(hidden) / dim,
        patch_size=None if patches is None else patches.shape[-1],
        attention=weights.attention,
        relative_positions=any(name.endswith(TABLES) for name in backbone),
    )


def _input_hw(weights: Weights) -> Optional[list[int]]:
    try:
        return list(weights.input_hw())
    except (KeyError, CheckpointError):  # incomplete, or an unusual grid
        return None


def _by_reason(dropped: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in dropped.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def _training(content: dict) -> dict[str, Any]:
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    training = {key: meta[key] for key in META_KEYS if isinstance(meta.get(key), (str, int, float))}
    dataset_meta = meta.get('dataset_meta')
    if isinstance(dataset_meta, dict) and 'dataset_name' in dataset_meta:
        training['dataset_name'] = str(dataset_meta['dataset_name'])
    training['optimizer'] = 'optimizer' in content
    return training


def _sha256(path: str) -> dict[str, str]:
    files = [path]
    if os.path.isdir(path):
        files = sorted(os.path.join(path, name) for name in os.listdir(path))
        files = [name for name in files if name.endswith(('.safetensors', '.bin'))]
    return {os.path.basename(name): file_sha256(name) for name in files}
