"""Where a wrong result would be silent: notes that get lost, parts that do not belong together."""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpose.registry import MODELS
from tiny_models import (
    ARCH,
    DATASETS,
    build,
    head_config,
    heatmaps,
    images,
    load,
    plain,
    pretrained,
    save,
    vitpose_plus,
)

from vitpose_mm.checkpoints import (
    CheckpointError,
    conversion,
    convert_file,
    load_file,
    read_weights,
)
from vitpose_mm.checkpoints.notes import note


def same_bits(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


# --- notes ---


@pytest.mark.parametrize(
    ('saved', 'loaded'),
    [
        (dict(experts=('mpii', 'coco', 'aic')), dict(experts=('coco', 'aic', 'mpii'))),
        (dict(experts=tuple(reversed(DATASETS))), dict(pretrained_expert='ap10k')),
        (dict(class_token='keep'), dict()),
        (dict(img_size=(48, 64)), dict()),
    ],
)
def test_notes_survive_the_prefix_of_init_cfg(tmp_path, saved, loaded):
    """mmengine makes a plain dict of the part with the prefix."""
    path = save(build(head_config(), **saved), tmp_path / 'ours.pth')
    assert same_bits(pretrained(path, None, **loaded), pretrained(path, 'backbone.', **loaded))


@pytest.mark.parametrize('way', ['plain dict', 'wrapped', 'average', 'file of a wrapped model'])
def test_notes_survive_wrappers(tmp_path, way):
    model = vitpose_plus(dict(a=17, b=17), experts=('b', 'a'))
    other = vitpose_plus(dict(a=17, b=17), experts=('b', 'a'))
    if way == 'plain dict':
        other.load_state_dict(dict(model.state_dict()))
    elif way == 'wrapped':
        wrappers = [torch.nn.ModuleDict(dict(teacher=each)) for each in (model, other)]
        wrappers[1].load_state_dict(wrappers[0].state_dict())
    elif way == 'average':
        averages = [ExponentialMovingAverage(each) for each in (model, other)]
        averages[1].load_state_dict(averages[0].state_dict())
        model, other = averages[0].module, averages[1].module
    else:
        wrapper = torch.nn.ModuleDict(dict(module=model))
        torch.save(dict(state_dict=wrapper.state_dict()), tmp_path / 'wrapped.pth')
        load(other, tmp_path / 'wrapped.pth')
    assert same_bits(model, other)


def test_a_state_dict_can_be_loaded_again(tmp_path):
    """What is noted for one model does not stay with the tensors of the file."""
    path = save(vitpose_plus(), tmp_path / 'ours.pth')
    state = load_file(path)['state_dict']
    plain(keypoints=16, pretrained_dataset='mpii').load_state_dict(state)
    first, second = vitpose_plus(dict(reversed(DATASETS.items()))), vitpose_plus()
    first.load_state_dict(state)
    second.load_state_dict(state)
    inputs = images()
    for dataset in DATASETS:
        torch.testing.assert_close(
            heatmaps(first, inputs, dataset), heatmaps(second, inputs, dataset), atol=1e-6, rtol=0
        )


def test_names_in_notes_must_differ():
    state = OrderedDict(vitpose_plus(dict(a=17, b=17)).state_dict())
    note(state, dict(experts=['a', 'a']))
    with pytest.raises(CheckpointError, match=r'what cannot be: .*experts'):
        read_weights(state)


def test_converted_files_hold_plain_tensors_alone(tmp_path):
    """What is kept beside tensors in memory does not get into files."""
    convert_file(save(plain(), tmp_path / 'ours.pth'), tmp_path / 'official.pth', 'official')
    torch.load(tmp_path / 'official.pth', weights_only=True)
    assert b'_rebuild_from_type' not in (tmp_path / 'official.pth').read_bytes()


# --- class token and positions ---


@pytest.mark.parametrize('img_size', [(128, 96), (224, 192), (64, 48)])
def test_a_class_token_at_any_size(img_size):
    """48 positions and one are as many as a square of 7 x 7."""
    model = build(head_config(), class_token='keep', img_size=img_size)
    again = build(head_config(), class_token='keep', img_size=img_size)
    again.load_state_dict(model.state_dict())
    assert same_bits(model, again)


def test_a_left_over_class_token_is_not_kept(tmp_path):
    state = {f'backbone.{n}': t for n, t in plain().backbone.state_dict().items()}
    state['backbone.cls_token'] = torch.ones(1, 1, 32)
    torch.save(dict(state_dict={n: t.clone() for n, t in state.items()}), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r"left over .*class_token='fold', not 'keep'"):
        pretrained(tmp_path / 'file.pth', 'backbone.', class_token='keep')


def test_a_grid_in_the_file_that_is_wrong(tmp_path):
    state = OrderedDict(plain().state_dict())
    note(state, dict(grid_hw=[16, 12]))
    torch.save(dict(state_dict=state), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match=r'checkpoint says.* \(16, 12\) does not fit the 12'):
        load(plain(), tmp_path / 'odd.pth')
    assert load(plain(pretrained_grid_hw=(4, 3)), tmp_path / 'odd.pth')


def test_only_kernels_of_14_px_are_padded(tmp_path):
    state = dict(plain().backbone.state_dict())
    state['patch_embed.proj.weight'] = torch.zeros(32, 3, 8, 8)
    torch.save(state, tmp_path / 'patches8.pth')
    with pytest.raises(CheckpointError, match=r'\(32, 3, 8, 8\) for \(32, 3, 16, 16\)'):
        pretrained(tmp_path / 'patches8.pth', None)


# --- tensors that cannot be ---


def changed(state: dict, **changes: torch.Tensor) -> dict:
    return {**state, **changes}


QUERY = 'backbone.encoder.layer.1.attention.attention.query.weight'
KEY = 'backbone.encoder.layer.1.attention.attention.key.weight'
EXPERT = 'backbone.blocks.1.mlp.experts.2.weight'


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        ('hf_classic', {KEY: (32, 1)}, 'parts of blocks.1.attn.qkv.weight do not fit'),
        ('hf_classic', {QUERY: (16, 32), KEY: (48, 32)}, r'have \[16, 48, 32\] rows'),
        ('hf_classic', {KEY: ()}, 'do not fit'),
        ('official_moe', {EXPERT: (8, 1)}, 'do not fit|not of the shape of the first block'),
        ('official_moe', {EXPERT: ()}, r'experts\.2\.weight must be .* 2 dimensions, .* \(\)'),
        ('official_classic', {'backbone.pos_embed': ()}, 'pos_embed must be .* 3 dimensions'),
        ('official_classic', {'backbone.pos_embed': (13, 32)}, 'pos_embed must be .* 3 dimens'),
        ('official_classic', {'backbone.pos_embed': (1, 0, 32)}, 'pos_embed must be .* 3 dimens'),
        ('official_classic', {'keypoint_head.final_layer.weight': ()}, 'must be .* 4 dimensions'),
        ('official_classic', {'backbone.patch_embed.proj.weight': (32,)}, '4 dimensions'),
        ('official_classic', {'backbone.last_norm.weight': 'int8'}, r'floating.* torch\.int8'),
        ('official_classic', {'backbone.blocks.7.norm1.weight': (32,)}, r'up to 7, but .* only 4'),
        ('official_moe', {EXPERT.replace('.2.', '.9.'): (8, 128)}, r'experts are numbered up to 9'),
        (
            'official_classic',
            {'backbone.blocks.2000000000.norm1.weight': (32,)},
            'blocks are numbered up to 2000000000',
        ),
        (
            'official_classic',
            {'keypoint_head.deconv_layers.3000000.weight': (1, 1, 1, 1)},
            'deconvolutions are numbered up to 1000000',
        ),
        (
            'official_classic',
            {'backbone.blocks.1.mlp.fc1.weight': (64, 32)},
            r'not of the shape of the first block are: blocks\.1\.mlp\.fc1\.weight \(64, 32\)',
        ),
    ],
)
def test_tensors_that_cannot_be_are_named(reference_dir, tmp_path, name, changes, message):
    content = load_file(str(reference_dir / f'{name}.pth'))
    state = dict(content.get('state_dict', content))
    for key, shape in changes.items():
        state[key] = torch.zeros(32, dtype=torch.int8) if shape == 'int8' else torch.zeros(shape)
    torch.save(dict(state_dict=state), tmp_path / 'odd.pth')
    filters = 256 if name.startswith('hf') else 16
    model = plain(filters=filters, pretrained_dataset='mpii' if name.endswith('moe') else None)
    with pytest.raises(CheckpointError):
        load(model, tmp_path / 'odd.pth')
    options = dict(dataset='mpii', merge_experts=True) if name.endswith('moe') else {}
    with pytest.raises(CheckpointError, match=message):
        convert_file(tmp_path / 'odd.pth', tmp_path / 'new.pth', **options)
    assert not (tmp_path / 'new.pth').exists()


# --- heads and experts that belong together ---


def test_the_head_of_a_file_with_experts_belongs_to_one_of_them(reference_dir, tmp_path):
    """Hugging Face's ViTPose++ models have COCO's head and all six experts."""
    path = reference_dir / 'hf_moe.pth'
    with pytest.raises(CheckpointError, match=r"heads for \['coco'\], none of them is 'ap10k'"):
        load(plain(filters=256, pretrained_dataset='ap10k'), path)
    with pytest.raises(CheckpointError, match="none of them is 'banana'"):
        convert_file(path, tmp_path / 'new.pth', dataset='banana')
    state = load_file(str(reference_dir / 'official_moe.pth'))['state_dict']
    heads = ('keypoint_head', 'associate_keypoint_heads')
    third = 'associate_keypoint_heads.2.'
    only = {n: t for n, t in state.items() if not n.startswith(heads) or n.startswith(third)}
    assert list(read_weights(only).heads) == ['ap10k']


def test_options_that_contradict_each_other(reference_dir):
    model = plain(pretrained_dataset='coco', pretrained_expert='ap10k')
    with pytest.raises(CheckpointError, match=r"the head is of 'coco' .* the expert .* 'ap10k'"):
        load(model, reference_dir / 'official_moe.pth')


def test_a_neck_that_the_file_lacks(reference_dir):
    neck = dict(type='ChannelMapper', in_channels=[32], out_channels=32, kernel_size=1)
    model = MODELS.build(
        dict(
            type='TopdownViTPose',
            backbone=dict(type='ViT', arch=ARCH, img_size=(64, 48)),
            neck=neck,
            head=head_config(),
        )
    )
    with pytest.raises(CheckpointError, match=r"fit ChannelMapper under 'neck\.'; missing"):
        load(model, reference_dir / 'official_classic.pth')
    model.load_state_dict(model.state_dict())


def test_heads_of_mmpose_on_this_backbone(tmp_path):
    head = dict(type='HeatmapHead', in_channels=32, out_channels=17)
    backbone = dict(type='ViT', arch=ARCH, img_size=(64, 48))
    model, other = (
        MODELS.build(dict(type='TopdownViTPose', backbone=backbone, head=head)) for _ in range(2)
    )
    load(other, save(model, tmp_path / 'ours.pth'))
    assert same_bits(model, other)
    state = {n: t for n, t in model.state_dict().items() if n != 'head.final_layer.bias'}
    torch.save(dict(state_dict=state), tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match=r'HeatmapHead .*missing: final_layer\.bias \(17,\)'):
        load(other, tmp_path / 'part.pth')


def test_several_heads_from_a_backbone_alone(tmp_path):
    torch.save(dict(state_dict=plain().backbone.state_dict()), tmp_path / 'backbone.pth')
    with pytest.raises(CheckpointError, match=r"no heads, the model those of \['coco'.*init_cfg"):
        load(vitpose_plus(), tmp_path / 'backbone.pth')


# --- conversion ---


@pytest.mark.parametrize('names', [[], 'coco', ['coco', 'coco'], ['', 'a.b']])
def test_experts_must_have_names(tmp_path, names):
    source = save(plain(), tmp_path / 'ours.pth')
    with pytest.raises(ValueError, match='experts must be'):
        convert_file(source, tmp_path / 'new.pth', spread_experts=names)
    with pytest.raises(ValueError, match='dataset must be'):
        convert_file(source, tmp_path / 'new.pth', dataset='')
    with pytest.raises(CheckpointError, match=r'part_features must be a whole number .* got 1\.5'):
        convert_file(source, tmp_path / 'new.pth', spread_experts=['a'], part_features=1.5)


@pytest.mark.parametrize('options', [dict(ratio=2), dict(patch_padding=0)])
@pytest.mark.parametrize('to', ['mmpose', 'huggingface'])
def test_patches_that_others_cut_differently(tmp_path, options, to):
    source = save(plain('simple', **options), tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match='padding of 2 px, the checkpoint is for'):
        convert_file(source, tmp_path / 'new.pth', to) if to == 'mmpose' else convert_file(
            source, tmp_path / 'new', to
        )
    convert_file(source, tmp_path / 'copy.pth')
    assert read_weights(tmp_path / 'copy.pth').patches.items() >= options.items()


@pytest.mark.parametrize('num_heads', [0, -1, 5, 'x'])
def test_numbers_of_attention_heads_that_cannot_be(tmp_path, num_heads):
    state = {name: tensor.clone() for name, tensor in plain('simple').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='num_heads must be a whole number that divides 32'):
        convert_file(tmp_path / 'plain.pth', tmp_path / 'hf', 'huggingface', num_heads=num_heads)
    ours = save(plain('simple'), tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match='has 4 attention heads, num_heads is 8'):
        convert_file(ours, tmp_path / 'hf', 'huggingface', num_heads=8)


def test_what_is_lost_of_a_training_is_said(tmp_path):
    path = save(plain(), tmp_path / 'epoch_1.pth', optimizer=dict(state={}), message_hub={})
    weights = convert_file(path, tmp_path / 'weights.pth')
    assert weights.dropped == dict(optimizer='not weights', message_hub='not weights')
    with pytest.raises(CheckpointError, match="training's state would be lost"):
        convert_file(path, path)
    assert 'optimizer' in load_file(path)


def test_names_of_keypoints_for_transformers(tmp_path):
    names = {index: f'part {index}' for index in range(17)}
    meta = dict(dataset_meta=dict(keypoint_id2name=names))
    source = save(plain('simple'), tmp_path / 'ours.pth', meta=meta)
    convert_file(source, tmp_path / 'hf', 'huggingface', dataset='coco')
    config = json.loads((tmp_path / 'hf/config.json').read_text())
    assert config['id2label']['16'] == 'part 16'
    for index, odd in enumerate((None, 5, {'keypoint_id2name': {'a': 'b'}})):
        source = save(plain('simple'), tmp_path / 'ours.pth', meta=dict(dataset_meta=odd))
        convert_file(source, tmp_path / f'hf{index}', 'huggingface')
        config = json.loads((tmp_path / f'hf{index}/config.json').read_text())
        assert config['id2label']['16'] == 'LABEL_16'


def test_targets_with_a_slash_a_link_and_a_neighbour(tmp_path):
    source = save(plain('simple'), tmp_path / 'ours.pth')
    (tmp_path / 'hf.partial').mkdir()
    (tmp_path / 'hf.partial/mine.txt').write_text('mine')
    convert_file(source, f'{tmp_path}/hf/', 'huggingface')
    assert read_weights(tmp_path / 'hf').source == 'huggingface'
    assert (tmp_path / 'hf.partial/mine.txt').read_text() == 'mine'
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    convert_file(source, tmp_path / 'link', 'huggingface')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real/config.json').exists()


def test_a_full_disk_is_reported_with_the_target(tmp_path, monkeypatch):
    """torch and safetensors have errors of their own for it."""
    source = save(plain('simple'), tmp_path / 'ours.pth')

    def full(*_, **__):
        raise RuntimeError('[enforce fail at inline_container.cc] . file write failed')

    monkeypatch.setattr(torch, 'save', full)
    monkeypatch.setattr(conversion, 'save_file', full)
    for target, to in (('a.pth', 'official'), ('b.safetensors', 'official'), ('c', 'huggingface')):
        with pytest.raises(OSError, match=rf'{target} could not be written .*file write failed'):
            convert_file(source, tmp_path / target, to)
    assert [path.name for path in tmp_path.iterdir()] == ['ours.pth']


def test_inside_inference_mode(tmp_path):
    source = save(plain('simple'), tmp_path / 'ours.pth')
    with torch.inference_mode():
        convert_file(source, tmp_path / 'copy.safetensors')
        model = load(plain('simple'), tmp_path / 'copy.safetensors')
    np.testing.assert_array_equal(
        heatmaps(model, images()), heatmaps(load(plain('simple'), source), images())
    )
