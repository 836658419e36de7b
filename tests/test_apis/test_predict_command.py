"""`vitpose-mm predict`: files, exit statuses, misuse, interrupts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made_videos import make_numbered_video, read_numbers
from tiny_people import save_pictures, save_weights, several_heads, tiny_config

from vitpose_mm.cli import main


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> list[str]:
    """Options that name a tiny model."""
    folder = tmp_path_factory.mktemp('model')
    cfg = tiny_config()
    cfg.custom_imports = dict(imports=['vitpose_mm'])
    cfg.dump(str(folder / 'tiny.py'))
    return ['--pose', str(folder / 'tiny.py'), '--weights', save_weights(cfg, folder)]


def test_pictures_and_all_that_can_be_saved(model, tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    save_pictures(folder, 3)
    options = ['--whole-image', '--device', 'cpu', '--out', str(out)]
    saved = ['--save', 'pictures', 'json', 'coco', 'arrays']
    assert main(['predict', str(folder), *model, *options, *saved]) == 0
    assert '3 frames, 3 people' in capsys.readouterr().out
    assert len(list((out / 'visualizations').iterdir())) == 3
    assert len(json.loads((out / 'predictions/000.json').read_text())) == 1
    assert [e['image_id'] for e in json.loads((out / 'coco_results.json').read_text())] == [0, 1, 2]
    with np.load(out / 'arrays.npz') as arrays:
        assert arrays['keypoints'].shape == (3, 17, 2)
        assert [Path(name).name for name in arrays['names']] == ['000.png', '001.png', '002.png']


def test_boxes_from_a_file_with_ids_of_an_annotation_file(model, tmp_path):
    (path,) = save_pictures(tmp_path / 'in', 1)
    annotations, boxes = tmp_path / 'annotations.json', tmp_path / 'boxes.json'
    annotations.write_text(json.dumps(dict(images=[dict(id=77, file_name='in/000.png')])))
    row = dict(image_id=77, category_id=1, bbox=[20, 10, 50, 70], score=0.9)
    boxes.write_text(json.dumps([row, dict(row, score=0.2)]))
    options = ['--boxes', str(boxes), '--annotations', str(annotations), '--out', str(tmp_path)]
    assert main(['predict', path, *model, *options, '--save', 'coco']) == 0
    (entry,) = json.loads((tmp_path / 'coco_results.json').read_text())
    assert entry['image_id'] == 77 and entry['bbox'] == [20.0, 10.0, 50.0, 70.0]


def test_a_broken_picture_is_told_and_gives_status_1(model, tmp_path, capsys):
    paths = save_pictures(tmp_path / 'in', 2)
    Path(paths[0]).write_bytes(b'nothing')
    options = [*model, '--whole-image', '--out', str(tmp_path / 'out'), '--save', 'json']
    assert main(['predict', *paths, *options]) == 1
    assert '1 pictures could not be read' in capsys.readouterr().out
    assert [p.name for p in (tmp_path / 'out/predictions').iterdir()] == ['001.json']
    assert main(['predict', paths[0], *options]) == 1
    assert 'cannot be decoded' in capsys.readouterr().out


def test_a_head_by_name_and_flip_test_off(tmp_path):
    cfg = several_heads()
    cfg.custom_imports = dict(imports=['vitpose_mm'])
    cfg.dump(str(tmp_path / 'several.py'))
    weights = save_weights(cfg, tmp_path)
    (path,) = save_pictures(tmp_path / 'in', 1)
    found = {}
    for name, extra in dict(coco=[], aic=[], both=[], coco_once=['--no-flip-test']).items():
        dataset = ['coco', 'aic'] if name == 'both' else [name.split('_')[0]]
        arguments = ['--pose', str(tmp_path / 'several.py'), '--weights', weights, '--whole-image']
        out = ['--out', str(tmp_path / name), '--save', 'json', '--dataset', *dataset]
        assert main(['predict', path, *arguments, *out, *extra]) == 0
        found[name] = json.loads((tmp_path / name / 'predictions/000.json').read_text())
    assert [len(person['keypoints']) for person in found['both']] == [17, 14]
    assert len(found['aic'][0]['keypoints']) == 14
    assert found['coco'][0]['keypoints'] != found['coco_once'][0]['keypoints']


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(pose='missing.py'), 'Config missing.py does not exist'),
        (dict(weights='missing.pth'), 'Checkpoint missing.pth does not exist'),
        (dict(dataset='coco'), "single head, which reads all alike, got dataset='coco'"),
        (dict(cfg_options='novalue'), 'not enough values|cfg-options|KEY=VALUE'),
        (dict(bbox_thr='7'), 'bbox_thr must lie within 0 and 1'),
        (dict(people_batch_size='0'), 'people_batch_size must be'),
        (dict(smooth=None), 'needs tracking=True'),
        (dict(device='gpu'), "--device must be such as cpu, cuda or cuda:1, got 'gpu'"),
        (dict(classes='cat'), '--classes needs --det'),
        (dict(det_weights='missing.pth'), '--det-weights needs --det'),
        (dict(boxes='missing.json'), 'missing.json cannot be read'),
        (dict(annotations='missing.json'), 'missing.json cannot be read'),
    ],
)
def test_misuse_is_named_with_status_2(model, tmp_path, capsys, changed, message):
    (path,) = save_pictures(tmp_path / 'in', 1)
    options = dict(zip(('pose', 'weights'), model[1::2]), out=str(tmp_path / 'out'))
    options.update(changed)
    arguments = [] if 'boxes' in changed else ['--whole-image']
    for key, value in options.items():
        arguments += [f'--{key.replace("_", "-")}', *([] if value is None else [value])]
    with pytest.raises(SystemExit) as stop:
        main(['predict', path, *arguments])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['predict', '--help'])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert 'examples' in text and '--track --smooth' in text and 'OUT/predictions' in text


def test_an_interrupt_leaves_a_playable_video_and_complete_json(model, tmp_path):
    video = make_numbered_video(tmp_path / 'long.mp4', 8000)
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'vitpose_mm', 'predict', str(video), *model, '--whole-image']
    process = subprocess.Popen(
        [*command, '--out', str(out)],
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    partial = out / 'predictions/long.json.partial'
    deadline = time.monotonic() + 120
    while not (partial.exists() and partial.stat().st_size > 8000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert 'Stopped after' in text
    written = json.loads((out / 'predictions/long.json').read_text())
    numbers = read_numbers(out / 'visualizations/long.mp4')
    assert len(written) == len(numbers) and 10 < len(written) < 8000
