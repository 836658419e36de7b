"""tools/convert_apt36k.py from the command line."""

import json
import sys
from pathlib import Path

import pytest
from tiny_training import ROOT, finish, start

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_datasets'))

from apt36k_release import make_release


def run(*arguments: object, error: bool = False) -> str:
    process = start(sys.executable, '-W', 'ignore', ROOT / 'tools/convert_apt36k.py', *arguments)
    return finish(process, returncode=2 if error else 0)


def test_help():
    output = ' '.join(run('--help').split())
    assert "OUT_DIR/{train,val,test}_annotations_1.json in COCO's format" in output
    assert '(default: data/apt36k/annotations)' in output


def test_conversion(tmp_path):
    release, out = make_release(tmp_path), tmp_path / 'data/annotations'
    output = run(release, out, '--images', tmp_path / 'AP-36k-patr1')
    assert output.splitlines() == [
        f'{out}/train_annotations_1.json: 2 clips, 4 images, 6 animals',
        f'{out}/val_annotations_1.json: 2 clips, 3 images, 4 animals',
        f'{out}/test_annotations_1.json: 1 clips, 2 images, 3 animals',
    ]
    assert len(list(out.iterdir())) == 3
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    images = json.loads(before['val_annotations_1.json'])['images']
    assert [image['file_name'] for image in images] == [
        '29wolf/v10c2/frame1.jpg',
        '29wolf/v10c2/frame2.jpg',
        '3cat/v1c1/frame1.jpg',
    ]
    output = run(release, out)
    assert output.endswith('Whether the images are there was not checked: --images DIR does.\n')
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.json'], "No such file or directory: 'nowhere.json'"),
        ([__file__], 'test_convert_apt36k.py is not JSON: '),
    ],
)
def test_unusable_arguments_give_one_sentence(tmp_path, arguments, message):
    output = run(*arguments, tmp_path / 'out', error=True)
    assert output.splitlines()[-1].startswith('convert_apt36k.py: error: ')
    assert message in output and 'Traceback' not in output
    assert not (tmp_path / 'out').exists()
