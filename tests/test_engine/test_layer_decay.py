"""Learning rates and weight decays against a table worked out by hand."""

import copy

import pytest
import torch
from mmengine.optim import LinearLR, build_optim_wrapper
from torch import nn

from vitpose_mm.engine import LayerDepthDecayOptimWrapperConstructor, layer_scales
from vitpose_mm.engine.layer_decay import has_weight_decay
from vitpose_mm.models import ViT

BASE_LR, WEIGHT_DECAY, RATE = 1.0, 0.1, 0.5

# Two blocks, so the greatest depth is 3: 0.5**3, 0.5**2, 0.5**1, 0.5**0.
EXPECTED = {
    'backbone.pos_embed': (0.125, 0.0),
    'backbone.patch_embed.proj.weight': (0.125, 0.1),
    'backbone.patch_embed.proj.bias': (0.125, 0.0),
    'backbone.blocks.0.norm1.weight': (0.25, 0.0),
    'backbone.blocks.0.norm1.bias': (0.25, 0.0),
    'backbone.blocks.0.attn.qkv.weight': (0.25, 0.1),
    'backbone.blocks.0.attn.qkv.bias': (0.25, 0.0),
    'backbone.blocks.0.attn.proj.weight': (0.25, 0.1),
    'backbone.blocks.0.attn.proj.bias': (0.25, 0.0),
    'backbone.blocks.0.norm2.weight': (0.25, 0.0),
    'backbone.blocks.0.norm2.bias': (0.25, 0.0),
    'backbone.blocks.0.mlp.fc1.weight': (0.25, 0.1),
    'backbone.blocks.0.mlp.fc1.bias': (0.25, 0.0),
    'backbone.blocks.0.mlp.fc2.weight': (0.25, 0.1),
    'backbone.blocks.0.mlp.fc2.bias': (0.25, 0.0),
    'backbone.blocks.1.norm1.weight': (0.5, 0.0),
    'backbone.blocks.1.norm1.bias': (0.5, 0.0),
    'backbone.blocks.1.attn.qkv.weight': (0.5, 0.1),
    'backbone.blocks.1.attn.qkv.bias': (0.5, 0.0),
    'backbone.blocks.1.attn.proj.weight': (0.5, 0.1),
    'backbone.blocks.1.attn.proj.bias': (0.5, 0.0),
    'backbone.blocks.1.norm2.weight': (0.5, 0.0),
    'backbone.blocks.1.norm2.bias': (0.5, 0.0),
    'backbone.blocks.1.mlp.fc1.weight': (0.5, 0.1),
    'backbone.blocks.1.mlp.fc1.bias': (0.5, 0.0),
    'backbone.blocks.1.mlp.fc2.weight': (0.5, 0.1),
    'backbone.blocks.1.mlp.fc2.bias': (0.5, 0.0),
    'backbone.last_norm.weight': (1.0, 0.0),
    'backbone.last_norm.bias': (1.0, 0.0),
    'head.conv.weight': (1.0, 0.1),
    'head.conv.bias': (1.0, 0.0),
    'head.norm.weight': (1.0, 0.0),
    'head.norm.bias': (1.0, 0.0),
}


class Pose(nn.Module):
    def __init__(self, **options):
        super().__init__()
        arch = {'embed_dim': 8, 'depth': 2, 'num_heads': 2, 'mlp_ratio': 2.0}
        self.backbone = ViT(arch=arch, img_size=(32, 32), **options)
        self.head = nn.ModuleDict({'conv': nn.Conv2d(8, 3, 1), 'norm': nn.BatchNorm2d(3)})


@pytest.fixture
def model() -> Pose:
    torch.manual_seed(0)
    return Pose()


def build(model: nn.Module, lr: float = BASE_LR, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        {
            'optimizer': {'type': 'AdamW', 'lr': lr, 'weight_decay': WEIGHT_DECAY},
            'constructor': 'LayerDepthDecayOptimWrapperConstructor',
            'paramwise_cfg': {'layer_decay_rate': RATE, **paramwise_cfg},
        },
    )


def settings(optim_wrapper, model: nn.Module) -> dict:
    """{parameter name: (learning rate, weight decay)}, names as in the bare model."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def test_every_value(model):
    assert settings(build(model), model) == EXPECTED


def test_class_token_and_experts():
    model = Pose(class_token='keep', experts=('coco', 'aic'))
    found = settings(build(model), model)
    assert found['backbone.cls_token'] == found['backbone.pos_embed'] == (0.125, 0.0)
    assert found['backbone.blocks.0.mlp.experts.1.weight'] == (0.25, 0.1)
    assert found['backbone.blocks.1.mlp.experts.0.bias'] == (0.5, 0.0)


def test_one_group_per_pair_in_order_of_appearance(model):
    groups = build(model).optimizer.param_groups
    pairs = [(group['lr'], group['weight_decay']) for group in groups]
    assert pairs == [
        (0.125, 0.0),
        (0.125, 0.1),
        (0.25, 0.0),
        (0.25, 0.1),
        (0.5, 0.0),
        (0.5, 0.1),
        (1.0, 0.0),
        (1.0, 0.1),
    ]
    assert sum(len(group['params']) for group in groups) == len(EXPECTED)


def test_rate_one_leaves_two_groups(model):
    groups = build(model, layer_decay_rate=1).optimizer.param_groups
    assert [(group['lr'], group['weight_decay']) for group in groups] == [(1.0, 0.0), (1.0, 0.1)]


class Checkpointed(nn.Module):
    """Like torch's checkpoint wrapper: renames parameters, forwards attributes."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self._checkpoint_wrapped_module = block

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._checkpoint_wrapped_module, name)


def wrap_blocks(model):
    model.backbone.blocks = nn.ModuleList(map(Checkpointed, model.backbone.blocks))
    return model


@pytest.mark.parametrize(
    'wrap',
    [
        nn.DataParallel,
        lambda model: nn.ModuleDict({'student': model}),
        torch.compile,
        wrap_blocks,
        Checkpointed,
    ],
    ids=['module', 'student', 'compiled', 'blocks', 'forwarding'],
)
def test_wrappers_change_nothing(model, wrap):
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build(wrap(model)).optimizer.param_groups
    found = {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in groups
        for parameter in group['params']
    }
    assert found == EXPECTED


@pytest.fixture
def process_group(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_sharding_changes_nothing(model, process_group):
    fsdp = pytest.importorskip('torch.distributed.fsdp')
    wrapped = fsdp.FullyShardedDataParallel(
        model, use_orig_params=True, device_id=torch.device('cpu')
    )
    groups = build(wrapped).optimizer.param_groups
    names = {p: n.replace('_fsdp_wrapped_module.', '') for n, p in wrapped.named_parameters()}
    found = {
        names[p]: (group['lr'], group['weight_decay']) for group in groups for p in group['params']
    }
    assert found == EXPECTED


def test_flattened_parameters_are_refused(model, process_group):
    fsdp = pytest.importorskip('torch.distributed.fsdp')
    wrapped = fsdp.FullyShardedDataParallel(model, device_id=torch.device('cpu'))
    with pytest.raises(ValueError, match='use_orig_params=True'):
        build(wrapped)


def test_flattened_views_of_matrices_decay():
    # what FSDP 1 makes of a weight matrix on each of several ranks
    view = nn.Parameter(torch.zeros(6))
    view._fsdp_flattened = True
    assert has_weight_decay(nn.Linear(2, 3), 'weight', view)
    assert not has_weight_decay(nn.LayerNorm(6), 'weight', view)
    assert not has_weight_decay(nn.Linear(2, 3), 'bias', view)


def test_numbers_are_the_official_ones(model):
    # get_num_layer_for_vit of the official code: num_max_layer = blocks + 2, rest = num_max_layer-1
    scales = layer_scales(model, 0.75)
    by_name = {name: scales.get(p, 1.0) for name, p in model.named_parameters()}
    assert by_name['backbone.pos_embed'] == by_name['backbone.patch_embed.proj.bias'] == 0.75**3
    assert by_name['backbone.blocks.0.mlp.fc1.weight'] == 0.75**2
    assert by_name['backbone.blocks.1.norm1.bias'] == 0.75
    assert by_name['backbone.last_norm.weight'] == by_name['head.conv.weight'] == 1


@pytest.mark.parametrize(
    ('custom_keys', 'changed'),
    [
        # lr_mult multiplies the layer's scale and leaves weight decays as they are
        (
            {'fc2': {'lr_mult': 4.0}},
            {
                'backbone.blocks.0.mlp.fc2.weight': (1.0, 0.1),
                'backbone.blocks.0.mlp.fc2.bias': (1.0, 0.0),
                'backbone.blocks.1.mlp.fc2.weight': (2.0, 0.1),
                'backbone.blocks.1.mlp.fc2.bias': (2.0, 0.0),
            },
        ),
        # what has no weight decay by default can be given one
        ({'pos_embed': {'decay_mult': 2.0}}, {'backbone.pos_embed': (0.125, 0.2)}),
        ({'1.norm1.bias': {'decay_mult': 1}}, {'backbone.blocks.1.norm1.bias': (0.5, 0.1)}),
        # and the other way round
        (
            {'conv': {'decay_mult': 0, 'lr_mult': 10}},
            {
                'head.conv.weight': (10.0, 0.0),
                'head.conv.bias': (10.0, 0.0),
            },
        ),
        # of several keys in a name the longest counts, and it alone
        (
            {'1.mlp.fc1': {'lr_mult': 3.0, 'decay_mult': 5.0}, '1.mlp.fc1.w': {'lr_mult': 7.0}},
            {
                'backbone.blocks.1.mlp.fc1.weight': (3.5, 0.1),
                'backbone.blocks.1.mlp.fc1.bias': (1.5, 0.5),
            },
        ),
        ({'nowhere': {'lr_mult': 0.0}}, {}),
    ],
    ids=['lr', 'pos_embed', 'norm', 'head', 'longest', 'unmatched'],
)
def test_custom_keys(model, custom_keys, changed):
    assert settings(build(model, custom_keys=custom_keys), model) == {**EXPECTED, **changed}


def test_frozen_parameters_are_left_out(model):
    model.backbone.patch_embed.requires_grad_(False)
    expected = {name: pair for name, pair in EXPECTED.items() if 'patch_embed' not in name}
    assert settings(build(model), model) == expected


def test_shared_parameters_are_given_once(model):
    model.head['again'] = model.head['conv']
    model.head['tied'] = nn.Conv2d(8, 3, 1)
    model.head['tied'].weight = model.head['conv'].weight
    found = settings(build(model), model)
    assert found == {**EXPECTED, 'head.tied.bias': (1.0, 0.0)}


def test_optimizer_without_weight_decay(model):
    wrapper = build_optim_wrapper(
        model,
        {
            'optimizer': {'type': 'SGD', 'lr': BASE_LR},
            'constructor': 'LayerDepthDecayOptimWrapperConstructor',
            'paramwise_cfg': {'layer_decay_rate': RATE},
        },
    )
    assert [group['lr'] for group in wrapper.optimizer.param_groups] == [0.125, 0.25, 0.5, 1.0]


def test_base_lr_is_logged_through_warm_up(model):
    wrapper = build(model, lr=5e-4)
    warm_up = LinearLR(wrapper, start_factor=0.001, begin=0, end=500, by_epoch=False)
    assert wrapper.get_lr()['base_lr'] == pytest.approx([5e-7])
    for _ in range(499):
        wrapper.step()
        warm_up.step()
    assert wrapper.get_lr()['base_lr'] == pytest.approx([5e-4])
    assert wrapper.get_lr()['lr'][0] == pytest.approx(5e-4 * 0.125)


def test_resume(model):
    twin = copy.deepcopy(model)

    def step(model, wrapper):
        loss = sum((parameter**3).sum() for parameter in model.parameters())
        wrapper.update_params(loss)

    wrapper = build(model, lr=1e-2)
    for _ in range(3):
        step(model, wrapper)
    twin.load_state_dict(model.state_dict())
    resumed = build(twin, lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    for _ in range(3):
        step(model, wrapper)
        step(twin, resumed)
    assert settings(resumed, twin) == settings(wrapper, model)
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters()):
        assert torch.equal(parameter, other), name


@pytest.mark.parametrize(
    ('paramwise_cfg', 'message'),
    [
        ({}, r'layer_decay_rate must be a number in \(0, 1\], got None'),
        ({'layer_decay_rate': 0}, r'layer_decay_rate must be a number in \(0, 1\], got 0'),
        ({'layer_decay_rate': 1.5}, r'layer_decay_rate must be a number in \(0, 1\], got 1.5'),
        ({'layer_decay_rate': '0.5'}, r'must be a number in \(0, 1\], got .0.5.'),
        ({'layer_decay_rate': 0.5, 'num_layers': 12}, r"\['num_layers'\].*layer_decay_rate"),
        (
            {'layer_decay_rate': 0.5, 'custom_keys': {'norm': {'decay_multi': 0}}},
            r"\['norm'\].*\['decay_multi'\].*decay_mult",
        ),
    ],
)
def test_refuses_options(paramwise_cfg, message):
    cfg = {'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.1}}
    with pytest.raises(ValueError, match=message):
        LayerDepthDecayOptimWrapperConstructor(cfg, paramwise_cfg)


def test_refuses_optimizer_without_lr():
    with pytest.raises(ValueError, match='needs lr'):
        LayerDepthDecayOptimWrapperConstructor(
            {'optimizer': {'type': 'AdamW'}}, {'layer_decay_rate': 0.5}
        )


def test_refuses_model_without_depths():
    with pytest.raises(ValueError, match='no submodule of Linear has one'):
        build(nn.Linear(2, 2))


def test_refuses_depths_of_replaced_parameters(model):
    depths = model.backbone.layer_depths()
    model.backbone.layer_depths = lambda: depths
    model.backbone.last_norm.weight = nn.Parameter(torch.ones(8))
    with pytest.raises(ValueError, match='use_orig_params=True'):
        build(model)
