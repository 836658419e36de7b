"""Data sets side by side: samples keep what is theirs."""

import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.registry import DATASETS, TRANSFORMS
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix

from vitpose_mm.datasets import MultiDataset, TopdownAffineByCodec, in_order
from vitpose_mm.datasets.image_sets import read_image_set
from vitpose_mm.datasets.leakage import audit
from vitpose_mm.report import write_json

UDP = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
PLAIN = dict(UDP, type='BatchedMSRAHeatmap')
PIPELINE = [
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='TopdownAffineByCodec', codecs=dict(coco=UDP, crowdpose=PLAIN)),
    dict(type='PackPersonInputs', pack_transformed=True),
]


def write(folder, num_keypoints: int, num_people: int):
    folder.mkdir()
    image = np.random.default_rng(num_keypoints).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / 'picture.png'), image)
    people = [
        dict(
            id=i + 1,
            image_id=1,
            category_id=1,
            iscrowd=0,
            bbox=[10, 10, 40, 50],
            num_keypoints=num_keypoints,
            keypoints=[20.0 + i, 30.0, 2] * num_keypoints,
        )
        for i in range(num_people)
    ]
    content = dict(
        images=[dict(id=1, file_name='picture.png', width=90, height=80)],
        annotations=people,
        categories=[dict(id=1, name='person')],
    )
    (folder / 'people.json').write_text(json.dumps(content))


def config(folder, kind: str, **options) -> dict:
    return dict(type=kind, data_root=str(folder), ann_file='people.json', **options)


@pytest.fixture
def folders(tmp_path):
    write(tmp_path / 'coco', 17, 3)
    write(tmp_path / 'crowdpose', 14, 2)
    return tmp_path


def build(folders, **options) -> MultiDataset:
    parts = dict(
        crowd=config(folders / 'coco', 'CocoDataset', **options),
        other=config(folders / 'crowdpose', 'CrowdPoseDataset', **options),
    )
    return DATASETS.build(dict(type='MultiDataset', datasets=parts, pipeline=PIPELINE))


def test_samples_keep_their_keypoints_flip_pairs_and_crop(folders):
    data = build(folders)
    assert data.lengths() == dict(crowd=3, other=2)
    samples = [data[index]['data_samples'] for index in range(5)]
    assert [s.metainfo['dataset_name'] for s in samples] == ['coco'] * 3 + ['crowdpose'] * 2
    assert [s.gt_instances.keypoints.shape[1] for s in samples] == [17] * 3 + [14] * 2
    for sample, name in ((samples[0], 'coco'), (samples[3], 'crowdpose')):
        assert sample.metainfo['flip_indices'] == data.metainfo['sources'][name]['flip_indices']
    center, scale = samples[0].metainfo['input_center'], samples[0].metainfo['input_scale']
    for index, matrix in ((0, get_udp_warp_matrix), (3, get_warp_matrix)):
        found = samples[index].gt_instances.transformed_keypoints[0, 0]
        expected = matrix(center, scale, 0, (48, 64)) @ [20.0, 30.0, 1]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert data.metainfo['dataset_name'] == 'coco'
    assert list(data.metainfo['sources']) == ['coco', 'crowdpose']


def test_a_part_may_have_a_pipeline_of_its_own(folders):
    parts = dict(
        crowd=config(folders / 'coco', 'CocoDataset'),
        other=config(folders / 'crowdpose', 'CrowdPoseDataset', pipeline=PIPELINE[:2]),
    )
    data = MultiDataset(parts, PIPELINE)
    assert 'inputs' in data[0]
    assert data[3]['img'].shape == (80, 90, 3)


def test_images_of_evaluation_sets_are_left_out(folders):
    train = json.loads((folders / 'crowdpose/people.json').read_text())
    other = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(folders / 'crowdpose/other.png'), other)
    train['images'].append(dict(train['images'][0], id=2, file_name='other.png'))
    train['annotations'].append(dict(train['annotations'][0], id=3, image_id=2))
    shutil.copytree(folders / 'crowdpose', folders / 'val')  # without the other picture
    (folders / 'crowdpose/people.json').write_text(json.dumps(train))
    sets = {
        name: read_image_set(f'{folders}/{name}/people.json:{folders}/{name}')
        for name in ('coco', 'crowdpose', 'val')
    }
    report = str(folders / 'leakage.json')
    write_json(audit([sets['coco'], sets['crowdpose']], [sets['val']]), report)
    parts = dict(
        crowd=config(folders / 'coco', 'CocoDataset'),
        other=config(folders / 'crowdpose', 'CrowdPoseDataset'),
    )
    assert MultiDataset(parts, PIPELINE).lengths() == dict(crowd=3, other=3)
    data = MultiDataset(parts, PIPELINE, report)
    assert data.lengths() == dict(crowd=3, other=1)
    assert len(data) == 4
    assert data[3]['data_samples'].metainfo['img_path'].endswith('other.png')


def test_evaluated_data_sets_need_names_of_their_own(folders):
    parts = dict(
        one=config(folders / 'coco', 'CocoDataset', test_mode=True),
        two=config(folders / 'coco', 'CocoDataset', test_mode=True),
    )
    with pytest.raises(ValueError, match=r"different dataset_names, got \['coco', 'coco'\]"):
        MultiDataset(parts)
    for part in parts.values():
        part['test_mode'] = False
    assert len(MultiDataset(parts)) == 6


@pytest.mark.parametrize('datasets', [{}, [], None, [dict(type='CocoDataset')]])
def test_no_data_sets(datasets):
    with pytest.raises(ValueError, match='configs of data sets by label, at least one, got'):
        MultiDataset(datasets)


def test_no_config_of_a_data_set():
    with pytest.raises(ValueError, match=r"datasets\['coco'\] must be the config of a data set"):
        MultiDataset(dict(coco='data/coco'))


def test_written_configs_do_not_mix_up_flip_pairs(folders, tmp_path):
    """mmengine writes the numbers of keypoints sorted as text: 0, 1, 10, ..."""
    names = [f'{side}_{i}' for i in range(6) for side in ('left', 'right')]
    swap = {'left': 'right', 'right': 'left'}
    metainfo = dict(
        dataset_name='own',
        keypoint_info={
            i: dict(name=n, id=i, swap='_'.join([swap[n.split('_')[0]], n.split('_')[1]]))
            for i, n in enumerate(names)
        },
        skeleton_info={},
        joint_weights=[1.0] * 12,
        sigmas=[0.05] * 12,
    )
    Config(dict(metainfo=metainfo)).dump(tmp_path / 'config.py')
    written = Config.fromfile(tmp_path / 'config.py').metainfo
    expected = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    assert list(in_order(written)['keypoint_info']) == list(range(12))
    write(folders / 'own', 12, 1)
    data = MultiDataset(dict(own=config(folders / 'own', 'CocoDataset', metainfo=written)))
    assert data.metainfo['flip_indices'] == expected
    alone = DATASETS.build(config(folders / 'own', 'CocoDataset', metainfo=written))
    assert alone.metainfo['flip_indices'] != expected, 'mmpose may do without in_order'


@pytest.mark.parametrize(
    ('codecs', 'message'),
    [
        (dict(a=UDP, b=dict(PLAIN, input_size=(96, 128))), 'have one input_size, got'),
        (dict(a=dict(UDP, type='NoCodec')), 'of registered types'),
        ({}, 'have one input_size'),
    ],
)
def test_bad_codecs_are_named(codecs, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type='TopdownAffineByCodec', codecs=codecs))


def test_crop_of_the_chosen_data_set():
    chosen = TopdownAffineByCodec(dict(coco=UDP, aic=PLAIN), dataset='aic')
    assert not chosen.uses_udp('coco')
    free = TopdownAffineByCodec(dict(coco=UDP, aic=PLAIN))
    assert free.uses_udp('coco')
    with pytest.raises(ValueError, match=r"knows the codecs of \['coco', 'aic'\], not that of 'x'"):
        free.transform(dict(dataset_name='x'))


def test_a_part_must_be_a_data_set_itself(folders):
    inner = config(folders / 'coco', 'CocoDataset')
    for part in (dict(type='RepeatDataset', dataset=inner, times=2), dict(type='NoDataset')):
        with pytest.raises(ValueError, match=r"datasets\['twice'\] must be a data set itself"):
            MultiDataset(dict(twice=part))


def test_nobody_is_left_out_of_an_evaluation(folders):
    parts = dict(coco=config(folders / 'coco', 'CocoDataset', test_mode=True))
    with pytest.raises(ValueError, match=r"is for training: .* left out of \['coco'\] as missed"):
        MultiDataset(parts, leave_out='leakage.json')
