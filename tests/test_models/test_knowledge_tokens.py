"""Knowledge tokens in the backbone."""

import pytest
import torch
from torch import nn

from vitpose_mm.checkpoints import CheckpointError, convert_file, load_file
from vitpose_mm.engine import layer_scales
from vitpose_mm.models import ViT

TINY = dict(arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=(64, 48))
VARIANTS = ['full', 'window', 'shift', 'pool', 'shift+pool', ('window', 'window', 'full')]


def build(**options) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**{**TINY, **options})
    for name, parameter in vit.named_parameters():
        nn.init.normal_(parameter, std=0.3 if 'rel_pos' in name else 0.1)
    return vit.eval()


def plain_forward(vit: ViT, images: torch.Tensor, knowledge: torch.Tensor) -> torch.Tensor:
    """Full attention, block by block, with the tokens appended behind the patches."""
    tokens, grid_hw = vit.embed_patches(images)
    tokens = vit.add_positions(tokens, grid_hw)
    num_patches = tokens.shape[1]
    tokens = torch.cat([tokens, knowledge.expand(len(images), -1, -1)], 1)
    for block in vit.blocks:
        tokens = block(tokens)
    return vit.last_norm(tokens)[:, :num_patches].transpose(1, 2).unflatten(2, grid_hw)


@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('dim', [None, 16])
def test_tokens_join_the_patches_without_a_position(count, dim):
    vit = build(num_knowledge_tokens=count, knowledge_dim=dim)
    images = torch.randn(2, 3, 64, 48)
    knowledge = vit.knowledge_tokens
    assert knowledge.shape == (1, count, dim or 32)
    if dim:
        knowledge = knowledge @ vit.knowledge_proj.weight.T + vit.knowledge_proj.bias
    (features,) = vit(images)
    assert features.shape == (2, 32, 4, 3)
    torch.testing.assert_close(features, plain_forward(vit, images, knowledge))
    # without positions their order does not matter
    if count > 1:
        vit.knowledge_tokens.data = vit.knowledge_tokens.data.flip(1)
        torch.testing.assert_close(vit(images)[0], features)


@pytest.mark.parametrize('relative_positions', [False, True])
@pytest.mark.parametrize('class_token', ['fold', 'keep'])
@pytest.mark.parametrize('attention', VARIANTS)
def test_every_attention_sees_them(attention, class_token, relative_positions):
    options = dict(class_token=class_token, relative_positions=relative_positions)
    if attention != 'full':
        options['window_hw'] = (2, 2)
    vit = build(attention=attention, num_knowledge_tokens=2, **options)
    images = torch.randn(1, 3, 64, 48)
    features, tokens = vit(images)[0], vit.knowledge_tokens
    assert features.shape == (1, 32, 4, 3)
    # each place of the map depends on each of them
    for row in range(4):
        for column in range(3):
            (grad,) = torch.autograd.grad(
                features[0, :, row, column].square().sum(), tokens, retain_graph=True
            )
            assert (grad.abs().amax(-1) > 1e-6).all()
    # and so it does with as many extra tokens given to encode()
    plain = build(attention=attention, **options)
    weights = {n: t for n, t in vit.state_dict().items() if not n.startswith('knowledge')}
    plain.load_state_dict(weights)
    patches, grid_hw = plain.embed_patches(images)
    patches = plain.add_positions(patches, grid_hw)
    given = plain.encode(torch.cat([tokens, patches], 1), grid_hw)[:, -12:]
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), given)


def test_experts_and_other_sizes_and_precisions():
    vit = build(experts=['a', 'b'], num_knowledge_tokens=2, knowledge_dim=16)
    images = torch.randn(4, 3, 64, 48)
    ids = torch.tensor([1, 0, 1, 0])
    together = vit(images, ids)[0]
    for index in range(4):
        alone = vit(images[index : index + 1], ids[index : index + 1])[0]
        torch.testing.assert_close(together[index], alone[0])
    assert vit(torch.randn(1, 3, 96, 64), ids[:1])[0].shape == (1, 32, 6, 4)
    assert vit.to(torch.bfloat16)(images.bfloat16(), ids)[0].dtype == torch.bfloat16
    with torch.autocast('cpu', torch.bfloat16):
        assert build(num_knowledge_tokens=1)(images)[0].isfinite().all()


def test_compiled_and_exported():
    vit = build(num_knowledge_tokens=2, knowledge_dim=16, attention='shift+pool', window_hw=(2, 2))
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        wanted = vit(images)[0]
        compiled = torch.compile(vit, backend='aot_eager', fullgraph=True)
        torch.testing.assert_close(compiled(images)[0], wanted)
        exported = torch.export.export(vit, (images,)).module()
        torch.testing.assert_close(exported(images)[0], wanted)


def test_they_learn_at_the_full_rate():
    vit = build(num_knowledge_tokens=1, knowledge_dim=16)
    scales = layer_scales(nn.ModuleDict(dict(backbone=vit)), 0.5)
    new = {vit.knowledge_tokens, *vit.knowledge_proj.parameters()}
    assert set(vit.parameters()) - set(scales) == new


def test_own_checkpoints_hold_them(tmp_path):
    options = dict(num_knowledge_tokens=2, knowledge_dim=16)
    vit, other = build(**options), ViT(**TINY, **options)
    torch.save(dict(state_dict=vit.state_dict()), tmp_path / 'a.pth')
    other.load_state_dict(load_file(str(tmp_path / 'a.pth'))['state_dict'])
    assert torch.equal(other.knowledge_tokens, vit.knowledge_tokens)
    assert torch.equal(other.knowledge_proj.weight, vit.knowledge_proj.weight)
    convert_file(tmp_path / 'a.pth', tmp_path / 'b.pth')
    again = load_file(str(tmp_path / 'b.pth'))['state_dict']
    assert torch.equal(again['backbone.knowledge_tokens'], vit.knowledge_tokens)
    with pytest.raises(CheckpointError, match='the target has no name for knowledge_'):
        convert_file(tmp_path / 'a.pth', tmp_path / 'c.pth', to='official')


def test_other_checkpoints_leave_them_as_they_are(monkeypatch):
    said = []
    monkeypatch.setattr(
        'vitpose_mm.models.backbones.vit.print_log', lambda text, *_, **__: said.append(text)
    )
    plain, vit = build(), build(num_knowledge_tokens=2)
    own = vit.knowledge_tokens.detach().clone()
    vit.load_state_dict(plain.state_dict())
    assert torch.equal(vit.knowledge_tokens, own)
    assert torch.equal(vit.pos_embed, plain.pos_embed)
    assert len(said) == 1 and 'has no knowledge tokens: they are random until' in said[0]


@pytest.mark.parametrize(
    ('dim', 'message'),
    [
        (None, r'set model.backbone.num_knowledge_tokens=2$'),
        (16, r'num_knowledge_tokens=2 and knowledge_dim=16$'),
    ],
)
def test_a_model_without_them_refuses_checkpoints_with_them(dim, message):
    with pytest.raises(CheckpointError, match=message):
        build().load_state_dict(build(num_knowledge_tokens=2, knowledge_dim=dim).state_dict())


def test_tokens_of_another_number_or_width_do_not_load():
    weights = build(num_knowledge_tokens=2).state_dict()
    with pytest.raises(CheckpointError, match=r'knowledge_tokens \(1, 2, 32\) for \(1, 1, 32\)'):
        build(num_knowledge_tokens=1).load_state_dict(weights)
    with pytest.raises(CheckpointError, match=r'missing: knowledge_proj'):
        build(num_knowledge_tokens=2, knowledge_dim=16).load_state_dict(weights)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(num_knowledge_tokens=-1),
            'num_knowledge_tokens must be a whole number from 0, got -1',
        ),
        (dict(num_knowledge_tokens=1.5), 'got 1.5'),
        (dict(num_knowledge_tokens=True), 'got True'),
        (dict(num_knowledge_tokens=1, knowledge_dim=0), 'knowledge_dim must be .* from 1, got 0'),
        (dict(knowledge_dim=16), 'knowledge_dim 16 needs num_knowledge_tokens'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**TINY, **options)
