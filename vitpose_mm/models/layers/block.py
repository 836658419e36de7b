from collections.abc import Sequence
from typing import Optional

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from .attention import Attention
from .embedding import GridHW
from .ffn import FeedForward, PartiallySharedFeedForward
from .grouping import Grouping


class Block(nn.Module):
    """Pre-norm transformer block: ``x += attention(norm1(x)); x += mlp(norm2(x))``.

    Args:
        dim: Number of channels C.
        num_heads: Number of attention heads.
        hidden_dim: Number of channels inside the feed-forward network.
        qkv_bias: See :class:`Attention`.
        drop_path_rate: Probability that a sample skips a residual branch in training.
        num_experts: Number of experts in the feed-forward network; none by default.
        part_features: Number of its outputs that are the expert's.
        table_hw: See :class:`Attention`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        num_experts: int = 0,
        part_features: int = 0,
        table_hw: Optional[GridHW] = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, qkv_bias, table_hw)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        if num_experts:
            self.mlp = PartiallySharedFeedForward(dim, hidden_dim, num_experts, part_features)
        else:
            self.mlp = FeedForward(dim, hidden_dim)

    def forward(
        self,
        x: Tensor,
        grouping: Optional[Grouping] = None,
        expert_counts: Optional[Sequence[int]] = None,
    ) -> Tensor:
        """Transform tokens (B, N, C).

        Args:
            x: Tokens, in the order of the grouping.
            grouping: See :class:`Attention`.
            expert_counts: For blocks with experts: see :class:`PartiallySharedFeedForward`.
        """
        x = x + self.drop_path(self.attn(self.norm1(x), grouping))
        routing = () if expert_counts is None else (expert_counts,)
        return x + self.drop_path(self.mlp(self.norm2(x), *routing))
