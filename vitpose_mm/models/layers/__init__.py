from .attention import Attention, add_relative_positions, attend_in_windows, resize_table
from .block import Block
from .embedding import PatchEmbedding, resize_positions
from .ffn import FeedForward, PartiallySharedFeedForward
from .grouping import (
    VARIANTS,
    BlockAttention,
    Grouping,
    block_attentions,
    describe_attentions,
    group_tokens,
    plan_steps,
    rearrange,
)
from .packed_linear import PackedLinear, pack_linears, packing_pays
from .recomputation import require_recomputation, run_block

__all__ = [
    'VARIANTS',
    'Attention',
    'Block',
    'BlockAttention',
    'FeedForward',
    'Grouping',
    'PackedLinear',
    'PartiallySharedFeedForward',
    'PatchEmbedding',
    'add_relative_positions',
    'attend_in_windows',
    'block_attentions',
    'describe_attentions',
    'group_tokens',
    'pack_linears',
    'packing_pays',
    'plan_steps',
    'rearrange',
    'require_recomputation',
    'resize_positions',
    'resize_table',
    'run_block',
]
