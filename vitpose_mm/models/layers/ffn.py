from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Two linear layers with a GELU between.

    Args:
        dim: Number of channels C.
        hidden_dim: Number of channels between the layers.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token of (B, N, C)."""
        return self.fc2(self.act(self.fc1(x)))


class PartiallySharedFeedForward(nn.Module):
    """A feed-forward network whose last outputs come from an expert of the sample's data set.

    Source: PS-FFN of arXiv 2212.04246; official ``vit_moe.py``, which runs every expert on every
    sample. Here each sample goes through its own alone.

    Args:
        dim: Number of channels C.
        hidden_dim: Number of channels between the layers.
        num_experts: Number of experts.
        part_features: Number of outputs that are the expert's.
    """

    def __init__(self, dim: int, hidden_dim: int, num_experts: int, part_features: int) -> None:
        super().__init__()
        if not 0 < part_features < dim:
            raise ValueError(
                f'part_features must be between 0 and the width {dim}, got {part_features}'
            )
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim - part_features)
        self.experts = nn.ModuleList(
            nn.Linear(hidden_dim, part_features) for _ in range(num_experts)
        )

    def forward(self, x: Tensor, expert_counts: Sequence[int]) -> Tensor:
        """Transform each token.

        Args:
            x: (B, N, C), samples of expert 0 first, then those of expert 1, ...
            expert_counts: Number of samples of each expert, B together. Experts without samples
                stay in the graph.

        Returns:
            (B, N, C).
        """
        hidden = self.act(self.fc1(x))
        groups = hidden.split(list(expert_counts))
        own = torch.cat([expert(group) for expert, group in zip(self.experts, groups)])
        return torch.cat([self.fc2(hidden), own], -1)
