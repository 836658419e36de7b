"""Checkpoints: read without executing anything they hold, applied without leaving anything out.

Importing this module registers two loaders with mmengine's ``CheckpointLoader``, through which pass
``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, testing and the inferencers. torch
2.6 made ``weights_only`` the default, and mmengine 0.10.7 then cannot read what it has written,
because its message hub holds ``HistoryBuffer`` and numpy objects; older torch unpickles anything.
``torchvision://``, ``open-mmlab://``, ``s3://`` and the like go past these loaders.
"""

import _codecs
import argparse
import ctypes
import json
import mmap
import os
import pickle
import re
import types
import zipfile
from collections import OrderedDict
from functools import cache
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from safetensors import safe_open
from torch import Tensor, nn

STATE_DICT_WRAPPERS = ('state_dict', 'model', 'module')
HUGGING_FACE_WEIGHTS = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
TORCH_HAS_ALLOW_LIST = digit_version(torch.__version__) >= digit_version('2.6.0')


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is not safe to read, or does not fit the model."""


def _history_statistic(owner: type, name: str) -> Any:
    """Stand in for ``getattr``, by which ``HistoryBuffer`` pickles its statistics, and no more."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def _numpy_globals() -> dict[str, Any]:
    """What pickled numpy arrays and scalars are made of, by numpy's old and new module names."""
    reconstruct = np.zeros(1).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    allowed = {'numpy.ndarray': np.ndarray, 'numpy.dtype': np.dtype}
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed[f'{module}._reconstruct'] = reconstruct
        allowed[f'{module}.scalar'] = scalar
    for code in '?bhilqBHILQefdSU':
        dtype = type(np.dtype(code))
        allowed[f'{dtype.__module__}.{dtype.__name__}'] = dtype
    return allowed


# All that checkpoints of mmengine, and of MAE, DeiT and timm (their command lines' arguments), hold
# besides tensors and plain containers.
ALLOWED_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'builtins.getattr': _history_statistic,
    '_codecs.encode': _codecs.encode,
    'argparse.Namespace': argparse.Namespace,
    **_numpy_globals(),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickles what ``weights_only`` would; for torch < 2.6, whose own allow-list is closed."""

    allowed = {
        **ALLOWED_GLOBALS,
        '__builtin__.getattr': _history_statistic,
        'builtins.set': set,
        '__builtin__.set': set,
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'torch.nn.parameter.Parameter': nn.Parameter,
        **{
            f'torch._utils.{name}': getattr(torch._utils, name)
            for name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
        },
        **{
            f'torch.{name}': value
            for name, value in vars(torch).items()
            if isinstance(value, torch.dtype) or name.endswith('Storage')
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[f'{module}.{name}']
        except KeyError:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name}') from None


_restricted_pickle = types.SimpleNamespace(
    __name__='restricted_pickle',
    Unpickler=_RestrictedUnpickler,
    load=lambda file, **kwargs: _RestrictedUnpickler(file, **kwargs).load(),
)


def load_file(path: str, map_location: Any = 'cpu', mapped: bool = False) -> Any:
    """Read a checkpoint and execute nothing in it.

    Args:
        path: A file of ``torch.save``, a ``.safetensors``, an ``.npz`` of arrays, or a folder as
            transformers saves models to.
        map_location: As ``torch.load`` has it. Of ``.safetensors``, folders and ``.npz`` all
            tensors come on the CPU.
        mapped: Leave the weights in the file until they are used, where the format allows it. As
            long as they are in use the file must not be written to, only replaced. All that is not
            weights is read at once.

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
        content = _torch_load(path, map_location, mapped)
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
    if mapped:
        weights = state_dict_of(content) or {}
        mark_as_mapped(weights)
        _read_other_tensors(content, {id(value) for value in weights.values()})
    return content


def _torch_load(path: str, map_location: Any, mapped: bool) -> Any:
    if TORCH_HAS_ALLOW_LIST:
        allowed = [(value, name) for name, value in ALLOWED_GLOBALS.items()]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    if _is_torchscript(path):
        raise pickle.UnpicklingError('TorchScript archive')
    return torch.load(
        path, map_location=map_location, pickle_module=_restricted_pickle, mmap=mapped
    )


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
    note_names(state_dict, notes)
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
        # a name from the file must not lead out of the folder
        names = sorted({os.path.basename(str(name)) for name in index.values()})
    state_dict, notes = OrderedDict(), {}
    for name in names:
        shard = state_dict_of(load_file(os.path.join(folder, name), map_location, mapped)) or {}
        state_dict.update(shard)
        notes.update(getattr(shard, '_metadata', {}).get('', {}))
    config = os.path.join(folder, 'config.json')
    backbone = _load_json(config).get('backbone_config') if os.path.isfile(config) else None
    if isinstance(backbone, dict):
        notes.update(_notes_of_hugging_face(backbone))
    note_names(state_dict, notes)
    return dict(state_dict=state_dict)


def _notes_of_hugging_face(config: dict) -> dict:
    notes = {}
    sizes = [config.get('image_size'), config.get('patch_size')]
    sizes = [[size, size] if isinstance(size, int) else size for size in sizes]
    if all(isinstance(size, list) and len(size) == 2 and all(size) for size in sizes):
        notes['grid_hw'] = [side // patch for side, patch in zip(*sizes)]
    if isinstance(config.get('num_attention_heads'), int):
        notes['num_heads'] = config['num_attention_heads']
    return notes


def _load_json(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except ValueError as error:
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


def note_names(state_dict: OrderedDict, notes: dict) -> None:
    """Attach what names do not tell, as torch attaches versions of modules.

    Args:
        state_dict: Weights of a whole model.
        notes: Any of ``heads`` and ``experts``, their data sets in order; ``grid_hw``, the rows and
            columns of positions; ``num_heads`` of the attention.
    """
    state_dict._metadata = OrderedDict({'': dict(notes), 'backbone': dict(notes)})


def mark_as_mapped(state_dict: dict[str, Tensor]) -> None:
    for value in state_dict.values():
        if isinstance(value, Tensor) and value.device.type == 'cpu':
            value._mapped_at_version = value._version


def _read_other_tensors(content: Any, weights: set[int]) -> Any:
    """Copy tensors that are not weights, such as the optimizer's, out of the file, in place."""
    if isinstance(content, Tensor):
        if id(content) in weights:
            return content
        copy = content.clone()
        mark_as_mapped({'': content})
        release_mapped(content)
        return copy
    if isinstance(content, dict):
        for key, value in content.items():
            content[key] = _read_other_tensors(value, weights)
    elif isinstance(content, list):
        content[:] = [_read_other_tensors(value, weights) for value in content]
    elif type(content) is tuple:
        return tuple(_read_other_tensors(value, weights) for value in content)
    return content


def release_mapped(tensor: Tensor) -> None:
    """Let go of the memory that reading a mapped tensor has filled; it is read again if needed.

    Does nothing for other tensors, and for those that were changed since, whose values are not
    those of the file.
    """
    if getattr(tensor, '_mapped_at_version', None) != tensor._version:
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
    """See :func:`load_file`; mapped, and the weights where mmengine looks for them."""
    content = load_file(filename, map_location, mapped=True)
    state_dict = state_dict_of(content)
    if state_dict is None or state_dict is content:
        return content
    return {**content, 'state_dict': state_dict}


# Sorted by mmengine before its own 'https://' and 'http://'.
@CheckpointLoader.register_scheme(prefixes=r'https?://')
def load_from_http_safely(filename: str, map_location: Any = None) -> Any:
    """Download once into torch's hub folder, then :func:`load_file`."""
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(filename.split('?')[0]))
    os.makedirs(folder, exist_ok=True)
    if get_dist_info()[0] == 0 and not os.path.isfile(path):
        torch.hub.download_url_to_file(filename, path)
    barrier()
    if not os.path.isfile(path):  # another machine without a shared hub folder
        torch.hub.download_url_to_file(filename, path)
    return load_from_local_safely(path, map_location)
