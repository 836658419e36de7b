import pytest
import torch
from mmpose.registry import MODELS
from torch import nn

from vitpose_mm.checkpoints import CheckpointError, infer_grid
from vitpose_mm.models import ViT
from vitpose_mm.models.backbones.vit import ARCHITECTURES
from vitpose_mm.models.layers import PatchEmbedding, resize_positions

TINY = dict(arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=(64, 48))


def tiny_vit(**options) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**{**TINY, **options})
    vit.init_weights()
    return vit


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='ViT', **TINY)), ViT)


@pytest.mark.parametrize(
    'arch, millions',
    # C, depth and hidden width give 12 C^2 depth + small terms; B, L and H with the classic head
    # (4.1, 5.2, 6.3 M) make the paper's 90.0, 308.5 and 637.2 M.
    [
        ('tiny', 5.5),
        ('small', 21.7),
        ('base', 85.8),
        ('large', 303.3),
        ('huge', 630.9),
        ('giant', 1011.4),
    ],
)
def test_number_of_parameters(arch, millions):
    with torch.device('meta'):
        vit = ViT(arch)
    assert sum(p.numel() for p in vit.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert vit.pos_embed.shape == (1, 1 + 16 * 12, ARCHITECTURES[arch]['embed_dim'])


@pytest.mark.parametrize('ratio, padding, grid', [(1, 2, (4, 3)), (2, 4, (8, 6)), (4, 6, (16, 12))])
def test_ratio_sets_stride_and_official_padding(ratio, padding, grid):
    vit = tiny_vit(ratio=ratio)
    assert vit.patch_embed.proj.padding == (padding, padding)
    (features,) = vit(torch.randn(2, 3, 64, 48))
    assert features.shape == (2, 32, *grid)
    assert vit.pos_embed.shape[1] == 1 + grid[0] * grid[1]


def test_forward_is_the_formula_of_the_paper():
    """Against the definition, written out with explicit attention."""
    vit = tiny_vit().eval()
    nn.init.normal_(vit.pos_embed)
    images = torch.randn(2, 3, 64, 48)

    x = vit.patch_embed.proj(images).flatten(2).transpose(1, 2)
    x = x + vit.pos_embed[:, 1:] + vit.pos_embed[:, :1]
    for block in vit.blocks:
        qkv = block.attn.qkv(block.norm1(x)).reshape(2, 12, 3, 4, 8).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-1, -2) / 8**0.5).softmax(-1)
        x = x + block.attn.proj((weights @ qkv[2]).transpose(1, 2).reshape(2, 12, 32))
        x = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
    expected = vit.last_norm(x).transpose(1, 2).reshape(2, 32, 4, 3)
    torch.testing.assert_close(vit(images)[0], expected, atol=1e-5, rtol=1e-5)


def coordinate_positions(grid_hw) -> torch.Tensor:
    """Each position embeds its own centre, in fractions of the image."""
    rows, columns = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in grid_hw), indexing='ij')
    return torch.stack([rows, columns], -1).reshape(1, -1, 2)


@pytest.mark.parametrize(
    'source, target', [((14, 14), (16, 12)), ((16, 12), (24, 18)), ((7, 5), (9, 16))]
)
def test_resized_positions_stay_where_they_were(source, target):
    resized = resize_positions(coordinate_positions(source), source, target)
    difference = (resized - coordinate_positions(target)).abs() * torch.tensor(source)
    difference = difference.unflatten(1, target)  # in patches of the source
    # torch's bicubic kernel (a = -0.75) bends straight lines a little, more so at the edges, where
    # it repeats what it cannot see.
    assert difference[:, 3:-3, 3:-3].max() < 0.1
    assert difference.max() < 0.5


@pytest.mark.parametrize(
    'count, target, expected',
    [(196, (16, 12), (14, 14)), (192, (24, 18), (16, 12)), (192, (16, 16), (16, 12)),
     (768, (16, 12), (32, 24)), (45, (27, 15), (9, 5))],
)  # fmt: skip
def test_grid_is_inferred(count, target, expected):
    assert infer_grid(count, target) == expected


def test_grid_that_is_unclear_must_be_said():
    with pytest.raises(
        ValueError, match=r'144 positions could be any of \[\(12, 12\), \(16, 9\)\]'
    ):
        infer_grid(144, (32, 18))
    with pytest.raises(ValueError, match=r'150 .*neither square nor 4:3; .*pretrained_grid_hw'):
        infer_grid(150, (16, 12))


def test_positions_are_resized_at_load_time():
    source = tiny_vit(img_size=(96, 96))
    source.pos_embed.data[:, 1:, :2] = coordinate_positions((6, 6))
    target = tiny_vit(img_size=(128, 96))
    target.load_state_dict(source.state_dict())
    expected = resize_positions(source.pos_embed[:, 1:], (6, 6), (8, 6))
    torch.testing.assert_close(target.pos_embed[:, 1:], expected)
    torch.testing.assert_close(target.pos_embed[:, :1], source.pos_embed[:, :1])


def test_positions_of_an_odd_grid_need_it_said():
    source = tiny_vit(img_size=(32, 80))
    foreign = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    with pytest.raises(ValueError, match='pretrained_grid_hw'):
        tiny_vit().load_state_dict(foreign)
    target = tiny_vit(pretrained_grid_hw=(2, 5))
    target.load_state_dict(foreign)
    expected = resize_positions(source.pos_embed[:, 1:], (2, 5), (4, 3))
    torch.testing.assert_close(target.pos_embed[:, 1:], expected)


def test_positions_of_a_grid_of_the_same_size_but_another_shape_are_resized():
    source = tiny_vit(img_size=(64, 48))  # 4 x 3
    target = tiny_vit(img_size=(48, 64))  # 3 x 4
    target.load_state_dict(source.state_dict())  # our own files say what they hold
    expected = resize_positions(source.pos_embed[:, 1:], (4, 3), (3, 4))
    torch.testing.assert_close(target.pos_embed[:, 1:], expected)

    foreign = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    target = tiny_vit(img_size=(48, 64), pretrained_grid_hw=(4, 3))
    target.load_state_dict(foreign)
    torch.testing.assert_close(target.pos_embed[:, 1:], expected)
    again = tiny_vit(img_size=(48, 64), pretrained_grid_hw=(4, 3))
    again.load_state_dict(target.state_dict())
    assert torch.equal(again.pos_embed, target.pos_embed)


def test_other_input_sizes_at_run_time_equal_a_model_made_for_them():
    vit = tiny_vit().eval()
    larger = tiny_vit(img_size=(96, 80)).eval()
    larger.load_state_dict(vit.state_dict() | {
        'pos_embed': torch.cat(
            [vit.pos_embed[:, :1], resize_positions(vit.pos_embed[:, 1:], (4, 3), (6, 5))], 1
        )
    })  # fmt: skip
    images = torch.randn(1, 3, 96, 80)
    torch.testing.assert_close(vit(images)[0], larger(images)[0])


def test_activation_checkpointing_changes_no_gradient():
    images = torch.randn(2, 3, 64, 48)
    gradients = []
    for activation_checkpointing in (False, True):
        vit = tiny_vit(
            activation_checkpointing=activation_checkpointing, drop_path_rate=0.5
        ).train()
        torch.manual_seed(1)
        vit(images)[0].square().mean().backward()
        gradients.append({name: p.grad for name, p in vit.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_every_parameter_gets_a_gradient():
    vit = tiny_vit()
    vit(torch.randn(2, 3, 64, 48))[0].square().sum().backward()
    without = [name for name, p in vit.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_drop_path_grows_linearly_and_rests_in_eval():
    vit = tiny_vit(drop_path_rate=0.4)
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in vit.blocks]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
    vit.eval()
    images = torch.randn(4, 3, 64, 48)
    torch.testing.assert_close(vit(images)[0], vit(images)[0], rtol=0, atol=0)
    vit.train()
    assert not torch.equal(vit(images)[0], vit(images)[0])


def test_layer_depths_name_every_parameter():
    vit = tiny_vit()
    depths = vit.layer_depths()
    by_name = {name: depths[p] for name, p in vit.named_parameters()}
    assert by_name.pop('pos_embed') == 0
    for name, depth in by_name.items():
        first, second = name.split('.')[:2]
        expected = {'patch_embed': 0, 'last_norm': 4}.get(first)
        assert depth == (int(second) + 1 if first == 'blocks' else expected), name


def test_compiles_without_graph_breaks():
    vit = tiny_vit().eval()
    images = torch.randn(2, 3, 64, 48)
    compiled = torch.compile(vit, fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(images)[0], vit(images)[0])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arch='medium'), "arch must be one of .*'base'.* got 'medium'"),
        (dict(arch=dict(embed_dim=32, depth=2)), 'must have the keys .*num_heads'),
        (
            dict(arch=dict(embed_dim=30, depth=2, num_heads=4)),
            '30 is not a multiple of num_heads 4',
        ),
        (dict(img_size=(250, 192)), r'multiples of the patch size 16, got \(250, 192\)'),
        (dict(ratio=3), 'ratio must divide patch_size 16, got 3'),
        (dict(patch_padding=9), 'padding must be at least 0 .* got 9'),
        (dict(drop_path_rate=1.5), r'drop_path_rate must be in \[0, 1\), got 1.5'),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**{**TINY, **options})


def test_bad_input_size_is_named():
    with pytest.raises(ValueError, match=r'multiples of the patch size 16, got \(64, 50\)'):
        tiny_vit()(torch.randn(1, 3, 64, 50))


def test_patches_of_timm_have_no_padding():
    assert PatchEmbedding(8, padding=0).grid_hw((224, 224)) == (14, 14)
    assert PatchEmbedding(8, patch_size=14, padding=0).grid_hw((224, 224)) == (16, 16)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: s.pop('blocks.1.attn.proj.bias'), r'missing: blocks\.1\.attn\.proj\.bias'),
        (lambda s: s.update(extra=torch.zeros(1)), 'left over: extra'),
        (
            lambda s: s.update({'last_norm.weight': torch.zeros(7)}),
            r'another shape: last_norm.weight \(7,\) for \(32,\)',
        ),
        (lambda s: s.clear(), 'holds no tensors by name'),
    ],
)
def test_weights_that_do_not_fit_are_refused_even_where_strict_is_false(change, message):
    state_dict = dict(tiny_vit().state_dict())
    change(state_dict)
    with pytest.raises(CheckpointError, match=message):
        tiny_vit().load_state_dict(state_dict, strict=False)
