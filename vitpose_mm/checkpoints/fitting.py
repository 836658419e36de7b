"""Weights go into a module, to the last name."""

from collections.abc import Iterable, Sequence
from typing import Optional, Union

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .loading import release_mapped


class Parts:
    """Tensors that belong one below the other, and are copied without being joined first.

    Raises:
        CheckpointError: They differ in more than their rows.
    """

    def __init__(self, name: str, pieces: Sequence[Tensor]) -> None:
        self.pieces = tuple(pieces)
        shapes = [tuple(piece.shape) for piece in pieces]
        if () in shapes or len({(shape[1:], p.dtype) for shape, p in zip(shapes, pieces)}) > 1:
            kinds = ', '.join(f'{shape} {p.dtype}' for shape, p in zip(shapes, pieces))
            raise CheckpointError(f'the parts of {name} do not fit below each other: {kinds}')
        self.shape = torch.Size([sum(map(len, self.pieces)), *self.pieces[0].shape[1:]])
        self.dtype = self.pieces[0].dtype

    def join(self) -> Tensor:
        return torch.cat(self.pieces)


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
    missing = {
        name: wanted[name]
        for name in wanted.keys() - given.keys()
        if not name.endswith('num_batches_tracked')
    }
    left_over = {name: given[name] for name in given.keys() - wanted.keys()}
    shapes = [
        f'{name} {shape_of(given[name])} for {tuple(wanted[name].shape)}'
        for name in wanted.keys() & given.keys()
        if shape_of(given[name]) != tuple(wanted[name].shape)
    ]
    problems = [
        f'{title}: {listed}'
        for title, listed in (
            ('missing', list_with_shapes(missing)),
            ('left over', list_with_shapes(left_over)),
            ('of another shape', shorten(shapes)),
        )
        if listed
    ]
    if problems:
        where = f'under {prefix!r}' if prefix else 'at the top level'
        message = f'the checkpoint does not fit {type(module).__name__} {where}; '
        raise CheckpointError(message + '; '.join(problems) + (f'. {advice}' if advice else ''))


def shape_of(value: object) -> tuple:
    return tuple(getattr(value, 'shape', ()))


def list_with_shapes(tensors: dict[str, Tensor]) -> str:
    return shorten(f'{name} {shape_of(tensor)}' for name, tensor in tensors.items())


def shorten(names: Iterable[str], limit: int = 8) -> str:
    names = sorted(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def copy_weights(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict
) -> None:
    """Copy weights tensor by tensor, and let go of what was read from a mapped file at once.

    For the end of a module's own ``load_state_dict`` pre-hook, after which torch finds nothing left
    to copy. A model then needs the memory of its weights and hardly more, however large the file.

    Args:
        module: Where the weights go.
        state_dict: Tensors by name; those copied are replaced by the module's own.
        prefix: What the names of this module's tensors begin with.
        local_metadata: The hook's argument; it says whether torch is to assign instead of copying.
    """
    assign = local_metadata.get('assign_to_params_buffers', False)
    with torch.no_grad():
        for name, target in (*module.named_parameters(), *module.named_buffers()):
            source = state_dict.get(prefix + name)
            if isinstance(source, Parts) and (assign or target.is_meta):
                state_dict[prefix + name] = source.join()
            elif source is not None and not assign and not target.is_meta:
                _copy(source, target)
                state_dict[prefix + name] = target


def _copy(source: Union[Tensor, Parts], target: Tensor) -> None:
    if isinstance(source, Parts):
        sizes = [len(piece) for piece in source.pieces]
        for part, piece in zip(target.split(sizes), source.pieces):
            _copy(piece, part)
    else:
        target.copy_(source)
        release_mapped(source)
