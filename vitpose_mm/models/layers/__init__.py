from .attention import Attention
from .block import Block
from .embedding import PatchEmbedding, resize_positions
from .ffn import FeedForward, PartiallySharedFeedForward

__all__ = [
    'Attention',
    'Block',
    'FeedForward',
    'PartiallySharedFeedForward',
    'PatchEmbedding',
    'resize_positions',
]
