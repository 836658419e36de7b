import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from vitpose_mm.checkpoints import CheckpointError
from vitpose_mm.codecs import BatchedUDPHeatmap
from vitpose_mm.models.heads.heatmap_heads import heatmap_accuracy

CODEC = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
HEADS = {
    'classic': dict(type='TopdownHeatmapSimpleHead', deconv_out_channels=(8, 8)),
    'simple': dict(type='TopdownHeatmapBilinearHead'),
    'minimal': dict(type='TopdownHeatmapPixelShuffleHead'),
}


def build(name: str, **options):
    torch.manual_seed(0)
    shape = dict(in_channels=32, out_channels=5, decoder=CODEC)
    head = MODELS.build({**shape, **HEADS[name], **options})
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return head


def make_samples(count: int, num_keypoints: int = 5) -> list:
    generator = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        keypoints = generator.uniform(0, 48, (1, num_keypoints, 2)).astype(np.float32)
        visible = (generator.random((1, num_keypoints)) > 0.3).astype(np.float32)
        sample = PoseDataSample()
        sample.gt_instances = InstanceData(
            transformed_keypoints=keypoints, keypoints_visible=visible
        )
        samples.append(sample)
    return samples


@pytest.mark.parametrize('name', HEADS)
def test_heatmaps_are_a_quarter_of_the_input(name):
    assert build(name).eval()((torch.randn(2, 32, 4, 3),)).shape == (2, 5, 16, 12)


@pytest.mark.parametrize('name', ['simple', 'minimal'])
def test_upsampling_can_be_chosen(name):
    assert build(name, upsample=2)((torch.randn(2, 32, 8, 6),)).shape == (2, 5, 16, 12)


@pytest.mark.parametrize('factor', [1, 2, 4])
def test_simple_decoder_is_relu_then_bilinear_then_convolution(factor):
    head = build('simple', upsample=factor)
    features = torch.randn(2, 32, 4, 3, requires_grad=True)
    upsampled = F.interpolate(
        F.relu(features), scale_factor=factor, mode='bilinear', align_corners=False
    )
    expected = F.conv2d(upsampled, head.final_layer.weight, head.final_layer.bias, padding=1)
    result = head((features,))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)

    direction = torch.randn_like(expected)
    inputs = (features, head.final_layer.weight, head.final_layer.bias)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(result, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
    ):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-4)


def test_training_after_inference_mode():
    head = build('simple')
    features = torch.randn(1, 32, 5, 7, requires_grad=True)
    with torch.inference_mode():
        head((features.detach(),))
    head((features,)).sum().backward()
    assert features.grad.any()


def test_minimal_decoder_lays_each_token_out_as_its_patch():
    head = build('minimal')
    features = torch.randn(1, 32, 4, 3)
    heatmaps = head((features,))
    weight = head.final_layer.weight[:, :, 0, 0]
    patch = (weight @ features[0, :, 2, 1] + head.final_layer.bias).reshape(5, 4, 4)
    torch.testing.assert_close(heatmaps[0, :, 8:12, 4:8], patch)


@pytest.mark.parametrize('name', HEADS)
def test_compiles_without_graph_breaks(name):
    head = build(name).eval()
    features = torch.randn(2, 32, 4, 3)
    compiled = torch.compile(lambda x: head((x,)), fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(features), head((features,)))


@pytest.mark.parametrize('name', HEADS)
def test_loss_is_the_same_with_targets_from_the_pipeline(name):
    head = build(name).eval()
    samples = make_samples(3)
    features = (torch.randn(3, 32, 4, 3),)
    on_device = head.loss(features, samples)
    codec = BatchedUDPHeatmap((48, 64), (12, 16))
    for sample in samples:
        given = sample.gt_instances
        encoded = codec.encode(given.transformed_keypoints, given.keypoints_visible)
        sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
        sample.gt_instance_labels = InstanceData(
            keypoint_weights=torch.from_numpy(encoded['keypoint_weights'])
        )
    from_pipeline = head.loss(features, samples)
    torch.testing.assert_close(on_device, from_pipeline)
    assert on_device['loss_kpt'] > 0
    assert 'acc_pose' not in head.loss(features, samples, train_cfg=dict(compute_acc=False))


def test_accuracy_is_mmposes():
    torch.manual_seed(0)
    samples = make_samples(6)
    target, weights = build('simple').targets(samples, torch.device('cpu'))
    weights[:, 2] = 0  # a keypoint that no sample has
    predicted = target + 0.4 * torch.randn_like(target)
    _, expected, _ = pose_pck_accuracy(predicted.numpy(), target.numpy(), weights.numpy() > 0)
    assert 0.1 < expected < 0.9
    assert heatmap_accuracy(predicted, target, weights).item() == pytest.approx(expected)
    assert heatmap_accuracy(predicted, target, torch.zeros_like(weights)) == 0


def test_predict_averages_with_the_flipped_picture():
    head = build('simple').eval()
    samples = make_samples(2)
    flip_indices = [0, 2, 1, 4, 3]
    for sample in samples:
        sample.set_metainfo(dict(flip_indices=flip_indices))
    features, flipped = torch.rand(2, 32, 4, 3), torch.rand(2, 32, 4, 3)
    predictions, fields = head.predict(
        [(features,), (flipped,)], samples, dict(flip_test=True, output_heatmaps=True)
    )
    expected = (head((features,)) + head((flipped,)).flip(-1)[:, flip_indices]) / 2
    torch.testing.assert_close(torch.stack([f.heatmaps for f in fields]), expected)
    keypoints, scores = head.decoder.decode_tensor(expected)
    np.testing.assert_allclose([p.keypoints[0] for p in predictions], keypoints.detach())
    np.testing.assert_allclose([p.keypoint_scores[0] for p in predictions], scores.detach())


def test_samples_without_targets_are_refused():
    sample = PoseDataSample(gt_instances=InstanceData(keypoints=np.zeros((1, 5, 2))))
    with pytest.raises(ValueError, match='pack_transformed=True'):
        build('simple').loss((torch.randn(1, 32, 4, 3),), [sample])


def test_keypoints_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r'\(5, 16, 12\), but its targets are \(7, 16, 12\)'):
        build('simple').loss((torch.randn(2, 32, 4, 3),), make_samples(2, num_keypoints=7))


def test_a_head_of_other_keypoints_is_refused_with_advice():
    state_dict = build('classic', out_channels=7).state_dict()
    with pytest.raises(CheckpointError, match=r'final_layer.weight \(7, .*start from a backbone'):
        build('classic').load_state_dict(state_dict, strict=False)


@pytest.mark.parametrize(
    'head',
    ['TopdownHeatmapSimpleHead', 'TopdownHeatmapBilinearHead', 'TopdownHeatmapPixelShuffleHead'],
)
def test_features_of_another_width_are_refused(head):
    decoder = MODELS.build(dict(type=head, in_channels=32, out_channels=17))
    message = 'features of 48 channels, but model.head.in_channels is 32'
    with pytest.raises(ValueError, match=message):
        decoder((torch.zeros(1, 48, 4, 3),))
