"""Meta information that is inferred from names agrees with mmpose's where it has one."""

import warnings

import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from vitpose_mm.own_data import infer_metainfo
from vitpose_mm.own_data.lsp import KEYPOINT_NAMES as LSP
from vitpose_mm.own_data.meta import DEFAULT_SIGMA, Joint, body_half, pair_names


def of_mmpose(name: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))


def names_of(parsed: dict) -> list:
    return [parsed['keypoint_id2name'][index] for index in range(parsed['num_keypoints'])]


def inferred(names, **options) -> tuple[dict, list]:
    """Parsed meta information, and notes."""
    metainfo, notes = infer_metainfo('mine', names, **options)
    return parse_pose_metainfo(metainfo), notes


# --- against mmpose ---

DATASETS = ('coco', 'mpii', 'aic', 'crowdpose', 'ap10k', 'coco_wholebody')


@pytest.mark.parametrize('name', [*DATASETS, 'halpe26', 'posetrack18', 'animalpose', 'macaque'])
def test_flip_indices_are_those_of_mmpose(name):
    expected = of_mmpose(name)
    parsed, _ = inferred(names_of(expected))
    assert parsed['flip_indices'] == expected['flip_indices']
    assert sorted(map(sorted, parsed['flip_pairs'])) == sorted(map(sorted, expected['flip_pairs']))
    assert parsed['num_keypoints'] == expected['num_keypoints']


@pytest.mark.parametrize('name', ['coco', 'crowdpose', 'ap10k', 'coco_wholebody'])
def test_sigmas_are_those_of_mmpose(name):
    expected = of_mmpose(name)
    parsed, notes = inferred(names_of(expected))
    np.testing.assert_array_equal(parsed['sigmas'], expected['sigmas'])
    assert not any('sigma' in note for note in notes)


@pytest.mark.parametrize('name', ['coco', 'mpii', 'aic', 'crowdpose', 'halpe26', 'animalpose'])
def test_halves_of_the_body_are_those_of_mmpose(name):
    expected = of_mmpose(name)
    parsed, _ = inferred(names_of(expected))
    assert parsed['upper_body_ids'] == expected['upper_body_ids']
    assert parsed['lower_body_ids'] == expected['lower_body_ids']


@pytest.mark.parametrize('name', ['coco', 'coco_wholebody'])
def test_links_are_those_of_mmpose(name):
    expected = of_mmpose(name)
    parsed, notes = inferred(names_of(expected))
    assert parsed['skeleton_links'] == expected['skeleton_links']
    if name == 'coco':
        limbs = [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]  # mmpose has all of the face in blue
        np.testing.assert_array_equal(
            parsed['skeleton_link_colors'][limbs], expected['skeleton_link_colors'][limbs]
        )
        np.testing.assert_array_equal(
            parsed['dataset_keypoint_weights'], expected['dataset_keypoint_weights']
        )
        np.testing.assert_array_equal(
            parsed['keypoint_colors'][5:], expected['keypoint_colors'][5:]
        )
        assert notes == []


def test_mpii_has_cocos_sigmas_for_cocos_joints():
    expected = of_mmpose('mpii')
    sigmas, _ = inferred(names_of(expected))
    same = dict(zip(names_of(expected), expected['sigmas']))
    same.update(left_knee=0.087, right_knee=0.087, left_shoulder=0.079, right_shoulder=0.079)
    np.testing.assert_allclose(sigmas['sigmas'], list(same.values()), rtol=1e-6)


def test_lsp():
    parsed, notes = inferred(LSP)
    assert parsed['flip_indices'] == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
    np.testing.assert_allclose(
        parsed['sigmas'][:3].tolist() + parsed['sigmas'][12:].tolist(),
        [0.089, 0.087, 0.107, 0.079, 0.026],
        rtol=1e-6,
    )
    assert parsed['lower_body_ids'] == [0, 1, 2, 3, 4, 5]
    assert (13, 12) in parsed['skeleton_links']
    assert notes == []


def test_files_of_crowdpose_and_aic_have_other_names():
    crowdpose = of_mmpose('crowdpose')
    parsed, _ = inferred([*names_of(crowdpose)[:12], 'head', 'neck'])
    np.testing.assert_array_equal(parsed['sigmas'], crowdpose['sigmas'])
    aic = of_mmpose('aic')
    written = [name.replace('_', ' ').capitalize() for name in names_of(aic)]
    assert written[0] == 'Right shoulder'
    assert inferred(written)[0]['flip_indices'] == aic['flip_indices']


def test_animals_in_words():
    ap10k = of_mmpose('ap10k')
    words = ['left_eye', 'right_eye', 'nose', 'neck', 'root_of_tail']
    for side in ('left', 'right'):
        words += [f'{side}_shoulder', f'{side}_elbow', f'{side}_front_paw']
    for side in ('left', 'right'):
        words += [f'{side}_hip', f'{side}_knee', f'{side}_back_paw']
    parsed, _ = inferred(words)
    np.testing.assert_array_equal(parsed['sigmas'], ap10k['sigmas'])
    assert parsed['flip_indices'] == ap10k['flip_indices']


# --- pairs ---


@pytest.mark.parametrize(
    'left, right',
    [
        ('left_knee', 'right_knee'),
        ('knee_left', 'knee_right'),
        ('l_knee', 'r_knee'),
        ('lknee', 'rknee'),
        ('LKnee', 'RKnee'),
        ('L_Knee', 'R_Knee'),
        ('LeftKnee', 'RightKnee'),
        ('leftKnee', 'rightKnee'),
        ('leftknee', 'rightknee'),
        ('left knee', 'right knee'),
        ('Left-Knee', 'Right-Knee'),
        ('LEFT_KNEE', 'RIGHT_KNEE'),
        ('Knee.L', 'Knee.R'),
        ('kneeL', 'kneeR'),
        ('kneel', 'kneer'),
    ],
)
def test_pairs_are_found_however_written(left, right):
    partners, joints = pair_names(['nose', right, left])
    assert partners == [0, 2, 1]
    assert joints == [Joint('', 'nose'), Joint('right', 'knee'), Joint('left', 'knee')]
    parsed, notes = inferred(['nose', right, left])
    assert parsed['flip_indices'] == [0, 2, 1]
    np.testing.assert_allclose(parsed['sigmas'], [0.026, 0.087, 0.087], rtol=1e-6)
    assert parsed['lower_body_ids'] == [1, 2]
    assert parsed['keypoint_colors'].tolist() == [[51, 153, 255], [255, 128, 0], [0, 255, 0]]
    assert notes == ['no skeleton: keypoints are drawn without links']


@pytest.mark.parametrize(
    'names, partners',
    [
        (['left_finger_1', 'left_finger_2', 'right_finger_2', 'right_finger_1'], [3, 2, 1, 0]),
        (['left_thumb1', 'right_thumb1', 'left_thumb2'], [1, 0, 2]),
        # letters alone are not enough without a partner
        (['lip', 'ring', 'heel', 'rear'], [0, 1, 2, 3]),
        (['upright', 'leftover'], [0, 1]),
        (['medial_left_bow', 'lateral_left_bow', 'medial_right_bow'], [2, 1, 0]),
        # the partner of the last is the first's
        (['l_lknee', 'r_lknee', 'l_rknee'], [1, 0, 2]),
        (['face-0', 'face-16', 'face-8', 'face-3'], [1, 0, 2, 3]),
        (['左膝', '右膝'], [0, 1]),
    ],
)
def test_pairs(names, partners):
    parsed, _ = inferred(names)
    assert parsed['flip_indices'] == partners


def test_names_without_a_partner_are_said():
    parsed, notes = inferred(['left_eye', 'nose', 'left_hip', 'right_hip'])
    assert parsed['flip_indices'] == [0, 1, 3, 2]
    assert 'left_eye: no partner on the other side, stay when mirrored' in notes
    _, notes = inferred(['tip', 'base'])
    assert 'no pairs of left and right were found: mirrored pictures keep all keypoints' in notes


@pytest.mark.parametrize(
    'names, message',
    [
        (['nose', 'tail', 'nose'], "keypoints 0 and 2 have the same name: 'nose' and 'nose'"),
        (['left_eye', 'LeftEye'], "the same name: 'left_eye' and 'LeftEye'"),
        ([], r'keypoint_names must be names, got \[\]'),
        (['nose', ' '], 'keypoint_names must be names'),
    ],
)
def test_names_must_tell_keypoints_apart(names, message):
    with pytest.raises(ValueError, match=message):
        infer_metainfo('mine', names)


def test_flip_indices_of_the_source_count():
    names = ['a', 'b', 'left_c', 'right_c']
    parsed, notes = inferred(names, flip_indices=[1, 0, 3, 2])
    assert parsed['flip_indices'] == [1, 0, 3, 2]
    assert any("pair other keypoints than names do: ['a - b', 'b - a']" in note for note in notes)
    parsed, notes = inferred(['nose', 'left_c', 'right_c'], flip_indices=[0, 2, 1])
    assert not any('pair other' in note for note in notes)


@pytest.mark.parametrize(
    'flip_indices, message',
    [
        ([0, 1, 2], 'one entry for each of the 4 keypoints, got 3'),
        ([1, 2, 0, 3], r'do not at \[0, 1, 2\]'),
        ([0, 1, 2, 4], r'do not at \[3\]'),
        ([0, 1, 2, -1], r'do not at \[3\]'),
        ([0, 1, 2, 'd'], r'do not at \[3\]'),
    ],
)
def test_flip_indices_must_lead_back(flip_indices, message):
    with pytest.raises(ValueError, match=message):
        infer_metainfo('mine', ['a', 'b', 'c', 'd'], flip_indices=flip_indices)


# --- sigmas, halves, links ---


def test_unknown_joints_get_the_median_of_the_known():
    names = ['nose', 'left_knee', 'right_knee', 'antenna', 'petal']
    parsed, notes = inferred(names)
    np.testing.assert_allclose(parsed['sigmas'], [0.026, 0.087, 0.087, 0.087, 0.087], rtol=1e-6)
    assert 'sigma 0.087 (the median of the 3 known) for antenna, petal' in notes
    parsed, notes = inferred(['antenna', 'petal'])
    np.testing.assert_allclose(parsed['sigmas'], DEFAULT_SIGMA)
    assert 'sigma 0.05 (as none is known) for antenna, petal' in notes


@pytest.mark.parametrize(
    'joint, half',
    [
        ('hip', 'lower'),
        ('big_toe', 'lower'),
        ('b_elbow', 'lower'),
        ('hind_hoof', 'lower'),
        ('front_hoof', 'upper'),
        ('f_knee', 'upper'),
        ('front_leg', 'upper'),
        ('upper_back', 'upper'),
        ('elbow', 'upper'),
        ('ship', 'upper'),
    ],
)
def test_halves_of_the_body(joint, half):
    assert body_half(joint) == half


def test_a_given_skeleton_counts():
    names = ['left_hip', 'right_hip', 'nose']
    metainfo, notes = infer_metainfo('mine', names, skeleton=[[0, 2], [0, 1]])
    assert metainfo['skeleton_info'] == {
        0: dict(link=('left_hip', 'nose'), id=0, color=[51, 153, 255]),
        1: dict(link=('left_hip', 'right_hip'), id=1, color=[51, 153, 255]),
    }
    assert notes == []
    with pytest.raises(ValueError, match=r'pairs of indices from 0 to 2, got \[\(1, 3\)\]'):
        infer_metainfo('mine', names, skeleton=[[0, 1], [1, 3]])


def test_the_form_is_that_of_mmposes_files():
    metainfo, _ = infer_metainfo('mine', ['left_hip', 'right_hip', 'tip'])
    assert metainfo == dict(
        dataset_name='mine',
        keypoint_info={
            0: dict(name='left_hip', id=0, color=[0, 255, 0], type='lower', swap='right_hip'),
            1: dict(name='right_hip', id=1, color=[255, 128, 0], type='lower', swap='left_hip'),
            2: dict(name='tip', id=2, color=[51, 153, 255], type='upper', swap=''),
        },
        skeleton_info={
            0: dict(link=('left_hip', 'right_hip'), id=0, color=[51, 153, 255]),
        },
        joint_weights=[1.0, 1.0, 1.0],
        sigmas=[0.107, 0.107, 0.107],
    )


@pytest.mark.parametrize(
    'names, pairs',
    [
        # of two sides in a name both are exchanged, or neither
        (['left_eye_left', 'left_eye_right', 'right_eye_left', 'right_eye_right'], [3, 2, 1, 0]),
        (['left_of_right_eye', 'right_of_right_eye'], [0, 1]),
        (['left_of_right_eye', 'right_of_left_eye'], [1, 0]),
        # letters that number keypoints are no sides
        (list('ABKLMR'), [0, 1, 2, 3, 4, 5]),
        (['kp_a', 'kp_l', 'kp_r'], [0, 1, 2]),
        (['hip_l', 'hip_m', 'hip_r'], [2, 1, 0]),
        # letters of other alphabets belong to words
        (['lèvre', 'löwe'], [0, 1]),
    ],
)
def test_pairs_that_letters_only_seem_to_tell(names, pairs):
    assert pair_names(names)[0] == pairs
