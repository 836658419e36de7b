from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embedding import GridHW
from .grouping import Grouping

Tables = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head self-attention by torch's fused kernels, among all tokens or in windows.

    Args:
        dim: Number of channels C, a multiple of ``num_heads``.
        num_heads: Number of heads.
        qkv_bias: Whether the projection to queries, keys and values has a bias.
        table_hw: Rows and columns of the windows, or of the map where attention is full, for tables
            of relative positions (2 * rows - 1 and 2 * columns - 1 rows of C / num_heads, zero at
            first); None for attention that does not know of positions.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        table_hw: Optional[GridHW] = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'dim {dim} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = self.rel_pos_w = None
        if table_hw is not None:
            head_dim = dim // num_heads
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_hw[0] - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_hw[1] - 1, head_dim))

    def forward(self, x: Tensor, grouping: Optional[Grouping] = None) -> Tensor:
        """Mix tokens.

        Args:
            x: (B, E + N, C). With a grouping the last N are those of the map in its order; the
                others attend to all tokens, and are attended to by all.
            grouping: Who attends to whom; by default all to all.

        Returns:
            (B, E + N, C).
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, E + N, 3, heads, head_dim)
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each (B, heads, E + N, head_dim)
        if grouping is None:
            x = _merge_heads(F.scaled_dot_product_attention(query, key, value))
        else:
            tables = None
            if self.rel_pos_h is not None:
                rows, columns = grouping.extent_hw
                tables = resize_table(self.rel_pos_h, rows), resize_table(self.rel_pos_w, columns)
            x = attend_in_windows(query, key, value, grouping, tables)
        return self.proj(x)


def attend_in_windows(
    query: Tensor, key: Tensor, value: Tensor, grouping: Grouping, tables: Optional[Tables] = None
) -> Tensor:
    """Attention of each token to its window, to extra tokens, and to means of all windows.

    Args:
        query: (B, heads, E + N, head_dim), extra tokens first, then those of the map in the
            grouping's order.
        key: Likewise.
        value: Likewise.
        grouping: Windows, and weights of the means.
        tables: Relative positions for the grouping's ``extent_hw``. They act between tokens of the
            map; extra tokens and means have no position.

    Returns:
        (B, E + N, C).
    """
    batch_size, num_heads, num_tokens, head_dim = query.shape
    sizes = [windows.num_tokens for windows in grouping.windows]
    num_extra = num_tokens - sum(sizes)
    extra_query, *queries = query.split([num_extra, *sizes], 2)
    extra_key, *keys = key.split([num_extra, *sizes], 2)
    extra_value, *values = value.split([num_extra, *sizes], 2)
    mixed, shared_keys, shared_values = [], [], []
    if num_extra:
        mixed.append(_merge_heads(F.scaled_dot_product_attention(extra_query, key, value)))
        shared_keys.append(extra_key)
        shared_values.append(extra_value)
    if grouping.pooling is not None:
        shared_keys.append(_pool(key[:, :, num_extra:], grouping.pooling))
        shared_values.append(_pool(value[:, :, num_extra:], grouping.pooling))
    for windows, *own in zip(grouping.windows, queries, keys, values):
        # (B, count, heads, tokens of a window, head_dim)
        own = [x.unflatten(2, (windows.count, -1)).transpose(1, 2) for x in own]
        if tables is not None:
            own = add_relative_positions(*own, tables, windows.hw, grouping.extent_hw)
        own_query, own_key, own_value = own
        x = F.scaled_dot_product_attention(
            own_query.flatten(0, 1),
            _append(own_key, shared_keys).flatten(0, 1),
            _append(own_value, shared_values).flatten(0, 1),
            scale=head_dim**-0.5,  # not of the channels that tables add
        )
        x = _merge_heads(x[..., :head_dim])
        mixed.append(x.reshape(batch_size, windows.num_tokens, num_heads * head_dim))
    return torch.cat(mixed, 1) if len(mixed) > 1 else mixed[0]


def add_relative_positions(
    query: Tensor, key: Tensor, value: Tensor, tables: Tables, hw: GridHW, extent_hw: GridHW
) -> tuple[Tensor, Tensor, Tensor]:
    """Make relative positions part of the scalar product, so that fused kernels see to them.

    Before the softmax, the weight of the key at row j and column l for the query q at i and k is
    ``q . key * head_dim**-0.5 + q . rows[i - j] + q . columns[k - l]`` (MViTv2, arXiv 2112.01526;
    ``add_decomposed_rel_pos`` of ViTDet). The last two terms need of the key no more than its row
    and column. So the query gets them as further channels, one for each row and column, and the key
    a 1 in the channels of its own: no matrix of token pairs is made.

    Args:
        query: (..., heads, h * w, head_dim), tokens of windows row by row.
        key: Likewise.
        value: Likewise.
        tables: Relative positions of rows and columns, (2 * extent - 1, head_dim) each.
        hw: Rows and columns of the windows.
        extent_hw: What the tables are made for, not smaller than ``hw``.

    Returns:
        Query, key and value with h + w more channels, or a few more: kernels want a multiple of 8.
        Those of the value are zero. The scalar product is to be scaled by ``head_dim**-0.5``.
    """
    head_dim = query.shape[-1]
    # of the distances that there are in windows of this size, which an edge may have cut
    reached = [
        table[extent - side : extent + side - 1]
        for table, side, extent in zip(tables, hw, extent_hw)
    ]
    distances = (torch.cat(reached) * head_dim**0.5).to(query.dtype)
    products = query @ distances.T  # (..., h * w, 2h - 1 + 2w - 1)
    picked, places = _rows_and_columns(hw, query.device)
    of_query = products.gather(-1, picked.expand(*products.shape[:-1], -1))
    of_key = places.to(key.dtype).expand(*key.shape[:-1], -1)
    padding = (0, -(head_dim + sum(hw)) % 8)
    query = F.pad(torch.cat([query, of_query], -1), padding)
    key = F.pad(torch.cat([key, of_key], -1), padding)
    # Kernels want as many channels in values as in keys.
    return query, key, F.pad(value, (0, key.shape[-1] - head_dim))


def _rows_and_columns(hw: GridHW, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each token of a window, row by row, and each row and column of it, (h * w, h + w).

    Returns:
        Where its distance is among those of rows and, after them, of columns; and whether the token
        is in it.
    """
    height, width = hw
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    from_rows = (rows[:, None] - rows + height - 1).repeat_interleave(width, 0)
    from_columns = (columns[:, None] - columns + width - 1).repeat(height, 1)
    distances = torch.cat([from_rows, from_columns + 2 * height - 1], 1)
    is_in = torch.cat([from_rows == height - 1, from_columns == width - 1], 1)
    return distances, is_in


def resize_table(table: Tensor, extent: int) -> Tensor:
    """Resample relative positions (2 * size - 1, head_dim) linearly, for windows of another size.

    Source: ``get_rel_pos`` of ViTDet.
    """
    length = 2 * extent - 1
    if len(table) == length:
        return table
    resized = F.interpolate(table.T[None].float(), size=length, mode='linear')
    return resized[0].T.to(table.dtype)


def _pool(x: Tensor, pooling: Tensor) -> Tensor:
    """Means of windows (B, heads, windows, head_dim)."""
    batch_size, num_heads = x.shape[:2]
    means = torch.bmm(pooling.to(x.dtype).expand(batch_size, -1, -1), x.transpose(1, 2).flatten(2))
    return means.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _append(own: Tensor, shared: list[Tensor]) -> Tensor:
    """Tokens of each window (B, count, heads, n, c), then those that all windows share."""
    count, channels = own.shape[1], own.shape[-1]
    padded = (F.pad(x, (0, channels - x.shape[-1])) for x in shared)
    for_each = [x[:, None].expand(-1, count, -1, -1, -1) for x in padded]
    return torch.cat([own, *for_each], 3) if for_each else own


def _merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, head_dim) to (B, N, C)."""
    return x.transpose(1, 2).flatten(2)
