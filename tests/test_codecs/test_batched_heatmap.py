import numpy as np
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from vitpose_mm.codecs import BatchedMSRAHeatmap, BatchedUDPHeatmap, functional
from vitpose_mm.codecs.functional import blur_matrix

SIZES = dict(input_size=(96, 128), heatmap_size=(24, 32))
CODECS = {
    'udp': (BatchedUDPHeatmap, UDPHeatmap, {}),
    'msra': (BatchedMSRAHeatmap, MSRAHeatmap, {}),
    'msra_dark': (BatchedMSRAHeatmap, MSRAHeatmap, dict(unbiased=True)),
}


def to_image(keypoints: np.ndarray, center: np.ndarray, scale: np.ndarray, input_wh) -> np.ndarray:
    """As ``TopdownPoseEstimator.add_pred_to_datasample`` does."""
    return keypoints / np.array(input_wh) * scale[:, None] + center[:, None] - 0.5 * scale[:, None]


def random_keypoints(count: int) -> tuple:
    generator = np.random.default_rng(0)
    keypoints = generator.uniform(-40, 170, (count, 17, 2)).astype(np.float32)
    visible = generator.integers(0, 3, (count, 17)).clip(0, 1).astype(np.float32)
    return keypoints, visible


def peaked_heatmaps(count: int, noise: float) -> np.ndarray:
    """Blobs with subpixel centres, some at borders, over noise."""
    generator = np.random.default_rng(1)
    keypoints = torch.from_numpy(generator.uniform(-2, 130, (count, 17, 2)).astype(np.float32))
    codec = BatchedUDPHeatmap(**SIZES)
    heatmaps = codec.batch_encode(keypoints, torch.ones(count, 17))[0].numpy()
    heights = generator.uniform(0.05, 1.1, (count, 17, 1, 1))
    noise = noise * generator.standard_normal(heatmaps.shape)
    return (heatmaps * heights + noise).astype(np.float32)


@pytest.mark.parametrize('name', CODECS)
def test_batch_encode_gives_the_numbers_of_encode(name):
    ours, theirs, options = CODECS[name]
    keypoints, visible = random_keypoints(12)
    heatmaps, weights = ours(**SIZES, **options).batch_encode(
        torch.from_numpy(keypoints), torch.from_numpy(visible)
    )
    encoded = [
        theirs(**SIZES, sigma=2.0, **options).encode(k[None], v[None])
        for k, v in zip(keypoints, visible)
    ]
    np.testing.assert_allclose(heatmaps, [e['heatmaps'] for e in encoded], atol=2e-6)
    np.testing.assert_array_equal(weights, [e['keypoint_weights'][0] for e in encoded])
    assert 0 < weights.sum() < visible.sum(), 'some visible keypoints lie too far outside'


def test_keypoints_that_are_not_finite_do_not_count():
    keypoints = torch.tensor([[[float('nan'), 5.0], [5.0, float('inf')], [5.0, 5.0]]])
    heatmaps, weights = BatchedUDPHeatmap(**SIZES).batch_encode(keypoints, torch.ones(1, 3))
    assert weights.tolist() == [[0, 0, 1]]
    assert heatmaps.isfinite().all()
    assert heatmaps[0, :2].abs().max() == 0


@pytest.mark.parametrize('noise', [0.0, 0.02])
@pytest.mark.parametrize('name', CODECS)
def test_batch_decode_gives_the_numbers_of_mmpose(name, noise):
    ours, theirs, options = CODECS[name]
    heatmaps = peaked_heatmaps(16, noise)
    keypoints, scores = ours(**SIZES, variant='mmpose', **options).batch_decode(
        torch.from_numpy(heatmaps)
    )
    codec = theirs(**SIZES, sigma=2.0, **options)
    expected = [codec.decode(heatmap) for heatmap in heatmaps]
    np.testing.assert_array_equal(scores, [s for _, s in expected])
    found = np.array(scores) > 0  # elsewhere mmpose divides zero by zero
    assert found.mean() > 0.9
    expected_keypoints = np.array([k for k, _ in expected])
    np.testing.assert_allclose(np.array(keypoints)[found], expected_keypoints[found], atol=2e-3)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_maxima_are_the_same_where_numpy_cannot_help(dtype, monkeypatch):
    heatmaps = torch.from_numpy(peaked_heatmaps(4, 0.02)).to(dtype)
    heatmaps[0, 0] = 0
    heatmaps[0, 1] = -1
    heatmaps[0, 2] = 0.5  # of equals the first
    heatmaps[0, 3, 5, 7] = float('nan')
    pixels, values = functional.heatmap_maxima(heatmaps)
    assert pixels[0, :4].tolist() == [[-1, -1], [-1, -1], [0, 0], [-1, -1]]
    monkeypatch.setattr(functional, 'is_compiling', lambda: True)
    other_pixels, other_values = functional.heatmap_maxima(heatmaps)
    assert torch.equal(pixels, other_pixels)
    torch.testing.assert_close(values, other_values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('name', CODECS)
def test_encoding_one_equals_encoding_a_batch(name):
    codec_type, _, options = CODECS[name]
    codec = codec_type(input_size=(72, 96), heatmap_size=(18, 24), sigma=1.5, **options)
    keypoints, visible = random_keypoints(4)
    heatmaps, weights = codec.batch_encode(torch.from_numpy(keypoints), torch.from_numpy(visible))
    for index in range(4):
        one = codec.encode(keypoints[index : index + 1], visible[index : index + 1])
        np.testing.assert_array_equal(one['heatmaps'], heatmaps[index])
        np.testing.assert_array_equal(one['keypoint_weights'], weights[index : index + 1])


@pytest.mark.parametrize('name', CODECS)
def test_decoding_keeps_its_precision_under_autocast(name):
    codec_type, _, options = CODECS[name]
    codec = codec_type(**SIZES, **options)
    heatmaps = torch.from_numpy(peaked_heatmaps(3, 0.01))
    expected, _ = codec.decode_tensor(heatmaps)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        keypoints, _ = codec.decode_tensor(heatmaps)
    torch.testing.assert_close(keypoints, expected, rtol=0, atol=0)


@pytest.mark.parametrize('name', CODECS)
def test_decoding_one_equals_decoding_a_batch(name):
    codec_type, _, options = CODECS[name]
    codec = codec_type(**SIZES, **options)
    heatmaps = peaked_heatmaps(3, 0.01)
    keypoints, scores = codec.batch_decode(torch.from_numpy(heatmaps))
    for index in range(3):
        one_keypoints, one_scores = codec.decode(heatmaps[index])
        np.testing.assert_allclose(one_keypoints, keypoints[index], atol=1e-4)
        np.testing.assert_array_equal(one_scores, scores[index])


def test_udp_decodes_what_it_encoded_to_image_pixels():
    codec = BatchedUDPHeatmap((192, 256), (48, 64))
    points = np.random.default_rng(2).uniform(25, 165, (4, 17, 2)).astype(np.float32)
    heatmaps, _ = codec.batch_encode(torch.from_numpy(points), torch.ones(4, 17))
    center, scale = np.full((4, 2), 300.0), np.array([[384.0, 512.0]] * 4)
    # UDP's crop maps (input - 1) px to the box's extent
    in_image = points / np.array([191, 255]) * scale[:, None] + center[:, None] - scale[:, None] / 2
    decoded = np.concatenate(codec.batch_decode(heatmaps)[0])
    in_image_again = to_image(decoded, center, scale, (192, 256))
    np.testing.assert_allclose(in_image_again, in_image, atol=0.05)


@pytest.mark.parametrize('name', CODECS)
@pytest.mark.parametrize('value', [0.0, -1.0, 0.5, float('nan')])
def test_flat_heatmaps_decode_to_finite_keypoints(name, value):
    codec_type, _, options = CODECS[name]
    for variant in ('official', 'mmpose'):
        codec = codec_type(**SIZES, variant=variant, **options)
        keypoints, _scores = codec.decode_tensor(torch.full((2, 3, 32, 24), value))
        assert keypoints.isfinite().all()
        if not value > 0:
            pixel = codec._to_input(torch.tensor([[[-1.0, -1.0]]]))
            assert torch.equal(keypoints, pixel.expand(2, 3, 2))


@pytest.mark.parametrize('length', [5, 24])
@pytest.mark.parametrize('kernel_size', [3, 11])
def test_blur_matrix_is_opencvs_blur(length, kernel_size):
    import cv2

    image = np.random.default_rng(0).standard_normal((length, 30)).astype(np.float32)
    expected = cv2.GaussianBlur(image, (1, kernel_size), 0)
    matrix = blur_matrix(length, kernel_size, 'reflect', torch.device('cpu'))
    np.testing.assert_allclose(matrix @ torch.from_numpy(image), expected, atol=1e-6)
    zeros = np.pad(image, ((kernel_size, kernel_size), (0, 0)))
    expected = cv2.GaussianBlur(zeros, (1, kernel_size), 0)[kernel_size:-kernel_size]
    matrix = blur_matrix(length, kernel_size, 'zero', torch.device('cpu'))
    np.testing.assert_allclose(matrix @ torch.from_numpy(image), expected, atol=1e-6)


@pytest.mark.parametrize(
    'name, codec_type', [('udp', BatchedUDPHeatmap), ('msra', BatchedMSRAHeatmap)]
)
def test_official_targets(load_reference, name, codec_type):
    case = load_reference(f'official_{name}_targets')
    codec = codec_type(tuple(case['input_size']), tuple(case['heatmap_size']), int(case['sigma']))
    heatmaps, weights = codec.batch_encode(
        torch.from_numpy(case['keypoints']), torch.from_numpy(case['visible'])
    )
    np.testing.assert_allclose(heatmaps, case['target'], atol=1e-5)
    np.testing.assert_array_equal(weights, case['weight'])


@pytest.mark.parametrize(
    'name, codec_type', [('udp', BatchedUDPHeatmap), ('default', BatchedMSRAHeatmap)]
)
def test_official_decode(load_reference, name, codec_type):
    case = load_reference('official_decode')
    codec = codec_type((192, 256), (48, 64))
    keypoints, scores = codec.decode_tensor(torch.from_numpy(case['heatmaps']))
    in_image = to_image(keypoints.numpy(), case['center'], case['scale_px'], (192, 256))
    assert np.isfinite(in_image).all()
    np.testing.assert_array_equal(scores, case[f'{name}_scores'][..., 0])
    # Flat heatmaps have no curvature: there the official result is rounding noise.
    flat = np.ptp(case['heatmaps'], axis=(2, 3)) == 0
    assert flat.sum() == 4
    difference = np.abs(in_image - case[f'{name}_keypoints'])
    assert difference[~flat].max() < 1e-2


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"variant must be one of .*'mmdet'"):
        BatchedUDPHeatmap(**SIZES, variant='mmdet')
    with pytest.raises(ValueError, match='blur_kernel_size must be odd, got 10'):
        BatchedUDPHeatmap(**SIZES, blur_kernel_size=10)
    codec = BatchedUDPHeatmap(**SIZES)
    with pytest.raises(ValueError, match=r'\(B, K, 32, 24\).*got \(1, 17, 24, 32\)'):
        codec.decode_tensor(torch.zeros(1, 17, 24, 32))
    with pytest.raises(ValueError, match=r'got \(2, 17, 2\) and \(2, 16\)'):
        codec.batch_encode(torch.zeros(2, 17, 2), torch.zeros(2, 16))
