"""tools/audit_leakage.py from the command line."""

import json
import runpy
import shutil
import sys

import cv2
import pytest
from tiny_training import ROOT, finish, make_coco, start, tiny_config

from vitpose_mm.datasets.image_hashes import MAX_DISTANCE


def run(*arguments: object, returncode: int = 0) -> str:
    command = (sys.executable, '-W', 'ignore', ROOT / 'tools/audit_leakage.py')
    return finish(start(*command, *arguments), returncode=returncode)


@pytest.fixture
def sets(tmp_path) -> list[str]:
    """Two sets of ten images; image 3 of the first is image 0 of the second, encoded anew."""
    folders = [tmp_path / 'train', tmp_path / 'val']
    for folder in folders:
        folder.mkdir()
        make_coco(folder)
    for index in range(10):
        clouds = cv2.imread(str(folders[0] / f'{index:03d}.png'))[:14, :14]
        clouds = cv2.resize(clouds, (96, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folders[0] / f'{index:03d}.png'), clouds)
        cv2.imwrite(str(folders[1] / f'{index:03d}.png'), clouds[::-1])
    shutil.copy(folders[0] / '003.png', folders[1] / '000.png')
    shared = cv2.imread(str(folders[0] / '005.png'))
    cv2.imwrite(str(folders[1] / '001.png'), cv2.resize(shared, (48, 48)))
    return [f'{folder}/annotations.json:{folder}' for folder in folders]


def pairs_in(path) -> list[tuple[str, str, str]]:
    report = json.loads(path.read_text())
    return [
        (s['train']['image'], s['evaluation']['image'], s['found_by']) for s in report['shared']
    ]


EXPECTED = [('003.png', '000.png', 'bytes'), ('005.png', '001.png', 'perceptual')]


def test_help():
    output = ' '.join(run('--help').split())
    assert 'Out come a table' in output
    assert 'written whole or not at all' in output
    assert f'differ from itself; default: {MAX_DISTANCE}.' in output
    for option in ('--config', '--train', '--eval', '--out', '--workers', '--fail'):
        assert option in output


def test_sets_of_the_command_line(sets, tmp_path):
    out = tmp_path / 'leakage.json'
    output = run('--train', sets[0], '--eval', sets[1], '--out', out, '--workers', 2)
    assert pairs_in(out) == EXPECTED
    row = next(line for line in output.splitlines() if 'train/annotations.json' in line)
    assert row.split()[-5:] == ['1', '1', '2', 'of', '10']
    assert f'pairs of the same picture: 2, listed in {out}' in output
    (tmp_path / 'train/009.png').write_bytes(b'no picture')
    options = ('--max-distance', 0, '--fail')
    folders = ('--train', tmp_path / 'train', '--eval', tmp_path / 'val')
    output = run(*folders, '--out', out, *options, returncode=1)
    assert 'images not compared, unreadable: 1,' in output
    assert json.loads(out.read_text())['options'] == {'max_distance': 0}
    assert pairs_in(out)[0] == EXPECTED[0]


def test_sets_of_a_config(sets, tmp_path):
    cfg = tiny_config(tmp_path / 'train', batch_size=2)
    cfg.custom_imports = None
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'val')
    cfg.val_dataloader = cfg.test_dataloader
    cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'leakage.json'
    run('--config', tmp_path / 'config.py', '--out', out)
    assert pairs_in(out) == EXPECTED
    report = json.loads(out.read_text())
    assert [len(report['sets'][side]) for side in ('train', 'evaluation')] == [1, 1]


def test_errors_are_one_sentence(sets, tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(ROOT / 'tools/audit_leakage.py'))
    out = tmp_path / 'leakage.json'
    both = ('--train', sets[0], '--eval', sets[1])
    bad = {name: tmp_path / f'{name}.py' for name in ('syntax', 'name', 'module')}
    bad['syntax'].write_text('model = dict(')
    bad['name'].write_text('model = unknown')
    bad['module'].write_text("custom_imports = dict(imports=['no_such_module'])")
    for arguments, message in (
        (('--out', out), 'either --config or both --train and --eval are needed'),
        (('--train', sets[0], '--out', out), 'either --config or both'),
        ((*both, '--config', 'a.py', '--out', out), 'either --config or both'),
        ((*both, '--out', tmp_path), 'wanted is a file in a folder that exists'),
        ((*both, '--out', tmp_path / 'gone/a.json'), 'wanted is a file in a folder that exists'),
        (('--config', 'gone.py', '--out', out), 'gone.py'),
        (('--config', bad['syntax'], '--out', out), f'{bad["syntax"]}: SyntaxError: '),
        (('--config', bad['name'], '--out', out), f"{bad['name']}: NameError: name 'unknown'"),
        (('--config', bad['module'], '--out', out), f'{bad["module"]}: ImportError: '),
        (('--train', 'gone.json:x', '--eval', sets[1], '--out', out), 'no annotation file gone'),
        ((*both, '--out', out, '--workers', 0), 'num_workers must be at least 1, got 0'),
        ((*both, '--out', out, '--max-distance', 40), 'from 0 to 16 bits, got 40'),
    ):
        monkeypatch.setattr(sys, 'argv', ['audit_leakage.py', *map(str, arguments)])
        with pytest.raises(SystemExit, match='2'):
            tool['main']()
        last_line = capsys.readouterr().err.splitlines()[-1]
        assert last_line.startswith('audit_leakage.py: error: ')
        assert message in last_line
    assert not out.exists()
