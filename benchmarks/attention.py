"""Attention variants at 1/8 features, Table 5 of the paper: ours and written out with matrices.

    python benchmarks/attention.py --threads 2 --batch-size 2 --out benchmarks/results/attention

For each config of the table, its backbone forward and backward: multiply-adds beside the paper's,
bytes stored for the backward pass, peak of a GPU's memory where there is one, and time; ours and
the same done the usual way: windows cut out by padding, rolling and reshaping, matrices of token
pairs, masks and relative positions added to them, softmax.
"""

import argparse
import gc
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import CONFIGS, OURS, Report, parse_arguments, require_agreement
from mmengine.config import Config
from mmpose.registry import MODELS
from torch import Tensor

from vitpose_mm.analysis import complexity_report, peak_memory, select_device
from vitpose_mm.models import ViT
from vitpose_mm.models.layers import Attention, BlockAttention, resize_table

PLAIN = 'matrices of token pairs'
CONFIG = 'body/vitpose_base_classic-stride8{}_8xb64-210e_coco-256x192.py'
# Row of the table, to config and the paper's multiply-adds (G) and memory (MB)
ROWS = {
    'full': ('', 76.59, 36141),
    'window 8x8': ('-window', 66.31, 21161),
    'shift 8x8': ('-shift', 66.31, 21161),
    'pool 8x8': ('-pool', 66.39, 22893),
    'shift+pool 8x8': ('-shift-pool', 66.39, 22893),
    'full+window 8x8': ('-vitdet', 69.94, 28594),
    'shift+pool 16x12': ('-shift-pool-16x12', 68.46, 26778),
}
INPUT_HW = (256, 192)


class PlainViT(ViT):
    """The same backbone with tokens row by row, and attention written out."""

    def encode(self, tokens: Tensor, grid_hw: tuple[int, int], _: object = None) -> Tensor:
        for block, attention in zip(self.blocks, self.attentions):
            mixed = plain_attention(block.attn, block.norm1(tokens), grid_hw, attention)
            tokens = tokens + mixed
            tokens = tokens + block.mlp(block.norm2(tokens))
        return self.last_norm(tokens)


def plain_attention(
    attention: Attention, x: Tensor, grid_hw: tuple[int, int], block: BlockAttention
) -> Tensor:
    """As in Swin and ViTDet, with padding masked, and means of windows as further keys."""
    window_hw = block.window_hw or grid_hw
    head_dim = x.shape[-1] // attention.num_heads
    qkv = attention.qkv(x).unflatten(1, grid_hw)  # (B, rows, columns, 3C)
    shifts = [
        side // 2 if block.shifted and side < length else 0
        for side, length in zip(window_hw, grid_hw)
    ]
    windows = cut_out(qkv, window_hw, shifts)  # (B, windows, tokens, 3C)
    windows = windows.unflatten(-1, (3, attention.num_heads, head_dim)).permute(3, 0, 1, 4, 2, 5)
    query, key, value = windows  # (B, windows, heads, tokens, head_dim)
    scores = (query * head_dim**-0.5) @ key.transpose(-1, -2)
    if block.relative_positions:
        scores = add_relative(scores, query, attention, window_hw)
    mask = region_mask(grid_hw, window_hw, shifts, x.device)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], float('-inf'))
    if block.pooled:
        sums, counts = (
            cut_out(each, window_hw, (0, 0)).sum(2) for each in (qkv, torch.ones_like(qkv[..., :1]))
        )
        means = (sums / counts).unflatten(-1, (3, attention.num_heads, head_dim))
        _, mean_key, mean_value = means.permute(2, 0, 3, 1, 4)[:, :, None].expand(
            -1, -1, query.shape[1], -1, -1, -1
        )
        of_means = (query * head_dim**-0.5) @ mean_key.transpose(-1, -2)
        scores = torch.cat([scores, of_means], -1)
        value = torch.cat([value, mean_value], -2)
    mixed = (scores.softmax(-1) @ value).transpose(2, 3).flatten(3)
    return attention.proj(put_back(mixed, grid_hw, window_hw, shifts))


def padded(grid_hw: tuple[int, int], window_hw: tuple[int, int]) -> list[int]:
    return [-(-length // side) * side for length, side in zip(grid_hw, window_hw)]


def cut_out(x: Tensor, window_hw: tuple[int, int], shifts: tuple[int, int]) -> Tensor:
    """(B, rows, columns, C) to (B, windows, tokens, C)."""
    rows, columns = padded(x.shape[1:3], window_hw)
    x = F.pad(x, (0, 0, 0, columns - x.shape[2], 0, rows - x.shape[1]))
    if any(shifts):
        x = x.roll([-shift for shift in shifts], (1, 2))
    x = x.unflatten(2, (-1, window_hw[1])).unflatten(1, (-1, window_hw[0]))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def put_back(
    x: Tensor, grid_hw: tuple[int, int], window_hw: tuple[int, int], shifts: tuple[int, int]
) -> Tensor:
    """(B, windows, tokens, C) to (B, N, C)."""
    rows, columns = padded(grid_hw, window_hw)
    x = x.unflatten(2, window_hw).unflatten(1, (rows // window_hw[0], columns // window_hw[1]))
    x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    if any(shifts):
        x = x.roll(list(shifts), (1, 2))
    return x[:, : grid_hw[0], : grid_hw[1]].flatten(1, 2)


def region_mask(
    grid_hw: tuple[int, int],
    window_hw: tuple[int, int],
    shifts: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """Which pairs of a window's tokens are true neighbours, (windows, tokens, tokens), or None."""
    rows, columns = padded(grid_hw, window_hw)
    if not any(shifts) and (rows, columns) == tuple(grid_hw):
        return None
    regions = torch.zeros(1, rows, columns, 1, device=device)
    parts = [
        [slice(0, -side), slice(-side, -shift), slice(-shift, None)] if shift else [slice(None)]
        for side, shift in zip(window_hw, shifts)
    ]
    for number, (row, column) in enumerate(itertools.product(*parts)):
        regions[:, row, column] = number
    beyond = torch.ones_like(regions)
    beyond[:, : grid_hw[0], : grid_hw[1]] = 0
    beyond = beyond.roll([-shift for shift in shifts], (1, 2))
    regions = cut_out(torch.where(beyond > 0, -1, regions), window_hw, (0, 0))[0]
    return regions == regions.transpose(1, 2)


def add_relative(
    scores: Tensor, query: Tensor, attention: Attention, window_hw: tuple[int, int]
) -> Tensor:
    """ViTDet's ``add_decomposed_rel_pos``."""
    height, width = window_hw
    tables = []
    for table, side in ((attention.rel_pos_h, height), (attention.rel_pos_w, width)):
        places = torch.arange(side, device=table.device)
        tables.append(resize_table(table, side)[places[:, None] - places + side - 1])
    query = query.unflatten(3, window_hw)
    by_row = torch.einsum('bnshwc,hkc->bnshwk', query, tables[0])
    by_column = torch.einsum('bnshwc,wkc->bnshwk', query, tables[1])
    pairs = scores.unflatten(-1, window_hw).unflatten(3, window_hw)
    pairs = pairs + by_row[..., None] + by_column[..., None, :]
    return pairs.flatten(5, 6).flatten(3, 4)


def stored_bytes(forward: Callable[[], Tensor], left_out: list[Tensor]) -> int:
    """Bytes that a forward pass stores for the backward pass, of each memory once."""
    known = {tensor.untyped_storage().data_ptr() for tensor in left_out}
    stored, alive = {}, []

    def keep(tensor: Tensor) -> Tensor:
        tensor = tensor.detach()  # the graph that holds this function must not be held by it
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            stored[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # lest another takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(stored.values())


def compare(report: Report, row: str, arguments: argparse.Namespace) -> None:
    suffix, paper_macs, paper_memory = ROWS[row]
    cfg = Config.fromfile(CONFIGS / CONFIG.format(suffix))
    options = cfg.model.backbone
    options.drop_path_rate = 0.0
    if arguments.no_relative_positions:
        options.relative_positions = False
    device = select_device(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    torch.manual_seed(0)
    ours = MODELS.build(options).to(device)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.02)
    plain = PlainViT(**{key: value for key, value in options.items() if key != 'type'})
    plain.to(device).load_state_dict(ours.state_dict())
    images = torch.randn(arguments.batch_size, 3, *INPUT_HW, device=device)
    sides = {OURS: ours, PLAIN: plain}

    def forward(model: ViT) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return model(images)[0]

    def step(model: ViT) -> None:
        model.zero_grad()
        forward(model).sum().backward()

    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    with torch.no_grad():
        report.agreement[row] = require_agreement(
            forward(ours), forward(plain), tolerance, f'features of {row}'
        )
    counted = cfg.copy()
    counted.model.backbone.relative_positions = False
    macs = complexity_report(counted, INPUT_HW)['backbone']['macs'] / 1e9
    figures = {
        'multiply-adds, G': macs,
        "the paper's, G": paper_macs,
        'difference': f'{macs / paper_macs - 1:+.2%}',
        "the paper's memory, MB": paper_memory,
    }
    for name, model in sides.items():
        size = stored_bytes(lambda model=model: forward(model), [*model.parameters(), images])
        figures[f'stored, MB, {name}'] = size / 1e6
    report.alternate(
        row,
        {name: lambda model=model: step(model) for name, model in sides.items()},
        arguments.rounds,
        warm_up=1,
        per=arguments.batch_size,
        device=device,
    )
    if device.type == 'cuda':
        for name, model in sides.items():
            others = [other for other in sides.values() if other is not model]
            for other in others:
                other.to('cpu').zero_grad()
            torch.cuda.empty_cache()
            _, peak = peak_memory(lambda model=model: step(model), (), device)
            figures[f'peak, MB, {name}'] = peak / 1e6
            for other in others:
                other.to(device)
    report.figures[row] = figures


def main() -> None:
    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument('--batch-size', type=int, default=2)
        parser.add_argument('--rows', nargs='+', default=list(ROWS), choices=list(ROWS))
        parser.add_argument('--device', default='cpu')
        parser.add_argument('--dtype', default='float32', help='others by autocast')
        parser.add_argument('--no-relative-positions', action='store_true')

    arguments = parse_arguments(__doc__.splitlines()[0], rounds=5, add_options=add_options)
    report = Report('ViT-B at 1/8 features, 256x192, forward and backward of the backbone', {})
    for row in arguments.rows:
        compare(report, row, arguments)
        gc.collect()
    report.finish(
        arguments.out,
        select_device(arguments.device),
        threads=arguments.threads,
        batch_size=arguments.batch_size,
        device=arguments.device,
        dtype=arguments.dtype,
        relative_positions='none' if arguments.no_relative_positions else 'as in the configs',
    )


if __name__ == '__main__':
    main()
