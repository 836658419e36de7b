"""Files of every source load by mmpose's own functions and give the recorded numbers."""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from mmpose.registry import MODELS
from safetensors.torch import save_file
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

from vitpose_mm.checkpoints import CheckpointError, load_file, match_names, read_weights
from vitpose_mm.checkpoints.notes import note
from vitpose_mm.checkpoints.sources import SOURCES


def as_map(tokens: np.ndarray) -> np.ndarray:
    """Tokens (B, 12, C) as a map (B, C, 4, 3)."""
    return tokens.transpose(0, 2, 1).reshape(len(tokens), -1, 4, 3)


@pytest.mark.parametrize('decoder', ['classic', 'simple'])
@pytest.mark.parametrize('source', ['official', 'mmpose1', 'hf'])
def test_outputs_of_one_data_set(reference_dir, load_reference, source, decoder):
    case = load_reference(f'{source}_{decoder}')
    model = plain(decoder, filters=256 if source == 'hf' else 16)
    load(model, reference_dir / f'{source}_{decoder}.pth')
    inputs = torch.from_numpy(case['inputs'])
    features = as_map(case['features']) if source == 'hf' else case['features']
    recorded = case['heatmaps_0' if source == 'official' else 'heatmaps']
    with torch.no_grad():
        np.testing.assert_allclose(model.backbone(inputs)[0], features, atol=1e-5)
    np.testing.assert_allclose(heatmaps(model, inputs), recorded, atol=1e-5)


def test_in_mmposes_own_estimator_the_backbone_is_translated_all_the_same(
    reference_dir, load_reference
):
    case = load_reference('mmpose1_classic')
    backbone = dict(type='ViT', arch=ARCH, img_size=(64, 48))
    config = dict(type='TopdownPoseEstimator', backbone=backbone, head=head_config())
    model = MODELS.build(config).eval()
    load(model, reference_dir / 'mmpose1_classic.pth')
    output = heatmaps(model, torch.from_numpy(case['inputs']))
    np.testing.assert_allclose(output, case['heatmaps'], atol=1e-5)


def test_official_vitpose_plus(reference_dir, load_reference):
    case = load_reference('official_moe')
    model = vitpose_plus()
    load(model, reference_dir / 'official_moe.pth')
    inputs, ids = torch.from_numpy(case['inputs']), torch.from_numpy(case['dataset_idx'])
    with torch.no_grad():
        features = model.backbone(inputs, ids)
        np.testing.assert_allclose(features[0], case['features'], atol=1e-5)
        for index, output in enumerate(model.head(features).values()):
            np.testing.assert_allclose(output, case[f'heatmaps_{index}'], atol=1e-5)


@pytest.mark.parametrize('dataset', DATASETS)
def test_one_data_set_of_official_vitpose_plus(reference_dir, load_reference, dataset):
    """A plain model takes the head and merges the expert, by a line in its config."""
    case = load_reference('official_moe')
    index = list(DATASETS).index(dataset)
    model = plain(keypoints=DATASETS[dataset], pretrained_dataset=dataset)
    load(model, reference_dir / 'official_moe.pth')
    own = case['dataset_idx'] == index
    output = heatmaps(model, torch.from_numpy(case['inputs'][own]))
    np.testing.assert_allclose(output, case[f'heatmaps_{index}'][own], atol=1e-5)


def test_hugging_face_vitpose_plus(reference_dir, load_reference):
    case = load_reference('hf_moe')
    inputs, ids = torch.from_numpy(case['inputs']), torch.from_numpy(case['dataset_idx'])
    routed = plain(filters=256, experts=tuple(DATASETS))
    load(routed, reference_dir / 'hf_moe.pth')
    with torch.no_grad():
        features = routed.backbone(inputs, ids)
        np.testing.assert_allclose(features[0], as_map(case['features']), atol=1e-5)
        np.testing.assert_allclose(routed.head(features), case['heatmaps'], atol=1e-5)
    merged = plain(filters=256, pretrained_dataset='coco')
    load(merged, reference_dir / 'hf_moe.pth')
    own = case['dataset_idx'] == 0
    output = heatmaps(merged, inputs[own])
    np.testing.assert_allclose(output, case['heatmaps'][own], atol=1e-5)


def test_an_encoder_that_keeps_its_class_token(reference_dir, load_reference):
    case = load_reference('timm_vit')
    vit = pretrained(reference_dir / 'timm_vit.pth', class_token='keep', patch_padding=0)
    inputs = torch.from_numpy(case['inputs'])
    with torch.no_grad():
        patches, grid_hw = vit.embed_patches(inputs)
        tokens = vit.encode(vit.add_positions(patches, grid_hw))
        np.testing.assert_allclose(tokens, case['tokens'], atol=1e-5)
        np.testing.assert_allclose(vit(inputs)[0], as_map(case['tokens'][:, 1:]), atol=1e-5)


@pytest.mark.parametrize('name', ['mae', 'mae_normpix', 'timm_vit'])
@pytest.mark.parametrize('class_token', ['keep', 'fold'])
def test_every_key_of_an_encoder_is_mapped_or_dropped(reference_dir, name, class_token):
    content = load_file(str(reference_dir / f'{name}.pth'))
    state = dict(content.get('model', content))
    weights = read_weights(state)
    assert weights.source == name.split('_')[0]
    assert not weights.unknown
    assert len(weights.backbone) + len(weights.dropped) == len(state)
    assert weights.dropped.keys() == {k for k in state if k.startswith(('decoder_', 'mask_token'))}

    vit = pretrained(
        reference_dir / f'{name}.pth',
        arch=dict(ARCH, depth=3 if name == 'timm_vit' else 2),
        img_size=(64, 48) if name == 'timm_vit' else (64, 64),
        class_token=class_token,
    )
    renamed = {k.replace('last_norm', 'norm'): v for k, v in vit.state_dict().items()}
    folded = {'cls_token'} if class_token == 'fold' else set()
    assert state.keys() - renamed.keys() == weights.dropped.keys() | folded
    for key, tensor in renamed.items():
        wanted = state[key]
        if key == 'pos_embed' and class_token == 'fold':
            assert not tensor[:, 0].any()
            tensor, wanted = tensor[:, 1:], wanted[:, 1:]
        assert torch.equal(tensor, wanted), key


def test_a_real_encoder_at_another_size(real_weights_dir):
    path = real_weights_dir / 'deit_tiny_patch16_224.npz'
    vit = pretrained(path, arch='tiny', img_size=(256, 192))
    state = load_file(str(path))
    assert torch.equal(vit.blocks[11].attn.qkv.weight, state['blocks.11.attn.qkv.weight'])
    assert torch.equal(vit.last_norm.weight, state['norm.weight'])
    assert not vit.pos_embed[:, 0].any()
    grid = state['pos_embed'][:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, (16, 12), mode='bicubic')
    torch.testing.assert_close(vit.pos_embed[:, 1:], resized.flatten(2).transpose(1, 2))


def encoder_state(**changes) -> dict:
    """An encoder by timm's names."""
    vit = build(head_config(), class_token='keep').backbone
    state = {name.replace('last_norm', 'norm'): w for name, w in vit.state_dict().items()}
    return {**state, **changes}


def test_the_distillation_token_of_deit_goes_with_its_position(tmp_path):
    state = encoder_state()
    positions = state['pos_embed']
    state['pos_embed'] = torch.cat([positions[:, :1], torch.ones(1, 1, 32), positions[:, 1:]], 1)
    state['dist_token'] = torch.ones(1, 1, 32)
    state['head.weight'] = state['head_dist.weight'] = torch.ones(5, 32)
    torch.save(dict(model=state), tmp_path / 'deit.pth')
    vit = pretrained(tmp_path / 'deit.pth')
    assert torch.equal(vit.pos_embed[:, 1:], positions[:, 1:])
    assert read_weights(state).dropped.keys() == {'dist_token', 'head.weight', 'head_dist.weight'}


def test_positions_without_one_of_the_class_token_are_refused(tmp_path):
    torch.save(encoder_state(pos_embed=torch.zeros(1, 16, 32)), tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match=r'16 positions.*no_embed_class'):
        pretrained(tmp_path / 'vit.pth')


def test_an_encoder_by_mmpretrains_names(tmp_path):
    """With its class token, and without but with its position."""
    names = {
        'patch_embed.proj.': 'patch_embed.projection.',
        'last_norm.': 'ln1.',
        'blocks.': 'layers.',
        '.norm1.': '.ln1.',
        '.norm2.': '.ln2.',
        '.mlp.fc1.': '.ffn.layers.0.0.',
        '.mlp.fc2.': '.ffn.layers.1.',
    }
    model = build(head_config(), class_token='keep', img_size=(64, 64))
    state = {}
    for name, tensor in model.backbone.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    for dropped in ({}, {'cls_token'}):
        kept = {name: tensor for name, tensor in state.items() if name not in dropped}
        torch.save(dict(state_dict=kept), tmp_path / 'mae.pth')
        vit = pretrained(tmp_path / 'mae.pth', img_size=(64, 64))
        assert not vit.pos_embed[:, 0].any()
        assert torch.equal(vit.pos_embed[:, 1:], model.backbone.pos_embed[:, 1:])
        fc2 = model.backbone.blocks[2].mlp.fc2.weight
        assert torch.equal(vit.blocks[2].mlp.fc2.weight, fc2)


def test_kernels_of_14_px_are_padded_with_zeros_on_every_side(tmp_path):
    kernel = torch.randn(32, 3, 14, 14)
    torch.save(encoder_state(**{'patch_embed.proj.weight': kernel}), tmp_path / 'vit.pth')
    loaded = pretrained(tmp_path / 'vit.pth').patch_embed.proj.weight.detach()
    assert torch.equal(loaded[:, :, 1:15, 1:15], kernel)
    assert torch.count_nonzero(loaded) == torch.count_nonzero(kernel)


def test_class_tokens_left_over_in_official_files_are_not_folded_again(tmp_path):
    """Some hold one that the official code never uses; it adds the position all the same."""
    model = plain()
    state = {k.replace('head.', 'keypoint_head.'): v for k, v in model.state_dict().items()}
    state['backbone.cls_token'] = torch.ones(1, 1, 32)
    torch.save(dict(state_dict=state), tmp_path / 'official.pth')
    other = plain()
    load(other, tmp_path / 'official.pth')
    assert torch.equal(other.backbone.pos_embed, model.backbone.pos_embed)
    assert 'left over' in read_weights(state).fold_class_token().dropped['cls_token']


def test_our_own_class_token_survives_saving(tmp_path):
    vit = build(head_config(), class_token='keep')
    path = save(vit, tmp_path / 'ours.pth')
    kept = build(head_config(), class_token='keep')
    load(kept, path)
    assert torch.equal(kept.backbone.cls_token, vit.backbone.cls_token)
    folded = plain()
    load(folded, path)
    assert not folded.backbone.pos_embed[:, 0].any()
    assert torch.equal(folded.backbone.pos_embed[:, 1:], vit.backbone.pos_embed[:, 1:])


@pytest.mark.parametrize('suffix', ['pth', 'npz', 'safetensors'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_formats_and_wrappers(tmp_path, suffix, prefix):
    model = plain()
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    path = tmp_path / f'weights.{suffix}'
    if suffix == 'pth':
        torch.save(dict(model=state), path)
    elif suffix == 'npz':
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        save_file(state, path)
    other = plain()
    load(other, path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_the_backbone_of_a_whole_model_in_one_line(tmp_path, reference_dir):
    model = plain()
    vit = pretrained(save(model, tmp_path / 'ours.pth'))
    assert torch.equal(vit.blocks[2].mlp.fc2.weight, model.backbone.blocks[2].mlp.fc2.weight)
    assert torch.equal(vit.pos_embed, model.backbone.pos_embed)
    plus = vitpose_plus()
    load(plus, reference_dir / 'official_moe.pth')
    vit = pretrained(reference_dir / 'official_moe.pth', pretrained_expert='mpii')
    mlp = plus.backbone.blocks[1].mlp
    expected = torch.cat([mlp.fc2.weight, mlp.experts[2].weight])
    assert torch.equal(vit.blocks[1].mlp.fc2.weight, expected)
    with pytest.raises(CheckpointError, match=r"experts for \['coco'.*pretrained_expert"):
        pretrained(reference_dir / 'official_moe.pth')


def test_init_model_reads_a_folder_of_transformers(reference_dir, load_reference, tmp_path):
    """In two files, with what its config says of heads and input size."""
    case = load_reference('hf_classic')
    state = load_file(str(reference_dir / 'hf_classic.pth'))
    weight_map = {name: f'model-{index % 2}.safetensors' for index, name in enumerate(state)}
    for file in set(weight_map.values()):
        save_file(
            {name: state[name] for name in state if weight_map[name] == file}, tmp_path / file
        )
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(dict(weight_map=weight_map)))
    (tmp_path / 'config.json').write_text(json.dumps(case['config']))
    config = dict(
        model=dict(
            type='TopdownViTPose',
            backbone=dict(type='ViT', arch=ARCH, img_size=(64, 48)),
            head=head_config(filters=256),
        ),
        default_scope='mmpose',
        test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=[])),
    )
    model = init_model(Config(config), str(tmp_path), device='cpu')
    output = heatmaps(model, torch.from_numpy(case['inputs']))
    np.testing.assert_allclose(output, case['heatmaps'], atol=1e-5)
    config['model']['backbone']['arch'] = dict(ARCH, num_heads=8)
    with pytest.raises(CheckpointError, match=r'4 attention heads, model\.backbone\.arch has 8'):
        init_model(Config(config), str(tmp_path), device='cpu')


# --- files split from ViTPose++ ---


def split_officially(state: dict, index: int) -> dict:
    """What the official model_split.py writes for a data set; it keeps all experts."""
    split = dict(state)
    for name, tensor in state.items():
        if '.mlp.fc2.' in name:
            split[name] = torch.cat([tensor, state[name.replace('fc2.', f'experts.{index}.')]])
        elif (
            index
            and name.startswith('associate_keypoint_heads.')
            and not name.endswith('num_batches_tracked')
        ):
            _, number, inner = name.split('.', 2)
            if int(number) == index - 1:
                split[f'keypoint_head.{inner}'] = tensor
            del split[name]
    return split


@pytest.mark.parametrize('dataset', DATASETS)
@pytest.mark.parametrize('keep_experts', [True, False])
def test_files_split_by_the_official_script(
    reference_dir, load_reference, tmp_path, dataset, keep_experts
):
    case = load_reference('official_moe')
    state = load_file(str(reference_dir / 'official_moe.pth'))['state_dict']
    index = list(DATASETS).index(dataset)
    split = split_officially(state, index)
    if not keep_experts:
        split = {name: tensor for name, tensor in split.items() if '.experts.' not in name}
    torch.save(dict(state_dict=split), tmp_path / 'split.pth')
    model = plain(keypoints=DATASETS[dataset], pretrained_dataset=dataset)
    load(model, tmp_path / 'split.pth')
    own = case['dataset_idx'] == index
    output = heatmaps(model, torch.from_numpy(case['inputs'][own]))
    np.testing.assert_allclose(output, case[f'heatmaps_{index}'][own], atol=1e-5)
    if keep_experts:
        weights = read_weights(split)
        assert list(weights.heads) == [dataset]
        assert not weights.experts
        left_over = {reason for name, reason in weights.dropped.items() if '.experts.' in name}
        assert left_over == {'left over: fc2 already holds all outputs'}
        wrong = plain(keypoints=DATASETS[dataset], pretrained_dataset='crowdpose')
        with pytest.raises(CheckpointError, match=rf"heads for \['{dataset}'\].*'crowdpose'"):
            load(wrong, tmp_path / 'split.pth')


def test_left_over_experts_of_which_none_is_the_merged_one(reference_dir):
    """Trained on after splitting: the first head is the file's own."""
    state = load_file(str(reference_dir / 'official_moe.pth'))['state_dict']
    split = split_officially(state, 2)
    split['backbone.blocks.1.mlp.fc2.weight'] = split['backbone.blocks.1.mlp.fc2.weight'] + 1
    weights = read_weights(split)
    assert list(weights.heads) == ['head_0']
    assert not weights.experts


# --- names of data sets ---


def test_several_heads_need_a_name(reference_dir):
    path = reference_dir / 'official_moe.pth'
    with pytest.raises(CheckpointError, match=r"'apt36k'.*name one: .*model\.pretrained_dataset"):
        load(plain(), path)
    with pytest.raises(CheckpointError, match="none of them is 'ochuman'"):
        load(plain(pretrained_dataset='ochuman'), path)


@pytest.mark.parametrize('order', [('aic', 'mpii'), ('mpii', 'aic')])
def test_several_heads_without_experts(tmp_path, order):
    """COCO, AIC and MPII, as the official code saves them."""
    datasets = {name: DATASETS[name] for name in ('coco', *order)}
    model = vitpose_plus(datasets, experts=())
    theirs = {
        'head.heads.coco.': 'keypoint_head.',
        f'head.heads.{order[0]}.': 'associate_keypoint_heads.0.',
        f'head.heads.{order[1]}.': 'associate_keypoint_heads.1.',
    }
    state = {}
    for name, tensor in model.state_dict().items():
        prefix = next((prefix for prefix in theirs if name.startswith(prefix)), '')
        state[theirs.get(prefix, '') + name.removeprefix(prefix)] = tensor
    torch.save(dict(state_dict=state), tmp_path / 'official.pth')
    again = vitpose_plus(dict(mpii=16, coco=17, aic=14), experts=())
    load(again, tmp_path / 'official.pth')
    aic = plain(keypoints=14, pretrained_dataset='aic')
    load(aic, tmp_path / 'official.pth')
    inputs = images()
    for dataset in datasets:
        expected = heatmaps(model, inputs, dataset)
        assert torch.equal(heatmaps(again, inputs, dataset), expected)
    assert torch.equal(heatmaps(aic, inputs), heatmaps(model, inputs, 'aic'))


@pytest.mark.parametrize('source', ['vitpose_mm', 'official'])
def test_experts_are_matched_by_name(tmp_path, reference_dir, source):
    path = reference_dir / 'official_moe.pth'
    model = vitpose_plus()
    if source == 'vitpose_mm':
        path = save(model, tmp_path / 'ours.pth')
    else:
        load(model, path)
    again = vitpose_plus(dict(reversed(DATASETS.items())))
    load(again, path)
    inputs = images()
    for dataset in DATASETS:
        expected = heatmaps(model, inputs, dataset)
        torch.testing.assert_close(heatmaps(again, inputs, dataset), expected, atol=1e-6, rtol=0)


def test_experts_of_three_data_sets_in_another_order(tmp_path):
    """Their names are known by the heads alone; heads and experts must stay together."""
    datasets = dict(coco=17, aic=14, mpii=16)
    model = vitpose_plus(datasets)
    state = {}
    for name, tensor in model.state_dict().items():
        for index, dataset in enumerate(datasets):
            theirs = f'associate_keypoint_heads.{index - 1}.' if index else 'keypoint_head.'
            name = name.replace(f'head.heads.{dataset}.', theirs)
        state[name] = tensor
    torch.save(dict(state_dict=state), tmp_path / 'official.pth')
    again = vitpose_plus(dict(mpii=16, aic=14, coco=17))
    load(again, tmp_path / 'official.pth')
    inputs = images()
    for dataset in datasets:
        expected = heatmaps(model, inputs, dataset)
        torch.testing.assert_close(heatmaps(again, inputs, dataset), expected, atol=1e-6, rtol=0)


def test_data_sets_of_the_model_that_a_file_lacks(tmp_path):
    path = save(vitpose_plus(), tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match=r"the data sets \['coco', .*the model for \['lsp"):
        load(vitpose_plus({'lsp': 14, **dict(list(DATASETS.items())[1:])}), path)
    with pytest.raises(CheckpointError, match=r'experts for \[.*needs model\.backbone\.experts'):
        load(vitpose_plus(experts=()), path)


def test_matching_of_names():
    official = ['coco', 'aic', 'mpii']
    assert match_names(official, ['aic', 'mpii', 'coco'], True) == {n: n for n in official}
    own = match_names(official, ['people', 'aic', 'sports'], False)
    assert own == dict(people='coco', aic='aic', sports='mpii')
    for wanted, stated in (
        (['people', 'aic', 'sports'], True),  # the file knows better
        (['people', 'coco', 'sports'], False),  # another place
        (['people', 'aic'], False),  # another number
    ):
        with pytest.raises(CheckpointError, match='for the data sets'):
            match_names(official, wanted, stated)


# --- what is refused ---


@pytest.fixture(params=list(SOURCES))
def a_state(request, reference_dir) -> dict:
    """A complete state dict of each source."""
    if request.param == 'vitpose_mm':
        return dict(vitpose_plus(dict(coco=17, aic=14)).state_dict())
    files = dict(
        official='official_moe', mmpose='mmpose1_classic', huggingface='hf_moe', timm='timm_vit'
    )
    content = load_file(str(reference_dir / f'{files.get(request.param, request.param)}.pth'))
    for wrapper in ('state_dict', 'model'):
        content = content.get(wrapper, content)
    return dict(content)


def test_each_name_of_a_source_is_needed(a_state):
    read_weights(a_state).require_complete()
    optional = ('num_batches_tracked', 'decoder_', 'mask_token', 'cls_token')
    for name in a_state:
        if any(part in name for part in optional):
            continue
        fewer = {other: tensor for other, tensor in a_state.items() if other != name}
        with pytest.raises(CheckpointError, match='is missing'):
            read_weights(fewer).require_complete()


@pytest.mark.parametrize('name', ['extra', 'backbone.blocks.0.extra.weight', 'neck.final.bias'])
def test_an_extra_name_is_listed_with_its_shape(a_state, name):
    if name.startswith('backbone.') and not any(n.startswith('backbone.') for n in a_state):
        name = name.removeprefix('backbone.')
    weights = read_weights({**a_state, name: torch.zeros(3, 7)})
    with pytest.raises(CheckpointError, match=rf'does not know: {name} \(3, 7\)'):
        weights.require_complete()


def test_the_estimator_refuses_extra_names(tmp_path):
    model = plain()
    state = {**model.state_dict(), 'neck.conv.weight': torch.zeros(3, 7)}
    torch.save(dict(state_dict=state), tmp_path / 'extra.pth')
    with pytest.raises(CheckpointError, match=r'has a place for: neck\.conv\.weight \(3, 7\)'):
        load(model, tmp_path / 'extra.pth')


@pytest.mark.parametrize('change', ['missing', 'extra', 'shape', 'keypoints'])
@pytest.mark.parametrize('part', ['backbone.blocks.1.mlp.fc1.weight', 'head.final_layer.weight'])
def test_the_estimator_refuses_what_does_not_fit(tmp_path, part, change):
    model = plain()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = dict(plain(keypoints=16 if change == 'keypoints' else 17).state_dict())
    inner = part.split('.', 1)[1]
    message = r'final_layer\.weight \(16, 16, 1, 1\) for \(17, 16, 1, 1\)'
    if change == 'missing':
        del state[part]
        message = f'missing: {inner}'
    elif change == 'extra':
        state[f'{part}_2'] = torch.zeros(2)
        message = f'{inner}_2'
    elif change == 'shape':
        state[part] = state[part][:5]
        message = rf'of another shape: {inner} \(5, '
    torch.save(dict(state_dict=state), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=message):
        load(model, tmp_path / 'file.pth')
    if part.startswith('backbone') and change != 'keypoints':
        assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())


def test_another_arch_is_refused(tmp_path):
    path = save(plain(), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'of another shape: .*\(32,\) for \(64,\)'):
        load(build({**head_config(), 'in_channels': 64}, arch=dict(ARCH, embed_dim=64)), path)
    with pytest.raises(CheckpointError, match=r'left over: blocks\.2\.'):
        load(build(head_config(), arch=dict(ARCH, depth=2)), path)
    with pytest.raises(CheckpointError, match=r'4 attention heads, model\.backbone\.arch has 8'):
        load(build(head_config(), arch=dict(ARCH, num_heads=8)), path)


def test_unknown_formats_are_refused(tmp_path):
    torch.save(dict(state_dict={'layer1.conv.weight': torch.zeros(2, 3)}), tmp_path / 'resnet.pth')
    with pytest.raises(CheckpointError, match=r'no known format \(vitpose_mm, official, .*layer1'):
        load(plain(), tmp_path / 'resnet.pth')
    torch.save(dict(state_dict=dict(epoch=3)), tmp_path / 'numbers.pth')
    with pytest.raises(CheckpointError, match='holds no tensors by name but epoch'):
        load(plain(), tmp_path / 'numbers.pth')


def test_a_file_that_contradicts_its_notes_is_refused(reference_dir):
    state = OrderedDict(load_file(str(reference_dir / 'official_moe.pth'))['state_dict'])
    note(state, dict(heads=['coco', 'aic']))
    with pytest.raises(CheckpointError, match=r"its heads are \['coco', 'aic'\] and holds 6"):
        read_weights(state)


@pytest.mark.parametrize(
    'note', [dict(heads=3), dict(experts='coco'), dict(grid_hw=[4, 0]), dict(num_heads='4')]
)
def test_notes_that_cannot_be_are_refused(tmp_path, note):
    state = plain().state_dict()
    state._metadata['backbone'].update(note)
    torch.save(dict(state_dict=state), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match='says of itself what cannot be: '):
        load(plain(), tmp_path / 'odd.pth')


def test_assigning_instead_of_copying():
    """``load_state_dict(assign=True)`` takes tensors that fit as they are."""
    model, other = plain(), plain()
    other.load_state_dict(model.state_dict(), assign=True)
    weights = [each.backbone.blocks[0].mlp.fc1.weight for each in (model, other)]
    assert weights[0].data_ptr() == weights[1].data_ptr()
    assert torch.equal(heatmaps(other, images()), heatmaps(model, images()))
