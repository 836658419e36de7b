"""Experts cost nothing more than a plain feed-forward network, and nothing at all once merged."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitpose_mm.checkpoints import merge_expert
from vitpose_mm.models import ViT

ARCH = dict(embed_dim=32, depth=2, num_heads=4)


def vit(num_experts: int, **options) -> ViT:
    torch.manual_seed(0)
    names = [f'data_set_{number}' for number in range(num_experts)]
    model = ViT(ARCH, img_size=(64, 48), experts=names, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def routing(num_experts: int) -> tuple:
    return (torch.arange(6) % num_experts,) if num_experts else ()


def costs(num_experts: int) -> tuple[int, int]:
    """FLOPs of forward and backward of a mixed batch, and bytes kept for the latter."""
    model, images = vit(num_experts), torch.zeros(6, 3, 64, 48)
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    alive: list = []
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model(images, *routing(num_experts))[0]
        output.sum().backward()
    return counter.get_total_flops(), sum(kept.values())


def test_cost_does_not_grow_with_the_number_of_experts():
    flops, kept = costs(0)
    for num_experts in (1, 2, 6):
        found_flops, found_kept = costs(num_experts)
        assert found_flops == flops
        # besides what a plain one keeps: the order of the samples
        assert found_kept <= kept * 1.01


def test_merged_compiles_and_exports_as_a_plain_vit():
    routed, merged = vit(3).eval(), vit(0).eval()
    merged.load_state_dict(merge_expert(dict(routed.state_dict()), 1))
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        expected = routed(images, torch.tensor([1, 1]))[0]
        compiled = torch.compile(merged, backend='eager', fullgraph=True)
        torch.testing.assert_close(compiled(images)[0], expected, atol=1e-5, rtol=1e-5)
        exported = torch.export.export(merged, (images,)).module()
        torch.testing.assert_close(exported(images)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('activation_checkpointing', [False, True])
def test_absent_experts_under_adamw(activation_checkpointing):
    """Their gradient is zero: they decay, and with momentum from earlier steps they move on."""
    model = vit(2, activation_checkpointing=activation_checkpointing).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)

    def absent() -> torch.Tensor:
        return model.blocks[0].mlp.experts[1].weight.detach().clone()

    def step(*ids: int) -> None:
        optimizer.zero_grad()
        model(torch.randn(2, 3, 64, 48), torch.tensor(ids))[0].square().sum().backward()
        optimizer.step()

    before = absent()
    step(0, 0)
    assert not model.blocks[0].mlp.experts[1].weight.grad.any()
    torch.testing.assert_close(absent(), before * (1 - 0.1 * 0.5))
    step(0, 1)
    before = absent()
    step(0, 0)
    assert not model.blocks[0].mlp.experts[1].weight.grad.any()
    assert (absent() - before * (1 - 0.1 * 0.5)).abs().max() > 1e-3
