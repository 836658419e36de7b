"""Images that training and evaluation share: found, told and left out."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmpose.registry import DATASETS

from vitpose_mm.datasets import image_hashes, image_sets, leakage
from vitpose_mm.report import write_json


def make_picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Coloured clouds."""
    noise = np.random.default_rng(seed).uniform(0, 255, (12, 16, 3)).astype(np.float32)
    return (
        cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype('u1')
    )


def make_flat(value: int) -> np.ndarray:
    return np.full((120, 160, 3), value, np.uint8)


def write(path: Path, picture: np.ndarray, *options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture, options)
    return path


def write_annotations(path: Path, people: dict[str, int]) -> Path:
    """COCO's format, with so many people in each image."""
    images = [
        {'id': i, 'file_name': name, 'width': 160, 'height': 120} for i, name in enumerate(people)
    ]
    image_ids = [i for i, number in enumerate(people.values()) for _ in range(number)]
    annotations = [
        {
            'id': 100 + i,
            'image_id': image_id,
            'category_id': 1,
            'iscrowd': 0,
            'bbox': [10.0, 10.0, 90.0, 90.0],
            'area': 8100.0,
            'keypoints': [20.0, 20.0, 2.0] * 17,
            'num_keypoints': 17,
        }
        for i, image_id in enumerate(image_ids)
    ]
    categories = [{'id': 1, 'name': 'person'}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco_style(root: Path, name: str = 'train', **changes) -> dict:
    return {
        'type': 'CocoDataset',
        'data_root': str(root),
        'ann_file': f'annotations/{name}.json',
        'data_prefix': {'img': f'{name}/'},
        **changes,
    }


PEOPLE = {'a.jpg': 2, 'b.jpg': 1, 'deep/c.jpg': 3, 'd.jpg': 1}


@pytest.fixture
def data(tmp_path) -> Path:
    """Of four training images with 2, 1, 3 and 1 people, two are in the evaluation set.

    'b.jpg' is there as 'x.png', half as large, and 'deep/c.jpg' as it is; 'a.jpg' is there another
    picture.
    """
    root = tmp_path / 'data'
    for seed, name in enumerate(PEOPLE):
        write(root / 'train' / name, make_picture(seed))
    write(root / 'val/x.png', cv2.resize(make_picture(1), (80, 60)))
    write(root / 'val/a.jpg', make_picture(77))
    shutil.copy(root / 'train/deep/c.jpg', root / 'val/000.jpg')
    write_annotations(root / 'annotations/train.json', PEOPLE)
    write_annotations(root / 'annotations/val.json', {'x.png': 1, 'a.jpg': 1, '000.jpg': 1})
    return root


def read_side(root: Path, name: str) -> image_sets.ImageSet:
    return image_sets.read_image_set(f'{root}/annotations/{name}.json:{root}/{name}')


def audit(root: Path) -> dict:
    return leakage.audit([read_side(root, 'train')], [read_side(root, 'val')])


@pytest.fixture
def report_file(data, tmp_path) -> Path:
    path = tmp_path / 'leakage.json'
    write_json(audit(data), path)
    return path


def names_in(dataset) -> list[str]:
    return [Path(dataset.get_data_info(i)['img_path']).name for i in range(len(dataset))]


# Hashes


def variants(picture: np.ndarray) -> dict[str, np.ndarray]:
    height, width = picture.shape[:2]
    encoded = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return {
        'quality 50': cv2.imdecode(encoded, cv2.IMREAD_COLOR),
        'half': cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
        'double': cv2.resize(picture, (width * 2, height * 2), interpolation=cv2.INTER_CUBIC),
        'grey': np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=-1),
    }


def distance(first: int, second: int) -> int:
    return bin(first ^ second).count('1')


@pytest.mark.parametrize('seed', range(3))
def test_hash_survives_encoding_and_size(seed):
    picture = make_picture(seed, 240, 320)
    value = image_hashes.perceptual_hash(picture)
    assert 0 <= value < 2**64
    assert bin(value).count('1') == 32  # half of the frequencies are above their median
    for name, copy in variants(picture).items():
        assert distance(image_hashes.perceptual_hash(copy), value) <= 4, name
    mirrored = image_hashes.perceptual_hash(np.ascontiguousarray(picture[:, ::-1]))
    assert distance(mirrored, value) > 16


def test_hash_bits_are_frequencies_above_their_median():
    picture = make_picture(5)
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    x, k = np.arange(32), np.arange(1, 9)
    waves = np.cos(np.pi * (2 * x + 1) * k[:, None] / 64)  # (8, 32), orthogonal
    frequencies = (waves @ small @ waves.T).ravel()
    bits = ''.join('01'[int(value > np.median(frequencies))] for value in frequencies)
    assert image_hashes.perceptual_hash(picture) == int(bits, 2)


def test_pictures_without_contrast_have_no_hash():
    ramp = np.tile(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (120, 1, 3))
    edge = make_flat(0)
    edge[:, 80:] = 255
    noise = make_flat(128) + np.random.default_rng(0).integers(-20, 21, (120, 160, 3))
    large = cv2.resize(noise.astype(np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST)
    for picture in (make_flat(0), make_flat(255), ramp, ramp.copy()[:, ::-1], edge, large):
        assert image_hashes.perceptual_hash(np.ascontiguousarray(picture)) is None


def test_hash_image_names_what_cannot_be_read(tmp_path):
    path = write(tmp_path / 'a.png', make_picture(0))
    data = path.read_bytes()
    path.write_bytes(data[:500])
    for bad in (path, tmp_path / 'gone.png'):
        with pytest.raises(ValueError, match=bad.name):
            image_hashes.hash_image(bad)


@pytest.mark.parametrize('num_workers', [1, 3])
def test_hash_images_reads_each_file_once(tmp_path, monkeypatch, num_workers):
    paths = [str(write(tmp_path / f'{i}.png', make_picture(i))) for i in range(4)]
    read = []
    hash_image = image_hashes.hash_image
    monkeypatch.setattr(image_hashes, 'hash_image', lambda p: (read.append(p), hash_image(p))[1])
    hashes, problems = image_hashes.hash_images([*paths, paths[0], 'gone.png'], num_workers)
    assert sorted(read) == sorted([*paths, 'gone.png'])
    assert hashes == {path: hash_image(path) for path in paths}
    assert list(problems) == ['gone.png']
    assert 'No such file' in problems['gone.png']
    with pytest.raises(ValueError, match='num_workers must be at least 1, got 0'):
        image_hashes.hash_images(paths, 0)


def test_hashing_tells_how_far_it_is(tmp_path, monkeypatch):
    paths = [str(tmp_path / f'{i}.png') for i in range(600)]
    lines = logged(monkeypatch, image_hashes)
    seconds = iter([0, 9, 1200, 1201])  # the start, then after each part
    monkeypatch.setattr(image_hashes, 'time', SimpleNamespace(monotonic=lambda: next(seconds)))
    image_hashes.hash_images(paths)
    assert lines == ['512 of 600 images hashed, 3.4 minutes left']


@pytest.mark.parametrize('num_pairs', [1, 47, 2**22])
def test_close_pairs_equal_a_loop(monkeypatch, num_pairs):
    monkeypatch.setattr(image_hashes, '_PAIRS_AT_ONCE', num_pairs)
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2**64, 30, dtype=np.uint64)
    second = rng.integers(0, 2**64, 20, dtype=np.uint64)
    for place, word in enumerate((0, 1, 2**63 + 1, 2**63 + 2**9 + 1, 2**64 - 1)):
        second[place] = first[7] ^ np.uint64(word)
    expected = {
        (i, j): distance(a, b)
        for i, a in enumerate(first.tolist())
        for j, b in enumerate(second.tolist())
    }
    assert [expected[7, j] for j in range(5)] == [0, 1, 2, 3, 64]
    for limit in (0, 1, 2, 3, 27, 63, 64):
        found = list(image_hashes.close_pairs(first, second, limit))
        pairs = {(i, j): bits for i, j, bits in found}
        assert len(pairs) == len(found)
        assert pairs == {pair: bits for pair, bits in expected.items() if bits <= limit}
    assert not list(image_hashes.close_pairs(first[:0], second, 64))
    assert not list(image_hashes.close_pairs(first, second[:0], 64))


def test_find_pairs():
    def image(name: str, perceptual: object = None) -> image_hashes.ImageHash:
        return image_hashes.ImageHash(name, perceptual)

    first = [image('same', 0b0), image('flat'), image('near', 0b11), image('far', 2**40 - 1)]
    second = [image('flat 2'), image('same', 0b0), image('near 2', 0b1111), image('flat')]
    pairs = image_hashes.find_pairs(first, second, 2)
    assert [(p.first, p.second, p.found_by, p.distance) for p in pairs] == [
        (0, 1, 'bytes', 0),
        (1, 3, 'bytes', 0),
        (2, 1, 'perceptual', 2),
        (2, 2, 'perceptual', 2),
    ]
    for bad in (-1, 17):
        with pytest.raises(ValueError, match=f'from 0 to 16 bits, got {bad}'):
            image_hashes.find_pairs(first, second, bad)


def test_default_distance_on_photos(real_data_dir):
    for folder in ('coco_persons', 'lsp_extended'):
        paths = sorted((real_data_dir / folder / 'images').iterdir())[:150]
        photos = [cv2.imread(str(path)) for path in paths]
        values = np.array([image_hashes.perceptual_hash(p) for p in photos], np.uint64)
        pairs = image_hashes.close_pairs(values, values, image_hashes.MAX_DISTANCE)
        assert list(pairs) == [(i, i, 0) for i in range(150)]
        for photo, value in zip(photos, values.tolist()):
            for name in ('quality 50', 'half'):
                copy = image_hashes.perceptual_hash(variants(photo)[name])
                assert distance(copy, value) <= image_hashes.MAX_DISTANCE


# Sets of images


def test_read_image_set(data, tmp_path):
    train = read_side(data, 'train')
    assert train.images == tuple(PEOPLE)
    assert train.path('deep/c.jpg') == f'{data}/train/deep/c.jpg'
    assert len(train.annotations_sha256) == 64
    people = [{'image': '1.jpg'}, {'image': '0.jpg'}, {'image': '1.jpg'}]
    (tmp_path / 'mpii.json').write_text(json.dumps(people))
    mpii = image_sets.read_image_set(f'{tmp_path}/mpii.json:{data}')
    assert mpii.images == ('1.jpg', '0.jpg')
    folder = image_sets.read_image_set(str(data))
    assert folder.images[:3] == ('train/a.jpg', 'train/b.jpg', 'train/d.jpg')
    assert len(folder.images) == 7
    assert folder.annotations_sha256 is None


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{0}/annotations/train.json', 'must be ANNOTATIONS:FOLDER'),
        ('{0}/nowhere', 'must be ANNOTATIONS:FOLDER'),
        ('{0}/gone.json:{0}', 'no annotation file .*gone.json'),
        ('{0}/annotations/train.json:{0}/nowhere', 'no folder of images .*nowhere'),
        ('{0}/annotations', 'no images in this folder'),
        ('{0}/text.json:{0}', 'text.json is no JSON'),
        ('{0}/boxes.json:{0}', "boxes.json names no images; wanted is COCO's"),
        ('{0}/number.json:{0}', 'number.json names no images'),
        ('{0}/empty.json:{0}', 'empty.json holds no images'),
    ],
)
def test_unusable_sets(data, text, message):
    (data / 'text.json').write_text('{"images": [')
    (data / 'boxes.json').write_text('[{"image_id": 1, "bbox": [0, 0, 1, 1]}]')
    (data / 'number.json').write_text('3')
    (data / 'empty.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=message):
        image_sets.read_image_set(text.format(data))


def test_sets_of_a_config_are_found_in_wrappers(data):
    train, val = coco_style(data), coco_style(data, 'val')
    other = coco_style(data, ann_file='annotations/other.json')
    write_annotations(data / 'annotations/other.json', {'d.jpg': 1, 'a.jpg': 0})
    repeated = {'type': 'RepeatDataset', 'times': 2, 'dataset': other}
    wrapper = {'type': 'MultiDataset', 'datasets': {'one': train, 'two': repeated}}
    both = {'type': 'CombinedDataset', 'metainfo': {}, 'datasets': [val, val]}
    cfg = Config(
        {
            'train_dataloader': {'batch_size': 2, 'dataset': {**wrapper, 'leave_out': 'gone.json'}},
            'val_dataloader': {'dataset': {**val, 'pipeline': [{'type': 'NotThere'}]}},
            'test_dataloader': {'dataset': both},
        }
    )
    sets, evaluation = image_sets.image_sets_of_config(cfg)
    assert [s.name for s in sets] == [
        f'{data}/annotations/train.json',
        f'{data}/annotations/other.json',
    ]
    assert sets[1].images == ('d.jpg',)  # without images of nobody
    assert [s.images for s in evaluation] == [('x.png', 'a.jpg', '000.jpg')]
    # what the command line reads is the same
    assert sets[0].images == read_side(data, 'train').images
    assert sets[0].annotations_sha256 == read_side(data, 'train').annotations_sha256
    for image in sets[0].images:
        assert Path(sets[0].path(image)).is_file()

    cfg.val_dataloader.dataset.ann_file = 'gone.json'
    with pytest.raises(ValueError, match=r"val_dataloader.dataset \(type CocoD.*'gone.json'"):
        image_sets.image_sets_of_config(cfg)
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'] = None if name != 'train' else cfg.train_dataloader
    with pytest.raises(ValueError, match='no data set in val_dataloader or test_dataloader'):
        image_sets.image_sets_of_config(cfg)


@pytest.mark.parametrize(
    ('loader', 'message'),
    [
        (
            {'dataset': {'datasets': {'a': 'x'}}},
            r"loader.dataset.datasets\['a'\] must be .* got 'x'",
        ),
        ({'dataset': {'datasets': ['x']}}, r"loader.dataset.datasets\[0\] must be .* got 'x'"),
        ({'dataset': {'datasets': 'x'}}, r"loader.dataset.datasets must be configs, .* got 'x'"),
        ({'dataset': ['x']}, r"train_dataloader.dataset must be .* got \['x'\]"),
        ('x', "train_dataloader must be .* got 'x'"),
    ],
)
def test_what_is_no_config_is_named(loader, message):
    with pytest.raises(ValueError, match=message):
        image_sets.image_sets_of_config(Config({'train_dataloader': loader}))


@pytest.mark.parametrize('serialize_data', [True, False])
@pytest.mark.parametrize('value', [None, ['a.jpg', 'b.jpg']])
def test_samples_have_one_image_each(data, monkeypatch, serialize_data, value):
    dataset = DATASETS.build(coco_style(data, lazy_init=True, serialize_data=serialize_data))
    samples = [{'img_path': 'a.jpg'}, {'img_path': value}]
    monkeypatch.setattr(dataset, 'load_data_list', lambda: samples)
    with pytest.raises(
        ValueError, match=rf'sample 1 of .*train.json .* got {re.escape(str(value))}'
    ):
        image_sets.image_set_of(dataset)


def test_mpii_names_agree(real_data_dir):
    folder = real_data_dir / 'mpii'
    config = {'type': 'MpiiDataset', 'ann_file': 'test_mpii.json', 'data_root': str(folder)}
    built = image_sets.image_set_of(DATASETS.build({**config, 'data_prefix': {'img': ''}}))
    read = image_sets.read_image_set(f'{folder}/test_mpii.json:{folder}')
    assert (built.images, built.annotations_sha256) == (read.images, read.annotations_sha256)


@pytest.mark.parametrize(
    ('folder', 'path', 'name'),
    [
        ('/data/coco/', '/data/coco/train/1.jpg', 'train/1.jpg'),
        ('/data/coco/train', '/data/coco/train2017/1.jpg', '/data/coco/train2017/1.jpg'),
        ('', 'data/1.jpg', 'data/1.jpg'),
        ('./data', 'data//x/../1.jpg', '1.jpg'),
    ],
)
def test_names_within_folders(folder, path, name):
    assert image_sets.image_in(folder, path) == name


# The report


def test_audit(data):
    report = audit(data)
    shared = [
        (s['train']['image'], s['evaluation']['image'], s['found_by']) for s in report['shared']
    ]
    assert shared == [('b.jpg', 'x.png', 'perceptual'), ('deep/c.jpg', '000.jpg', 'bytes')]
    first = report['shared'][0]
    assert first['train']['file'] == f'{data}/train/b.jpg'
    assert first['evaluation']['set'] == 0
    assert 0 <= first['distance'] <= 4
    assert first['train']['sha256'] != first['evaluation']['sha256']
    names = [f'{data}/annotations/{name}.json' for name in ('train', 'val')]
    assert leakage.count_rows(report)[1:] == [(*names, 1, 1, '2 of 3')]
    assert report['options'] == {'max_distance': 4}
    assert report['unreadable'] == []


def test_an_image_of_several_sets_is_told_of_each(data):
    everything = image_sets.read_image_set(str(data))
    train, val = read_side(data, 'train'), read_side(data, 'val')
    report = leakage.audit([train, everything], [val])
    rows = [row[2:] for row in leakage.count_rows(report)[1:]]
    assert rows == [(1, 1, '2 of 3'), (4, 1, '3 of 3')]  # the folder holds the evaluation set


def test_an_image_found_both_ways_counts_once(data):
    write(data / 'val/y.png', cv2.resize(make_picture(2), (80, 60)))  # 'deep/c.jpg' again
    val = image_sets.read_image_set(str(data / 'val'))
    report = leakage.audit([read_side(data, 'train')], [val])
    assert len(report['shared']) == 3
    assert leakage.count_rows(report)[1][2:] == (1, 1, '3 of 4')


def test_flat_pictures_are_shared_by_bytes_alone(tmp_path):
    for side, values in (('train', (10, 20)), ('val', (20, 30))):
        for value in values:
            write(tmp_path / side / f'{value}.png', make_flat(value))
    sides = [[image_sets.read_image_set(str(tmp_path / side))] for side in ('train', 'val')]
    (entry,) = leakage.audit(*sides)['shared']
    assert (entry['train']['image'], entry['evaluation']['image']) == ('20.png', '20.png')
    assert entry['found_by'] == 'bytes'


def test_unreadable_images_are_listed(data):
    (data / 'train/a.jpg').write_bytes(b'')
    (data / 'train/b.jpg').unlink()
    report = audit(data)
    assert [(u['side'], u['set'], u['image']) for u in report['unreadable']] == [
        ('train', 0, 'a.jpg'),
        ('train', 0, 'b.jpg'),
    ]
    assert 'is empty (0 bytes)' in report['unreadable'][0]['problem']
    assert report['sets']['train'][0]['num_unreadable'] == 2
    assert report['sets']['evaluation'][0]['num_unreadable'] == 0
    assert [s['train']['image'] for s in report['shared']] == ['deep/c.jpg']
    for path in (data / 'val').iterdir():
        path.write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'val.json: none of its 3 images in .*/val. can be read'):
        audit(data)


def test_missing_images_are_told_before_hashing(data, monkeypatch):
    val = read_side(data, 'val')
    shutil.rmtree(data / 'val')
    monkeypatch.setattr(leakage, 'hash_images', None)
    with pytest.raises(ValueError, match=r'val.json: none of its 3 images exists; .*/val'):
        leakage.audit([read_side(data, 'train')], [val])


def test_audit_refuses_unusable_options(data):
    sets = [read_side(data, 'train')]
    with pytest.raises(ValueError, match='evaluation: at least one set'):
        leakage.audit(sets, [])
    with pytest.raises(ValueError, match='got 99'):
        leakage.audit(sets, sets, max_distance=99)


def test_real_sets_share_what_they_share(real_data_dir):
    """COCO's images are in two folders in two sizes, and LSP Extended holds one picture twice."""
    coco = real_data_dir / 'coco_persons/images'
    names = [path.name for path in sorted(coco.iterdir())[10:60]]  # behind COCO's image 785
    first = image_sets.ImageSet('coco_persons', str(coco), (*names, '000000040083.jpg'))
    sports = real_data_dir / 'lsp_extended/images'
    second = image_sets.ImageSet('lsp', str(sports), ('im00457.jpg', 'im06298.jpg'))
    evaluation = [
        image_sets.read_image_set(str(real_data_dir / 'coco')),
        image_sets.ImageSet('lsp', str(sports), ('im09410.jpg', 'im08834.jpg')),
    ]
    shared = leakage.audit([first, second], evaluation)['shared']
    assert [
        (s['train']['image'], s['evaluation']['image'], s['found_by'], s['distance'])
        for s in shared
    ] == [
        ('000000040083.jpg', '000000040083.jpg', 'perceptual', 0),
        ('im00457.jpg', 'im09410.jpg', 'perceptual', 2),
    ]


# Training without them


@pytest.mark.parametrize('serialize_data', [True, False])
@pytest.mark.parametrize('lazy_init', [True, False])
def test_leave_out(data, report_file, serialize_data, lazy_init):
    dataset = DATASETS.build(coco_style(data, serialize_data=serialize_data, lazy_init=lazy_init))
    assert leakage.leave_out(dataset, leakage.left_out_images(report_file)) == 4
    assert names_in(dataset) == ['a.jpg', 'a.jpg', 'd.jpg']
    assert [dataset.get_data_info(i)['id'] for i in range(3)] == [100, 101, 106]
    assert leakage.leave_out(dataset, leakage.left_out_images(report_file)) == 0


def test_bottom_up_samples_are_images(data, report_file):
    dataset = DATASETS.build(coco_style(data, data_mode='bottomup'))
    assert leakage.leave_out(dataset, leakage.left_out_images(report_file)) == 2
    assert names_in(dataset) == ['a.jpg', 'd.jpg']


def test_data_may_have_moved(data, report_file, tmp_path):
    moved = tmp_path / 'elsewhere'
    shutil.move(data, moved)
    (moved / 'train').rename(moved / 'images')
    (moved / 'annotations/train.json').rename(moved / 'people.json')
    config = coco_style(moved, ann_file='people.json', data_prefix={'img': 'images'})
    dataset = DATASETS.build(config)
    assert leakage.leave_out(dataset, leakage.left_out_images(report_file)) == 4
    assert names_in(dataset) == ['a.jpg', 'a.jpg', 'd.jpg']


def test_another_picture_of_the_same_name_stays(data, tmp_path):
    """Both training sets hold 'b.jpg' and 'c.jpg', the second other pictures, or elsewhere."""
    write(data / 'more/b.jpg', make_picture(50))
    shutil.copy(data / 'train/deep/c.jpg', data / 'more/c.jpg')
    write_annotations(data / 'annotations/more.json', {'b.jpg': 1, 'c.jpg': 1})
    sides = [read_side(data, 'train'), read_side(data, 'more')], [read_side(data, 'val')]
    write_json(leakage.audit(*sides), tmp_path / 'report.json')
    images = leakage.left_out_images(tmp_path / 'report.json')
    dataset = DATASETS.build(coco_style(data, 'more'))
    assert leakage.leave_out(dataset, images) == 1
    assert names_in(dataset) == ['b.jpg']


def test_two_folders_of_one_annotation_file(data, tmp_path, monkeypatch):
    """As when the second holds the pictures in another encoding: each set goes by its own bytes."""
    for seed, name in enumerate(PEOPLE):
        write(data / 'again' / name, make_picture(seed), cv2.IMWRITE_JPEG_QUALITY, 60)
    write(data / 'again/b.jpg', make_picture(50))
    train = f'{data}/annotations/train.json'
    sets = [image_sets.read_image_set(f'{train}:{data}/{name}') for name in ('train', 'again')]
    write_json(leakage.audit(sets, [read_side(data, 'val')]), tmp_path / 'report.json')
    images, lines = leakage.left_out_images(tmp_path / 'report.json'), logged(monkeypatch)
    for folder, num_found, names in (
        ('train', 2, ['a.jpg', 'a.jpg', 'd.jpg']),
        ('again', 1, ['a.jpg', 'a.jpg', 'b.jpg', 'd.jpg']),
    ):
        dataset = DATASETS.build(coco_style(data, data_prefix={'img': folder}))
        assert leakage.leave_out(dataset, images) == 7 - len(names)
        assert names_in(dataset) == names
        assert f'of 3 images that {tmp_path}/report.json lists' in lines[-1]
        assert lines[-1].endswith(f'for training sets, {num_found} are in this one')


def test_a_set_without_shared_images_stays_whole(data, tmp_path):
    write(data / 'none/q.jpg', make_picture(9))
    evaluation = [image_sets.read_image_set(str(data / 'none'))]
    write_json(leakage.audit([read_side(data, 'train')], evaluation), tmp_path / 'r.json')
    dataset = DATASETS.build(coco_style(data))
    assert leakage.leave_out(dataset, leakage.left_out_images(tmp_path / 'r.json')) == 0
    assert len(dataset) == 7


def test_refusals_leave_the_set_as_it_was(data, report_file):
    images = leakage.left_out_images(report_file)

    write_annotations(data / 'annotations/new.json', {'a.jpg': 1, 'b.jpg': 1})
    new = DATASETS.build(coco_style(data, ann_file='annotations/new.json'))
    with pytest.raises(ValueError, match=r'new.json.* none of the training sets .*train.json'):
        leakage.leave_out(new, images)
    assert len(new) == 2

    only_shared = DATASETS.build(coco_style(data, indices=[2, 3, 4, 5]))
    with pytest.raises(ValueError, match=r'all 4 samples .* nobody would be left'):
        leakage.leave_out(only_shared, images)
    assert len(only_shared) == 4

    dataset = DATASETS.build(coco_style(data))
    for wrapper in (ConcatDataset([dataset]), 'leakage.json'):
        with pytest.raises(TypeError, match=f"{type(wrapper).__name__} .*mmengine's BaseDataset"):
            leakage.leave_out(wrapper, images)
    assert len(dataset) == 7


def logged(monkeypatch, module=leakage) -> list[str]:
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda line, **options: lines.append(line))
    return lines


def test_what_happened_is_logged(data, report_file, monkeypatch):
    lines, images = logged(monkeypatch), leakage.left_out_images(report_file)
    leakage.leave_out(DATASETS.build(coco_style(data)), images)
    listed = f'of 2 images that {report_file} lists for training sets'
    told = f'4 of 7 samples left out; {listed}, 2 are in this one'
    assert lines == [f'{data}/annotations/train.json: {told}']
    leakage.leave_out(DATASETS.build(coco_style(data, indices=2)), images)
    assert lines[-1].endswith(f'0 of 2 samples left out; {listed}, 0 are in this one')
    write(data / 'train/b.jpg', make_picture(1), cv2.IMWRITE_JPEG_QUALITY, 60)
    assert leakage.leave_out(DATASETS.build(coco_style(data)), images) == 3
    assert lines[-1].endswith(f'3 of 7 samples left out; {listed}, 1 are in this one')
    (data / 'train/b.jpg').unlink()
    dataset = DATASETS.build(coco_style(data))
    assert leakage.leave_out(dataset, images) == 3
    assert 'train/b.jpg, listed in' in lines[-2]
    assert names_in(dataset) == ['a.jpg', 'a.jpg', 'b.jpg', 'd.jpg']


def test_audited_folders_do_not_count(data, tmp_path):
    train = image_sets.read_image_set(str(data / 'train'))
    write_json(leakage.audit([train], [read_side(data, 'val')]), tmp_path / 'r.json')
    dataset, images = DATASETS.build(coco_style(data)), leakage.left_out_images(tmp_path / 'r.json')
    for ann_file in (dataset.ann_file, ''):  # nor for a set without annotations
        dataset.ann_file = ann_file
        with pytest.raises(
            ValueError, match=r'r.json was written for \(none\).* ANNOTATIONS:FOLDER'
        ):
            leakage.leave_out(dataset, images)
    assert len(dataset) == 7


def test_damaged_reports(report_file, tmp_path):
    with pytest.raises(ValueError, match=r'gone.json cannot be read: No such file'):
        leakage.left_out_images(tmp_path / 'gone.json')
    report = json.loads(report_file.read_text())
    for content, message in (
        (report_file.read_text()[:400], 'is damaged, no JSON'),
        ('[]', 'format is None'),
        (json.dumps({**report, 'format': 'other 2'}), "format is 'other 2', wanted is"),
        (json.dumps({**report, 'shared': [{'train': {}}]}), r"damaged: KeyError\('image'\)"),
        (json.dumps({**report, 'sets': {'train': [{}]}}), 'damaged: KeyError'),
        (json.dumps({**report, 'sets': None}), 'damaged: TypeError'),
    ):
        report_file.write_text(content)
        with pytest.raises(ValueError, match=message):
            leakage.left_out_images(report_file)


def test_a_report_is_written_whole_or_not_at_all(report_file):
    before = report_file.read_bytes()
    with pytest.raises(TypeError):
        write_json({'format': object()}, report_file)
    assert report_file.read_bytes() == before
    assert [path.name for path in report_file.parent.glob('leakage*')] == ['leakage.json']
