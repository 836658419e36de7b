"""Checkpoints: read without executing anything they hold, applied without leaving anything out.

Importing this module registers two loaders with mmengine's ``CheckpointLoader``, through which pass
``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, testing and the inferencers. torch
2.6 made ``weights_only`` the default, and mmengine 0.10.7 then cannot read what it has written,
because its message hub holds ``HistoryBuffer`` and numpy objects; older torch unpickles anything.
``torchvision://``, ``open-mmlab://``, ``s3://`` and the like go past these loaders.
"""

import argparse
import ctypes
import hashlib
import json
import mmap
import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from safetensors import safe_open
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from .errors import CheckpointError
from .notes import note, note_with_positions
from .unpickling import ALLOWED_GLOBALS, PlainArray, PlainDtype, restricted_pickle

STATE_DICT_WRAPPERS = ('state_dict', 'model', 'module')
HUGGING_FACE_WEIGHTS = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
SHARD = re.compile(r'[^/\\]+\.(safetensors|bin)')
HASH_IN_NAME = re.compile(r'-[0-9a-f]{8,}\.\w+$')
TORCH_HAS_ALLOW_LIST = digit_version(torch.__version__) >= digit_version('2.6.0')


_version_when_mapped = WeakTensorKeyDictionary()


def load_file(path: str, map_location: Any = 'cpu', mapped: bool = False) -> Any:
    """Read a checkpoint and execute nothing in it.

    Args:
        path: A file of ``torch.save``, a ``.safetensors``, an ``.npz`` of arrays, or a folder as
            transformers saves models to.
        map_location: As ``torch.load`` has it. Of ``.safetensors`` and ``.npz`` all tensors come on
            the CPU.
        mapped: Leave the weights in the file until they are used, where the format allows it. As
            long as they are in use the file must not be written to, only replaced: saving them to
            it would destroy it. All that is not weights is read at once.

    Returns:
        What the file holds. In files of ``torch.save`` allowed are tensors, plain containers and
        values, numpy arrays and scalars, ``argparse.Namespace`` and mmengine's ``HistoryBuffer``.
        Extend the list for files you trust by ``torch.serialization.add_safe_globals`` (torch >=
        2.6).

    Raises:
        FileNotFoundError: There is no such file, or no checkpoint in the folder.
        CheckpointError: The file is damaged, is no checkpoint, or holds something not allowed.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        return _load_folder(path, map_location, mapped)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        if path.endswith('.npz'):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if path.endswith('.safetensors'):
            return _load_safetensors(path, mapped)
        # files in torch's format of before 1.6 cannot be mapped
        mapped = mapped and zipfile.is_zipfile(path)
        return _torch_load(path, map_location, mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path} was not loaded: it is no checkpoint, or it holds more than tensors and plain '
            f'values and could run code ({_first_sentence(error)})'
        ) from error
    except (MemoryError, PermissionError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # damage shows as anything, from EOFError to AssertionError
        raise CheckpointError(
            f'{path} is damaged or no checkpoint ({_first_sentence(error)})'
        ) from error


def _torch_load(path: str, map_location: Any, mapped: bool) -> Any:
    options = dict(map_location=map_location, mmap=mapped)
    if TORCH_HAS_ALLOW_LIST:
        allowed = [(value, name) for name, value in ALLOWED_GLOBALS.items()]
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, weights_only=True, **options)
    elif _is_torchscript(path):
        raise pickle.UnpicklingError('TorchScript archive')
    else:
        content = torch.load(path, pickle_module=restricted_pickle, **options)
    weights = state_dict_of(content) or {}
    if mapped:
        mark_as_mapped(weights)
    note_with_positions(weights)
    return _finish(content, {id(value) for value in weights.values()} if mapped else None)


def _load_safetensors(path: str, mapped: bool) -> dict:
    """Weights, with what we have noted about them; see :func:`note_names`."""
    with safe_open(path, framework='pt') as file:
        names = list(file.keys())
        state_dict = OrderedDict((name, file.get_tensor(name)) for name in names)
        notes = json.loads((file.metadata() or {}).get('vitpose_mm', '{}'))
    if mapped:
        mark_as_mapped(state_dict)
    else:
        state_dict = OrderedDict((name, value.clone()) for name, value in state_dict.items())
    note(state_dict, notes if isinstance(notes, dict) else {})
    return dict(state_dict=state_dict)


def _load_folder(folder: str, map_location: Any, mapped: bool) -> dict:
    """Weights of a folder of transformers, in one file or several, with what its config notes."""
    found = [name for name in HUGGING_FACE_WEIGHTS if os.path.isfile(os.path.join(folder, name))]
    if not found:
        raise FileNotFoundError(
            f'checkpoint folder {folder} holds none of {", ".join(HUGGING_FACE_WEIGHTS)}'
        )
    names = [found[0]]
    if found[0].endswith('.index.json'):
        index = _load_json(os.path.join(folder, found[0])).get('weight_map')
        if not isinstance(index, dict):
            raise CheckpointError(f'{os.path.join(folder, found[0])} has no weight_map')
        names = sorted(set(map(str, index.values())))
        outside = [name for name in names if not SHARD.fullmatch(name)]
        if outside:
            raise CheckpointError(
                f'{os.path.join(folder, found[0])} must name files beside it that end with '
                f'.safetensors or .bin, got {outside}'
            )
    state_dict, notes = OrderedDict(), {}
    for name in names:
        shard = state_dict_of(load_file(os.path.join(folder, name), map_location, mapped)) or {}
        state_dict.update(shard)
        notes.update(getattr(shard, '_metadata', {}).get('', {}))
    config = os.path.join(folder, 'config.json')
    backbone = _load_json(config).get('backbone_config') if os.path.isfile(config) else None
    if isinstance(backbone, dict):
        notes.update(_notes_of_hugging_face(backbone))
    note(state_dict, notes)
    return dict(state_dict=state_dict)


def _notes_of_hugging_face(config: dict) -> dict:
    notes = {}
    sizes = []
    for size in (config.get('image_size'), config.get('patch_size')):
        sizes.append(size if isinstance(size, list) else [size, size])
    counts = [side for size in sizes for side in size if isinstance(side, int) and side > 0]
    if len(counts) == 4 and len(sizes[0]) == 2:
        notes['grid_hw'] = [side // patch for side, patch in zip(*sizes)]
    if isinstance(config.get('num_attention_heads'), int):
        notes['num_heads'] = config['num_attention_heads']
    return notes


def _load_json(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path} is damaged ({_first_sentence(error)})') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} is damaged (it holds a {type(content).__name__})')
    return content


def state_dict_of(content: Any) -> Optional[dict[str, Tensor]]:
    """Find the weights in what a file holds, whatever else is among them; None without tensors.

    mmengine and the official code have them under 'state_dict', MAE and DeiT under 'model'.
    """
    if not isinstance(content, dict):
        return None
    for wrapper in STATE_DICT_WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    return content if any(isinstance(value, Tensor) for value in content.values()) else None


def mark_as_mapped(state_dict: dict[str, Tensor]) -> None:
    for value in state_dict.values():
        # tensors of inference mode do not tell whether they were changed
        if (
            isinstance(value, Tensor)
            and value.device.type == 'cpu'
            and value.layout == torch.strided
            and not value.is_inference()
        ):
            _version_when_mapped[value] = value._version


def _finish(content: Any, weights: Optional[set[int]]) -> Any:
    """Put arrays in place of their stand-ins and, of a mapped file, copy what is not weights.

    Containers are changed in place.
    """
    if isinstance(content, Tensor):
        if weights is None or id(content) in weights:
            return content
        copy = content.clone()
        mark_as_mapped({'': content})
        release_mapped(content)
        return copy
    if isinstance(content, PlainArray):
        return content.view(np.ndarray)
    if isinstance(content, PlainDtype):
        return content.dtype
    if isinstance(content, (HistoryBuffer, argparse.Namespace)):
        _finish(content.__dict__, weights)
    elif isinstance(content, dict):
        for key, value in content.items():
            content[key] = _finish(value, weights)
    elif isinstance(content, list):
        content[:] = [_finish(value, weights) for value in content]
    elif type(content) is tuple:
        return tuple(_finish(value, weights) for value in content)
    return content


def release_mapped(tensor: Tensor) -> None:
    """Let go of the memory that reading a mapped tensor has filled; it is read again if needed.

    Does nothing for other tensors, and for those that torch has changed since, whose values are not
    those of the file.
    """
    if tensor not in _version_when_mapped or _version_when_mapped[tensor] != tensor._version:
        return
    if not tensor.is_contiguous() or not hasattr(_libc(), 'madvise'):
        return
    page = mmap.PAGESIZE
    begin = -(-tensor.data_ptr() // page) * page
    end = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // page * page
    if begin < end:
        _libc().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _is_torchscript(path: str) -> bool:
    """Whether ``torch.load`` would hand the file to ``torch.jit.load``, which runs its code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('constants.pkl') for name in archive.namelist())


def _first_sentence(error: Exception) -> str:
    # torch puts advice to switch the protection off before the name of what it refused.
    text = re.split('WeightsUnpickler error:|(?=Trying to )', str(error), maxsplit=1)[-1].strip()
    return text.split('. ')[0].split('\n')[0] or type(error).__name__


# Sorted by mmengine behind every scheme that names itself, and before its own catch-all.
@CheckpointLoader.register_scheme(prefixes=r'(?!\w+://)')
def load_from_local_safely(filename: str, map_location: Any = None) -> Any:
    """See :func:`load_file`; the weights come where mmengine looks for them."""
    content = load_file(filename, map_location, mapped=_is_read_into_a_model())
    state_dict = state_dict_of(content)
    if state_dict is None or state_dict is content:
        return content
    return {**content, 'state_dict': state_dict}


def _is_read_into_a_model() -> bool:
    """Whether mmengine asks for a file to fill a model with it, and not to hand it to somebody.

    Only then may the weights stay in the file: others may save them to it. mmengine does not tell
    its loaders what for, so this looks at who calls.
    """
    frame = sys._getframe(1)
    while frame is not None:
        module, function = frame.f_globals.get('__name__', ''), frame.f_code.co_name
        if module == 'mmengine.runner.checkpoint':
            # not the class method of this name, which has no model
            if function == 'load_checkpoint' and 'model' in frame.f_locals:
                return True
            if function == '_load_checkpoint_with_prefix':
                return True
        elif module != __name__:
            return module.startswith('mmengine.')
        frame = frame.f_back
    return False


# Sorted by mmengine before its own 'https://' and 'http://'.
@CheckpointLoader.register_scheme(prefixes=r'https?://')
def load_from_http_safely(filename: str, map_location: Any = None) -> Any:
    """Download once into torch's hub folder, then :func:`load_file`.

    Raises:
        OSError: The address cannot be downloaded.
        CheckpointError: What came is no checkpoint; it is not kept.
    """
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, cached_name(filename))
    os.makedirs(folder, exist_ok=True)
    is_new = not os.path.isfile(path)
    if get_dist_info()[0] == 0 and is_new:
        _download(filename, path)
    barrier()
    if not os.path.isfile(path):  # another machine without a shared hub folder
        _download(filename, path)
    try:
        return load_from_local_safely(path, map_location)
    except CheckpointError:
        if is_new:
            with suppress(OSError):
                os.remove(path)
        raise


def cached_name(url: str) -> str:
    """A file name that tells addresses apart, of which many end in ``model.safetensors``.

    OpenMMLab's and torch's names hold a hash of the file and stay, so that caches are shared.
    """
    name = os.path.basename(url.split('?')[0].split('#')[0])
    if HASH_IN_NAME.search(name):
        return name
    return f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name or "checkpoint"}'


def _download(url: str, path: str) -> None:
    try:
        torch.hub.download_url_to_file(url, path)
    except OSError as error:  # urllib's errors among them
        raise OSError(f'{url} could not be downloaded ({error})') from error
