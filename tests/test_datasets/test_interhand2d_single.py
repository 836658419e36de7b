import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpose.datasets.datasets import InterHand2DDoubleDataset
from mmpose.evaluation import AUC, EPE, PCKAccuracy
from mmpose.registry import DATASETS

from vitpose_mm.datasets.interhand2d_single import InterHand2DSingleDataset, project, valid_joints

FILES = dict(
    ann_file='annotations/all/InterHand2.6M_train_data.json',
    camera_param_file='annotations/all/InterHand2.6M_train_camera.json',
    joint_file='annotations/all/InterHand2.6M_train_joint_3d.json',
)
PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.5),
    dict(type='TopdownAffine', input_size=(48, 64)),
    dict(type='PackPoseInputs'),
]
# It stands 500 mm before the plane z = 0 and is turned by 90 degrees, so that a joint (x, y, 0) is
# seen at (200 + 1000 (y - 20) / 500, 150 - 500 (x - 10) / 500) = (160 + 2 y, 160 - x).
CAMERA = dict(
    campos=[10.0, 20.0, -500.0],
    camrot=[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    focal=[1000.0, 500.0],
    princpt=[200.0, 150.0],
)
RIGHT_WORLD = [[10.0 + k, 20.0 + 2 * k, 0.0] for k in range(21)]
LEFT_WORLD = [[60.0 + k, 20.0 - k, 0.0] for k in range(21)]
RIGHT = [[200 + 4 * k, 150 - k] for k in range(21)]
LEFT = [[200 - 2 * k, 100 - k] for k in range(21)]

ALL = [1] * 21
TWELVE = [int(5 <= k <= 15 or k == 20) for k in range(21)]
ELEVEN = [int(5 <= k <= 14 or k == 20) for k in range(21)]
NO_WRIST = [1] * 20 + [0]
HANDS = [('interacting', ALL + ALL), ('right', TWELVE + NO_WRIST), ('left', ELEVEN + ELEVEN)]


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images of one capture, of two hands, one and none that have enough valid joints."""
    images, annotations = [], []
    image_folder = tmp_path / 'images/train/Capture0/0390_dh_touchROM/cam410209'
    image_folder.mkdir(parents=True)
    for index, (hand_type, joint_valid) in enumerate(HANDS):
        noise = np.random.default_rng(index).integers(0, 255, (300, 400, 3), dtype=np.uint8)
        path = image_folder / f'image{index}.jpg'
        cv2.imwrite(str(path), noise)
        images.append(
            {
                'id': index,
                'file_name': str(path.relative_to(tmp_path / 'images/train')),
                'width': 400,
                'height': 300,
                'capture': 0,
                'subject': 3,
                'seq_name': '0390_dh_touchROM',
                'camera': '410209',
                'frame_idx': 62434,
            }
        )
        annotations.append(
            {
                'id': 10 + index,
                'image_id': index,
                'category_id': 1,
                'bbox': [150, 70, 140, 90],
                'joint_valid': [[valid] for valid in joint_valid],
                'hand_type': hand_type,
                'hand_type_valid': 1,
                'iscrowd': 0,
            }
        )
    contents = dict(
        ann_file=dict(
            images=images, annotations=annotations, categories=[{'id': 1, 'name': 'hand'}]
        ),
        camera_param_file={'0': {key: {'410209': value} for key, value in CAMERA.items()}},
        joint_file={'0': {'62434': {'world_coord': RIGHT_WORLD + LEFT_WORLD}}},
    )
    for argument, content in contents.items():
        path = tmp_path / FILES[argument]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path


def build(root, **options) -> InterHand2DSingleDataset:
    return DATASETS.build(
        dict(
            type='InterHand2DSingleDataset',
            data_root=str(root),
            data_prefix=dict(img='images/train'),
            **{**FILES, **options},
        )
    )


def edit(root, argument, change) -> None:
    path = root / FILES[argument]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_projection():
    np.testing.assert_allclose(project(np.array(RIGHT_WORLD), CAMERA), RIGHT, atol=1e-6)
    np.testing.assert_allclose(project(np.array(LEFT_WORLD), CAMERA), LEFT, atol=1e-6)
    # twice as far from the camera, half as far from its principal point
    far = np.array([[30.0, 60.0, 500.0]])
    np.testing.assert_allclose(project(far, CAMERA), [[200 + 40, 150 - 10]], atol=1e-6)


def test_joints_count_with_their_wrist_only():
    assert valid_joints(ALL + NO_WRIST).tolist() == [ALL, [0] * 21]
    assert valid_joints([[2 * value] for value in NO_WRIST + TWELVE]).tolist() == [[0] * 21, TWELVE]
    with pytest.raises(ValueError, match='joint_valid has 21 numbers instead of 42'):
        valid_joints(ALL)


def test_each_hand_with_enough_joints_is_a_sample(root):
    dataset = build(root)
    expected = [  # id, image, joints, valid ones, box
        (20, 0, RIGHT, ALL, [200, 130, 280, 150]),
        (21, 0, LEFT, ALL, [160, 80, 200, 100]),
        (22, 1, RIGHT, TWELVE, [220, 130, 280, 145]),
    ]
    assert len(dataset) == 3
    for index, (sample_id, image, joints, valid, box) in enumerate(expected):
        info = dataset.get_data_info(index)
        assert (info['id'], info['img_id']) == (sample_id, image)
        assert info['img_path'].endswith(
            f'/images/train/Capture0/0390_dh_touchROM/cam410209/image{image}.jpg'
        )
        np.testing.assert_allclose(info['keypoints'], [joints], atol=1e-3)
        assert info['keypoints_visible'].tolist() == [valid]
        np.testing.assert_allclose(info['bbox'], [box], atol=1e-3)
        assert info['num_keypoints'] == sum(valid)
        assert info['keypoints'].dtype == info['keypoints_visible'].dtype == np.float32
        assert info['dataset_name'] == 'interhand2d'
        assert info['flip_indices'] == list(range(21))
    assert dataset.metainfo['keypoint_id2name'][20] == 'wrist'
    assert dataset.metainfo['keypoint_id2name'][0] == 'thumb4'


def test_pixels_are_those_of_mmposes_pairs(root):
    pairs = InterHand2DDoubleDataset(
        data_root=str(root), data_prefix=dict(img='images/train'), **FILES
    )
    ours = build(root)
    both = np.concatenate([ours.get_data_info(index)['keypoints'] for index in (0, 1)], axis=1)
    np.testing.assert_allclose(both, pairs.get_data_info(0)['keypoints'], atol=1e-3)


def test_pipeline_and_metrics(root):
    dataset = build(root, pipeline=PIPELINE, test_mode=True)
    samples = []
    for packed in dataset:
        assert packed['inputs'].shape == (3, 64, 48) and packed['inputs'].float().std() > 10
        sample = packed['data_samples'].to_dict()
        sample['pred_instances'] = dict(keypoints=sample['gt_instances']['keypoints'] + (3, 4))
        samples.append(sample)
    np.testing.assert_allclose(samples[0]['input_center'], [240, 140], atol=1e-3)
    # 80 x 20 px, padded by 1.5, and of the input's shape
    np.testing.assert_allclose(samples[0]['input_scale'], [120, 160], atol=1e-3)

    def score(metric):
        metric.process([], samples)
        return metric.evaluate(len(samples))

    # Every joint is 5 px off: within 16 of AUC's 20 thresholds, which are multiples of 1.5 px.
    assert score(EPE())['EPE'] == pytest.approx(5, abs=1e-4)
    assert score(AUC())['AUC'] == pytest.approx(16 / 20)
    # The boxes' longer sides are 80, 40 and 60 px, so that the second hand's joints are wrong, and
    # nine joints of the third do not count.
    assert score(PCKAccuracy(thr=0.1))['PCK'] == pytest.approx((12 * 2 / 3 + 9 / 2) / 21)
    assert score(PCKAccuracy(thr=0.2))['PCK'] == pytest.approx(1)


def test_interval_crowds_and_late_reading(root):
    assert [sample['id'] for sample in build(root, sample_interval=2)] == [20, 21]
    edit(root, 'ann_file', lambda content: content['annotations'][0].update(iscrowd=1))
    assert [sample['id'] for sample in build(root)] == [22]
    dataset = build(root, ann_file='later.json', lazy_init=True)
    (root / FILES['ann_file']).rename(root / 'later.json')
    assert len(dataset) == 1


@pytest.mark.parametrize('argument', FILES)
def test_files_that_cannot_be_read(root, argument):
    with pytest.raises(ValueError, match=f'needs {argument}, the path of a JSON file'):
        build(root, **{argument: ''})
    message = re.escape(f'{argument} {root}/nowhere.json does not exist')
    with pytest.raises(FileNotFoundError, match=f'^{message}'):
        build(root, **{argument: 'nowhere.json'})
    (root / FILES[argument]).write_text('{')
    message = re.escape(f'{argument} {root / FILES[argument]} is not JSON')
    with pytest.raises(ValueError, match=f'^{message}'):
        build(root)


@pytest.mark.parametrize(
    ('argument', 'change', 'message'),
    [
        ('ann_file', lambda content: content.pop('annotations'), '{path} has no annotations'),
        (
            'ann_file',
            lambda content: content['annotations'][1].update(image_id=99),
            'annotation 11 of ann_file {path} is of image 99, which is not among the images',
        ),
        ('ann_file', lambda content: content['images'][0].pop('camera'), '{path} has no camera'),
        (
            'camera_param_file',
            lambda content: content['0']['focal'].clear(),
            'camera_param_file {path} has no 0/focal/410209',
        ),
        (
            'joint_file',
            lambda content: content['0'].clear(),
            'joint_file {path} has no 0/62434',
        ),
        (
            'joint_file',
            lambda content: content['0']['62434'].update(world_coord=RIGHT_WORLD),
            'world_coord of capture 0, frame 62434 in joint_file {path} has shape (21, 3)',
        ),
    ],
)
def test_files_that_do_not_fit(root, argument, change, message):
    edit(root, argument, change)
    with pytest.raises(ValueError, match=re.escape(message.format(path=root / FILES[argument]))):
        build(root)


def test_detected_boxes_are_refused(root):
    with pytest.raises(ValueError, match=r"bbox_file='boxes.json' is of no use here"):
        build(root, bbox_file='boxes.json', test_mode=True)
