"""What files of ``torch.save`` may hold besides tensors and plain containers.

Names in a file mean what is listed here and nothing else. numpy's own functions are not among it:
they trust what a pickle tells them of memory. Stand-ins take their place and accept what numpy
writes of numbers and strings.
"""

import _codecs
import argparse
import pickle
import re
import types
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

NUMBERS_AND_STRINGS = re.compile(r'[?bhilqBHILQefd]|b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5}')


class PlainDtype:
    """Stands in for a ``numpy.dtype`` of numbers or strings."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or not NUMBERS_AND_STRINGS.fullmatch(code):
            raise pickle.UnpicklingError(f'numpy.dtype({code!r})')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(order)
        # numpy would take size and flags of elements from here
        if state != self.dtype.__reduce__()[2]:
            raise pickle.UnpicklingError(f'numpy.dtype {self.dtype} with the state {state!r}')


class PlainArray(np.ndarray):
    """Stands in for an array of numbers or strings while it is read."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, PlainDtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError('numpy.ndarray of something else than numbers or strings')
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), data))


def empty_array(kind: type, *_: object) -> PlainArray:
    """Stand in for numpy's ``_reconstruct``; ``__setstate__`` fills the array."""
    if kind is not PlainArray:
        raise pickle.UnpicklingError(f'numpy array of type {kind!r}')
    return np.zeros(0, 'b').view(PlainArray)


def scalar(dtype: PlainDtype, data: bytes) -> np.generic:
    """Stand in for numpy's function of this name."""
    if not isinstance(dtype, PlainDtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError('numpy scalar of something else than numbers or strings')
    if len(data) != dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f'numpy scalar {dtype.dtype} of {len(data)} bytes')
    return np.frombuffer(data, dtype.dtype)[0]


def history_statistic(owner: type, name: str) -> Any:
    """Stand in for ``getattr``, by which ``HistoryBuffer`` pickles its statistics, and no more."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def no_bytes() -> bytes:
    """Stand in for ``bytes``, by which pickles of Python 2's kind write an empty one."""
    return b''


# All that checkpoints of mmengine hold, and those of MAE, DeiT and timm: their command lines'
# arguments.
ALLOWED_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'builtins.getattr': history_statistic,
    'builtins.bytes': no_bytes,
    '_codecs.encode': _codecs.encode,
    'argparse.Namespace': argparse.Namespace,
    'numpy.ndarray': PlainArray,
    'numpy.dtype': PlainDtype,
    # by numpy's old and new module names
    'numpy.core.multiarray._reconstruct': empty_array,
    'numpy._core.multiarray._reconstruct': empty_array,
    'numpy.core.multiarray.scalar': scalar,
    'numpy._core.multiarray.scalar': scalar,
}


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles what ``weights_only`` would; for torch < 2.6, whose own allow-list is closed."""

    allowed = {
        **ALLOWED_GLOBALS,
        '__builtin__.getattr': history_statistic,
        '__builtin__.bytes': no_bytes,
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


restricted_pickle = types.SimpleNamespace(
    __name__='restricted_pickle',
    Unpickler=RestrictedUnpickler,
    load=lambda file, **kwargs: RestrictedUnpickler(file, **kwargs).load(),
)
