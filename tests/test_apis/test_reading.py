"""Crops, batches, heads and decoding against mmpose's own way through its pipeline."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmpose.apis import init_model
from mmpose.datasets.transforms import TopdownAffine
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix
from tiny_people import INPUT_WH, picture, random_boxes, save_weights, several_heads, tiny_config

from vitpose_mm.apis import memory
from vitpose_mm.apis.boxes import Boxes
from vitpose_mm.apis.crops import CropGeometry, crop_on_device, crop_on_host
from vitpose_mm.apis.reading import BatchReader, SampleReader, readings_of


def loaded(cfg, folder) -> torch.nn.Module:
    weights = save_weights(cfg, folder)
    return init_model(copy.deepcopy(cfg), weights, device='cpu')


def pipeline_of(cfg) -> Compose:
    return Compose(copy.deepcopy(cfg.test_dataloader.dataset.pipeline))


def boxes_of(xyxy: np.ndarray) -> Boxes:
    return Boxes(xyxy, np.linspace(0.5, 1, len(xyxy), dtype=np.float32))


def read(reader, image: np.ndarray, boxes: Boxes, assigned=None) -> list:
    assigned = assigned or [(row, 0) for row in range(len(boxes))]
    people = list(reader.prepare(image, 'picture', boxes, assigned))
    return reader.collect(reader.launch(people))


@pytest.mark.parametrize('use_udp', [True, False])
def test_crops_lie_where_mmpose_puts_them(use_udp):
    boxes = random_boxes(20)
    geometry = CropGeometry(INPUT_WH, 1.25, use_udp)
    centers, sizes = geometry.place(boxes)
    theirs = get_udp_warp_matrix if use_udp else get_warp_matrix
    for box, center, size, matrix in zip(boxes, centers, sizes, geometry.matrices(centers, sizes)):
        expected_center = (box[:2] + box[2:]) / 2
        expected_size = TopdownAffine._fix_aspect_ratio((box[2:] - box[:2])[None] * 1.25, 48 / 64)
        np.testing.assert_array_equal(center, expected_center)
        np.testing.assert_array_equal(size, expected_size[0])
        np.testing.assert_allclose(matrix, theirs(center, size, 0.0, INPUT_WH), atol=2e-5)


@pytest.mark.parametrize(
    'box',
    [
        (20, 10, 70, 80),
        (-30, -20, 40, 30),
        (100, 60, 180, 140),
        (50, 50, 51, 51),
        (0, 0, 120, 90),
    ],
)
def test_device_and_host_cut_the_same(box):
    image = picture()
    geometry = CropGeometry(INPUT_WH)
    matrices = geometry.matrices(*geometry.place(np.array([box], np.float32)))
    host = crop_on_host(image, matrices, INPUT_WH)
    device = crop_on_device(torch.from_numpy(image), torch.from_numpy(matrices), INPUT_WH)
    assert device.shape == (1, 64, 48, 3)
    assert np.abs(host.astype(int) - device.numpy()).max() <= 1
    expected = cv2.warpAffine(image, matrices[0], INPUT_WH, flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(host[0], expected)


@pytest.mark.parametrize('flip_test', [True, False])
def test_batches_give_what_mmpose_gives_person_by_person(tmp_path, flip_test):
    cfg = tiny_config()
    cfg.model.test_cfg.flip_test = flip_test
    model = loaded(cfg, tmp_path)
    boxes = boxes_of(random_boxes(7))
    theirs = read(SampleReader(model, pipeline_of(cfg), 1), picture(), boxes)
    readings = readings_of(model, pipeline_of(cfg), [None])
    for batch_size in (1, 3, 16):
        ours = read(BatchReader(model, readings, batch_size), picture(), boxes)
        assert len(ours) == 7
        for one, other in zip(ours, theirs):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=2e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    assert np.ptp([pose.keypoints[0, 0] for pose in theirs]) > 5, 'people differ'


def test_crops_cut_on_the_device_are_read_alike(tmp_path):
    cfg = tiny_config()
    model = loaded(cfg, tmp_path)
    boxes = boxes_of(random_boxes(5))
    reader = BatchReader(model, readings_of(model, pipeline_of(cfg), [None]), 4)
    expected = read(reader, picture(), boxes)
    reader.crops_on_device = True
    people = list(reader.prepare(picture(), '', boxes, [(row, 0) for row in range(5)]))
    assert isinstance(people[0].crop, torch.Tensor)
    for one, other in zip(reader.collect(reader.launch(people)), expected):
        np.testing.assert_allclose(one.scores, other.scores, atol=0.02)
        assert np.median(np.abs(one.keypoints - other.keypoints)) < 0.1


@pytest.mark.parametrize('experts', [(), ('coco', 'ap10k', 'aic')])
def test_heads_in_one_batch_read_as_each_alone(tmp_path, experts):
    cfg = several_heads(experts)
    model = loaded(cfg, tmp_path)
    names = ['coco', 'ap10k', 'aic']
    readings = readings_of(model, pipeline_of(cfg), names)
    assert [reading.geometry.use_udp for reading in readings] == [True, False, False]
    assert [reading.shift_heatmap for reading in readings] == [False, True, True]
    boxes = boxes_of(random_boxes(4))
    assigned = [(0, 0), (0, 1), (1, 2), (2, 1), (3, 0), (3, 2)]
    together = read(BatchReader(model, readings, 4), picture(), boxes, assigned)
    assert [len(pose.keypoints) for pose in together] == [17, 17, 14, 17, 17, 14]
    for (row, number), pose in zip(assigned, together):
        model.select_dataset(names[number])
        alone = read(SampleReader(model, pipeline_of(cfg), 1), picture(), boxes[[row]])[0]
        np.testing.assert_allclose(pose.keypoints, alone.keypoints, atol=2e-2)
        np.testing.assert_allclose(pose.scores, alone.scores, atol=2e-3)
        model.select_dataset(None)


def test_what_the_batched_way_does_not_know_is_left_to_mmpose(tmp_path):
    cfg = tiny_config()
    model = loaded(cfg, tmp_path)
    assert readings_of(model, pipeline_of(cfg), [None]) is not None
    other = copy.deepcopy(cfg)
    other.test_dataloader.dataset.pipeline.insert(2, dict(type='Resize', scale=(100, 100)))
    other.test_dataloader.dataset.pipeline[2] = dict(type='RandomFlip', prob=1.0)
    assert readings_of(model, pipeline_of(other), [None]) is None
    model.head.decoder = object()
    assert readings_of(model, pipeline_of(cfg), [None]) is None


def test_compiled_batches_have_one_shape(tmp_path, monkeypatch):
    cfg = tiny_config()
    model = loaded(cfg, tmp_path)
    readings = readings_of(model, pipeline_of(cfg), [None])
    boxes = boxes_of(random_boxes(6))
    expected = read(BatchReader(model, readings, 4), picture(), boxes)
    shapes = []

    def compile(function):
        def compiled(inputs, *routing):
            shapes.append(tuple((inputs[-1] if isinstance(inputs, tuple) else inputs).shape))
            return function(inputs, *routing)

        return compiled

    monkeypatch.setattr(torch, 'compile', compile)
    reader = BatchReader(model, readings, 4, compile=True)
    people = list(reader.prepare(picture(), '', boxes, [(row, 0) for row in range(6)]))
    found = reader.collect(reader.launch(people[:4])) + reader.collect(reader.launch(people[4:]))
    assert set(shapes) == {(8, 3, 64, 48), (8, 32, 4, 3)}
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=2e-3)


def test_half_precision_is_near(tmp_path):
    cfg = tiny_config()
    model = loaded(cfg, tmp_path)
    boxes = boxes_of(random_boxes(6))
    readings = readings_of(model, pipeline_of(cfg), [None])
    exact = read(BatchReader(model, readings, 8), picture(), boxes)
    half = read(BatchReader(model, readings, 8, dtype='bf16'), picture(), boxes)
    assert next(model.backbone.parameters()).dtype == torch.bfloat16
    assert model.data_preprocessor.mean.dtype == torch.float32
    assert half[0].keypoints.dtype == np.float32
    for one, other in zip(half, exact):
        np.testing.assert_allclose(one.scores, other.scores, atol=0.05)
    with pytest.raises(ValueError, match='dtype must be one of'):
        BatchReader(model, readings, 8, dtype='int8')


def short_of_memory(limit: int, function):
    """A function for which batches above the limit do not fit."""

    def run(people):
        if len(people) > limit:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return function(people)

    return run


def test_batches_shrink_once_where_memory_is_short(tmp_path, monkeypatch):
    cfg = tiny_config()
    model = loaded(cfg, tmp_path)
    readings = readings_of(model, pipeline_of(cfg), [None])
    boxes = boxes_of(random_boxes(20))
    expected = read(BatchReader(model, readings, 8), picture(), boxes)
    warnings = []
    monkeypatch.setattr(memory, 'print_log', lambda text, **_: warnings.append(text))
    reader = BatchReader(model, readings, 8)
    sizes = []
    original = reader._read

    def counted(people):
        sizes.append(len(people))
        return short_of_memory(4, original)(people)

    monkeypatch.setattr(reader, '_read', counted)
    found = read(reader, picture(), boxes)
    found += read(reader, picture(), boxes)
    assert sizes[:2] == [8, 4] and max(sizes[1:]) == 4
    assert len(warnings) == 1 and 'batches of 4 are used' in warnings[0]
    for one, other in zip(found, expected * 2):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=2e-3)
    monkeypatch.setattr(reader, '_read', short_of_memory(0, original))
    with pytest.raises(RuntimeError, match="can't allocate"):
        read(reader, picture(), boxes)
    monkeypatch.setattr(reader, '_read', lambda people: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read(reader, picture(), boxes)
