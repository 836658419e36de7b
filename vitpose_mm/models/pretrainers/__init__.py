from .mae import MAE
from .masking import (
    normalise_patches,
    patchify,
    random_masking,
    restore_order,
    sine_positions,
    unpatchify,
)

__all__ = [
    'MAE',
    'normalise_patches',
    'patchify',
    'random_masking',
    'restore_order',
    'sine_positions',
    'unpatchify',
]
