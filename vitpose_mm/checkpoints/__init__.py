"""Checkpoints from everywhere, to everywhere.

Read without executing anything they hold (:mod:`.loading`), their names translated by one table
per source (:mod:`.sources`), applied without leaving anything out, and written for others
(:mod:`.conversion`). Importing this package registers loaders with mmengine.
"""

from .conversion import TARGETS, convert_file, state_dict_for
from .experts import merge_expert, reorder_experts, spread_into_experts
from .fitting import copy_weights, require_exact_match, shorten
from .inspection import inspect_file
from .loading import CheckpointError, load_file
from .positions import infer_grid, pad_kernel
from .weights import NOTES_KEY, Weights, match_names, notes_of, read_weights

__all__ = [
    'NOTES_KEY',
    'TARGETS',
    'CheckpointError',
    'Weights',
    'convert_file',
    'copy_weights',
    'infer_grid',
    'inspect_file',
    'load_file',
    'match_names',
    'merge_expert',
    'notes_of',
    'pad_kernel',
    'read_weights',
    'reorder_experts',
    'require_exact_match',
    'shorten',
    'spread_into_experts',
    'state_dict_for',
]
