import json
import re

import numpy as np
import pytest
from apt36k_release import ap10k_sources, make_release
from mmpose.datasets.datasets import AP10KDataset
from mmpose.evaluation import CocoMetric
from mmpose.registry import DATASETS

from vitpose_mm.datasets.apt36k import APT36KDataset
from vitpose_mm.datasets.apt36k_conversion import (
    convert_file,
    find_clips,
    normalized_file_name,
    repaired_annotation,
    split_of,
    split_release,
)

PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=(48, 64)),
    dict(type='PackPoseInputs'),
]
FLIP_INDICES = [1, 0, 2, 3, 4, 8, 9, 10, 5, 6, 7, 14, 15, 16, 11, 12, 13]


@pytest.fixture
def release(tmp_path) -> dict:
    return json.loads(make_release(tmp_path / 'release').read_text())


@pytest.fixture
def converted(tmp_path, real_data_dir):
    """Folder of the written files and of the images, real animals as frames of the clips."""
    sources = ap10k_sources(real_data_dir / 'ap10k')
    release = make_release(tmp_path, sources=sources)
    images = tmp_path / 'AP-36k-patr1'
    convert_file(release, images, images)
    return images


def build(converted, split, **options) -> APT36KDataset:
    return DATASETS.build(
        dict(
            type='APT36KDataset',
            data_root=str(converted),
            ann_file=f'{split}_annotations_1.json',
            data_prefix=dict(img=''),
            **options,
        )
    )


def test_meta_information_is_ap10ks_but_for_the_name():
    ours, theirs = APT36KDataset._load_metainfo(), AP10KDataset._load_metainfo()
    assert ours.pop('dataset_name') == 'apt36k'
    assert theirs.pop('dataset_name') == 'ap10k'
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    assert ours['flip_indices'] == FLIP_INDICES


@pytest.mark.parametrize(
    'file_name',
    [
        r'D:\Animal_pose\AP-36k-patr1\29wolf\v3c2\frame7.jpg',
        'D:/Animal_pose/AP-36k-patr2/29wolf/v3c2/frame7.jpg',
        r'29wolf\v3c2\\frame7.jpg',
        '29wolf/v3c2/frame7.jpg',
    ],
)
def test_file_names(file_name):
    assert normalized_file_name(file_name) == '29wolf/v3c2/frame7.jpg'
    with pytest.raises(ValueError, match=r"'v3c2/frame7.jpg' should end in species, clip and fr"):
        normalized_file_name('v3c2/frame7.jpg')


def test_split_is_fixed():
    expected = {
        'train': ['1deer/v1c1', '1deer/v3c1', '29wolf/v2c1', '6pig/v1c1', '29wolf/frame'],
        'val': ['1deer/v2c1', '29wolf/v10c2', '29wolf/v10c12', '3cat/v1c1', '3cat/v1c2'],
        'test': ['1deer/clip46√', '29wolf/v5c1', '6pig/v2c1', '6pig/v2c21太多'],
    }
    for split, clips in expected.items():
        assert [split_of(clip) for clip in clips] == [split] * len(clips)
    # 2400 clips of 30 species, as many as the release has
    splits = [
        split_of(f'{species}x/v{video}c{clip}')
        for species in range(30)
        for video in range(20)
        for clip in range(4)
    ]
    assert [splits.count(split) for split in ('train', 'val', 'test')] == [1656, 232, 512]


def test_release_is_split_by_clip(release):
    splits = split_release(release)
    files = {
        name: [image['file_name'] for image in split['images']] for name, split in splits.items()
    }
    assert files == {
        'train': [
            '29wolf/v2c1/frame1.jpg',
            '29wolf/v2c1/frame2.jpg',
            '6pig/v1c1/frame1.jpg',
            '6pig/v1c1/frame2.jpg',
        ],
        'val': ['29wolf/v10c2/frame1.jpg', '29wolf/v10c2/frame2.jpg', '3cat/v1c1/frame1.jpg'],
        'test': ['29wolf/v5c1/frame1.jpg', '29wolf/v5c1/frame2.jpg'],
    }
    seen = []
    for split in splits.values():
        image_ids = {image['id'] for image in split['images']}
        assert {annotation['image_id'] for annotation in split['annotations']} == image_ids
        assert split['categories'] == release['categories'] and split['info'] == release['info']
        seen += split['annotations']
    seen.sort(key=lambda annotation: annotation['id'])
    assert len(seen) == len(release['annotations'])
    for before, after in zip(release['annotations'], seen):
        assert 'is_crowd' not in after and after['iscrowd'] == 0
        for key in ('id', 'image_id', 'category_id', 'track_id', 'bbox', 'keypoints'):
            assert after[key] == before[key]
    assert release['images'][0]['file_name'].startswith('D:\\')  # the input is left alone

    # and a clip stays where it is without the others
    release['images'] = release['images'][2:4]
    release['annotations'] = [item for item in release['annotations'] if item['image_id'] in (3, 4)]
    alone = split_release(release)
    assert len(alone['train']['images']) == 2 and not alone['val']['images']


def test_repairs():
    keypoints = [1, 2, 2, 3, 4, 1, 0, 0, 0] + [0] * 42
    annotation = {'id': 7, 'bbox': [5, 6, 10, 20], 'keypoints': keypoints, 'num_keypoints': 9}
    repaired = repaired_annotation({**annotation, 'is_crowd': 1})
    assert repaired == {**annotation, 'num_keypoints': 2, 'iscrowd': 1, 'area': 200}
    assert repaired_annotation({**annotation, 'iscrowd': 1, 'area': 9.5})['area'] == 9.5
    assert repaired_annotation(annotation)['iscrowd'] == 0


@pytest.mark.parametrize('offset', [-1, 0])
def test_ids_that_cannot_be_told_apart_are_numbered_anew(release, offset):
    count = len(release['annotations'])
    for annotation in release['annotations']:
        annotation['id'] += offset
    if offset == 0:
        release['annotations'][0]['id'] = count
    splits = split_release(release)
    ids = [item['id'] for split in splits.values() for item in split['annotations']]
    assert sorted(ids) == list(range(1, count + 1))


def edited(release, kind, index, **changes):
    for key, value in changes.items():
        if value is ...:
            del release[kind][index][key]
        else:
            release[kind][index][key] = value
    return release


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda release: [], 'no list of images and annotations and categories; wanted is apt36k'),
        (lambda release: {**release, 'images': {}}, 'no list of images; wanted is apt36k'),
        (
            lambda release: edited(release, 'images', 1, width=..., height=...),
            'image 1 of the list has no width, height',
        ),
        (
            lambda release: edited(release, 'annotations', 2, bbox=...),
            'annotation 2 of the list has no bbox',
        ),
        (lambda release: edited(release, 'images', 1, id=1), 'image id 1 is there twice'),
        (
            lambda release: edited(release, 'annotations', 2, image_id=99),
            'annotation 3 is of image 99, which is not among the 9 images',
        ),
        (
            lambda release: edited(release, 'annotations', 0, keypoints=[0] * 48),
            'annotation 1 has 16 keypoints; wanted are 17, each x, y and visibility',
        ),
        (
            lambda release: edited(release, 'annotations', 0, bbox=[1, 2, 3]),
            'annotation 1 has bbox [1, 2, 3]; wanted is [left, top, width, height]',
        ),
        (
            lambda release: edited(release, 'images', 0, file_name='frame1.jpg'),
            "file_name 'frame1.jpg' should end in species, clip and frame",
        ),
        (
            lambda release: edited(release, 'images', 1, file_name='E:/29wolf/v5c1/frame1.jpg'),
            r"'D:\\Animal_pose\\AP-36k-patr1\\29wolf\\v5c1\\frame1.jpg' and "
            "'E:/29wolf/v5c1/frame1.jpg' would both be '29wolf/v5c1/frame1.jpg'",
        ),
        (lambda release: {**release, 'images': []}, 'the list of images is empty'),
        (
            lambda release: {**release, 'images': [1]},
            'image 0 of the list is 1; wanted is an object with id, file_name, width, height',
        ),
        (
            lambda release: edited(release, 'images', 2, file_name=None),
            'image 2 of the list has file_name None; wanted is text',
        ),
        (
            lambda release: edited(release, 'images', 2, id='3'),
            "image 2 of the list has id '3'; wanted is a whole number",
        ),
        (
            lambda release: edited(release, 'annotations', 0, bbox=None),
            'annotation 0 of the list has bbox None; wanted is a list',
        ),
        (
            lambda release: edited(release, 'annotations', 3, keypoints=None),
            'annotation 3 of the list has keypoints None; wanted is a list',
        ),
        (
            lambda release: edited(release, 'annotations', 0, bbox=[0, 0, None, 1]),
            'annotation 1 has None in its bbox; wanted are numbers',
        ),
        (
            lambda release: edited(release, 'annotations', 0, keypoints=[0, 0, '2'] * 17),
            "annotation 1 has '2' in its keypoints; wanted are numbers",
        ),
        (
            lambda release: edited(release, 'annotations', 0, is_crowd=None),
            'annotation 1 has None in its iscrowd; wanted are numbers',
        ),
    ],
)
def test_bad_releases(release, tmp_path, edit, message):
    file = tmp_path / 'bad.json'
    file.write_text(json.dumps(edit(release)))
    with pytest.raises(ValueError, match='^' + re.escape(f'{file}: {message}')):
        convert_file(file, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_no_json_and_no_file(tmp_path):
    file = tmp_path / 'cut.json'
    file.write_text('{"images": [')
    with pytest.raises(ValueError, match=f'{file} is not JSON: '):
        convert_file(file, tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        convert_file(tmp_path / 'nowhere.json', tmp_path / 'out')


def test_images_are_looked_for(tmp_path):
    release = make_release(tmp_path)
    images = tmp_path / 'AP-36k-patr1'
    (images / '29wolf/v5c1/frame2.jpg').unlink()
    (images / '3cat/v1c1/frame1.jpg').unlink()
    message = f'2 of 9 images are not below {images}: 3cat/v1c1/frame1.jpg, 29wolf/v5c1/frame2.jpg.'
    with pytest.raises(FileNotFoundError, match=message):
        convert_file(release, tmp_path / 'out', images)
    with pytest.raises(ValueError, match=f"images '{tmp_path}/none' is not a folder"):
        convert_file(release, tmp_path / 'out', tmp_path / 'none')
    assert not (tmp_path / 'out').exists()
    assert convert_file(release, tmp_path / 'out')['test'].num_images == 2


def test_clips_whose_names_unpacking_has_changed(tmp_path):
    on_disk = [
        '1deer/clip46\udca1\udccc',  # raw bytes of the Chinese code page
        '6pig/v2c21╠л╢',
        '6pig/v2c2',
        '29wolf/frame',
        '29wolf/frameиpиm',
        '3cat/v1é',
        '3cat/v1è',
        '17raccoon/v1c1',
        'annotations',
    ]
    for folder in on_disk:
        (tmp_path / folder).mkdir(parents=True)
    found = find_clips(
        ['1deer/clip46√', '6pig/v2c21太多', '6pig/v2c2', '29wolf/frame', '29wolf/frame╬╩╠Γ',
         '3cat/v1√', '17raccon/v1c1', '18cow/v1c1', 'cow/v1c1'],
        tmp_path,
    )  # fmt: skip
    assert found == {
        '1deer/clip46√': '1deer/clip46\udca1\udccc',
        '6pig/v2c21太多': '6pig/v2c21╠л╢',
        '6pig/v2c2': '6pig/v2c2',
        '29wolf/frame': '29wolf/frame',
        '29wolf/frame╬╩╠Γ': '29wolf/frameиpиm',
        '3cat/v1√': '3cat/v1√',  # two would fit
        '17raccon/v1c1': '17raccoon/v1c1',
        '18cow/v1c1': '18cow/v1c1',
        'cow/v1c1': 'cow/v1c1',
    }


def test_names_on_disk_are_written_and_can_be_opened(tmp_path):
    release = make_release(tmp_path, {'1deer/clip46√': 1, '29wolf/v10c2': 1})
    images, on_disk = tmp_path / 'AP-36k-patr1', '1deer/clip46\udca1\udccc'
    (images / '1deer/clip46√').rename(images / on_disk)
    convert_file(release, images, images)
    (image,) = json.loads((images / 'test_annotations_1.json').read_text())['images']
    assert image['file_name'] == f'{on_disk}/frame1.jpg'
    sample = build(images, 'test', pipeline=[dict(type='LoadCheckedImage')])[0]
    assert sample['img'].shape == (90, 120, 3)


def test_dataset_reads_what_was_written(converted, real_data_dir):
    sources = ap10k_sources(real_data_dir / 'ap10k')
    dataset = build(converted, 'train', pipeline=PIPELINE)
    assert dataset.metainfo['dataset_name'] == 'apt36k'
    # Frames take the images in turn; the clips for train begin with the third and the eighth.
    expected = [
        (f'{clip}/frame{frame}.jpg', animal)
        for clip, first in (('29wolf/v2c1', 2), ('6pig/v1c1', 7))
        for frame in (1, 2)
        for animal in sources[(first + frame - 1) % len(sources)][1]
    ]
    assert len(dataset) == len(expected) == 4  # one animal in each image
    for index, (file_name, animal) in enumerate(expected):
        info = dataset.get_data_info(index)
        truth = np.float32(animal['keypoints']).reshape(1, 17, 3)
        assert info['img_path'] == str(converted / file_name)
        assert np.array_equal(info['keypoints'], truth[..., :2])
        assert np.array_equal(info['keypoints_visible'], truth[..., 2].clip(max=1))
        left, top, width, height = animal['bbox']
        assert info['bbox'].tolist() == [[left, top, left + width, top + height]]
        assert info['flip_indices'] == FLIP_INDICES and info['dataset_name'] == 'apt36k'
    packed = dataset[0]
    assert packed['inputs'].shape == (3, 64, 48) and packed['inputs'].float().std() > 10


def test_metric_reads_what_was_written(converted):
    """The truth as prediction gets 1; a crowd flag under its old name would raise."""
    dataset = build(converted, 'val', test_mode=True, pipeline=PIPELINE)
    metric = CocoMetric(str(converted / 'val_annotations_1.json'))
    metric.dataset_meta = dataset.metainfo
    samples = []
    for sample in dataset:
        sample = sample['data_samples'].to_dict()
        truth = sample['gt_instances']
        sample['pred_instances'] = dict(
            keypoints=truth['keypoints'],
            keypoint_scores=np.ones((1, 17)),
            bbox_scores=np.ones(1),
        )
        samples.append(sample)
    metric.process([], samples)
    scores = metric.evaluate(len(samples))
    assert scores['coco/AP'] == pytest.approx(1) and scores['coco/AR'] == pytest.approx(1)
