"""Weights written so that others' code opens them."""

import errno
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional, Union

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vitpose_mm.architectures import ARCHITECTURES
from vitpose_mm.files import written_whole

from .errors import CheckpointError
from .experts import require_names
from .loading import STATE_DICT_WRAPPERS, load_file, state_dict_of
from .notes import note
from .reading import read_weights
from .sources import SOURCES
from .weights import Weights, decoder_of, num_blocks, num_keypoints

TARGETS = ('vitpose_mm', 'official', 'mmpose', 'huggingface', 'mae')
NAME_DATASET = 'choose one by --dataset NAME (dataset=NAME in Python)'
MERGE_EXPERTS = 'merge one by --dataset NAME --merge-experts (merge_experts=True in Python)'


def convert_file(
    source: Union[str, Path],
    target: Union[str, Path],
    to: str = 'vitpose_mm',
    dataset: Optional[str] = None,
    merge_experts: bool = False,
    spread_experts: Optional[Sequence[str]] = None,
    part_features: Optional[int] = None,
    num_heads: Optional[int] = None,
) -> Weights:
    """Convert a checkpoint of any known source, and write it whole or not at all.

    Args:
        source: See :func:`load_file`.
        target: A ``.pth`` or ``.safetensors`` file, which is replaced, through links; for
            'huggingface' a folder that does not exist yet or is empty.
        to: One of ``TARGETS``. For 'mae' the source is an encoder with its class token. For others
            patches of 14 px of an encoder, without a head, are padded with zeros to 16 px.
        dataset: The only data set whose head to keep.
        merge_experts: Merge the expert of ``dataset``, which makes a plain ViT.
        spread_experts: Data sets of experts to make, all alike, of a plain ViT.
        part_features: Outputs that are these experts'; by default a quarter of the width.
        num_heads: Attention heads, which transformers must be told; by default those of the file,
            where it says so, or of the architecture of that width.

    Returns:
        What was written; its ``dropped`` tells what was not, and why.

    Raises:
        FileNotFoundError: There is no such source.
        CheckpointError: The source cannot be read, is in no known format or incomplete, or the
            target has no place for something in it.
        ValueError: An argument is not what it should be.
        OSError: The target cannot be written.
    """
    if to not in TARGETS:
        raise ValueError(f'to must be one of {TARGETS}, got {to!r}')
    if dataset is not None:
        (dataset,) = require_names('dataset', [dataset])
    source = os.path.realpath(os.path.expanduser(source))
    target = os.path.realpath(os.path.expanduser(target))
    if to == 'huggingface':
        if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
            raise CheckpointError(f'{target} exists; transformers needs a new folder')
    elif not target.endswith(('.pth', '.safetensors')):
        raise CheckpointError(f'{target} must end with .pth or .safetensors')
    content = load_file(source, mapped=True)
    stored = state_dict_of(content)
    try:
        weights = read_weights(stored or {})
        weights.require_complete()
        count_of_heads = len(weights.heads)
        if dataset is not None:
            weights = replace(weights.only_head(dataset, NAME_DATASET), stated=True)
        if merge_experts:
            weights = weights.merge_experts(dataset, NAME_DATASET)
        if spread_experts is not None:
            weights = weights.spread_into_experts(spread_experts, part_features)
        if to != 'mae' and not weights.heads:
            weights = weights.pad_patches()
        if to not in ('vitpose_mm', 'mae'):
            weights = weights.fold_class_token()
        state_dict = state_dict_for(weights, to)
        if source == target and 'optimizer' in content:
            raise CheckpointError("the training's state would be lost, choose another target")
        if stored is not content:
            others = content.keys() - {*STATE_DICT_WRAPPERS, 'meta'}
            weights.dropped.update(dict.fromkeys(sorted(map(str, others)), 'not weights'))
        meta = _meta_to_keep(content, len(weights.heads) == count_of_heads)
        if to == 'huggingface':
            _write_folder(target, state_dict, weights, meta, num_heads)
        else:
            _write_file(target, state_dict, meta, 'model' if to == 'mae' else 'state_dict')
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from error
    return weights


def state_dict_for(weights: Weights, to: str) -> 'OrderedDict[str, Tensor]':
    """Give weights the names of one of ``TARGETS``, with what these do not tell attached.

    Raises:
        CheckpointError: The target has no place for several heads, experts, a decoder, ...
    """
    target = SOURCES[to]
    _require_place(weights, to)
    state_dict: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in weights.backbone.items():
        if name == 'pos_embed' and to == 'mmpose':
            # mmpretrain has no position of a class token that is not there
            tensor = tensor[:, 1:] + tensor[:, :1]
        prefix = '' if to == 'mae' else 'backbone.'
        _add(state_dict, prefix, target.backbone_name(name), name, tensor)
    for index, (dataset, head) in enumerate(weights.heads.items()):
        if index == 0 and (len(weights.heads) == 1 or not target.named_heads):
            prefix = target.first_head
        elif target.named_heads:
            prefix = target.named_heads.format(dataset=dataset)
        else:
            prefix = target.more_heads.format(e=index - 1)
        for name, tensor in head.items():
            _add(state_dict, prefix, target.head_name(name), name, tensor)
    notes = dict(
        grid_hw=weights.grid_hw and list(weights.grid_hw),
        num_heads=weights.num_heads,
        class_token=weights.class_token if 'cls_token' in weights.backbone else None,
    )
    if to == 'vitpose_mm':
        notes.update(weights.patches)
        notes['attention'] = None if weights.attention == 'full' else weights.attention
    if weights.stated:
        notes.update(heads=list(weights.heads), experts=list(weights.experts))
    note(state_dict, {key: value for key, value in notes.items() if value not in (None, [])})
    return state_dict


def _add(
    state_dict: dict[str, Tensor],
    prefix: str,
    places: list[tuple[str, Optional[int]]],
    ours: str,
    tensor: Tensor,
) -> None:
    if not places:
        raise CheckpointError(f'the target has no name for {ours} {tuple(tensor.shape)}')
    for name, part in places:
        state_dict[prefix + name] = tensor if part is None else tensor.chunk(3)[part]


def _require_place(weights: Weights, to: str) -> None:
    """Refuse what a target cannot hold."""
    target = SOURCES[to]
    # encoders that MAE pre-trained without padding are trained on with it, as in the official code
    is_unusual = weights.patches and (weights.heads or 'ratio' in weights.patches)
    if to in ('mmpose', 'huggingface') and is_unusual:
        raise CheckpointError(
            f'{to} cuts patches of 16 px with a padding of 2 px, the checkpoint is for '
            f'{weights.patches}'
        )
    if to == 'mae' and (weights.heads or 'cls_token' not in weights.backbone):
        holds = f'heads for {list(weights.heads)}' if weights.heads else 'no class token'
        raise CheckpointError(
            f'mae holds an encoder alone, with its class token; the checkpoint has {holds}'
        )
    if to != 'vitpose_mm' and weights.attention != 'full':
        raise CheckpointError(
            f'{to} knows full attention only, the checkpoint was trained with '
            f"'{weights.attention}'. For its weights all the same, load it into a model with "
            "model.backbone.attention='full' and save that"
        )
    if len(weights.heads) > 1 and not target.named_heads and not target.more_heads:
        raise CheckpointError(
            f'{to} holds one head, the checkpoint {list(weights.heads)}: {NAME_DATASET}'
        )
    if weights.experts and not target.backbone_name('blocks.0.mlp.experts.0.weight'):
        raise CheckpointError(
            f'{to} holds no experts, the checkpoint {list(weights.experts)}: {MERGE_EXPERTS}'
        )
    for dataset, head in weights.heads.items():
        decoder = decoder_of(head)
        if to != 'vitpose_mm' and decoder == 'minimal':
            raise CheckpointError(f'{to} has no minimal decoder, which the head {dataset} is')
        if to == 'huggingface' and decoder == 'classic':
            filters = [len(head.get(f'deconv_layers.{i}.weight', ())) for i in (3, 6)]
            channels = head['deconv_layers.0.weight'].shape[1]
            if channels != 256 or filters != [256, 0]:
                raise CheckpointError(
                    f'{to} has two deconvolutions of 256 channels in its classic decoder, the head '
                    f'{dataset} others ({channels} channels in the first)'
                )


def _write_file(
    path: str, state_dict: 'OrderedDict[str, Tensor]', meta: dict, wrapper: str
) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial, _full_disks_as_such(path):
        if path.endswith('.pth'):
            torch.save({'meta': meta, wrapper: state_dict}, partial)
        else:
            _save_safetensors(state_dict, partial)


@contextmanager
def _full_disks_as_such(path: str) -> Iterator[None]:
    """torch and safetensors report them as errors of their own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(errno.EIO, f'{path} could not be written ({reason})') from error


def _save_safetensors(state_dict: 'OrderedDict[str, Tensor]', path: str) -> None:
    notes = json.dumps(state_dict._metadata[''])
    # safetensors refuses tensors that share memory, as experts made of one plain ViT do
    tensors = {
        name: tensor if _owns_its_memory(tensor) else tensor.clone()
        for name, tensor in state_dict.items()
    }
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        path,
        metadata=dict(format='pt', vitpose_mm=notes),
    )


def _owns_its_memory(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _write_folder(
    folder: str,
    state_dict: 'OrderedDict[str, Tensor]',
    weights: Weights,
    meta: dict,
    num_heads: Optional[int],
) -> None:
    """Write what ``VitPoseForPoseEstimation.from_pretrained`` reads."""
    input_hw = weights.input_hw()
    configs = {
        'config.json': hugging_face_config(weights, input_hw, num_heads, meta),
        'preprocessor_config.json': hugging_face_preprocessor(input_hw),
    }
    partial = f'{folder}.{os.getpid()}.partial'
    Path(partial).mkdir(parents=True)
    try:
        with _full_disks_as_such(folder):
            _save_safetensors(state_dict, os.path.join(partial, 'model.safetensors'))
        for file_name, config in configs.items():
            Path(partial, file_name).write_text(json.dumps(config, indent=2) + '\n')
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def hugging_face_config(
    weights: Weights, input_hw: tuple[int, int], num_heads: Optional[int], meta: dict
) -> dict[str, Any]:
    """What transformers' ``VitPoseConfig`` needs to know.

    Raises:
        CheckpointError: There is no head, or the number of attention heads is not known.
    """
    if not weights.heads:
        raise CheckpointError('huggingface needs a head, the checkpoint is a backbone alone')
    backbone = weights.backbone
    dim, _, patch_size, _ = backbone['patch_embed.proj.weight'].shape
    depth = num_blocks(backbone)
    (head,) = weights.heads.values()
    names = _keypoint_names(meta, num_keypoints(head))
    if weights.num_heads is not None and num_heads not in (None, weights.num_heads):
        raise CheckpointError(
            f'the checkpoint has {weights.num_heads} attention heads, num_heads is {num_heads}'
        )
    if num_heads is None:
        num_heads = weights.num_heads
    if num_heads is None:
        known = {arch['embed_dim']: arch['num_heads'] for arch in ARCHITECTURES.values()}
        if dim not in known:
            raise CheckpointError(
                f'weights of width {dim} do not tell the number of attention heads: say it by '
                '--num-heads N (num_heads=N in Python)'
            )
        num_heads = known[dim]
    if not isinstance(num_heads, int) or num_heads < 1 or dim % num_heads:
        raise ValueError(f'num_heads must be a whole number that divides {dim}, got {num_heads!r}')
    hidden = len(backbone['blocks.0.mlp.fc1.weight'])
    if hidden % dim:
        raise CheckpointError(
            f'transformers knows whole ratios of MLP to width only, this is {hidden} to {dim}'
        )
    expert = backbone.get('blocks.0.mlp.experts.0.weight')
    return dict(
        architectures=['VitPoseForPoseEstimation'],
        model_type='vitpose',
        backbone_config=dict(
            model_type='vitpose_backbone',
            image_size=list(input_hw),
            patch_size=[patch_size, patch_size],
            num_channels=3,
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=num_heads,
            mlp_ratio=hidden // dim,
            num_experts=len(weights.experts) or 1,
            part_features=0 if expert is None else len(expert),
            layer_norm_eps=1e-6,
            qkv_bias='blocks.0.attn.qkv.bias' in backbone,
            out_features=[f'stage{depth}'],
            out_indices=[depth],
        ),
        scale_factor=4,
        use_simple_decoder=decoder_of(head) == 'simple',
        id2label={str(index): name for index, name in enumerate(names)},
        label2id={name: index for index, name in enumerate(names)},
        dtype=str(backbone['pos_embed'].dtype).removeprefix('torch.'),
    )


def hugging_face_preprocessor(input_hw: tuple[int, int]) -> dict[str, Any]:
    height, width = input_hw
    return dict(
        image_processor_type='VitPoseImageProcessor',
        do_affine_transform=True,
        do_rescale=True,
        do_normalize=True,
        rescale_factor=1 / 255,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        normalize_factor=200.0,
        size=dict(height=height, width=width),
    )


def _keypoint_names(meta: dict, count: int) -> list[str]:
    dataset_meta = meta.get('dataset_meta')
    names = dataset_meta.get('keypoint_id2name') if isinstance(dataset_meta, dict) else None
    if isinstance(names, dict) and set(names) == set(range(count)):
        names = [str(names[index]) for index in range(count)]
        if len(set(names)) == count:
            return names
    return [f'LABEL_{index}' for index in range(count)]


def _meta_to_keep(content: dict, all_heads: bool) -> dict:
    """What a file says of its training; the data set's part only while the heads stay."""
    meta = content.get('meta')
    meta = dict(meta) if isinstance(meta, dict) else {}
    if not all_heads:
        meta.pop('dataset_meta', None)
    return meta
