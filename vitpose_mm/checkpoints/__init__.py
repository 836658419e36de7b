"""Checkpoints from everywhere, to everywhere.

Read without executing anything they hold (:mod:`.loading`), their names translated by one table
per source (:mod:`.sources`), applied without leaving anything out, and written for others
(:mod:`.conversion`). Importing this package registers loaders with mmengine.
"""

from .conversion import TARGETS, convert_file, state_dict_for
from .errors import CheckpointError
from .experts import merge_expert, reorder_experts, require_names, spread_into_experts
from .fitting import copy_weights, list_with_shapes, require_exact_match, shorten
from .inspection import inspect_file
from .loading import load_file
from .notes import note_with, notes_of
from .positions import infer_grid, pad_kernel
from .reading import read_weights
from .weights import TABLES, Weights, match_names

__all__ = [
    'TABLES',
    'TARGETS',
    'CheckpointError',
    'Weights',
    'convert_file',
    'copy_weights',
    'infer_grid',
    'inspect_file',
    'list_with_shapes',
    'load_file',
    'match_names',
    'merge_expert',
    'note_with',
    'notes_of',
    'pad_kernel',
    'read_weights',
    'reorder_experts',
    'require_exact_match',
    'require_names',
    'shorten',
    'spread_into_experts',
    'state_dict_for',
]
