"""Checkpoints: read without executing anything they hold, applied without leaving anything out.

Importing this module registers two loaders with mmengine's ``CheckpointLoader``, through which pass
``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, testing and the inferencers. torch
2.6 made ``weights_only`` the default, and mmengine 0.10.7 then cannot read what it has written,
because its message hub holds ``HistoryBuffer`` and numpy objects; older torch unpickles anything.
``torchvision://``, ``open-mmlab://``, ``s3://`` and the like go past these loaders.
"""

import _codecs
import collections
import os
import pickle
import re
import types
import zipfile
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from torch import Tensor, nn

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


# All that mmengine's checkpoints hold besides tensors and plain containers.
ALLOWED_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'builtins.getattr': _history_statistic,
    '_codecs.encode': _codecs.encode,
    **_numpy_globals(),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickles what ``weights_only`` would; for torch < 2.6, whose own allow-list is closed."""

    allowed = {
        **ALLOWED_GLOBALS,
        '__builtin__.getattr': _history_statistic,
        'builtins.set': set,
        '__builtin__.set': set,
        'collections.OrderedDict': collections.OrderedDict,
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


def load_file(path: str, map_location: Any = 'cpu') -> Any:
    """Read a file written by ``torch.save``, or an ``.npz`` of arrays, and execute nothing in it.

    Arrays of an ``.npz`` come as tensors on the CPU. In other files allowed are tensors, plain
    containers and values, numpy arrays and scalars, and mmengine's ``HistoryBuffer``. Extend the
    list for files you trust by ``torch.serialization.add_safe_globals`` (torch >= 2.6).

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, is no checkpoint, or holds something not allowed.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        if path.endswith('.npz'):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if TORCH_HAS_ALLOW_LIST:
            allowed = [(value, name) for name, value in ALLOWED_GLOBALS.items()]
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location=map_location, weights_only=True)
        if _is_torchscript(path):
            raise pickle.UnpicklingError('TorchScript archive')
        return torch.load(path, map_location=map_location, pickle_module=_restricted_pickle)
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
    """See :func:`load_file`."""
    return load_file(filename, map_location)


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
    return load_file(path, map_location)


def require_exact_match(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, advice: Optional[str] = None
) -> None:
    """Refuse weights that do not fit a module to the last key and shape.

    mmengine loads with ``strict=False`` and only warns; modules call this from their own
    ``load_state_dict`` pre-hooks. Batch norm's ``num_batches_tracked`` may be missing.

    Args:
        module: Where the weights will go.
        state_dict: Tensors by name, of this module and of others.
        prefix: What the names of this module's tensors begin with.
        advice: A sentence to end the error with.

    Raises:
        CheckpointError: Lists what is missing, left over or of another shape.
    """
    given = {
        name[len(prefix) :]: tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }
    wanted = module.state_dict()
    missing = [
        name for name in wanted.keys() - given.keys() if not name.endswith('num_batches_tracked')
    ]
    shapes = [
        f'{name} {tuple(given[name].shape)} for {tuple(wanted[name].shape)}'
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    problems = [
        f'{title}: {shorten(names)}'
        for title, names in (
            ('missing', missing),
            ('left over', given.keys() - wanted.keys()),
            ('of another shape', shapes),
        )
        if names
    ]
    if problems:
        where = f'under {prefix!r}' if prefix else 'at the top level'
        message = f'the checkpoint does not fit {type(module).__name__} {where}; '
        raise CheckpointError(message + '; '.join(problems) + (f'. {advice}' if advice else ''))


def shorten(names: Iterable[str], limit: int = 8) -> str:
    names = sorted(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
