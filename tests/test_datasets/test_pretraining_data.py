"""Pictures for pre-training: which there are, and what is cut out of them."""

import json
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.runner import Runner
from mmpose.registry import DATASETS, TRANSFORMS
from torch.nn import functional

from vitpose_mm.datasets import PretrainingImages, RandomResizedBoxCrop, pretraining
from vitpose_mm.datasets.pretraining import central_crop, enlarged_box, parse_source, random_crop
from vitpose_mm.engine import CheckDataHook, DataError, check_annotation_files
from vitpose_mm.engine.annotation_files import annotation_errors
from vitpose_mm.engine.data_check import check_dataset

NAN = float('nan')
WIDTH, HEIGHT = 160, 120


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# What a file says of boxes (left, top, width, height), and the crops that come of it.
BOXES = [
    (dict(id=30, image_id=2, bbox=[10, 20, 30.5, 40]), [10, 20, 40.5, 60]),
    (dict(id=31, image_id=1, bbox=[0, 0, 160, 120], iscrowd=1), None),
    (dict(id=12, image_id=1, bbox=[50, 60, 16, 16], iscrowd=0), [50, 60, 66, 76]),
    (dict(id=13, image_id=1, bbox=[50, 60, 15.9, 50]), None),
    (dict(id=14, image_id=1, bbox=[50, 60, 50, 15.9]), None),
    (dict(id=15, image_id=1, bbox=[-20, -30, 60, 70]), [0, 0, 40, 40]),
    (dict(id=16, image_id=1, bbox=[-20, -30, 30, 70]), None),  # 10 px of it are in the image
    (dict(id=17, image_id=1, bbox=[130, 100, 50, 50]), [130, 100, 160, 120]),
    (dict(id=18, image_id=1, bbox=[160, 0, 40, 40]), None),
    (dict(id=19, image_id=1, bbox=[0, -40, 40, 40]), None),
    (dict(id=20, image_id=1, bbox=[5, 5, 0, 40]), None),
    (dict(id=21, image_id=1, bbox=[5, 5, 40, -1]), None),
    (dict(id=22, image_id=1, bbox=[NAN, 5, 40, 40]), None),
    (dict(id=23, image_id=1, bbox=[5, 5, float('inf'), 40]), None),
    (dict(image_id=2, bbox=[1, 2, 30, 40]), [1, 2, 31, 42]),
]
CROPS = [(entry, box) for entry, box in BOXES if box is not None]


@pytest.fixture
def data(tmp_path) -> Path:
    """Two images with the boxes above, a third without, and a folder with other things in it."""
    names = {1: 'one.png', 2: 'deep/er/two.png', 3: 'three.png'}
    for number, name in names.items():
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(number))
    images = [
        dict(id=number, file_name=name, width=WIDTH, height=HEIGHT)
        for number, name in names.items()
    ]
    content = dict(images=images, annotations=[entry for entry, _ in BOXES])
    (tmp_path / 'people.json').write_text(json.dumps(content))

    for name in ('b.JPG', 'a/z.png', 'a/b/c.webp', 'notes.txt', 'a/jpg', 'c.jpg.part'):
        path = tmp_path / 'folder' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'?')
    return tmp_path


CROPS_OF_PEOPLE = dict(ann_file='people.json', img_dir='images')


def build(data: Path, *sources: dict, **changes) -> PretrainingImages:
    config = dict(type='PretrainingImages', data_root=str(data), sources=list(sources), **changes)
    return DATASETS.build(config)


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def change(data: Path, function) -> None:
    path = data / 'people.json'
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def logged(monkeypatch) -> list[str]:
    messages = []
    monkeypatch.setattr(pretraining, 'print_log', lambda message, **_: messages.append(message))
    return messages


# --- which pictures ---


@pytest.mark.parametrize('serialize_data', [True, False])
def test_crops_in_the_order_of_the_file(data, serialize_data):
    found = infos(build(data, CROPS_OF_PEOPLE, serialize_data=serialize_data))
    assert [info.get('id') for info in found] == [30, 12, 15, 17, None]
    assert 'id' not in found[-1]
    assert [info['img_id'] for info in found] == [2, 1, 1, 1, 2]
    paths = {1: f'{data}/images/one.png', 2: f'{data}/images/deep/er/two.png'}
    for info, (entry, box) in zip(found, CROPS):
        assert info['img_path'] == paths[entry['image_id']]
        assert info['bbox'].dtype == np.float32
        assert info['bbox'].tolist() == [box]
        assert info['dataset_name'] == 'pretraining_images'


def test_boxes_left_out_are_counted_by_reason(data, logged):
    build(data, CROPS_OF_PEOPLE, dict(img_dir='folder'))
    assert logged == [
        f'sources[0] ({data}/people.json): 5 crops, 10 boxes left out (1 crowd, 3 below 16 px, 2 '
        'outside of the image, 2 without area, 2 not finite)',
        f'sources[1] ({data}/folder): 3 whole images',
    ]


@pytest.mark.parametrize(('min_side', 'number'), [(0, 8), (10, 8), (10.1, 7), (15.9, 7), (17, 4)])
def test_the_least_side(data, min_side, number):
    assert len(build(data, CROPS_OF_PEOPLE, min_side=min_side)) == number


def test_whole_images_of_a_file_once_each(data):
    change(data, lambda content: content.pop('annotations'))
    change(data, lambda content: [image.pop('width') for image in content['images']])
    found = infos(build(data, {**CROPS_OF_PEOPLE, 'whole_images': True}))
    paths = [f'{data}/images/{name}' for name in ('one.png', 'deep/er/two.png', 'three.png')]
    assert [info['img_path'] for info in found] == paths
    assert [info['img_id'] for info in found] == [1, 2, 3]
    assert not any({'bbox', 'id'} & set(info) for info in found)


def test_images_below_a_folder(data, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    (elsewhere / 'd.png').write_bytes(b'?')
    os.symlink(elsewhere, data / 'folder' / 'linked')
    os.symlink(elsewhere / 'd.png', data / 'folder' / 'd.png')
    found = infos(build(data, dict(img_dir='folder')))
    names = ['a/b/c.webp', 'a/z.png', 'b.JPG', 'd.png']
    assert [info['img_path'] for info in found] == [f'{data}/folder/{name}' for name in names]
    assert not any({'bbox', 'id', 'img_id'} & set(info) for info in found)


def test_several_sources_one_after_the_other(data):
    whole = {**CROPS_OF_PEOPLE, 'whole_images': True}
    folder = dict(img_dir=str(data / 'folder'))  # absolute
    dataset = build(data, whole, folder, CROPS_OF_PEOPLE, folder)
    assert ['bbox' in info for info in infos(dataset)] == [False] * 6 + [True] * 5 + [False] * 3
    assert dataset.ann_file == f'{data}/people.json, {data}/folder'
    assert dataset.sources[1].img_dir == str(data / 'folder')
    part = build(data, whole, folder, CROPS_OF_PEOPLE, indices=[7, 0, 6])
    assert [info.get('id') for info in infos(part)] == [12, None, 30]


def test_paths_without_a_root(data, monkeypatch):
    monkeypatch.chdir(data)
    dataset = PretrainingImages([CROPS_OF_PEOPLE, dict(img_dir='folder')])
    assert dataset.get_data_info(0)['img_path'] == 'images/deep/er/two.png'
    assert dataset.get_data_info(5)['img_path'] == 'folder/a/b/c.webp'
    monkeypatch.chdir(data / 'folder')
    assert infos(PretrainingImages([dict(img_dir='')]))[2]['img_path'] == 'b.JPG'


@pytest.mark.parametrize(
    ('path', 'expected'),
    [('a/b', '/data/a/b'), ('/a/b', '/a/b'), ('s3://bucket/a', 's3://bucket/a'), ('', '/data/')],
)
def test_relative_paths_start_from_the_root(path, expected):
    assert parse_source(dict(img_dir=path), 'source', '/data').img_dir == expected


def test_nothing_is_read_before_it_is_needed(data):
    dataset = build(data, dict(img_dir='nowhere'), lazy_init=True)
    with pytest.raises(ValueError, match=r'there is no folder .*/nowhere\.'):
        dataset.full_init()


# --- sources that cannot be used ---


SOURCES = {
    'no dict': ('images', r'^sources\[1\] must be dict\(img_dir=.*, got .images.'),
    'unknown key': (
        dict(img_dir='images', prefix='x', anns=1),
        r"^sources\[1\] has unknown keys \['anns', 'prefix'\]; it must be dict\(img_dir",
    ),
    'no folder': (dict(ann_file='people.json'), r'^sources\[1\] lacks img_dir, got .*people.json'),
    'no path': (dict(img_dir=3), r'^sources\[1\].img_dir must be a path, got 3'),
    'no file': (dict(img_dir='', ann_file=''), r"sources\[1\].ann_file must be a path, got ''"),
    'no truth value': (
        dict(ann_file='people.json', img_dir='images', whole_images='yes'),
        r"^sources\[1\].whole_images must be True or False, got 'yes'",
    ),
    'whole images of a folder': (
        dict(img_dir='folder', whole_images=False),
        r'whole_images is for sources with an ann_file; .*/folder\) are always whole',
    ),
    'missing folder': (
        dict(img_dir='nowhere'),
        r'^sources\[1\].img_dir: there is no folder /.*/nowhere\.$',
    ),
    'missing folder of a file': (
        dict(ann_file='people.json', img_dir='nowhere'),
        r'^sources\[1\].img_dir: there is no folder /.*/nowhere\.$',
    ),
    'folder without images': (
        dict(img_dir='empty'),
        r'img_dir: no images in the folder /.*/empty or below it \(.jpg, .jpeg, .png, .bmp',
    ),
    'missing file': (
        dict(ann_file='nowhere.json', img_dir='images'),
        r'^sources\[1\].ann_file: /.*/nowhere.json cannot be read: No such file or directory',
    ),
    'no JSON': (
        dict(ann_file='images/one.png', img_dir='images'),
        r'ann_file: /.*/images/one.png is no JSON: ',
    ),
}


@pytest.mark.parametrize('kind', SOURCES)
def test_bad_sources_are_named(data, kind):
    (data / 'empty').mkdir()
    source, message = SOURCES[kind]
    with pytest.raises(ValueError, match=message.replace('/.*/', f'{data}/')):
        build(data, CROPS_OF_PEOPLE, source)


@pytest.mark.parametrize('sources', [None, [], {}, dict(img_dir='images'), 'images'])
def test_no_sources(sources):
    with pytest.raises(ValueError, match=r'sources must be a list of dicts, at least one, got '):
        PretrainingImages(sources)


@pytest.mark.parametrize('min_side', [-1, NAN, float('inf'), '16', None, True])
def test_bad_least_sides(data, min_side):
    with pytest.raises(ValueError, match=r'min_side must be a number of px, at least 0, got '):
        build(data, CROPS_OF_PEOPLE, min_side=min_side)


def of_annotation(**entries):
    return lambda content: content['annotations'][2].update(entries)


def of_image(**entries):
    return lambda content: content['images'][1].update(entries)


FILES = {
    'no images': (lambda content: content.pop('images'), "not of COCO's format: .* 'images'"),
    'images by name': (lambda content: content.update(images={}), "COCO's format: .* 'images'"),
    'no annotations': (
        lambda content: content.pop('annotations'),
        "COCO's format: wanted is a dict with 'annotations', a list of dicts",
    ),
    'numbers': (
        lambda content: content.update(annotations=[1]),
        'with .annotations., a list of dicts',
    ),
    'no size': (
        lambda content: [content['images'][1].pop(key) for key in ('width', 'height')],
        r"image {'id': 2, 'file_name': 'deep/er/two.png'} has no usable width, height\.",
    ),
    'name of a number': (of_image(file_name=2), "image {'id': 2.* has no usable file_name"),
    'an id twice': (of_image(id=1), 'two images have the id 1'),
    'unknown image': (
        of_annotation(image_id=7),
        'annotation 12 is of image 7, which the file does not list',
    ),
    'no box': (of_annotation(bbox=None), r'annotation 12: bbox must be \[left, .*, got None'),
    'half a box': (of_annotation(bbox=[1, 2]), r'annotation 12: bbox .* px, got \[1, 2\]'),
    'box of text': (of_annotation(bbox=['1', 2, 3, 4]), r"12: bbox .* got \['1', 2, 3, 4\]"),
    'nobody': (
        lambda content: content.update(annotations=[]),
        r'sources\[0\] \(.*people.json\) has nothing to use: it is empty',
    ),
    'nobody to use': (
        lambda content: content.update(annotations=content['annotations'][1:4:2]),
        r'people.json\) has nothing to use: 1 crowd, 1 below 16 px\.$',
    ),
}


@pytest.mark.parametrize('kind', FILES)
def test_bad_files_are_named(data, kind):
    function, message = FILES[kind]
    change(data, function)
    with pytest.raises(ValueError, match=message) as raised:
        build(data, CROPS_OF_PEOPLE)
    assert str(raised.value).startswith('sources[0]')
    assert f'{data}/people.json' in str(raised.value)


def test_a_file_that_is_a_list(data):
    (data / 'people.json').write_text('[]')
    with pytest.raises(ValueError, match=r'people.json is not of COCO.s format'):
        build(data, CROPS_OF_PEOPLE)


def config_of(data: Path, *sources: dict) -> Config:
    dataset = dict(type='PretrainingImages', data_root=str(data), sources=list(sources))
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def test_files_of_sources_are_looked_at_before_anything_is_built(data):
    folder = dict(img_dir='folder')
    check_annotation_files(config_of(data, folder, CROPS_OF_PEOPLE), 'train')
    missing = dict(CROPS_OF_PEOPLE, ann_file='nowhere.json')
    with pytest.raises(
        DataError,
        match=rf'^train_dataloader.dataset.sources\[1\].ann_file: there is no file {data}/nowhere',
    ):
        check_annotation_files(config_of(data, folder, missing), 'train')
    (data / 'people.json').write_text('{"images": [')
    with pytest.raises(DataError, match=r'sources\[0\].ann_file: .*people.json is no JSON, or cut'):
        check_annotation_files(config_of(data, CROPS_OF_PEOPLE), 'train')
    # what is no source is told when it is built
    check_annotation_files(config_of(data, 'folder'), 'train')


def test_errors_while_building_a_run_name_the_sources(data):
    change(data, lambda content: content.pop('images'))
    with (
        pytest.raises(
            DataError,
            match=rf'PretrainingImages cannot read {data}/folder, {data}/people.json: ValueError: '
            r'sources\[1\].*not of COCO',
        ),
        annotation_errors(),
    ):
        build(data, dict(img_dir='folder'), CROPS_OF_PEOPLE)


def test_the_check_of_data_counts_the_samples(data, monkeypatch):
    dataset = build(data, dict(img_dir='folder'), CROPS_OF_PEOPLE)
    messages = []
    for name in ('check_dataset', 'leaves'):
        function = getattr(__import__('vitpose_mm.engine.data_check', fromlist=[name]), name)
        monkeypatch.setitem(
            function.__globals__, 'print_log', lambda message, **_: messages.append(message)
        )
    runner = SimpleNamespace(
        model=SimpleNamespace(),
        train_dataloader=SimpleNamespace(dataset=ConcatDataset([dataset])),
        val_loop=None,
    )
    CheckDataHook().before_train(runner)
    assert messages == [f'{data}/folder, {data}/people.json: 8 samples']
    with pytest.raises(DataError, match=r'people.json: PretrainingImages found nobody to use'):
        check_dataset(build(data, CROPS_OF_PEOPLE, indices=0, serialize_data=False))


# --- the part that is cut out ---


def sample(image: np.ndarray, box=None, **entries) -> dict:
    results = dict(img=image, img_shape=image.shape[:2], img_path='photo.png', **entries)
    return results if box is None else dict(results, bbox=np.array([box], dtype=np.float32))


def part_of(results: dict) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part that a sample says it shows."""
    center, half = results['input_center'].astype(float), results['input_scale'].astype(float) / 2
    corners = np.concatenate([center - half, center + half])
    assert np.array_equal(corners, corners.round())
    return tuple(corners.astype(int).tolist())


def test_a_box_of_the_inputs_size_is_cut_out_as_it_is():
    image = picture(0)
    crop = RandomResizedBoxCrop((48, 64), scale=(1, 1), ratio=(1, 1), padding=1)
    results = crop(sample(image, [20, 10, 68, 74]))
    assert np.array_equal(results['img'], image[10:74, 20:68])
    assert part_of(results) == (20, 10, 68, 74)
    assert results['img'].base is None  # the whole image does not stay in memory with it
    assert results['img'].flags.c_contiguous
    assert results['img_shape'] == (64, 48)
    assert results['input_size'] == (48, 64)


def test_a_sample_without_box_is_cut_out_of_the_whole_image():
    image = picture(0)
    results = RandomResizedBoxCrop((WIDTH, HEIGHT), scale=(1, 1), ratio=(1, 1))(sample(image))
    assert np.array_equal(results['img'], image)
    middle = RandomResizedBoxCrop((120, 120), scale=(1, 1), ratio=(1, 1))(sample(image))
    assert np.array_equal(middle['img'], image[:, 20:140])


@pytest.mark.parametrize(
    ('box', 'padding', 'expected'),
    [
        ((60, 50, 90, 70), 1, (60, 40, 90, 80)),  # wide: heightened to 30 x 40
        ((60, 40, 70, 80), 1, (50, 40, 80, 80)),  # tall: widened to 30 x 40
        ((60, 40, 90, 80), 1.5, (52, 30, 98, 90)),  # 45 x 60, rounded outwards
        ((0, 10, 30, 50), 2, (0, 0, 45, 70)),  # clipped on the left and above
        ((130, 80, 160, 120), 2, (115, 60, 160, 120)),  # and on the right and below
    ],
)
def test_boxes_are_enlarged_as_in_pose_training(box, padding, expected):
    assert enlarged_box(box, (48, 64), padding, (HEIGHT, WIDTH)) == expected


def test_the_region_is_that_of_pose_training():
    image = cv2.GaussianBlur(picture(0), (0, 0), 3)
    box = [60, 40, 84, 78]
    ours = RandomResizedBoxCrop((96, 128), scale=(1, 1), ratio=(1, 1))(sample(image, box))['img']
    results = sample(image, box)
    for transform in (
        dict(type='GetBBoxCenterScale'),
        dict(type='TopdownAffine', input_size=(96, 128), use_udp=False),
    ):
        results = TRANSFORMS.build(transform)(results)
    difference = np.abs(ours.astype(int) - results['img'])
    assert difference.mean() < 3  # of about 20 between neighbouring people
    shifted = np.roll(results['img'], 8, axis=1)
    assert np.abs(ours.astype(int) - shifted).mean() > 2 * difference.mean()


def test_shrinking_takes_the_mean_of_the_area():
    image = picture(0)
    crop = RandomResizedBoxCrop((WIDTH // 4, HEIGHT // 4), scale=(1, 1), ratio=(1, 1))
    expected = image.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean((1, 3))
    assert np.abs(crop(sample(image))['img'] - expected).max() <= 0.51


def test_enlarging_is_bicubic():
    image = picture(0)
    found = RandomResizedBoxCrop((400, 300), scale=(1, 1), ratio=(1, 1))(sample(image))['img']
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    expected = functional.interpolate(tensor, (300, 400), mode='bicubic').clamp(0, 255)
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < 1.5


def test_random_parts_show_what_they_say():
    """Against pixels that hold their own places."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    image = np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)
    crop = RandomResizedBoxCrop((48, 64))
    parts = set()
    for seed in range(50):
        np.random.seed(seed)
        results = crop(sample(image, [60, 40, 90, 80]))
        left, top, right, bottom = part_of(results)
        assert 56 <= left < right <= 94
        assert 35 <= top < bottom <= 85
        columns = left + (np.arange(48) + 0.5) * (right - left) / 48 - 0.5
        rows = top + (np.arange(64) + 0.5) * (bottom - top) / 64 - 0.5
        inner = np.s_[4:-4, 4:-4]
        assert np.abs(results['img'][..., 0] - columns)[inner].max() < 1.01
        assert np.abs(results['img'][..., 1] - rows[:, None])[inner].max() < 1.01
        parts.add((left, top, right, bottom))
    assert len(parts) > 45


def test_what_is_drawn_comes_from_numpys_generator():
    image = picture(0)
    crop = RandomResizedBoxCrop((48, 64))
    np.random.seed(3)
    found = part_of(crop(sample(image)))
    left, top, width, height = random_crop(
        (WIDTH, HEIGHT), (0.2, 1.0), (9 / 16, 1.0), np.random.RandomState(3)
    )
    assert found == (left, top, left + width, top + height)


def test_validation_draws_nothing():
    crop = RandomResizedBoxCrop((48, 64), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    np.random.seed(0)
    before = np.random.get_state()[2]
    parts = {part_of(crop(sample(picture(0)))) for _ in range(5)}
    assert np.random.get_state()[2] == before
    assert parts == {(35, 0, 125, 120)}


@pytest.mark.parametrize(
    ('region_wh', 'ratio', 'expected'),
    [
        ((400, 50), (3 / 4, 4 / 3), (166, 0, 67, 50)),
        ((50, 400), (3 / 4, 4 / 3), (0, 166, 50, 67)),
        ((100, 90), (3 / 4, 4 / 3), (0, 0, 100, 90)),
        ((100, 90), (1, 1), (5, 0, 90, 90)),
        ((1, 400), (4, 5), (0, 199, 1, 1)),
        ((400, 1), (0.2, 0.25), (199, 0, 1, 1)),
    ],
)
def test_the_central_part(region_wh, ratio, expected):
    assert central_crop(region_wh, ratio) == expected


def test_what_never_fits_is_the_central_part():
    generator = np.random.RandomState(0)
    parts = {random_crop((400, 50), (0.9, 1), (3 / 4, 4 / 3), generator) for _ in range(20)}
    assert parts == {(166, 0, 67, 50)}
    # ten pairs of numbers each
    other = np.random.RandomState(0)
    other.uniform(size=20 * 10 * 2)
    assert other.uniform() == generator.uniform()


def distance_to_uniform(values, low: float, high: float) -> float:
    """Kolmogorov and Smirnov's: of 20 000 values, 0.014 is exceeded once in a thousand times."""
    values = np.sort((np.asarray(values) - low) / (high - low))
    return np.abs(values - (np.arange(len(values)) + 0.5) / len(values)).max()


def draw(region_wh, scale, ratio, number: int = 20_000) -> np.ndarray:
    generator = np.random.RandomState(0)
    return np.array([random_crop(region_wh, scale, ratio, generator) for _ in range(number)])


def test_areas_are_uniform():
    left, top, width, height = draw((5000, 5000), (0.2, 1.0), (1, 1)).T
    assert np.array_equal(width, height)
    shares = width * height / 5000**2
    assert 0.1999 < shares.min() < 0.21
    assert 0.99 < shares.max() <= 1
    assert distance_to_uniform(shares, 0.2, 1) < 0.014
    assert (left + width <= 5000).all()
    assert (top + height <= 5000).all()


def test_ratios_are_log_uniform_and_places_uniform():
    left, top, width, height = draw((9000, 6000), (0.1, 0.2), (0.5, 1.25)).T
    assert distance_to_uniform(np.log(width / height), math.log(0.5), math.log(1.25)) < 0.014
    assert distance_to_uniform(width * height / 9000 / 6000, 0.1, 0.2) < 0.014
    assert distance_to_uniform(left / (9000 - width), 0, 1) < 0.014
    assert distance_to_uniform(top / (6000 - height), 0, 1) < 0.014


def test_every_place_is_reached():
    parts = draw((4, 3), (0.3, 0.4), (1, 1), 1000)
    assert {tuple(part) for part in parts} == {
        (left, top, 2, 2) for left in range(3) for top in range(2)
    }


@pytest.mark.parametrize('region_wh', [(200, 200), (200, 100), (80, 200)])
def test_the_distribution_is_torchvisions(region_wh):
    transforms = pytest.importorskip('torchvision.transforms')
    scale, ratio = (0.2, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(0)
    image = torch.empty(3, region_wh[1], region_wh[0])
    theirs = [
        transforms.RandomResizedCrop.get_params(image, list(scale), list(ratio))
        for _ in range(4000)
    ]
    theirs = np.array([(left, top, width, height) for top, left, height, width in theirs])
    ours = draw(region_wh, scale, ratio, 4000)
    for mine, other in zip(ours.T, theirs.T):
        levels = np.linspace(0, 1, 21)[1:-1]
        assert np.abs(np.quantile(mine, levels) - np.quantile(other, levels)).max() <= 4


@pytest.mark.parametrize('input_wh', [(192, 256), (256, 192), (224, 224)])
def test_ratios_are_those_of_the_input(input_wh):
    aspect = input_wh[0] / input_wh[1]
    image = picture(0, 480, 640)
    box = [200, 160, 200 + 96 * aspect, 256]
    for ratio, slack in (((1, 1), 0.03), ((3 / 4, 4 / 3), 4 / 3 - 1 + 0.03)):
        crop = RandomResizedBoxCrop(input_wh, ratio=ratio)
        distortions = []
        np.random.seed(0)
        for _ in range(100):
            results = crop(sample(image, box))
            assert results['img'].shape == (*input_wh[::-1], 3)
            width, height = results['input_scale']
            distortions.append(width / height / aspect)
        assert 1 / (1 + slack) < min(distortions)
        assert max(distortions) < 1 + slack
    assert min(distortions) < 0.85
    assert max(distortions) > 1.15


def test_what_no_longer_fits_is_taken_out():
    entries = dict(
        bbox_score=np.ones(1),
        bbox_center=np.ones((1, 2)),
        bbox_scale=np.ones((1, 2)),
        keypoints=np.ones((1, 17, 2)),
        keypoints_visible=np.ones((1, 17)),
        id=7,
    )
    results = RandomResizedBoxCrop((48, 64))(sample(picture(0), [60, 40, 90, 80], **entries))
    packed = TRANSFORMS.build(dict(type='PackPersonInputs'))(results)
    assert packed['inputs'].shape == (3, 64, 48)
    assert packed['inputs'].numpy().transpose(1, 2, 0).tobytes() == results['img'].tobytes()
    assert packed['data_samples'].id == 7
    assert packed['data_samples'].img_shape == (64, 48)
    assert list(packed['data_samples'].gt_instances.keys()) == []
    assert list(packed['data_samples'].gt_instance_labels.keys()) == []


@pytest.mark.parametrize('box', [None, [60, 40, 90, 80]])
def test_a_flip_behind_mirrors_the_part(box):
    image = picture(0)
    crop = RandomResizedBoxCrop((48, 64))
    flip = TRANSFORMS.build(dict(type='FastRandomFlip', prob=1.0, direction='horizontal'))
    np.random.seed(5)
    plain = crop(sample(image, box))['img']
    np.random.seed(5)
    flipped = flip(crop(sample(image, box)))
    assert flipped['flip'] is True
    assert np.array_equal(flipped['img'], plain[:, ::-1])
    assert flipped['img'].flags.c_contiguous


@pytest.mark.parametrize(
    ('boxes', 'message'),
    [
        ([[5, 5, 5, 9]], r'box \[5.0, .* in photo.png, annotation 7 has no area'),
        ([[NAN, 5, 9, 9]], r'annotation 7 is not finite'),
        ([[200, 5, 300, 9]], r'lies outside of the image of 160 x 120 px'),
        ([[5, 5, 9, 9]] * 2, r'RandomResizedBoxCrop cuts out of one box .*, got 2 boxes in photo'),
    ],
)
def test_boxes_that_do_not_fit_the_image(boxes, message):
    results = dict(sample(picture(0), id=7), bbox=np.array(boxes, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        RandomResizedBoxCrop((48, 64))(results)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(input_size=224),
        dict(input_size=(48.0, 64)),
        dict(input_size=(0, 64)),
        dict(input_size=(48, 64, 3)),
        dict(scale=(0, 1)),
        dict(scale=(0.2, 1.1)),
        dict(scale=(0.5, 0.2)),
        dict(scale=0.2),
        dict(ratio=(4 / 3, 3 / 4)),
        dict(ratio=(0, 1)),
        dict(ratio=(1, float('inf'))),
        dict(ratio=(NAN, 1)),
        dict(ratio=('1', 1)),
        dict(padding=0.9),
        dict(padding=NAN),
        dict(padding=None),
    ],
)
def test_bad_arguments_are_named(arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=rf'^{name} must be .* got {re.escape(repr(value))}\.$'):
        RandomResizedBoxCrop(**{'input_size': (48, 64), **arguments})


# --- as a whole ---


PIPELINE = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage', on_error='skip'),
    dict(type='RandomResizedBoxCrop', input_size=(48, 64)),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(type='PackPersonInputs'),
]


def epochs(dataset: dict, num_workers: int = 0, seed: int = 3, number: int = 1, **changes) -> list:
    """The batches of some epochs."""
    config = dict(
        batch_size=4,
        num_workers=num_workers,
        collate_fn=dict(type='stacked_collate'),
        sampler=dict(type='SeededSampler', shuffle=False),
        dataset=dict(dataset, pipeline=PIPELINE),
        **changes,
    )
    loader = Runner.build_dataloader(config, seed=seed)
    batches = []
    for epoch in range(number):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


@pytest.fixture
def both(data) -> dict:
    """Crops and whole images."""
    sources = [CROPS_OF_PEOPLE, {**CROPS_OF_PEOPLE, 'whole_images': True}]
    return dict(type='PretrainingImages', data_root=str(data), sources=sources)


def test_batches(both):
    batches = epochs(both)
    assert [tuple(batch['inputs'].shape) for batch in batches] == [(4, 3, 64, 48)] * 2
    assert all(batch['inputs'].dtype == torch.uint8 for batch in batches)
    samples = [each for batch in batches for each in batch['data_samples']]
    assert [each.img_id for each in samples] == [2, 1, 1, 1, 2, 1, 2, 3]
    assert [each.get('id') for each in samples[:4]] == [30, 12, 15, 17]
    assert {each.dataset_name for each in samples} == {'pretraining_images'}
    assert all(each.input_size == (48, 64) for each in samples)


@pytest.mark.parametrize('num_workers', [1, 2])
def test_the_number_of_workers_changes_nothing(both, num_workers):
    changes = dict(persistent_workers=True) if num_workers == 1 else {}
    batches = epochs(both, number=2)
    for alone, other in zip(batches, epochs(both, num_workers, number=2, **changes)):
        assert torch.equal(alone['inputs'], other['inputs'])
        assert all(
            np.array_equal(a.input_center, b.input_center) and a.flip == b.flip
            for a, b in zip(alone['data_samples'], other['data_samples'])
        )


def test_seeds_and_epochs_change_everything(both):
    first, _, again, _ = (batch['inputs'] for batch in epochs(both, number=2))
    other = epochs(both, seed=4)[0]['inputs']
    for batch in (again, other):
        assert not any(torch.equal(a, b) for a, b in zip(first, batch))


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'MultiDataset', 'RepeatDataset'])
def test_inside_of_wrappers(both, wrapper):
    plain = torch.cat([batch['inputs'] for batch in epochs(both)])
    inner = dict(both, pipeline=PIPELINE)
    if wrapper == 'MultiDataset':
        config = dict(type=wrapper, datasets=dict(a=inner, b=inner))
    elif wrapper == 'ConcatDataset':
        config = dict(type=wrapper, datasets=[inner, inner])
    else:
        config = dict(type=wrapper, dataset=inner, times=2)
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            collate_fn=dict(type='stacked_collate'),
            sampler=dict(type='SeededSampler', shuffle=False),
            dataset=config,
        ),
        seed=3,
    )
    found = torch.cat([batch['inputs'] for batch in loader])
    assert len(found) == 16
    assert torch.equal(found[:8], plain)
    assert not any(torch.equal(a, b) for a, b in zip(found[8:], plain))


def test_substitutes_say_what_they_stand_for(data, both):
    path = data / 'images' / 'one.png'
    path.write_bytes(path.read_bytes()[:1000])
    samples = [each for batch in epochs(both) for each in batch['data_samples']]
    assert [each.img_id for each in samples] == [2, 2, 2, 2, 2, 2, 2, 3]
    replaced = [index for index, each in enumerate(samples) if 'skipped_images' in each]
    assert replaced == [1, 2, 3, 5]
    assert {samples[index].skipped_images for index in replaced} == {(str(path),)}
    assert {each.dataset_name for each in samples} == {'pretraining_images'}


def test_validation_leaves_nothing_out(both):
    with pytest.raises(ValueError, match=r"a data set with test_mode=True needs on_error='raise'"):
        epochs(dict(both, test_mode=True))


def test_real_people(real_data_dir):
    sources = [
        dict(ann_file=f'{name}/person_keypoints_train.json', img_dir=f'{name}/images')
        for name in ('coco_persons', 'lsp_extended')
    ]
    config = dict(type='PretrainingImages', data_root=str(real_data_dir), sources=sources)
    dataset = DATASETS.build(config)
    # of 4498 and 1800 people, 18 have a side of less than 16 px
    assert len(dataset) == 4480 + 1800
    paths = [info['img_path'] for info in infos(dataset)]
    assert sum('/lsp_extended/images/' in path for path in paths) == 1800
    assert len(build(real_data_dir, *sources, min_side=0)) == 4498 + 1800
    assert len(build(real_data_dir, dict(sources[0], whole_images=True))) == 1666

    batch = epochs(dict(config, indices=[0, 4479, 4480, 6279]))[0]
    assert batch['inputs'].shape == (4, 3, 64, 48)
    assert [Path(each.img_path).parts[-3] for each in batch['data_samples']] == [
        *['coco_persons'] * 2,
        *['lsp_extended'] * 2,
    ]
    assert all('skipped_images' not in each for each in batch['data_samples'])
    assert batch['inputs'].float().std((1, 2, 3)).min() > 10
