"""What a file says of its weights that their names do not tell.

Notes are kept as torch keeps versions of modules, in the state dict's ``_metadata``. Functions that
pass through a state dict often make a plain one of it, so notes go with the tensor of the positions
as well, while it is in memory.
"""

from collections import OrderedDict
from typing import Optional

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from .errors import CheckpointError

POSITIONS = ('pos_embed', 'embeddings.position_embeddings')
_noted_with = WeakTensorKeyDictionary()


def _are_names(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# Data sets of heads and of experts, in order; rows and columns of positions; attention heads;
# 'keep' for a class token in the sequence; what is not as usual of patches and attention.
NOTES = {
    'heads': _are_names,
    'experts': _are_names,
    'grid_hw': lambda value: (
        isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))
    ),
    'num_heads': _is_count,
    'class_token': lambda value: value in ('fold', 'keep'),
    'ratio': _is_count,
    'patch_padding': lambda value: value == 0 or _is_count(value),
    'attention': lambda value: isinstance(value, str) and bool(value),
}


def note(state_dict: OrderedDict, notes: dict) -> None:
    """Attach notes to the weights of a whole model."""
    state_dict._metadata = OrderedDict({'': dict(notes), 'backbone': dict(notes)})
    note_with_positions(state_dict)


def note_with_positions(state_dict: dict[str, Tensor]) -> None:
    """Let the notes of a state dict go with its positions, too, and drop what is no notes."""
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        metadata = {}
    metadata = {key: entry for key, entry in metadata.items() if isinstance(entry, dict)}
    state_dict._metadata = OrderedDict(metadata)
    for prefix, entry in metadata.items():
        notes = {key: entry[key] for key in NOTES if key in entry}
        if not notes or not isinstance(prefix, str):
            continue
        for name, tensor in state_dict.items():
            if str(name).startswith(prefix) and str(name).endswith(POSITIONS):
                note_with(tensor, notes)


def note_with(tensor: object, notes: dict) -> None:
    """Let notes go with a tensor while it is in memory; nothing else is noted with."""
    if isinstance(tensor, Tensor):
        _noted_with[tensor] = {**_noted_with.get(tensor, {}), **notes}


def notes_of(
    tensors: dict[str, Tensor], state_dict: dict[str, Tensor], local_metadata: Optional[dict] = None
) -> dict:
    """Collect notes, of which those that go with tensors count most.

    Args:
        tensors: Those of the model that is asked about.
        state_dict: What they come from, with its ``_metadata`` if it has any.
        local_metadata: The argument of this name of a module's ``load_state_dict`` pre-hook.

    Raises:
        CheckpointError: Some are not what they should be.
    """
    metadata = getattr(state_dict, '_metadata', None) or {}
    entries = [metadata.get(''), metadata.get('backbone'), local_metadata]
    entries = [entry for entry in entries if isinstance(entry, dict)]
    entries += [
        _noted_with[tensor]
        for tensor in tensors.values()
        if isinstance(tensor, Tensor) and tensor in _noted_with
    ]
    notes = {key: entry[key] for entry in entries for key in NOTES if key in entry}
    unusable = {key: value for key, value in notes.items() if not NOTES[key](value)}
    if unusable:
        raise CheckpointError(f'the checkpoint says of itself what cannot be: {unusable}')
    return notes
