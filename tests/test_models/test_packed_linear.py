"""Linear layers computed by oneDNN: same numbers and same checkpoints as torch's own."""

import copy
import pickle

import pytest
import torch
from torch import nn

from vitpose_mm.models import ViT
from vitpose_mm.models.layers import PackedLinear, pack_linears, packing_pays

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='torch was built without oneDNN'
)


@needs_onednn
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(5, 24), (2, 7, 24), (0, 7, 24), (2, 3, 4, 24)])
def test_same_numbers_as_torch(bias, shape):
    torch.manual_seed(0)
    linear = nn.Linear(24, 40, bias=bias)
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(linear)(x), linear(x), atol=1e-5, rtol=0)
        strided = x.transpose(0, -2) if x.ndim > 2 else x.flip(0)
        torch.testing.assert_close(
            PackedLinear(linear)(strided), linear(strided), atol=1e-5, rtol=0
        )


@needs_onednn
@pytest.mark.parametrize('experts', [(), ('coco', 'ap10k')])
def test_a_whole_backbone(experts):
    torch.manual_seed(0)
    options = dict(experts=experts, part_features=8) if experts else {}
    arch = dict(embed_dim=32, depth=2, num_heads=2)
    vit = ViT(arch, img_size=(64, 48), **options).eval()
    vit.init_weights()
    routing = (torch.tensor([1, 0, 1]),) if experts else ()
    x = torch.randn(3, 3, 64, 48)
    names = list(vit.state_dict())
    with torch.inference_mode():
        (expected,) = vit(x, *routing)
        pack_linears(vit)
        (found,) = vit(x, *routing)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    num_linears = sum(isinstance(module, PackedLinear) for module in vit.modules())
    assert num_linears == 2 * (4 + len(experts))
    assert list(vit.state_dict()) == names


@needs_onednn
def test_loaded_weights_take_effect():
    packed, other = PackedLinear(nn.Linear(8, 8)), nn.Linear(8, 8)
    packed.load_state_dict(other.state_dict())
    x = torch.randn(3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), other(x), atol=1e-5, rtol=0)
        half, other_half = packed.bfloat16(), other.bfloat16()
        torch.testing.assert_close(half(x.bfloat16()), other_half(x.bfloat16()))
        back = half.float()
        torch.testing.assert_close(back(x), other_half.float()(x), atol=1e-5, rtol=0)


@needs_onednn
def test_copies_are_packed_too():
    packed = PackedLinear(nn.Linear(8, 8))
    x = torch.randn(3, 8)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        with torch.inference_mode():
            torch.testing.assert_close(other(x), packed(x))
        assert other._packed is not None and other.weight is not packed.weight


@pytest.mark.parametrize(
    ('vendor', 'capability', 'pays'),
    [
        ('AuthenticAMD', 'AVX512', True),
        ('AuthenticAMD', 'AVX2', False),
        ('GenuineIntel', 'AVX512', False),
    ],
)
def test_where_it_pays(monkeypatch, vendor, capability, pays):
    if not torch.backends.mkldnn.is_available():
        pytest.skip('torch was built without oneDNN')
    monkeypatch.setattr('pathlib.Path.read_text', lambda self: f'vendor_id : {vendor}')
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    packing_pays.cache_clear()
    assert packing_pays() is pays
    packing_pays.cache_clear()
