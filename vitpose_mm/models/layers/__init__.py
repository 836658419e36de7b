from .attention import Attention
from .block import Block
from .embedding import PatchEmbedding, infer_grid, resize_positions
from .ffn import FeedForward

__all__ = [
    'Attention',
    'Block',
    'FeedForward',
    'PatchEmbedding',
    'infer_grid',
    'resize_positions',
]
