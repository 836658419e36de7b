"""Experts: routed, merged, extracted and made."""

import pytest
import torch
from mmengine.runner import load_checkpoint
from tiny_models import DATASETS, heatmaps, images, load, plain, pretrained, save, vitpose_plus

from vitpose_mm.checkpoints import (
    CheckpointError,
    load_file,
    merge_expert,
    read_weights,
    reorder_experts,
    spread_into_experts,
)
from vitpose_mm.models import ViT

ARCH = dict(embed_dim=32, depth=2, num_heads=4)


def routed_vit(**options) -> ViT:
    return ViT(arch=ARCH, img_size=(64, 48), experts=('a', 'b', 'c'), **options).eval()


@pytest.mark.parametrize('index', range(6))
def test_merged_is_routed(reference_dir, load_reference, index):
    path = reference_dir / 'official_moe.pth'
    routed = vitpose_plus()
    load_checkpoint(routed, str(path), map_location='cpu')
    merged = plain().backbone
    merged.load_state_dict(merge_expert(routed.backbone.state_dict(), index))
    inputs = torch.from_numpy(load_reference('official_moe')['inputs'])
    with torch.no_grad():
        expected = routed.backbone(inputs, torch.full((len(inputs),), index))
        features = merged(inputs)
        torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)
        for head in routed.head.heads.values():
            torch.testing.assert_close(head(features), head(expected), atol=1e-6, rtol=0)


def test_each_sample_goes_through_its_own_expert_alone():
    vit = routed_vit()
    inputs, ids = images(5), torch.tensor([2, 0, 2, 1, 0])
    with torch.no_grad():
        mixed = vit(inputs, ids)[0]
        for row, index in enumerate(ids):
            (alone,) = vit(inputs[row : row + 1], index[None])
            torch.testing.assert_close(mixed[row : row + 1], alone, atol=1e-6, rtol=1e-6)
    features = vit(inputs, ids)[0]
    experts = vit.blocks[1].mlp.experts
    for row, index in enumerate(ids):
        gradients = torch.autograd.grad(
            features[row, 0].sum(), [expert.weight for expert in experts], retain_graph=True
        )
        assert [bool(gradient.any()) for gradient in gradients] == [
            number == index for number in range(3)
        ]


@pytest.mark.parametrize('activation_checkpointing', [False, True])
def test_experts_without_samples_stay_in_the_graph(activation_checkpointing):
    vit = routed_vit(activation_checkpointing=activation_checkpointing).train()
    vit(images(2), torch.tensor([1, 1]))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in vit.parameters())
    assert not vit.blocks[0].mlp.experts[0].weight.grad.any()
    assert vit.blocks[0].mlp.experts[1].weight.grad.any()


def test_sizes_of_the_parts():
    mlp = routed_vit().blocks[0].mlp
    assert (mlp.fc2.out_features, mlp.experts[0].out_features) == (24, 8)
    mlp = routed_vit(part_features=12).blocks[0].mlp
    assert (mlp.fc2.out_features, mlp.experts[0].out_features) == (20, 12)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(experts='coco'), "experts must be different names of data sets, got 'coco'"),
        (dict(experts=('coco', 'coco')), r"different names .* got \('coco', 'coco'\)"),
        (dict(experts=(1, 2)), r'names of data sets, got \(1, 2\)'),
        (dict(part_features=8), 'part_features 8 needs experts'),
        (dict(experts=('coco',), part_features=32), 'between 0 and the width 32, got 32'),
        (dict(class_token='drop'), "class_token must be 'fold' or 'keep', got 'drop'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(arch=ARCH, img_size=(64, 48), **options)


@pytest.mark.parametrize(
    ('ids', 'message'),
    [
        (None, r"which expert of \['a', 'b', 'c'\] .* got none; .*--merge-experts"),
        ([0, 1, 3, 0], r'4 whole numbers from 0 to 2, .* got tensor\(\[0, 1, 3, 0\]\)'),
        ([0, -1, 0, 0], 'whole numbers from 0 to 2'),
        ([0, 1], r'4 whole numbers .* got tensor\(\[0, 1\]\)'),
        ([0.0, 1.0, 0.0, 1.0], '4 whole numbers'),
        ([True, False, True, False], '4 whole numbers'),
    ],
)
def test_bad_routing_is_named(ids, message):
    with pytest.raises(ValueError, match=message):
        routed_vit()(images(4), None if ids is None else torch.tensor(ids))


def test_a_plain_model_takes_no_routing():
    with pytest.raises(ValueError, match=r'which expert of \[\] .* got some'):
        plain().backbone(images(2), torch.tensor([0, 0]))


def test_a_plain_vit_as_a_start_for_all_experts(tmp_path, reference_dir, load_reference):
    """By ``init_cfg``: every expert then computes what the plain one did."""
    path = reference_dir / 'official_classic.pth'
    case = load_reference('official_classic')
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    vit = ViT(
        dict(embed_dim=32, depth=3, num_heads=4),
        img_size=(64, 48),
        experts=tuple(DATASETS),
        init_cfg=init_cfg,
    ).eval()
    vit.init_weights()
    with torch.no_grad():
        features = vit(torch.from_numpy(case['inputs']), torch.arange(6))[0]
    torch.testing.assert_close(features, torch.from_numpy(case['features']), atol=1e-5, rtol=0)
    experts = vit.blocks[0].mlp.experts
    experts[0].weight.data.zero_()
    assert experts[1].weight.any(), 'each expert has weights of its own'


def test_spreading_and_merging_are_each_others_inverse():
    backbone = dict(plain().backbone.state_dict())
    for part_features, rows in ((None, 24), (12, 20)):
        spread = spread_into_experts(backbone, 6, part_features)
        assert len(spread['blocks.2.mlp.fc2.weight']) == rows
        for index in range(6):
            merged = merge_expert(spread, index)
            assert merged.keys() == backbone.keys()
            assert all(torch.equal(merged[name], backbone[name]) for name in backbone)
    with pytest.raises(CheckpointError, match='hold 6 experts already'):
        spread_into_experts(spread, 6)
    with pytest.raises(CheckpointError, match=r'between 0 and the 32 outputs .* got 32'):
        spread_into_experts(backbone, 6, 32)
    with pytest.raises(CheckpointError, match=r'mlp\.experts\.6\.weight is missing'):
        merge_expert(spread, 6)


def test_reordering():
    backbone = dict(vitpose_plus().backbone.state_dict())
    order = [3, 1, 0, 2, 5, 4]
    reordered = reorder_experts(backbone, order)
    for new, old in enumerate(order):
        name = 'blocks.1.mlp.experts.{}.bias'
        assert torch.equal(reordered[name.format(new)], backbone[name.format(old)])


def test_names_of_experts_are_saved_with_them(tmp_path):
    model = vitpose_plus(dict(dogs=17, cats=17))
    path = save(model, tmp_path / 'ours.pth')
    assert read_weights(path).experts == ('dogs', 'cats')
    swapped = vitpose_plus(dict(cats=17, dogs=17)).backbone
    copies = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    swapped.load_state_dict(copies)  # without notes: in order
    assert torch.equal(
        swapped.blocks[0].mlp.experts[0].weight, model.backbone.blocks[0].mlp.experts[0].weight
    )
    again = vitpose_plus(dict(cats=17, dogs=17))
    load_checkpoint(again, path, map_location='cpu')
    torch.testing.assert_close(
        heatmaps(again, images(), 'dogs'), heatmaps(model, images(), 'dogs'), atol=1e-6, rtol=0
    )
    with pytest.raises(CheckpointError, match=r"for the data sets \['dogs', 'cats'\]"):
        load_checkpoint(vitpose_plus(dict(dogs=17, horses=17)), path, map_location='cpu')


def test_a_file_without_its_reference(reference_dir):
    """All six extracted from the recorded file are read again as what they are."""
    state = load_file(str(reference_dir / 'official_moe.pth'))['state_dict']
    weights = read_weights(state)
    for index, dataset in enumerate(DATASETS):
        merged = weights.only_head(dataset, '').merge_experts(dataset, '')
        assert list(merged.heads) == [dataset]
        expected = torch.cat(
            [
                state['backbone.blocks.2.mlp.fc2.bias'],
                state[f'backbone.blocks.2.mlp.experts.{index}.bias'],
            ]
        )
        assert torch.equal(merged.backbone['blocks.2.mlp.fc2.bias'], expected)


def test_experts_of_other_data_sets_begin_with_one_of_the_file(tmp_path):
    """From ViTPose++ on to data sets of one's own."""
    source = vitpose_plus()
    path = save(source, tmp_path / 'six.pth')
    with pytest.raises(CheckpointError, match=r"\['coco', .*the model for \['cats', 'dogs'\]. To"):
        pretrained(path, experts=('cats', 'dogs'))
    with pytest.raises(CheckpointError, match=r"none of them is 'cats' .*pretrained_expert"):
        pretrained(path, experts=('cats', 'dogs'), pretrained_expert='cats')
    vit = pretrained(path, experts=('cats', 'dogs'), pretrained_expert='ap10k')
    with torch.no_grad():
        features = vit(images(2), torch.tensor([0, 1]))[0]
        expected = source.backbone(images(2), torch.tensor([3, 3]))[0]
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)
    vit = pretrained(path, experts=('zebras', 'mpii'), pretrained_expert='ap10k')
    with torch.no_grad():
        features = vit(images(2), torch.tensor([0, 1]))[0]
        expected = source.backbone(images(2), torch.tensor([3, 2]))[0]
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('names', [('coco', 'zebras'), ('cats', 'dogs')])
def test_own_checkpoints_need_no_expert_to_begin_with(tmp_path, names):
    """Resumed, tested or averaged with the config that a model was trained with."""
    options = dict(experts=names, pretrained_expert='coco')
    trained = vitpose_plus(dict.fromkeys(names, 17), **options)
    for number, expert in enumerate(trained.backbone.blocks[0].mlp.experts):
        torch.nn.init.constant_(expert.weight, number)
    path = save(trained, tmp_path / 'own.pth')
    loaded = vitpose_plus(dict.fromkeys(names, 17), **options)
    load(loaded, path)
    averaged = vitpose_plus(dict.fromkeys(names, 17), **options)
    averaged.load_state_dict(trained.state_dict())
    alone = pretrained(path, **options)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
        assert torch.equal(averaged.state_dict()[name], tensor), name
        if name.startswith('backbone.'):
            assert torch.equal(alone.state_dict()[name.removeprefix('backbone.')], tensor), name
