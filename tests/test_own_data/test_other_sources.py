"""LSP, YOLO-pose, and telling kinds of labels apart."""

import re

import numpy as np
import pytest
from own_data_files import NAMES, coco_content, write_coco, write_image
from PIL import Image
from scipy.io import savemat

from vitpose_mm.own_data import kind_of, read_labelled
from vitpose_mm.own_data.lsp import KEYPOINT_NAMES
from vitpose_mm.own_data.yolo import COCO_NAMES

# --- LSP ---


def lsp_joints(count: int) -> np.ndarray:
    """(count, 14, 3), MATLAB's coordinates; every third joint has a third value of 1."""
    joints = np.zeros((count, 14, 3))
    joints[..., 0] = 11 + 3 * np.arange(14)
    joints[..., 1] = 9 + 2 * np.arange(14) + np.arange(count)[:, None]
    joints[:, ::3, 2] = 1
    return joints


def write_lsp(folder, joints, name='im{:04d}.jpg', numbers=(1, 2)):
    folder.mkdir(exist_ok=True)
    savemat(folder / 'joints.mat', {'joints': joints})
    for number in numbers:
        write_image(folder / 'images' / name.format(number))
    return folder / 'joints.mat'


def test_lsp_has_hidden_joints(tmp_path):
    path = write_lsp(tmp_path, lsp_joints(2).transpose(2, 1, 0))
    labelled = read_labelled(path)
    assert labelled.category['keypoints'] == list(KEYPOINT_NAMES)
    assert labelled.category['keypoints'][0] == 'right_ankle'
    assert [image['file_name'] for image in labelled.images] == ['im0001.jpg', 'im0002.jpg']
    assert labelled.images[0]['width'] == 80
    annotation = labelled.annotations[1]
    assert annotation['keypoints'][:9] == [10, 9, 1, 13, 11, 2, 16, 13, 2]
    assert annotation['num_keypoints'] == 14
    # x from 10 to 49, y from 9 to 35, 39 / 8 wider
    assert annotation['bbox'] == [5.125, 4.125, 48.75, 35.75]
    assert annotation['area'] == pytest.approx(0.53 * 48.75 * 35.75, abs=1e-3)
    assert labelled.notes[0] == 'LSP: a third value of 1 is a hidden joint, 0 a visible one'
    assert not labelled.as_is
    assert read_labelled(tmp_path).annotations == labelled.annotations


def test_lsp_extended_has_joints_without_labels(tmp_path):
    joints = lsp_joints(3)
    joints[2, :, 2] = 0
    path = write_lsp(tmp_path, joints.transpose(1, 2, 0), 'im{:05d}.jpg', (1, 3))
    labelled = read_labelled(path, split='train')
    assert [image['id'] for image in labelled.images] == [1, 3]
    (annotation,) = labelled.annotations
    assert annotation['keypoints'][:12] == [10, 8, 2, 0, 0, 0, 0, 0, 0, 19, 14, 2]
    assert annotation['num_keypoints'] == 5
    assert f'1 of 3 images are not in {tmp_path / "images"}' in labelled.notes
    assert '1 people with fewer than two labelled joints are left out' in labelled.notes
    assert not labelled.has_val


def test_lsp_has_published_halves(tmp_path):
    path = write_lsp(tmp_path, lsp_joints(2000).transpose(2, 1, 0), numbers=(1, 1000, 1001))
    train, val = (read_labelled(path, split=part) for part in ('train', 'val'))
    assert [image['id'] for image in train.images] == [1, 1000]
    assert [image['id'] for image in val.images] == [1001]
    assert (train.has_val, val.has_val) == (True, False)
    assert len(read_labelled(path).images) == 3


def test_other_matlab_files_are_refused(tmp_path):
    path = write_lsp(tmp_path, np.zeros((3, 15, 2)))
    with pytest.raises(ValueError, match=r"'joints' of shape \(3, 14, N\).*got shape \(3, 15, 2\)"):
        read_labelled(path)
    savemat(path, {'other': np.zeros(3)})
    with pytest.raises(ValueError, match='got the variables other'):
        read_labelled(path)
    path.write_bytes(b'nothing')
    with pytest.raises(ValueError, match='cannot be read as a MATLAB file'):
        read_labelled(path)
    path = write_lsp(tmp_path / 'other', lsp_joints(2).transpose(2, 1, 0), numbers=(7,))
    with pytest.raises(ValueError, match=r'none of the 2 images of .*im0001\.jpg.*--images'):
        read_labelled(path)


# --- YOLO ---

YAML = """
path: .
train: images/train
val: images/val
kpt_shape: [3, 3]
flip_idx: [0, 2, 1]
names:
  0: dog
kpt_names:
  0: [nose, left_hip, right_hip]
"""
LINE = '0 0.5 0.5 0.25 0.5 0.375 0.25 2 0.5 0.7 1 0 0 0'


def write_yolo(folder, yaml=YAML, lines=LINE, parts=('train/', 'val/')):
    for part in parts:
        write_image(folder / 'images' / part / 'a.png')
        path = folder / 'labels' / part / 'a.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines)
    (folder / 'data.yaml').write_text(yaml)
    return folder / 'data.yaml'


def test_yolo(tmp_path):
    path = write_yolo(tmp_path)
    write_image(tmp_path / 'images' / 'train' / 'sub' / 'nobody.png', 40, 30)
    labelled = read_labelled(path, split='train')
    assert labelled.images_folder == str(tmp_path)
    assert labelled.images == [
        dict(id=1, file_name='images/train/a.png', width=80, height=60),
        dict(id=2, file_name='images/train/sub/nobody.png', width=40, height=30),
    ]
    assert labelled.annotations == [
        dict(
            id=1,
            image_id=1,
            category_id=1,
            bbox=[30, 15, 20, 30],
            keypoints=[30, 15, 2, 40, 42, 1, 0, 0, 0],
            num_keypoints=2,
            area=318,
            iscrowd=0,
        )
    ]
    assert labelled.category == dict(id=1, name='dog', keypoints=NAMES, skeleton=[])
    assert labelled.flip_indices == [0, 2, 1]
    assert labelled.has_val
    assert labelled.notes == [
        '1 of 2 images have no file of labels: nothing in them',
        'lengths are in px in place of shares of the image; areas are 0.53 of the boxes',
    ]
    val = read_labelled(tmp_path, split='val')
    assert [image['file_name'] for image in val.images] == ['images/val/a.png']
    assert not val.has_val
    assert len(read_labelled(path).images) == 3


def test_yolo_without_visibility(tmp_path):
    lines = '0 0.5 0.5 0.25 0.5 0.375 0.25 0 0 -0.1 -0.1'
    labelled = read_labelled(write_yolo(tmp_path, YAML.replace('3, 3', '3, 2'), lines))
    assert labelled.annotations[0]['keypoints'] == [30, 15, 2, 0, 0, 0, 0, 0, 0]


def test_yolo_turned_pictures(tmp_path):
    path = write_yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for part in ('train', 'val'):
        (tmp_path / 'images' / part / 'a.png').unlink()
        Image.new('RGB', (80, 60)).save(tmp_path / 'images' / part / 'a.jpg', exif=exif)
    labelled = read_labelled(path, split='train')
    assert labelled.images[0]['width'] == 60
    assert labelled.annotations[0]['keypoints'][:3] == [22.5, 20, 2]


@pytest.mark.parametrize(
    'change, parts',
    [
        (('path: .', 'path: ' + 'gone'), ('train/', 'val/')),
        (('images/val', '../images/val'), ('train/', 'val/')),  # Roboflow
        (('images/train', '[images/one, images/two]'), ('one/', 'two/', 'val/')),
        (('images/train', 'list.txt'), ('train/', 'val/')),
        (('val:', 'valid:'), ('train/', 'val/')),
    ],
)
def test_yolo_places(tmp_path, change, parts):
    path = write_yolo(tmp_path, YAML.replace(*change), parts=parts)
    (tmp_path / 'list.txt').write_text('./images/train/a.png\n\nimages/val/a.png\n')
    train, val = (read_labelled(path, split=part) for part in ('train', 'val'))
    expected = ['images/train/a.png']
    if 'one/' in parts:
        expected = ['images/one/a.png', 'images/two/a.png']
    elif 'list.txt' in change[1]:
        expected = ['images/train/a.png', 'images/val/a.png']
    assert [image['file_name'] for image in train.images] == expected
    assert [image['file_name'] for image in val.images] == ['images/val/a.png']


def test_yolo_folder_without_yaml(tmp_path):
    write_yolo(tmp_path, parts=('',)).unlink()
    with pytest.raises(ValueError, match='has 3 keypoints without names'):
        read_labelled(tmp_path)
    labelled = read_labelled(tmp_path, keypoint_names=NAMES, split='val')
    assert labelled.category['keypoints'] == NAMES
    assert [image['file_name'] for image in labelled.images] == ['images/a.png']
    assert not labelled.has_val


def test_yolo_names_are_given_or_cocos(tmp_path):
    nameless = YAML[: YAML.index('kpt_names')]
    path = write_yolo(tmp_path, nameless)
    with pytest.raises(ValueError, match='has 3 keypoints without names'):
        read_labelled(path)
    labelled = read_labelled(path, keypoint_names=['a', 'b', 'c'])
    assert labelled.category['keypoints'] == ['a', 'b', 'c']
    with pytest.raises(ValueError, match=r'2 names of keypoints are given \(a, b\).*3 keypoints'):
        read_labelled(path, keypoint_names=['a', 'b'])
    line = '0 0.5 0.5 0.2 0.2 ' + ' '.join(['0.1 0.2'] * 17)
    path = write_yolo(tmp_path, nameless.replace('[3, 3]', '[17, 2]'), line)
    labelled = read_labelled(path)
    assert labelled.category['keypoints'] == list(COCO_NAMES)
    assert any("taken for COCO's" in note for note in labelled.notes)


def test_yolo_classes(tmp_path):
    two = YAML.replace('0: dog', '0: dog\n  1: cat')
    lines = f'{LINE}\n1{LINE[1:]}\n'
    same = two.replace('  0: [', '  1: [nose, left_hip, right_hip]\n  0: [')
    labelled = read_labelled(write_yolo(tmp_path, same, lines), split='train')
    assert labelled.category['name'] == 'object'
    assert len(labelled.annotations) == 2
    assert '2 classes are joined into one' in labelled.notes
    labelled = read_labelled(tmp_path, split='train', category='cat')
    assert labelled.category['name'] == 'cat'
    assert len(labelled.annotations) == 1
    with pytest.raises(ValueError, match="no class 'cow'; there are: dog, cat"):
        read_labelled(tmp_path, category='cow')
    other = two.replace('  0: [', '  1: [nose, tail, paw]\n  0: [')
    path = write_yolo(tmp_path, other, lines)
    with pytest.raises(ValueError, match='keypoints of different names: name the one'):
        read_labelled(path)
    labelled = read_labelled(path, category='cat')
    assert labelled.category['keypoints'] == ['nose', 'tail', 'paw']


@pytest.mark.parametrize(
    'yaml, lines, message',
    [
        (YAML, '0 0.5 0.5 x', r'a\.txt, line 1: could not convert'),
        (YAML, '\n0 0.5 0.5', r'a\.txt, line 2: .*wanted are class, box and keypoints'),
        (YAML, LINE.replace('0.375', '30'), '30 is no share of the width or height'),
        (YAML, LINE + ' 0.1', 'lines of labels have 15 numbers; 3 keypoints call for 14'),
        (YAML, '', 'none of the 2 images has labels; those of .*would be in .*labels'),
        (YAML.replace('[3, 3]', '3'), LINE, r'kpt_shape must be \[K, 2\] or \[K, 3\], got 3'),
        (YAML.replace('[3, 3]', '[a, b]'), LINE, r"\[K, 3\], got \['a', 'b'\]"),
        (YAML.split('kpt_names')[0] + 'kpt_names: 5', LINE, 'kpt_names must be names.*got 5'),
        (YAML.replace('[0, 2, 1]', 'yes'), LINE, 'flip_idx must be a list of numbers, got True'),
        (YAML, LINE.replace('0.375', 'nan'), 'nan is no share of the width or height'),
        (YAML, LINE.replace('0.25 0.5', '-0.25 0.5', 1), r'-0\.25 is no share of the width'),
        (YAML.replace('images/val', 'gone'), LINE, "val is 'gone', and there is no"),
        (YAML + ' x: [', LINE, 'is no YAML'),
    ],
)
def test_yolo_that_cannot_be_used(tmp_path, yaml, lines, message):
    path = write_yolo(tmp_path, yaml, lines)
    with pytest.raises(ValueError, match=message):
        read_labelled(path)


def test_yolo_without_the_part_asked_for(tmp_path):
    path = write_yolo(tmp_path, YAML.replace('val: images/val', ''))
    assert not read_labelled(path, split='train').has_val
    with pytest.raises(ValueError, match="has no images for 'val', only for train"):
        read_labelled(path, split='val')


# --- kinds ---


def test_kinds_are_told_by_content(tmp_path):
    assert kind_of(write_coco(tmp_path / 'coco', coco_content(), name='x.txt')) == 'coco'
    assert kind_of(write_lsp(tmp_path / 'lsp', lsp_joints(1).transpose(2, 1, 0))) == 'lsp'
    (tmp_path / 'yolo').mkdir()
    assert kind_of(write_yolo(tmp_path / 'yolo')) == 'yolo'
    write_coco(tmp_path / 'cvat', coco_content(), 'annotations/person_keypoints_default.json')
    write_coco(tmp_path / 'cvat', coco_content(), 'annotations/instances_default.json')
    assert kind_of(tmp_path / 'cvat') == 'coco'
    assert len(read_labelled(tmp_path / 'cvat').annotations) == 2


@pytest.mark.parametrize(
    'content, problem',
    [
        (None, 'there is no such file or folder'),
        (b'PK\3\4', 'it is an archive: unpack it'),
        (b'<?xml version="1.0"?>', 'it is XML'),
        (b'a, b\n', 'it is of no kind known'),
    ],
)
def test_other_kinds_are_refused(tmp_path, content, problem):
    path = tmp_path / 'labels'
    if content is not None:
        path.write_bytes(content)
    known = f'{re.escape(str(path))}: {problem}.*; known are a JSON file.*joints.mat.*data.yaml'
    with pytest.raises(ValueError, match=known):
        read_labelled(path)
    with pytest.raises(ValueError, match='the folder holds nothing of a kind known'):
        kind_of(tmp_path)
    with pytest.raises(ValueError, match="split must be 'train', 'val' or None, got 'test'"):
        read_labelled(path, split='test')
