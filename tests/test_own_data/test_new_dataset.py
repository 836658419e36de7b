"""From labels to a config that trains."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from vitpose_mm.cli import main
from vitpose_mm.engine import build_runner, load_config
from vitpose_mm.own_data import Choices, Labels, new_dataset

NAMES = ['tip', 'left_hip', 'right_hip', 'left_shoulder', 'right_shoulder']
COCO_NAMES = [
    *('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder'),
    *('right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip'),
    *('right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle'),
]


def make_labels(folder: Path, names=NAMES, count: int = 6, file='labels.json', seed=0) -> Path:
    """A COCO file of people, one in each of some pictures of 80 x 60 px."""
    rng = np.random.default_rng(seed)
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        image = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        name = f'{seed}_{number}.png'
        cv2.imwrite(str(folder / 'images' / name), image)
        points = rng.uniform((10, 10), (70, 50), (len(names), 2)).round(1)
        keypoints = np.column_stack([points, np.full(len(names), 2)]).ravel().tolist()
        images.append(dict(id=number, file_name=name, width=80, height=60))
        annotations.append(
            dict(
                id=number,
                image_id=number,
                category_id=1,
                bbox=[5.0, 5.0, 70.0, 50.0],
                area=2000.0,
                iscrowd=0,
                num_keypoints=len(names),
                keypoints=keypoints,
            )
        )
    category = dict(id=1, name='person', keypoints=list(names), skeleton=[[1, 2], [1, 3]])
    content = dict(images=images, annotations=annotations, categories=[category])
    path = folder / file
    path.write_text(json.dumps(content))
    return path


def save_model(cfg: Config, path: Path) -> str:
    """A checkpoint with random weights, large enough to be told apart."""
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    config = cfg.model.to_dict()
    torch.save(dict(state_dict=model.state_dict(), config=config), path)
    return str(path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> str:
    """A ViTPose-Ti for COCO's keypoints."""
    folder = tmp_path_factory.mktemp('trained')
    labels = Labels(str(make_labels(folder, COCO_NAMES)), str(folder / 'images'), val_share=0.4)
    choices = Choices('tiny', input_hw=(64, 48))
    cfg = Config.fromfile(new_dataset(labels, choices, 'people', folder / 'out').config)
    return save_model(cfg, folder / 'trained.pth')


def train(config: Path, work_dir: Path) -> tuple[object, dict]:
    """Train by a config for one epoch, in this process; the runner and its scalars."""
    cfg = load_config(config, work_dir)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    runner = build_runner(cfg, 'train')
    runner.train()
    return runner, runner.message_hub.log_scalars


@pytest.mark.parametrize('small_data', [False, True])
def test_three_commands_train_a_model(small_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_labels(tmp_path)
    options = ['--arch', 'tiny', '--input-size', '64x48', '--epochs', '1', '--batch-size', '2']
    options += ['--val-share', '0.4', *(['--small-data'] if small_data else [])]
    assert (
        main(['new-dataset', 'labels.json', '--images', 'images', '--name', 'own', *options]) == 0
    )
    said = capsys.readouterr().out
    assert 'vitpose-mm check' in said and 'own.py --gpus 1' in said
    main(['check', 'own/own.py', '--json', 'check.json'])
    found = json.loads(Path('check.json').read_text())['findings']
    assert all(each['kind'] in ('few-steps', 'random-weights') for each in found), found
    runner, scalars = train(tmp_path / 'own/own.py', tmp_path / 'work')
    assert scalars['train/base_lr'].max() > 5e-5, 'a rate that stays in its warm-up'
    assert runner.epoch == 1
    assert {'val/own/AP', 'val/own/PCK', 'val/loss_kpt'} <= set(scalars)
    assert list(Path('work').glob('best_own_AP_epoch_1.pth'))
    meta = runner.val_dataloader.dataset.metainfo
    assert [meta['keypoint_id2name'][i] for i in range(5)] == NAMES
    assert meta['flip_indices'] == [0, 2, 1, 4, 3]
    people = {
        part: len(json.loads(Path(f'own/own_{part}.json').read_text())['annotations'])
        for part in ('train', 'val')
    }
    assert sum(people.values()) == 6 and min(people.values()) > 0
    assert len(runner.train_dataloader.dataset) == people['train']
    assert len(runner.val_dataloader.dataset) == people['val']
    assert any(type(hook).__name__ == 'EMAHook' for hook in runner.hooks) == small_data


def test_labels_that_need_nothing_are_used_where_they_are(tmp_path):
    train_file, val_file = make_labels(tmp_path), make_labels(tmp_path, file='val.json', seed=1)
    labels = Labels(str(train_file), str(tmp_path / 'images'), str(val_file))
    written = new_dataset(labels, Choices('tiny'), 'own', tmp_path / 'out')
    assert sorted(path.name for path in written.files) == ['own.py', 'own_keypoints.py']
    cfg = Config.fromfile(written.config)
    assert cfg.train_dataloader.dataset.ann_file == str(train_file)
    assert cfg.val_dataloader.dataset.ann_file == str(val_file)
    (metric, pck) = cfg.val_evaluator.metrics.own
    assert metric.ann_file == str(val_file) and pck.thr == 0.1
    assert cfg.val_dataloader.dataset.data_prefix.img == f'{tmp_path}/images/'
    assert any('6 people in 6 images to train on' in note for note in written.notes)
    assert any('--small-data' in note for note in written.notes)
    assert any('random weights' in note for note in written.notes)


def test_the_start_says_size_and_decoder(trained, tmp_path):
    labels = Labels(str(make_labels(tmp_path)), str(tmp_path / 'images'), val_share=0.4)
    alone = new_dataset(labels, Choices(start=trained, input_hw=(64, 48)), 'own', tmp_path / 'a')
    model = Config.fromfile(alone.config).model
    assert model.backbone.arch == 'tiny'
    assert model.backbone.init_cfg == dict(type='Pretrained', checkpoint=trained)
    assert 'init_cfg' not in model.head

    choices = Choices(start=trained, start_head='coco', input_hw=(64, 48))
    cfg = Config.fromfile(new_dataset(labels, choices, 'own', tmp_path / 'b').config)
    assert cfg.model.head.init_cfg.keypoints == [None, 11, 12, 5, 6]
    init_default_scope('mmpose')
    built = MODELS.build(cfg.model)
    built.init_weights()
    given = torch.load(trained, weights_only=True)['state_dict']
    torch.testing.assert_close(
        built.head.final_layer.weight[1:], given['head.final_layer.weight'][[11, 12, 5, 6]]
    )
    torch.testing.assert_close(
        built.backbone.state_dict()['blocks.3.mlp.fc1.weight'],
        given['backbone.blocks.3.mlp.fc1.weight'],
    )


def test_channels_of_the_decoder_are_those_of_the_start(trained, tmp_path):
    cfg = Config(dict(model=torch.load(trained, weights_only=True)['config']))
    cfg.model.head.deconv_out_channels = (24, 8)
    start = save_model(cfg, tmp_path / 'other.pth')
    labels = Labels(str(make_labels(tmp_path)), str(tmp_path / 'images'), val_share=0.4)
    choices = Choices(start=start, start_head='coco', input_hw=(64, 48))
    model = Config.fromfile(new_dataset(labels, choices, 'own', tmp_path / 'out').config).model
    assert tuple(model.head.deconv_out_channels) == (24, 8)
    MODELS.build(model).init_weights()

    cfg.model.head.update(deconv_out_channels=(24,), deconv_kernel_sizes=(4,))
    choices = Choices(start=save_model(cfg, tmp_path / 'finer.pth'), start_head='coco')
    with pytest.raises(ValueError, match=r'has 1 deconvolutions, .* 2 are wanted'):
        new_dataset(labels, choices, 'own', tmp_path / 'finer')


def test_a_further_head_beside_coco(trained, tmp_path):
    make_labels(tmp_path / 'coco', COCO_NAMES, file='person_keypoints_train.json')
    make_labels(tmp_path / 'coco', COCO_NAMES, 3, 'person_keypoints_val.json', seed=1)
    labels = Labels(str(make_labels(tmp_path)), str(tmp_path / 'images'), val_share=0.4)
    choices = Choices(
        start=trained,
        start_head='coco',
        input_hw=(64, 48),
        batch_size=4,
        beside_coco=str(tmp_path / 'coco'),
    )
    written = new_dataset(labels, choices, 'own', tmp_path / 'out')
    assert any('6 people of COCO' in note for note in written.notes)
    runner, scalars = train(written.config, tmp_path / 'work')
    steps = len(runner.train_dataloader)
    assert f'epochs of {steps} steps' in written.config.read_text()
    assert {'val/own/AP', 'val/coco/AP', 'val/own/PCK', 'val/own/kpt', 'val/coco/kpt'} <= set(
        scalars
    )
    head = runner.model.head
    assert list(head.heads) == ['own', 'coco'], 'pictures that do not say are read as own'
    assert head.heads['own'].out_channels == 5 and head.heads['coco'].out_channels == 17


@pytest.mark.parametrize(
    'labels, choices, message',
    [
        ({}, dict(arch='small', start=True), "arch must be 'tiny', as in .*, got 'small'"),
        ({}, dict(decoder='simple', start=True, start_head='coco'), "decoder must be 'classic'"),
        ({}, dict(start_head='coco'), "start_head 'coco' needs a start"),
        ({}, dict(start=True, start_head='mpii'), 'has 17 keypoints, mpii has 16'),
        ({}, dict(start=True, start_head='cocoa'), "one of coco, .*, or of a file .*, got 'cocoa'"),
        ({}, dict(start=True, start_expert='coco'), 'has no experts'),
        ({}, dict(start='nowhere.pth'), 'nowhere.pth cannot be begun with: .*does not exist'),
        ({}, dict(beside_coco='nowhere'), 'nowhere must have annotations/person_keypoints_train'),
        (dict(train='nowhere.json'), {}, 'nowhere.json'),
        (dict(images='tests'), {}, r'none of the 6 images of .* is in .*tests.*--images'),
        (dict(val_images='tests'), {}, r'none of the 6 images of .* is in .*tests.*--val-images'),
        ({}, dict(start='https://host/file.pth'), 'must be a file, got the address https'),
        ({}, dict(start=True, start_head=__file__), 'is no file with dataset_info'),
        (dict(val_share=1.5), {}, 'share must be between 0 and 1, got 1.5'),
    ],
)
def test_bad_choices_are_named(labels, choices, message, trained, tmp_path):
    given = dict(train=str(make_labels(tmp_path)), images=str(tmp_path / 'images'), val_share=0.4)
    if labels.keys() == {'val_images'}:
        labels = {**labels, 'val': given['train']}
    if choices.get('start') is True:
        choices = {**choices, 'start': trained}
    with pytest.raises(ValueError, match=message):
        new_dataset(Labels(**{**given, **labels}), Choices(**choices), 'own', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_nothing_is_overwritten(tmp_path):
    labels = Labels(str(make_labels(tmp_path)), str(tmp_path / 'images'), val_share=0.4)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/own_keypoints.py').write_text('corrected by hand')
    with pytest.raises(FileExistsError, match=r'own_keypoints.py exists and is not overwritten'):
        new_dataset(labels, Choices('tiny'), 'own', tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['own_keypoints.py']


@pytest.mark.parametrize(
    'options, message',
    [
        (['--input-size', '256'], "such as 256x192, got '256'"),
        (['--input-size', '250x190'], 'multiples of 16 from 32, got 250x190'),
        (['--name', 'my set'], "not coco, got 'my set'"),
        (['--name', 'coco'], 'and not coco'),
        (['--name', 'class'], "no word of Python and not coco, got 'class'"),
        (['--out', "it's"], 'must have no quotes in its path'),
        (['--epochs', '0'], 'epochs must be at least 1, got 0'),
    ],
)
def test_misuse_of_the_command(options, message, tmp_path, capsys):
    labels = make_labels(tmp_path)
    arguments = ['new-dataset', str(labels), '--images', str(tmp_path / 'images')]
    options = ['--out', str(tmp_path / 'out'), '--val-share', '0.4', *options]
    with pytest.raises(SystemExit) as exit_status:
        main([*arguments, *options])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err
