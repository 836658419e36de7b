"""The fast transforms give what mmpose's give."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmpose.datasets.transforms import PackPoseInputs, RandomFlip
from mmpose.models import PoseDataPreprocessor
from scipy.stats import kstest, truncnorm

from vitpose_mm.datasets import (
    FastRandomBBoxTransform,
    FastRandomFlip,
    PackPersonInputs,
    ZeroBasedKeypoints,
    stacked_collate,
)
from vitpose_mm.models import StackedPoseDataPreprocessor


def crop(seed: int, height: int = 32, width: int = 24) -> dict:
    generator = np.random.default_rng(seed)
    return dict(
        img=generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
        img_shape=(height, width),
        bbox=np.float32([[2, 3, 20, 30]]),
        bbox_center=np.float32([[11, 16]]),
        bbox_scale=np.float32([[18, 27]]),
        keypoints=generator.uniform(0, 24, (1, 4, 2)).astype(np.float32),
        transformed_keypoints=generator.uniform(0, 24, (1, 4, 2)).astype(np.float32),
        keypoints_visible=np.float32([[1, 0, 1, 1]]),
        flip_indices=[1, 0, 3, 2],
        img_path=f'{seed}.jpg',
        id=seed,
    )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flip_gives_mmposes_results(direction):
    expected = RandomFlip(prob=1.0, direction=direction).transform(crop(0))
    flipped = FastRandomFlip(prob=1.0, direction=direction).transform(crop(0))
    assert not expected['img'].flags.c_contiguous, 'else mmpose is as fast and ours may go'
    assert flipped['img'].flags.c_contiguous
    assert flipped.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(flipped[key], value)
    assert FastRandomFlip(prob=0.0).transform(crop(0))['flip'] is False


def test_box_transform_draws_from_the_same_distribution():
    np.random.seed(0)
    drawn = FastRandomBBoxTransform._truncnorm(size=(10000, 4))
    assert drawn.shape == (10000, 4)
    assert drawn.dtype == np.float32
    assert kstest(drawn.ravel(), truncnorm(-1, 1).cdf).pvalue > 0.01
    skewed = FastRandomBBoxTransform._truncnorm(-0.5, 2.0, (5000,))
    assert kstest(skewed, truncnorm(-0.5, 2.0).cdf).pvalue > 0.01


def test_packing_gives_mmposes_results_without_a_copy():
    expected = PackPoseInputs(pack_transformed=True).transform(crop(0))
    results = crop(0)
    packed = PackPersonInputs(pack_transformed=True).transform(results)
    torch.testing.assert_close(packed['inputs'], expected['inputs'], rtol=0, atol=0)
    assert packed['inputs'].data_ptr() == results['img'].ctypes.data
    assert str(packed['data_samples'].gt_instances.keys()) == str(
        expected['data_samples'].gt_instances.keys()
    )
    assert packed['data_samples'].metainfo == expected['data_samples'].metainfo
    np.testing.assert_array_equal(
        packed['data_samples'].gt_instances.transformed_keypoints,
        expected['data_samples'].gt_instances.transformed_keypoints,
    )


def test_unusual_images_take_mmposes_way():
    grey = dict(crop(0), img=crop(0)['img'][:, :, :1])
    flipped = FastRandomFlip(prob=1.0).transform(dict(grey))
    np.testing.assert_array_equal(flipped['img'], grey['img'][:, ::-1])
    backwards = dict(crop(0), img=crop(0)['img'][:, ::-1])
    packed = PackPersonInputs().transform(backwards)
    np.testing.assert_array_equal(packed['inputs'].permute(1, 2, 0), backwards['img'])


def test_half_precision_models_normalise_in_float32():
    options = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    batch = stacked_collate([PackPersonInputs().transform(crop(0))])
    half = StackedPoseDataPreprocessor(**options).to(torch.float16)(batch)
    full = StackedPoseDataPreprocessor(**options)(batch)
    assert half['inputs'].dtype == torch.float32
    torch.testing.assert_close(half['inputs'], full['inputs'], rtol=1e-3, atol=2e-3)
    with pytest.raises(ValueError, match=r'mean of 3 channels .*\(1, 4, 32, 24\)'):
        StackedPoseDataPreprocessor(**options)(dict(inputs=torch.zeros(1, 4, 32, 24)))


@pytest.mark.parametrize(
    'options',
    [
        dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
        dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        dict(mean=[127.5], std=[60.0], bgr_to_rgb=True),
        dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_size_divisor=64),
        dict(bgr_to_rgb=True),
    ],
)
@pytest.mark.parametrize('pack', [PackPoseInputs, PackPersonInputs])
def test_a_stacked_batch_is_normalised_to_the_same_bits(options, pack):
    samples = [pack().transform(crop(seed)) for seed in range(3)]
    expected = PoseDataPreprocessor(**options)(pseudo_collate(samples), training=True)
    batch = stacked_collate(samples)
    assert batch['inputs'].shape == (3, 3, 32, 24)
    result = StackedPoseDataPreprocessor(**options)(batch, training=True)
    assert result['inputs'].is_contiguous()
    torch.testing.assert_close(result['inputs'], expected['inputs'], rtol=0, atol=0)
    assert [sample.id for sample in result['data_samples']] == [0, 1, 2]
    for sample in result['data_samples']:
        assert sample.metainfo['batch_input_shape'] == expected['inputs'].shape[2:]
        assert sample.metainfo['pad_shape'] == expected['inputs'].shape[2:]


def test_crops_of_several_sizes_stay_a_list():
    samples = [PackPersonInputs().transform(crop(0, height, 24)) for height in (32, 40)]
    batch = stacked_collate(samples)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 32, 24), (3, 40, 24)]
    result = StackedPoseDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)(batch)
    assert result['inputs'].shape == (2, 3, 40, 24)


def test_keypoints_that_count_from_zero():
    original = crop(0)
    keypoints = original['keypoints'].copy()
    shifted = ZeroBasedKeypoints().transform(dict(original))['keypoints']
    np.testing.assert_array_equal(shifted, keypoints - 1)
    np.testing.assert_array_equal(original['keypoints'], keypoints)
