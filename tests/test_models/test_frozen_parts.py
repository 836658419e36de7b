"""Parts of the backbone that fine-tuning leaves alone (Table 6 of the paper)."""

import re

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from vitpose_mm.analysis.training_step import peak_of_cpu_allocations
from vitpose_mm.models import ViT

TINY = dict(arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=(64, 48))
EMBEDDINGS = r'patch_embed\..*|pos_embed|cls_token'
ATTENTION = r'blocks\.\d\.(norm1|attn)\..*'
FEED_FORWARD = r'blocks\.\d\.(norm2|mlp)\..*'


def tiny_vit(**options) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**{**TINY, **options})
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.1)
    return vit.train()


CASES = [
    (dict(), 'nothing'),
    (dict(freeze_attn=True), ATTENTION),
    (dict(freeze_ffn=True), FEED_FORWARD),
    (dict(freeze_ffn=True, frozen_stages=0), f'{FEED_FORWARD}|{EMBEDDINGS}'),  # official freeze_ffn
    (dict(freeze_attn=True, freeze_ffn=True), f'{ATTENTION}|{FEED_FORWARD}'),
    (dict(frozen_stages=0), EMBEDDINGS),
    (dict(frozen_stages=2), rf'{EMBEDDINGS}|blocks\.[01]\..*'),
    (dict(frozen_stages=3), rf'{EMBEDDINGS}|blocks\..*|last_norm\..*'),
    (dict(frozen_stages=1, class_token='keep'), rf'{EMBEDDINGS}|blocks\.0\..*'),
    (dict(freeze_ffn=True, experts=['a', 'b']), FEED_FORWARD),
    (
        dict(freeze_attn=True, attention='window', window_hw=(2, 2), relative_positions=True),
        ATTENTION,  # tables of relative positions included
    ),
]


@pytest.mark.parametrize('options, frozen', CASES)
@pytest.mark.parametrize('constructor', ['LayerDepthDecayOptimWrapperConstructor', None])
def test_a_step_changes_all_but_what_is_frozen(options, frozen, constructor):
    """After one step with AdamW, whose weight decay would change frozen weights, too."""
    model = nn.Module()
    model.backbone, model.head = tiny_vit(**options), nn.Conv2d(32, 2, 1)
    cfg = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.1))
    if constructor:
        cfg.update(constructor=constructor, paramwise_cfg=dict(layer_decay_rate=0.75))
    else:
        cfg.update(paramwise_cfg=dict(bypass_duplicate=True))  # mmengine's own constructor
    wrapper = build_optim_wrapper(model, cfg)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.tensor([0, 1]) if 'experts' in options else None
    features = model.backbone(torch.randn(2, 3, 64, 48), ids)[0]
    wrapper.backward(model.head(features).square().mean())
    without_gradient = {name for name, p in model.named_parameters() if p.grad is None}
    wrapper.step()

    for name, parameter in model.named_parameters():
        is_frozen = bool(re.fullmatch(rf'backbone\.({frozen})', name))
        assert torch.equal(parameter, before[name]) == is_frozen, name
        assert (parameter in wrapper.optimizer.state) == (not is_frozen), name
        assert (name in without_gradient) == is_frozen, name


def stored_for_backward(vit: ViT) -> list[int]:
    """Numbers stored for the backward pass, of each tensor once, weights and images aside."""
    images = torch.randn(2, 3, 64, 48)
    left_out = {t.untyped_storage().data_ptr() for t in (*vit.parameters(), images)}
    stored = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach()  # the graph that holds this function must not be held by it
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            stored[storage.data_ptr()] = storage.nbytes() // 4
            alive.append(tensor)  # lest another takes its place in memory
        return tensor

    alive = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vit(images)
    return list(stored.values())


def test_frozen_parts_store_no_inputs():
    """In units of tokens x channels: 12 tokens, 32 channels, batch of 2, three blocks."""
    unit = 2 * 12 * 32
    everything = sum(stored_for_backward(tiny_vit()))
    frozen = sum(stored_for_backward(tiny_vit(freeze_ffn=True)))
    assert everything - frozen == 3 * 5 * unit  # inputs of fc1 (1) and fc2 (4)
    frozen = sum(stored_for_backward(tiny_vit(freeze_attn=True)))
    # input of qkv; that of proj is attention's result, which attention itself needs
    assert everything - frozen == 3 * unit


def test_frozen_stages_store_nothing():
    assert stored_for_backward(tiny_vit(frozen_stages=3)) == []
    of_one_block = sum(stored_for_backward(tiny_vit(frozen_stages=2)))
    assert of_one_block < sum(stored_for_backward(tiny_vit())) / 2.5


def test_recomputation_needs_less_memory_and_selective_stands_between():
    images = torch.randn(8, 3, 128, 96)

    def peak(**options) -> int:
        vit = tiny_vit(**options)
        return peak_of_cpu_allocations(lambda: vit(images)[0].sum().backward())

    everything, selective, blocks = (
        peak(activation_checkpointing=value) for value in (False, 'selective', True)
    )
    assert blocks < 0.9 * selective < 0.9 * 0.9 * everything


@pytest.mark.parametrize('recomputation', [True, 'selective'])
@pytest.mark.parametrize('options', [case[0] for case in CASES if 'experts' not in case[0]])
def test_recomputation_of_frozen_parts_changes_no_gradient(options, recomputation):
    gradients = []
    images = torch.randn(2, 3, 64, 48)
    for value in (False, recomputation):
        vit = tiny_vit(activation_checkpointing=value, **options)
        loss = vit(images)[0].square().mean()
        if loss.requires_grad:
            loss.backward()
        gradients.append({name: p.grad for name, p in vit.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None
        else:
            torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_frozen_blocks_drop_no_paths():
    vit = tiny_vit(frozen_stages=2, drop_path_rate=0.9).train()
    assert [block.training for block in vit.blocks] == [False, False, True]
    assert vit.train() is vit
    images = torch.randn(8, 3, 64, 48)
    kept = []
    vit.blocks[2].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    vit(images)
    vit(images)
    assert torch.equal(*kept)
    assert not vit.eval().blocks[2].training


def test_frozen_weights_are_loaded_like_others():
    source = tiny_vit()
    vit = tiny_vit(frozen_stages=3)
    nn.init.zeros_(vit.pos_embed)
    vit.load_state_dict(source.state_dict())
    assert torch.equal(vit.pos_embed, source.pos_embed) and not vit.pos_embed.requires_grad
