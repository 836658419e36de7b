"""To others and back; what others write opens in their own code."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import (
    DATASETS,
    build,
    head_config,
    heatmaps,
    images,
    load,
    plain,
    save,
    vitpose_plus,
)

from vitpose_mm.checkpoints import CheckpointError, convert_file, load_file, read_weights
from vitpose_mm.checkpoints import conversion as module

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / 'peers'


def assert_same_bits(ours, path) -> None:
    """A checkpoint of ours holds exactly the model's tensors."""
    again = load_file(str(path))['state_dict']
    own = ours.state_dict()
    assert again.keys() == own.keys()
    for name, tensor in own.items():
        assert torch.equal(again[name], tensor), name


def there_and_back(model, tmp_path, to, back=None, **options):
    source = save(model, tmp_path / 'ours.pth')
    there = tmp_path / ('there' if to == 'huggingface' else 'there.pth')
    convert_file(source, there, to, **options)
    assert read_weights(there).source == to
    convert_file(there, tmp_path / 'back.pth', **(back or {}))
    return there, tmp_path / 'back.pth'


@pytest.mark.parametrize('make', [plain, lambda: plain('simple'), vitpose_plus])
def test_official_and_back(tmp_path, make):
    model = make()
    there, back = there_and_back(model, tmp_path, 'official')
    assert_same_bits(model, back)
    names = load_file(str(there))['state_dict']
    assert 'keypoint_head.final_layer.weight' in names
    assert ('associate_keypoint_heads.4.final_layer.weight' in names) == (make is vitpose_plus)


def test_names_of_ones_own_survive_the_way_to_official_and_back(tmp_path):
    model = vitpose_plus(dict(dogs=17, cats=17))
    _, back = there_and_back(model, tmp_path, 'official')
    assert_same_bits(model, back)
    assert read_weights(back).experts == ('dogs', 'cats')


@pytest.mark.parametrize('decoder', ['classic', 'simple'])
@pytest.mark.parametrize('experts', [(), tuple(DATASETS), ('dogs', 'cats')])
def test_hugging_face_and_back(tmp_path, decoder, experts):
    model = plain(decoder, filters=256, experts=experts)
    _, back = there_and_back(model, tmp_path, 'huggingface')
    assert_same_bits(model, back)
    weights = read_weights(back)
    assert weights.experts == experts
    assert weights.grid_hw == (4, 3)


def test_one_head_of_several_for_hugging_face(tmp_path):
    model = vitpose_plus(filters=256)
    source = save(model, tmp_path / 'ours.pth')
    convert_file(source, tmp_path / 'hf', 'huggingface', dataset='aic')
    again = plain(keypoints=14, filters=256, experts=tuple(DATASETS), pretrained_dataset='aic')
    load(again, tmp_path / 'hf')
    with torch.no_grad():
        ids = torch.ones(4, dtype=torch.int64)
        output = again.head(again.backbone(images(), ids))
    assert torch.equal(output, heatmaps(model, images(), 'aic'))


@pytest.mark.parametrize('decoder', ['classic', 'simple'])
def test_mmpose_and_back(tmp_path, decoder):
    model = plain(decoder)
    _, back = there_and_back(model, tmp_path, 'mmpose')
    again = load(plain(decoder), back)
    torch.testing.assert_close(
        heatmaps(again, images()), heatmaps(model, images()), atol=1e-6, rtol=0
    )


def test_one_data_set_for_mmpose_and_back(tmp_path):
    model = vitpose_plus()
    options = dict(dataset='mpii', merge_experts=True)
    _, back = there_and_back(model, tmp_path, 'mmpose', **options)
    again = load(plain(keypoints=16, pretrained_dataset='mpii'), back)
    torch.testing.assert_close(
        heatmaps(again, images()), heatmaps(model, images(), 'mpii'), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize('dataset', DATASETS)
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_one_data_set_alone(tmp_path, dataset, suffix):
    """Its head and its merged expert; a plain model's file."""
    model = vitpose_plus()
    source, target = save(model, tmp_path / 'ours.pth'), tmp_path / f'{dataset}.{suffix}'
    weights = convert_file(source, target, dataset=dataset, merge_experts=True)
    assert weights.dropped.keys() == {f'head {name}' for name in DATASETS if name != dataset}
    alone = load(plain(keypoints=DATASETS[dataset], pretrained_dataset=dataset), target)
    torch.testing.assert_close(
        heatmaps(alone, images()), heatmaps(model, images(), dataset), atol=1e-6, rtol=0
    )
    other = plain(keypoints=DATASETS[dataset], pretrained_dataset='crowdpose')
    with pytest.raises(CheckpointError, match=rf"heads for \['{dataset}'\]"):
        load(other, target)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_ours_keeps_what_names_do_not_tell(tmp_path, suffix):
    model = vitpose_plus(dict(dogs=17, cats=17), class_token='keep')
    convert_file(save(model, tmp_path / 'ours.pth'), tmp_path / f'copy.{suffix}')
    weights = read_weights(tmp_path / f'copy.{suffix}')
    assert list(weights.heads) == ['dogs', 'cats']
    assert weights.experts == ('dogs', 'cats')
    assert (weights.grid_hw, weights.num_heads, weights.class_token) == ((4, 3), 4, 'keep')
    assert_same_bits(model, tmp_path / f'copy.{suffix}')


def test_an_encoder_for_others_loses_its_class_token(tmp_path):
    model = build(head_config(), class_token='keep')
    source = save(model, tmp_path / 'ours.pth')
    weights = convert_file(source, tmp_path / 'official.pth', 'official')
    assert "ViTPose's sequence has no class token" in weights.dropped['cls_token']
    state = load_file(str(tmp_path / 'official.pth'))['state_dict']
    assert 'backbone.cls_token' not in state
    assert not state['backbone.pos_embed'][:, 0].any()


def test_what_is_known_of_the_training_stays(tmp_path):
    meta = dict(epoch=7, dataset_meta=dict(dataset_name='coco', sigmas=np.ones(17)))
    source = save(vitpose_plus(), tmp_path / 'ours.pth', meta=meta, optimizer=dict(state={}))
    convert_file(source, tmp_path / 'all.pth')
    content = load_file(str(tmp_path / 'all.pth'))
    assert content.keys() == {'meta', 'state_dict'}
    assert content['meta']['dataset_meta']['dataset_name'] == 'coco'
    convert_file(source, tmp_path / 'one.pth', dataset='aic')
    assert load_file(str(tmp_path / 'one.pth'))['meta'] == dict(epoch=7)


def test_a_plain_vit_in_all_experts(tmp_path):
    model = plain()
    convert_file(
        save(model, tmp_path / 'ours.pth'),
        tmp_path / 'start.pth',
        dataset='coco',
        spread_experts=list(DATASETS),
        part_features=12,
    )
    weights = read_weights(tmp_path / 'start.pth')
    assert weights.experts == tuple(DATASETS)
    assert weights.backbone['blocks.0.mlp.experts.5.weight'].shape == (12, 128)
    routed = plain(experts=tuple(DATASETS), part_features=12, pretrained_dataset='coco')
    load(routed, tmp_path / 'start.pth')
    with torch.no_grad():
        output = routed.head(routed.backbone(images(), torch.tensor([0, 3, 5, 3])))
    torch.testing.assert_close(output, heatmaps(model, images()), atol=1e-6, rtol=0)


# --- what cannot be ---


def test_more_heads_than_a_target_holds(tmp_path):
    source = save(vitpose_plus(filters=256), tmp_path / 'ours.pth')
    for to, target in (('mmpose', 'mmpose.pth'), ('huggingface', 'hf')):
        with pytest.raises(CheckpointError, match=r"ours\.pth: .*'aic'.* --dataset NAME"):
            convert_file(source, tmp_path / target, to)
        assert not (tmp_path / target).exists()
    with pytest.raises(CheckpointError, match=r'no experts.*--merge-experts'):
        convert_file(source, tmp_path / 'mmpose.pth', 'mmpose', dataset='aic')
    with pytest.raises(CheckpointError, match=r'experts for .*name one: .*--dataset NAME'):
        convert_file(source, tmp_path / 'ours_2.pth', merge_experts=True)
    with pytest.raises(CheckpointError, match="none of them is 'ochuman'"):
        convert_file(source, tmp_path / 'ours_2.pth', dataset='ochuman')
    with pytest.raises(CheckpointError, match='hold 6 experts already'):
        convert_file(source, tmp_path / 'ours_2.pth', spread_experts=['coco'])


@pytest.mark.parametrize('to', ['official', 'mmpose', 'huggingface'])
def test_decoders_that_a_target_lacks(tmp_path, to):
    source = save(plain('minimal'), tmp_path / 'minimal.pth')
    with pytest.raises(CheckpointError, match='minimal decoder'):
        convert_file(source, tmp_path / ('hf' if to == 'huggingface' else 'target.pth'), to)


def test_hugging_face_has_one_classic_decoder(tmp_path):
    source = save(plain(filters=16), tmp_path / 'narrow.pth')
    with pytest.raises(CheckpointError, match=r'256 channels.*head_0 others \(16'):
        convert_file(source, tmp_path / 'hf', 'huggingface')
    backbone = {'state_dict': plain().backbone.state_dict()}
    torch.save(backbone, tmp_path / 'backbone.pth')
    with pytest.raises(CheckpointError, match='huggingface needs a head'):
        convert_file(tmp_path / 'backbone.pth', tmp_path / 'hf', 'huggingface')
    assert not list(tmp_path.glob('hf*'))


def test_hugging_face_has_whole_ratios_of_mlp(tmp_path):
    arch = dict(embed_dim=32, depth=1, num_heads=4, mlp_ratio=3.5)
    source = save(plain('simple', arch=arch), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match=r'whole ratios .* 112 to 32'):
        convert_file(source, tmp_path / 'hf', 'huggingface')


def test_the_number_of_heads_must_be_known(tmp_path):
    model = plain('simple')
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'plain.pth')
    with pytest.raises(CheckpointError, match=r'width 32 .*--num-heads N'):
        convert_file(tmp_path / 'plain.pth', tmp_path / 'hf', 'huggingface')
    convert_file(tmp_path / 'plain.pth', tmp_path / 'hf', 'huggingface', num_heads=4)
    assert read_weights(tmp_path / 'hf').num_heads == 4


def test_incomplete_sources_and_bad_targets(tmp_path):
    state = {n: t for n, t in plain().state_dict().items() if n != 'backbone.last_norm.bias'}
    torch.save(dict(state_dict=state), tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match=r'part\.pth: .* is missing.*: last_norm\.bias'):
        convert_file(tmp_path / 'part.pth', tmp_path / 'new.pth')
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth does not exist'):
        convert_file(tmp_path / 'nothing.pth', tmp_path / 'new.pth')
    with pytest.raises(CheckpointError, match=r'new\.onnx must end with \.pth or \.safetensors'):
        convert_file(tmp_path / 'part.pth', tmp_path / 'new.onnx')
    with pytest.raises(ValueError, match=r"to must be one of .*'official'.* got 'timm'"):
        convert_file(tmp_path / 'part.pth', tmp_path / 'new.pth', 'timm')
    assert [path.name for path in tmp_path.iterdir()] == ['part.pth']


def test_nothing_that_was_there_is_lost(tmp_path, monkeypatch):
    source = save(plain('simple'), tmp_path / 'ours.pth')
    folder = tmp_path / 'hf'
    folder.mkdir()
    (folder / 'notes.txt').write_text('mine')
    with pytest.raises(CheckpointError, match='hf exists; transformers needs a new folder'):
        convert_file(source, folder, 'huggingface')
    assert (folder / 'notes.txt').read_text() == 'mine'

    def full_disk(*_, **__):
        raise OSError(28, 'No space left on device')

    (tmp_path / 'old.pth').write_bytes(b'old')
    monkeypatch.setattr(torch, 'save', full_disk)
    monkeypatch.setattr(module, 'save_file', full_disk)
    with pytest.raises(OSError, match='No space left'):
        convert_file(source, tmp_path / 'old.pth')
    with pytest.raises(OSError, match='No space left'):
        convert_file(source, tmp_path / 'new_folder', 'huggingface')
    assert (tmp_path / 'old.pth').read_bytes() == b'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['hf', 'old.pth', 'ours.pth']


def test_a_file_can_be_converted_in_place(tmp_path):
    model = vitpose_plus()
    path = save(model, tmp_path / 'ours.pth')
    convert_file(path, path, 'official')
    convert_file(path, path)
    assert_same_bits(model, path)


# --- others' own code, in environments of its own ---


INSTALL = {
    '.venv-peer': 'bash benchmarks/install_peer.sh',
    '.venv-transformers': 'bash benchmarks/install_peer.sh .venv-transformers transformers==5.23.0',
}


def run_peer(environment: str, script: str, *arguments: object) -> None:
    python = ROOT / environment / 'bin' / 'python'
    if not python.exists():
        pytest.skip(f'needs {environment}, made by: {INSTALL[environment]}')
    command = [str(python), '-W', 'ignore', str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    'decoder, experts, dataset',
    [
        ('classic', (), 'coco'),
        ('simple', (), 'coco'),
        ('classic', tuple(DATASETS), 'coco'),
        ('simple', tuple(DATASETS), 'mpii'),
    ],
)
def test_transformers_opens_what_is_written_for_it(tmp_path, decoder, experts, dataset):
    model = plain(decoder, keypoints=DATASETS[dataset], filters=256, experts=experts)
    convert_file(save(model, tmp_path / 'ours.pth'), tmp_path / 'hf', 'huggingface')
    index = list(DATASETS).index(dataset)
    np.savez(tmp_path / 'inputs.npz', images=images().numpy(), dataset=index)
    outputs = tmp_path / 'outputs.npz'
    script = 'open_with_transformers.py'
    run_peer('.venv-transformers', script, tmp_path / 'hf', tmp_path / 'inputs.npz', outputs)
    ids = torch.full((4,), index) if experts else None
    with torch.no_grad():
        expected = model.head(model.backbone(images(), ids))
    with np.load(outputs) as file:
        np.testing.assert_allclose(file['heatmaps'], expected, atol=1e-5)
        assert file['input_hw'].tolist() == [64, 48]


@pytest.mark.parametrize('decoder', ['classic', 'simple'])
def test_mmpose_opens_what_is_written_for_it(tmp_path, decoder):
    model = plain(decoder)
    convert_file(save(model, tmp_path / 'ours.pth'), tmp_path / 'mmpose.pth', 'mmpose')
    np.savez(tmp_path / 'inputs.npz', images=images().numpy())
    files = (tmp_path / 'mmpose.pth', tmp_path / 'inputs.npz', tmp_path / 'outputs.npz')
    run_peer('.venv-peer', 'open_with_mmpose.py', *files, decoder, 17)
    with np.load(tmp_path / 'outputs.npz') as file:
        np.testing.assert_allclose(file['heatmaps'], heatmaps(model, images()), atol=1e-5)
