"""`vitpose-mm check`: exit status, what is printed, the picture and the JSON report."""

import json

import cv2
import numpy as np
import pytest
from little_set import LittleSet

from vitpose_mm.cli import main
from vitpose_mm.preflight.findings import Finding, format_findings, severity_by_share
from vitpose_mm.preflight.picture import TILE_HEIGHT, draw_picture
from vitpose_mm.preflight.samples import Sample

OPTIONS = ['--num-images', '8', '--overlap-seconds', '0', '--num-samples', '4']


@pytest.fixture
def little(tmp_path) -> LittleSet:
    return LittleSet(tmp_path / 'set')


def test_good_config_ends_with_0_and_draws_the_same_picture_again(little, tmp_path, capsys):
    path = str(little.write())
    out, again, other = (tmp_path / f'new/{name}.png' for name in ('out', 'again', 'other'))
    assert main(['check', path, '--out', str(out), *OPTIONS]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith('Nothing found that would keep this from training.\n')
    assert '24 of 24 annotations used' in printed
    assert str(out) in printed
    assert 'index created' not in printed
    # 2 x 2 tiles, each a crop beside its targets
    picture = cv2.imread(str(out))
    assert picture.shape[0] > 2 * TILE_HEIGHT
    assert picture.shape[1] > 2 * 2 * TILE_HEIGHT * 48 / 64
    assert main(['check', path, '--out', str(again), *OPTIONS]) == 0
    assert main(['check', path, '--out', str(other), '--seed', '1', *OPTIONS]) == 0
    assert np.array_equal(picture, cv2.imread(str(again)))
    assert not np.array_equal(picture, cv2.imread(str(other)))


def test_faults_end_with_1_and_stand_in_the_report(little, tmp_path, capsys):
    for annotation in little.train['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['bbox'] = [x, y, x + w, y + h]
    for annotation in little.val['annotations']:
        del annotation['iscrowd']
    report = tmp_path / 'report.json'
    assert main(['check', str(little.write()), '--json', str(report), *OPTIONS]) == 1
    printed = capsys.readouterr().out
    assert printed.endswith('1 fault, 1 warning\n')
    assert printed.index('FAULT: ') < printed.index('WARNING: ')
    assert 'annotation 100 (0100.png)' in printed
    written = json.loads(report.read_text())
    assert (written['faults'], written['warnings']) == (1, 1)
    assert [each['kind'] for each in written['findings']] == ['boxes-as-corners', 'iscrowd-missing']
    assert written['findings'][0]['count'] == 24
    assert written['picture'] == str(little.folder / 'work/check.jpg')
    assert cv2.imread(written['picture']) is not None


def test_number_of_gpus_and_scaling_count_for_the_learning_rate(little, capsys):
    path = str(little.write())
    picture = ['--out', str(little.folder / 'check.png')]
    options = ['--cfg-options', 'load_from=gone.pth', 'auto_scale_lr.base_batch_size=64']
    assert main(['check', path, *OPTIONS, *picture, *options]) == 1
    printed = capsys.readouterr().out
    assert '16 times too large' in printed
    assert 'load_from: there is no file gone.pth' in printed
    options = options[2:]
    assert main(['check', path, *OPTIONS, *picture, '--cfg-options', *options, '--gpus', '16']) == 0
    command = ['check', path, *OPTIONS, *picture, '--auto-scale-lr', '--cfg-options', *options]
    assert main(command) == 0


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        (['--out', 'check.gif'], '.jpg'),
        (['--gpus', '0'], 'num_gpus'),
        (['--num-samples', '0'], 'num_samples'),
        (['--seed', '-1'], 'seed'),
        (['--cfg-options', 'default_scope=mmdet'], 'pose models'),
        (['--cfg-options', 'auto_scale_lr=None', '--auto-scale-lr'], 'base_batch_size'),
    ],
)
def test_misuse_ends_with_2(options, word, little, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['check', str(little.write()), *options])
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err


def test_missing_config_ends_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['check', 'gone.py'])
    assert stopped.value.code == 2
    assert 'gone.py does not exist' in capsys.readouterr().err


def test_picture_shows_keypoints_by_side_and_targets():
    heatmaps = np.zeros((2, 16, 12), np.float32)
    heatmaps[0, 8, 6] = 1
    sample = Sample(
        np.zeros((64, 48, 3), np.uint8),
        keypoints=np.array([(24.0, 32.0), (8.0, 8.0)]),
        visible=np.ones(2),
        heatmaps=heatmaps,
        weights=np.array([1.0, 0.0]),
        metainfo=dict(keypoint_id2name={0: 'left_hand', 1: 'right_hand'}, skeleton_links=[]),
        caption='little 1',
        path='1.png',
    )
    picture = draw_picture([sample])
    scale = TILE_HEIGHT // 64
    left, right = (picture[int(y * scale) + 2, int(x * scale) + 2] for x, y in sample.keypoints)
    assert left.argmax() == 1  # green
    assert not right.any()  # a ring, as it has no target
    targets = picture[:TILE_HEIGHT, 48 * scale : 2 * 48 * scale]
    brightest = np.unravel_index(targets.sum(-1).argmax(), targets.shape[:2])
    assert np.allclose(np.array(brightest) / scale / 4, (8.5, 6.5), atol=0.6)


def test_picture_needs_samples():
    with pytest.raises(ValueError, match='at least one sample'):
        draw_picture([])


def test_groups_with_faults_come_first():
    warning = Finding('warning', 'a', 'Odd.', 'Look.', where='first')
    fault = Finding('fault', 'b', 'Wrong.', 'Mend.', where='second', count=9, examples=('x', 'y'))
    lines = format_findings([warning, fault]).splitlines()
    assert lines == [
        'second',
        '------',
        'FAULT: Wrong.',
        '  such as x, y, ...',
        '  -> Mend.',
        '',
        'first',
        '-----',
        'WARNING: Odd.',
        '  -> Look.',
        '',
        '1 fault, 1 warning',
    ]


@pytest.mark.parametrize(
    ('count', 'severity'), [(0, None), (1, None), (5, 'warning'), (49, 'warning'), (50, 'fault')]
)
def test_severity_goes_by_share(count, severity):
    assert severity_by_share(count, 100, fault_from=0.5, warning_from=0.05) == severity
