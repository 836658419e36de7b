"""Attention among all tokens, in windows, shifted windows, and with means of all windows."""

import io
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)
from torch.utils._python_dispatch import TorchDispatchMode

from vitpose_mm.checkpoints import CheckpointError
from vitpose_mm.models import ViT
from vitpose_mm.models.layers import (
    Attention,
    BlockAttention,
    add_relative_positions,
    group_tokens,
    plan_steps,
    rearrange,
    resize_table,
)

DIM, HEADS = 16, 2
# maps and windows: dividing, dividing one side, dividing none, odd, larger than one side or both
MAPS = [((4, 6), (2, 3)), ((5, 6), (2, 3)), ((5, 7), (4, 4)), ((7, 4), (3, 5)), ((3, 4), (8, 8))]
KINDS = {
    'full': BlockAttention(),
    'window': BlockAttention((1, 1)),
    'shift': BlockAttention((1, 1), shifted=True),
    'pool': BlockAttention((1, 1), pooled=True),
    'shift+pool': BlockAttention((1, 1), shifted=True, pooled=True),
}


def kind(name: str, window_hw, relative: bool = False) -> BlockAttention:
    windows = None if name == 'full' else window_hw
    return KINDS[name]._replace(window_hw=windows, relative_positions=relative)


def seeded_attention(table_hw=None) -> Attention:
    torch.manual_seed(0)
    attention = Attention(DIM, HEADS, table_hw=table_hw)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    return attention


def in_order_of_map(attention, x, grid_hw, block: BlockAttention) -> Tensor:
    """Sort tokens, call, sort back: extra tokens first, then those of the map row by row."""
    num_extra = x.shape[1] - grid_hw[0] * grid_hw[1]
    (step,), back = plan_steps((block,), grid_hw, num_extra, x.device)
    return rearrange(attention(rearrange(x, step.move), step.grouping), back)


# --- the reference: Swin's padding, rolling and regions, pair by pair ---


def swin_places(length: int, window: int, shifted: bool) -> list[tuple[int, int]]:
    """Window and region of each row (or column) after padding and rolling back by half a window."""
    shift = window // 2 if shifted and window < length else 0
    padded = math.ceil(length / window) * window
    places = []
    for row in range(length):
        rolled = (row - shift) % padded
        region = 0
        if shift:
            region = 0 if rolled < padded - window else 1 if rolled < padded - shift else 2
        places.append((rolled // window, region))
    return places


def neighbours(grid_hw, block: BlockAttention) -> Tensor:
    """(N, N): whether a token of the map attends to another."""
    window_hw = block.window_hw or grid_hw
    rows, columns = (
        swin_places(length, side, block.shifted) for length, side in zip(grid_hw, window_hw)
    )
    places = list(itertools.product(rows, columns))
    return torch.tensor([[one == other for other in places] for one in places])


def naive_attention(attention: Attention, x: Tensor, grid_hw, block: BlockAttention) -> Tensor:
    """Every query by itself, with lists of what it attends to."""
    num_tokens = grid_hw[0] * grid_hw[1]
    num_extra = x.shape[1] - num_tokens
    allowed = neighbours(grid_hw, block)
    regular = neighbours(grid_hw, block._replace(shifted=False))
    windows = sorted({tuple(row.nonzero().flatten().tolist()) for row in regular})
    num_heads = attention.num_heads
    dim = attention.qkv.in_features
    head_dim = dim // num_heads
    images = []
    for tokens in x:
        query, key, value = attention.qkv(tokens).reshape(-1, 3, num_heads, head_dim).unbind(1)
        outputs = []
        for index, head in itertools.product(range(len(tokens)), range(num_heads)):
            q = query[index, head]
            own = index - num_extra
            scores, values = [], []
            for other in range(len(tokens)):
                both_on_map = own >= 0 and other >= num_extra
                if both_on_map and not allowed[own, other - num_extra]:
                    continue
                score = q @ key[other, head] / math.sqrt(head_dim)
                if both_on_map and block.relative_positions:
                    score = score + relative_score(attention, q, own, other - num_extra, grid_hw)
                scores.append(score)
                values.append(value[other, head])
            if own >= 0 and block.pooled and len(windows) > 1:
                for window in windows:
                    members = [num_extra + member for member in window]
                    scores.append(q @ key[members, head].mean(0) / math.sqrt(head_dim))
                    values.append(value[members, head].mean(0))
            outputs.append(torch.stack(scores).softmax(0) @ torch.stack(values))
        images.append(torch.stack(outputs).reshape(len(tokens), dim))
    return attention.proj(torch.stack(images))


def relative_score(attention: Attention, q: Tensor, one: int, other: int, grid_hw) -> Tensor:
    score = 0
    columns = grid_hw[1]
    for table, distance in (
        (attention.rel_pos_h, one // columns - other // columns),
        (attention.rel_pos_w, one % columns - other % columns),
    ):
        score = score + q @ table[distance + len(table) // 2]
    return score


@pytest.mark.parametrize('relative', [False, True], ids=['plain', 'relative'])
@pytest.mark.parametrize('num_extra', [0, 2])
@pytest.mark.parametrize('grid_hw, window_hw', MAPS)
@pytest.mark.parametrize('name', KINDS)
def test_naive_reference_agrees(name, grid_hw, window_hw, num_extra, relative):
    block = kind(name, window_hw, relative)
    attention = seeded_attention((block.window_hw or grid_hw) if relative else None)
    x = torch.randn(2, num_extra + grid_hw[0] * grid_hw[1], DIM)
    direction = torch.randn_like(x)
    results = []
    for function in (in_order_of_map, naive_attention):
        attention.zero_grad()
        tokens = x.clone().requires_grad_()
        output = function(attention, tokens, grid_hw, block)
        (output * direction).sum().backward()
        gradients = {n: p.grad for n, p in attention.named_parameters()}
        results.append(dict(output=output, x=tokens.grad, **gradients))
    for what, expected in results[1].items():
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(
            results[0][what] / scale, expected / scale, atol=1e-5, rtol=0, msg=what
        )


# --- identities ---


def test_sorting_by_window_and_back_is_the_identity():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        height, width, rows, columns = torch.randint(1, 12, (4,), generator=generator).tolist()
        for name in ('window', 'shift', 'shift+pool'):
            blocks = (kind(name, (rows, columns)), BlockAttention(), kind('shift', (columns, rows)))
            steps, back = plan_steps(blocks, (height, width), 2, torch.device('cpu'))
            tokens = torch.randn(1, 2 + height * width, 3, generator=generator)
            present = tokens
            for step, block in zip(steps, blocks):
                present = rearrange(present, step.move)
                assert torch.equal(present[:, :2], tokens[:, :2])
                if step.grouping is not None:
                    order = torch.from_numpy(group_tokens((height, width), block)[0])
                    assert torch.equal(order.sort().values, torch.arange(height * width))
                    assert torch.equal(present[:, 2:], tokens[:, 2 + order])
            assert torch.equal(rearrange(present, back), tokens)


def test_blocks_that_group_alike_move_no_tokens():
    window, shift = kind('window', (2, 2)), kind('shift', (2, 2))
    steps, back = plan_steps(
        (BlockAttention(), window, window, BlockAttention(), window, shift),
        (4, 6),
        0,
        torch.device('cpu'),
    )
    assert [step.move is None for step in steps] == [True, False, True, True, True, False]
    assert back is not None


@pytest.mark.parametrize('name', ['window', 'shift', 'pool', 'shift+pool'])
@pytest.mark.parametrize('window_hw', [(4, 3), (8, 3), (8, 8)])
@pytest.mark.parametrize('relative_positions', [False, True])
def test_a_window_not_smaller_than_the_map_is_full_attention(name, window_hw, relative_positions):
    options = dict(relative_positions=relative_positions)
    full = tiny_vit(**options).eval()
    windowed = tiny_vit(attention=name, window_hw=window_hw, **options).eval()
    state = windowed.state_dict() | {
        key: tensor for key, tensor in full.state_dict().items() if 'rel_pos' not in key
    }
    for (key, of_map), side, window in zip(
        [item for item in full.named_parameters() if 'rel_pos' in item[0]],
        itertools.cycle((4, 3)),
        itertools.cycle(window_hw),
    ):
        nn.init.normal_(of_map, std=0.5)
        state[key] = torch.randn(2 * window - 1, 8)
        state[key][window - side : window + side - 1] = of_map.detach()
    windowed.load_state_dict(state)
    images = torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(windowed(images)[0], full(images)[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('grid_hw, window_hw', MAPS[:4])
@pytest.mark.parametrize('name', ['window', 'shift'])
def test_tokens_outside_of_the_window_have_exactly_no_influence(name, grid_hw, window_hw):
    block = kind(name, window_hw, relative=True)
    attention = seeded_attention(window_hw)
    influence = jacobian(attention, grid_hw, block)
    assert torch.equal(influence > 0, neighbours(grid_hw, block))


@pytest.mark.parametrize('grid_hw, window_hw', MAPS[:4])
@pytest.mark.parametrize('name', ['pool', 'shift+pool'])
def test_with_pool_tokens_outside_have_influence_through_the_means_alone(name, grid_hw, window_hw):
    block = kind(name, window_hw)
    attention = seeded_attention()
    assert (jacobian(attention, grid_hw, block) > 0).all()

    order, grouping = group_tokens(grid_hw, block)
    outside = ~neighbours(grid_hw, block)
    for left_out in range(len(grouping.pooling)):
        members = torch.zeros(grid_hw[0] * grid_hw[1], dtype=torch.bool)
        members[order[grouping.pooling[left_out] > 0]] = True
        pooling = torch.cat([grouping.pooling[:left_out], grouping.pooling[left_out + 1 :]])
        influence = jacobian(attention, grid_hw, block, order, grouping._replace(pooling=pooling))
        assert torch.equal(influence == 0, outside & members)


def jacobian(attention, grid_hw, block, order=None, grouping=None) -> Tensor:
    """(N, N): greatest change of each output token by each input token."""
    x = torch.randn(1, grid_hw[0] * grid_hw[1], DIM)

    def mix(tokens: Tensor) -> Tensor:
        if grouping is None:
            return in_order_of_map(attention, tokens, grid_hw, block)
        return attention(tokens[:, order], grouping)[:, order.argsort()]

    changes = torch.autograd.functional.jacobian(mix, x)  # (1, N, C, 1, N, C)
    return changes[0, :, :, 0].abs().amax((1, 3))


def test_windows_cut_by_an_edge_are_attention_on_what_is_left_of_them():
    """Nothing is attended to beyond the edge: 5 x 7 in windows of 4 x 4."""
    attention = seeded_attention()
    x = torch.randn(2, 35, DIM)
    mixed = in_order_of_map(attention, x, (5, 7), kind('window', (4, 4))).unflatten(1, (5, 7))
    for rows, columns in itertools.product((slice(0, 4), slice(4, 5)), (slice(0, 4), slice(4, 7))):
        part = x.unflatten(1, (5, 7))[:, rows, columns]
        alone = attention(part.flatten(1, 2)).unflatten(1, part.shape[1:3])
        torch.testing.assert_close(mixed[:, rows, columns], alone, atol=1e-6, rtol=1e-6)


def test_extra_tokens_attend_to_all_and_are_attended_to_by_all():
    attention = seeded_attention()
    x = torch.randn(1, 2 + 24, DIM)

    def mix(tokens: Tensor) -> Tensor:
        return in_order_of_map(attention, tokens, (4, 6), kind('window', (2, 3)))

    influence = torch.autograd.functional.jacobian(mix, x)[0, :, :, 0].abs().amax((1, 3)) > 0
    assert influence[:2].all() and influence[:, :2].all()
    assert torch.equal(influence[2:, 2:], neighbours((4, 6), kind('window', (2, 3))))


# --- relative positions ---


def test_tables_have_the_size_of_the_formula():
    """Per block (2 rows - 1 + 2 columns - 1) * head_dim, rows and columns of window or map."""
    plain = count(tiny_vit())
    assert plain == count(tiny_vit(attention='shift+pool', window_hw=(2, 2)))
    windowed = tiny_vit(attention='window', window_hw=(2, 3), relative_positions=True)
    assert count(windowed) - plain == 3 * (3 + 5) * 8
    assert count(tiny_vit(relative_positions=True)) - plain == 3 * (7 + 5) * 8
    mixed = tiny_vit(
        attention=('window', 'shift+pool', 'full'), window_hw=(2, 3), relative_positions=True
    )
    assert count(mixed) - plain == (2 * (3 + 5) + 7 + 5) * 8


def count(vit: ViT) -> int:
    return sum(parameter.numel() for parameter in vit.parameters())


def test_tables_are_zero_at_first_and_change_nothing_then():
    images = torch.randn(2, 3, 64, 48)
    for options in (dict(), dict(attention='shift', window_hw=(3, 2))):
        plain = tiny_vit(**options).eval()
        with_tables = tiny_vit(relative_positions=True, **options).eval()
        with_tables.load_state_dict(plain.state_dict())
        torch.testing.assert_close(with_tables(images)[0], plain(images)[0], atol=1e-6, rtol=1e-6)


def test_tables_are_resampled_linearly():
    table = torch.arange(7.0)[:, None].expand(-1, 3)
    assert resize_table(table, 4) is table
    # 7 rows to 3: centres at 1/6, 3/6, 5/6 of 7, minus a half
    torch.testing.assert_close(resize_table(table, 2)[:, 0], torch.tensor([2 / 3, 3, 16 / 3]))
    assert resize_table(table, 20).shape == (39, 3)
    with_slope = torch.randn(5, 8)
    flipped = resize_table(with_slope.flip(0), 9)  # left and right alike
    torch.testing.assert_close(flipped, resize_table(with_slope, 9).flip(0))


def test_full_attention_resamples_its_tables_for_other_sizes():
    vit = tiny_vit(relative_positions=True).eval()
    larger = tiny_vit(relative_positions=True, img_size=(96, 80)).eval()
    for name, table in vit.named_parameters():
        if 'rel_pos' in name:
            nn.init.normal_(table)
    larger.load_state_dict(vit.state_dict())  # resampled when they are loaded
    assert larger.blocks[0].attn.rel_pos_h.shape == (11, 8)
    images = torch.randn(1, 3, 96, 80)
    torch.testing.assert_close(vit(images)[0], larger(images)[0], atol=1e-5, rtol=1e-5)


def test_tables_load_into_wrapped_blocks_and_from_the_meta_device():
    """Wrappers rename parameters; ``assign`` replaces those that have no memory yet."""
    options = dict(attention='window', window_hw=(2, 3), relative_positions=True)
    state, without = tiny_vit(**options).state_dict(), tiny_vit().state_dict()
    with torch.device('meta'):
        vit = ViT(**TINY, **options)
    vit.load_state_dict(without, assign=True)
    assert vit(torch.randn(1, 3, 64, 48))[0].isfinite().all()

    vit = tiny_vit(**options)
    apply_activation_checkpointing(vit, check_fn=lambda module: module in set(vit.blocks))
    assert any('_checkpoint_wrapped_module' in name for name, _ in vit.named_parameters())
    vit.load_state_dict(without)
    assert not vit.state_dict()['blocks.1.attn.rel_pos_w'].any()
    vit.load_state_dict(state)
    for name, weight in vit.state_dict().items():
        assert torch.equal(weight, state[name]), name


# --- the backbone ---

TINY = dict(arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=(64, 48))
PATTERNS = {
    'full': dict(),
    'window': dict(attention='window', window_hw=(3, 2)),
    'shift': dict(attention=('window', 'shift', 'shift'), window_hw=(3, 2)),
    'shift+pool': dict(attention=('pool', 'shift+pool', 'pool'), window_hw=(2, 2)),
    'vitdet': dict(attention=('window', 'shift', 'full'), window_hw=(2, 2)),
    'relative': dict(
        attention=('full', 'shift+pool', 'window'), window_hw=(3, 2), relative_positions=True
    ),
}


def tiny_vit(**options) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**{**TINY, **options})
    vit.init_weights()
    for name, parameter in vit.named_parameters():
        nn.init.normal_(parameter, std=0.3 if 'rel_pos' in name else 0.1)
    return vit


@pytest.mark.parametrize('class_token', ['fold', 'keep'])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_backbone_is_its_blocks_one_after_the_other(pattern, class_token):
    """Against blocks whose tokens stay row by row and whose attention goes pair by pair."""
    vit = tiny_vit(class_token=class_token, **PATTERNS[pattern]).eval()
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        tokens, grid_hw = vit.embed_patches(images)
        tokens = vit.add_positions(tokens, grid_hw)
        if class_token == 'keep':
            first = (vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1)
            tokens = torch.cat([first, tokens], 1)
        for block, attention in zip(vit.blocks, vit.attentions):
            tokens = tokens + naive_attention(block.attn, block.norm1(tokens), grid_hw, attention)
            tokens = tokens + block.mlp(block.norm2(tokens))
        expected = vit.last_norm(tokens)[:, -12:].transpose(1, 2).unflatten(2, grid_hw)
        torch.testing.assert_close(vit(images)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('pattern', list(PATTERNS)[:5])
def test_one_checkpoint_runs_under_any_variant(pattern):
    state = tiny_vit().state_dict()
    vit = tiny_vit(**PATTERNS[pattern])
    for parameter in vit.parameters():
        nn.init.zeros_(parameter)
    vit.load_state_dict(state, strict=True)
    assert vit.state_dict().keys() == state.keys()
    for name, weight in vit.state_dict().items():
        assert torch.equal(weight, state[name]), name


def test_tables_of_windows_go_into_others_and_not_into_a_model_without():
    windowed = tiny_vit(attention='window', window_hw=(2, 2), relative_positions=True)
    other = tiny_vit(attention='window', window_hw=(4, 2), relative_positions=True)
    other.load_state_dict(windowed.state_dict())
    torch.testing.assert_close(
        other.blocks[1].attn.rel_pos_h, resize_table(windowed.blocks[1].attn.rel_pos_h, 4)
    )
    assert torch.equal(other.blocks[1].attn.rel_pos_w, windowed.blocks[1].attn.rel_pos_w)
    with pytest.raises(CheckpointError, match='has tables of relative positions'):
        tiny_vit().load_state_dict(windowed.state_dict())
    even = windowed.state_dict() | {'blocks.1.attn.rel_pos_h': torch.zeros(6, 8)}
    with pytest.raises(CheckpointError, match='must have 2 n - 1 rows, it has 6'):
        other.load_state_dict(even)
    incomplete = windowed.state_dict()
    del incomplete['blocks.1.attn.rel_pos_h']
    with pytest.raises(CheckpointError, match=r'missing: blocks\.1\.attn\.rel_pos_h'):
        tiny_vit(attention='window', window_hw=(2, 2), relative_positions=True).load_state_dict(
            incomplete
        )


@pytest.mark.parametrize('pattern', PATTERNS)
def test_other_sizes_work_at_run_time(pattern):
    vit = tiny_vit(**PATTERNS[pattern])
    for height, width in ((64, 48), (16, 16), (112, 80), (64, 48)):
        assert vit(torch.randn(1, 3, height, width))[0].shape == (1, 32, height // 16, width // 16)


@pytest.mark.parametrize('pattern', PATTERNS)
def test_experts_see_the_same_tokens(pattern):
    """A mixed batch equals its samples one by one."""
    vit = tiny_vit(experts=['a', 'b'], **PATTERNS[pattern]).eval()
    images, ids = torch.randn(3, 3, 64, 48), torch.tensor([1, 0, 1])
    one_by_one = [vit(images[i : i + 1], ids[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(vit(images, ids)[0], torch.cat(one_by_one), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('recomputation', [True, 'selective'])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_recomputation_changes_no_gradient(pattern, recomputation):
    images = torch.randn(2, 3, 64, 48)
    gradients = []
    for value in (False, recomputation):
        vit = tiny_vit(activation_checkpointing=value, drop_path_rate=0.5, **PATTERNS[pattern])
        vit.train()
        torch.manual_seed(1)
        vit(images)[0].square().mean().backward()
        gradients.append({name: p.grad for name, p in vit.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize('pattern', PATTERNS)
@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
def test_compiles_without_graph_breaks(pattern, backend):
    torch._dynamo.reset()
    vit = tiny_vit(**PATTERNS[pattern])
    images = torch.randn(2, 3, 64, 48)
    compiled = torch.compile(vit, fullgraph=True, backend=backend)
    gradients = []
    for model in (vit, compiled):
        vit.zero_grad()
        output = model(images)[0]
        output.square().mean().backward()
        gradients.append([output] + [p.grad for p in vit.parameters()])
    for ours, expected in zip(*gradients):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_compiles_for_several_sizes():
    """After the first change of a size compilers make it a symbol."""
    torch._dynamo.reset()
    vit = tiny_vit(class_token='keep', **PATTERNS['relative']).eval()
    compiled = torch.compile(vit, fullgraph=True, backend='eager')
    for batch_size, height, width in ((2, 64, 48), (2, 96, 64), (3, 80, 80)):
        images = torch.randn(batch_size, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(compiled(images)[0], vit(images)[0], atol=1e-5, rtol=1e-4)


def test_what_an_export_traced_is_not_kept_for_later():
    vit = tiny_vit(attention='shift', window_hw=(3, 2)).eval()
    images = torch.randn(1, 3, 80, 48)
    with torch.no_grad():
        exported = torch.export.export(vit, (images,), strict=False)
        torch.testing.assert_close(exported.module()(images)[0], vit(images)[0])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_half_precision_is_as_exact_as_full_attention(pattern, dtype):
    images = torch.randn(2, 3, 64, 48)

    def error(**options) -> float:
        vit = tiny_vit(**options).eval()
        with torch.no_grad():
            exact = vit(images)[0]
            rough = vit.to(dtype)(images.to(dtype))[0]
        assert rough.dtype == dtype and rough.isfinite().all()
        return (rough.float() - exact).abs().max().item() / exact.abs().max().item()

    assert error(**PATTERNS[pattern]) < 2 * error() + 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_trains_under_autocast(pattern, dtype):
    vit = tiny_vit(**PATTERNS[pattern])
    images = torch.randn(2, 3, 64, 48)
    vit(images)[0].square().mean().backward()
    exact = torch.cat([p.grad.flatten() for p in vit.parameters()])
    vit.zero_grad()
    with torch.autocast('cpu', dtype):
        loss = vit(images)[0].float().square().mean()
    loss.backward()
    rough = torch.cat([p.grad.flatten() for p in vit.parameters()])
    assert torch.nn.functional.cosine_similarity(rough, exact, dim=0) > 0.99


class Operators(TorchDispatchMode):
    """Names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, inputs=(), options=None):
        self.names.append(operator.name())
        return operator(*inputs, **(options or {}))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_all_attention_goes_through_the_fused_kernel(pattern, dtype):
    """No scores of token pairs, neither in full precision nor in half, nor for gradients."""
    vit = tiny_vit(class_token='keep', **PATTERNS[pattern]).to(dtype)
    with Operators() as operators:
        vit(torch.randn(2, 3, 64, 48).to(dtype))[0].sum().backward()
    fused = [name for name in operators.names if 'scaled_dot_product' in name]
    assert {name.removesuffix('_backward') for name in fused} == {
        'aten::_scaled_dot_product_flash_attention_for_cpu'
    }
    assert len(fused) == 2 * sum(name.endswith('_backward') for name in fused) > 0
    assert not [name for name in operators.names if 'softmax' in name]


@pytest.mark.parametrize('hw', [(8, 6), (16, 6), (7, 7), (16, 12), (36, 27)])
@pytest.mark.parametrize('head_dim', [32, 64, 80])
def test_relative_positions_make_channels_that_kernels_of_gpus_take(hw, head_dim):
    x = torch.randn(1, 2, hw[0] * hw[1], head_dim)
    tables = [torch.randn(2 * side - 1, head_dim) for side in hw]
    for extended in add_relative_positions(x, x, x, tables, hw, hw):
        assert extended.shape[-1] % 8 == 0
        assert 0 <= extended.shape[-1] - head_dim - sum(hw) < 8


def test_plans_made_in_inference_serve_training():
    """What is kept from one forward to the next must not be marked as of inference."""
    vit = tiny_vit(attention='shift+pool', window_hw=(5, 2), img_size=(176, 144))
    images = torch.randn(1, 3, 176, 144)
    with torch.inference_mode():
        vit(images)
    vit(images)[0].sum().backward()
    assert vit.pos_embed.grad is not None


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(attention='swin'), r"attention must be one of \['full', .*got 'swin'"),
        (dict(attention=['window', 'all'], window_hw=(2, 2)), r"got \['window', 'all'\]"),
        (dict(attention=[]), r'got \[\]'),
        (dict(attention=None), 'got None'),
        (dict(attention={'window': 1}), "got {'window': 1}"),
        (dict(attention=[['window']]), r"got \[\['window'\]\]"),
        (dict(attention='window'), r"'window' needs window_hw=\(rows, columns\), got None"),
        (dict(attention=['shift']), r'needs window_hw=\(rows, columns\), got None'),
        (dict(attention=['shift'], window_hw=(0, 4)), r'each at least 1, got \(0, 4\)'),
        (dict(attention=['shift'], window_hw=(-2, 4)), r'each at least 1, got \(-2, 4\)'),
        (dict(attention=['shift'], window_hw=8), 'each at least 1, got 8'),
        (dict(attention=['shift'], window_hw=(True, 4)), r'each at least 1, got \(True, 4\)'),
        (dict(attention=['shift'], window_hw=(2.0, 4)), r'each at least 1, got \(2.0, 4\)'),
        (dict(attention=['shift'], window_hw=(1, 1)), 'cannot be shifted by half'),
        (dict(attention=['window', 'full'], window_hw=(2, 2)), r'every 2 blocks.* the 3 blocks'),
        (dict(activation_checkpointing='some'), r"one of \[False, True, 'selective'\], got 'some'"),
        (dict(frozen_stages=4), r'frozen_stages must be from -1 \(none\) to 3 .* got 4'),
        (dict(frozen_stages=-2), 'got -2'),
        (dict(frozen_stages=1.0), r'got 1\.0'),
        (dict(ratio=3), 'ratio must divide patch_size 16, got 3'),
        (dict(ratio='2'), "ratio must divide patch_size 16, got '2'"),
        (dict(ratio=2.0), r'ratio must divide patch_size 16, got 2\.0'),
        (dict(ratio=8), 'ratio must be 1, 2 or 4 unless padding is given, got 8'),
        (dict(freeze_attn='no'), "freeze_attn must be True or False, got 'no'"),
        (dict(relative_positions=1), 'relative_positions must be True or False, got 1'),
        (dict(frozen_stages=True), 'got True'),
        (dict(activation_checkpointing=1), r"'selective'\], got 1"),
        (dict(ratio=0), 'ratio must divide patch_size 16, got 0'),
        (dict(img_size=(0, 192)), r'multiples of the patch size 16, got \(0, 192\)'),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**{**TINY, **options})


@pytest.mark.parametrize('height, width', [(8, 48), (64, 0), (70, 48)])
def test_inputs_that_give_no_map_are_named(height, width):
    vit = tiny_vit(attention='window', window_hw=(2, 2))
    with pytest.raises(ValueError, match=rf'multiples of the patch size 16, got \({height}, '):
        vit(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize('pattern', PATTERNS)
def test_more_tokens_than_those_of_the_map_are_extra(pattern):
    """Two knowledge tokens before 4 x 3 of the map; the class token comes before all."""
    vit = tiny_vit(class_token='keep', **PATTERNS[pattern]).eval()
    tokens = torch.randn(2, 2 + 12, 32)
    with torch.no_grad():
        expected = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1), tokens], 1)
        for block, attention in zip(vit.blocks, vit.attentions):
            mixed = naive_attention(block.attn, block.norm1(expected), (4, 3), attention)
            expected = expected + mixed
            expected = expected + block.mlp(block.norm2(expected))
        expected = vit.last_norm(expected)
        torch.testing.assert_close(vit.encode(tokens, (4, 3)), expected, atol=1e-5, rtol=1e-5)


def test_named_variants_alternate_to_the_last_block():
    vit = ViT(**TINY, attention='shift+pool', window_hw=(2, 2))
    assert [attention.shifted for attention in vit.attentions] == [False, True, False]
    assert all(attention.pooled for attention in vit.attentions)
    assert vit.attention == 'window 2x2 pooled, window 2x2 shifted pooled, and so on'


@pytest.mark.parametrize('pattern', PATTERNS)
def test_empty_batches(pattern):
    vit = tiny_vit(class_token='keep', **PATTERNS[pattern]).eval()
    assert vit(torch.randn(0, 3, 64, 48))[0].shape == (0, 32, 4, 3)


def test_export_for_batches_of_any_size():
    vit = tiny_vit(class_token='keep', **PATTERNS['relative']).eval()
    with torch.no_grad():
        batch = {0: torch.export.Dim('batch')}
        images = torch.randn(2, 3, 64, 48)
        exported = torch.export.export(vit, (images,), dynamic_shapes=(batch,), strict=False)
        more = torch.randn(3, 3, 64, 48)
        torch.testing.assert_close(exported.module()(more)[0], vit(more)[0], atol=1e-5, rtol=1e-5)


def test_torchscript_traces_it():
    vit = tiny_vit(attention='shift', window_hw=(3, 2)).eval()
    images = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        traced = torch.jit.trace(vit, images)
        torch.jit.save(traced, io.BytesIO())
        torch.testing.assert_close(traced(images)[0], vit(images)[0])


def test_windows_need_all_tokens_of_a_map():
    vit = tiny_vit(attention='window', window_hw=(2, 2))
    with pytest.raises(ValueError, match=r'got 5 tokens and grid_hw \(4, 3\)'):
        vit.encode(torch.randn(1, 5, 32), (4, 3))
    with pytest.raises(ValueError, match='got 5 tokens and grid_hw None'):
        vit.encode(torch.randn(1, 5, 32))
    assert tiny_vit().encode(torch.randn(1, 5, 32)).shape == (1, 5, 32)
