"""ViTPoseInferencer: mmpose's call and results, boxes of every kind, files, misuse and faults."""

import copy
import json
import logging
from pathlib import Path

import cv2
import mmpose.apis
import numpy as np
import pytest
from mmpose.apis import inference_topdown
from mmpose.apis.inferencers import Pose2DInferencer
from mmpose.registry import INFERENCERS
from mmpose.structures import PoseDataSample
from tiny_people import (
    FakeDetector,
    picture,
    random_boxes,
    save_pictures,
    save_weights,
    several_heads,
    tiny_config,
)

from vitpose_mm.apis import BoxesFile, Detector, MMPoseInferencer, ViTPoseInferencer
from vitpose_mm.apis.outputs import Outputs
from vitpose_mm.datasets import ImageError

BOX = (20, 10, 70, 80)


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> str:
    return save_weights(tiny_config(), tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def inferencer(weights) -> ViTPoseInferencer:
    return ViTPoseInferencer(
        tiny_config(), weights, 'cpu', det_model='whole_image', people_batch_size=4
    )


@pytest.fixture
def detecting(inferencer) -> ViTPoseInferencer:
    """With a detector that finds drawn squares."""
    made = copy.copy(inferencer)
    made.detector, made._whole_image = FakeDetector(), False
    return made


def with_people(seed: int, *boxes: tuple, label: int = 0) -> np.ndarray:
    image = picture(seed) // 2
    for box in boxes:
        FakeDetector.draw(image, box, label)
    return image


def keypoints(result: dict) -> np.ndarray:
    (people,) = result['predictions']
    return np.array([person['keypoints'] for person in people]).reshape(-1, 17, 2)


# --- as mmpose ---


@pytest.mark.parametrize('name', ['ViTPoseInferencer', 'mmpose.ViTPoseInferencer'])
def test_it_is_registered(name):
    assert INFERENCERS.get(name) is ViTPoseInferencer


def test_results_are_those_of_mmposes_inferencer(inferencer, weights, tmp_path):
    paths = save_pictures(tmp_path / 'in', 3)
    theirs = Pose2DInferencer(tiny_config(), weights, 'cpu', det_model='whole_image')
    options = dict(return_vis=True, draw_bbox=True, kpt_thr=0.1, radius=2)
    expected = list(theirs(paths, out_dir=str(tmp_path / 'theirs'), **options))
    found = list(inferencer(paths, out_dir=str(tmp_path / 'ours'), **options))
    assert len(found) == len(expected) == 3
    for ours, others in zip(found, expected):
        assert set(ours) == set(others) == {'predictions', 'visualization'}
        (one,), (other,) = ours['predictions'][0], others['predictions'][0]
        assert set(one) == set(other)
        assert one['bbox'] == other['bbox'] and isinstance(one['bbox'], tuple)
        assert one['bbox_score'] == other['bbox_score'] == 1
        np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=2e-3)
        np.testing.assert_allclose(one['keypoint_scores'], other['keypoint_scores'], atol=1e-5)
        (drawn,), (other_drawn,) = ours['visualization'], others['visualization']
        assert drawn.shape == other_drawn.shape == (90, 120, 3)
        assert (drawn != other_drawn).mean() < 0.01
    for folder in ('visualizations', 'predictions'):
        names = sorted(path.name for path in (tmp_path / 'theirs' / folder).iterdir())
        assert names == sorted(path.name for path in (tmp_path / 'ours' / folder).iterdir())
    for path in (tmp_path / 'ours/predictions').iterdir():
        one, other = (
            json.loads(path.read_text()),
            json.loads((tmp_path / 'theirs/predictions' / path.name).read_text()),
        )
        assert [set(person) for person in one] == [set(person) for person in other]
        np.testing.assert_allclose(one[0]['keypoints'], other[0]['keypoints'], atol=2e-3)


def test_samples_and_their_fields(inferencer):
    (result,) = inferencer(
        picture(), return_datasamples=True, bboxes=random_boxes(3), bbox_format='xyxy'
    )
    (sample,) = result['predictions']
    assert isinstance(sample, PoseDataSample)
    assert sample.metainfo['img_path'] == '000000.jpg' and sample.metainfo['ori_shape'] == (90, 120)
    assert sample.pred_instances.keypoints.shape == (3, 17, 2)
    assert sample.pred_instances.keypoint_scores.shape == (3, 17)
    np.testing.assert_array_equal(sample.pred_instances.bboxes, random_boxes(3))
    assert result['visualization'] is None
    (deprecated,) = inferencer(picture(), return_datasample=True)
    assert isinstance(deprecated['predictions'][0], PoseDataSample)


def test_samples_unmerged(inferencer):
    options = dict(bboxes=random_boxes(3), bbox_format='xyxy')
    (together,) = inferencer(picture(), **options)
    (result,) = inferencer(
        picture(), merge_results=False, return_datasamples=True, return_vis=True, **options
    )
    assert [len(sample.pred_instances) for sample in result['predictions']] == [1, 1, 1]
    for sample, expected in zip(result['predictions'], keypoints(together)):
        np.testing.assert_allclose(sample.pred_instances.keypoints[0], expected, atol=2e-3)


def test_people_unmerged(inferencer):
    (result,) = inferencer(
        picture(), bboxes=random_boxes(3), bbox_format='xyxy', merge_results=False
    )
    assert [len(each) for each in result['predictions']] == [1, 1, 1]


def test_pose_nms_leaves_one_of_two_on_the_same_person(inferencer):
    boxes = np.array([[*BOX, 0.5], [*BOX, 0.9], [60, 5, 119, 85, 0.7]], np.float32)
    options = dict(bboxes=[boxes], bbox_format='xyxy')
    (result,) = inferencer(picture(), **options)
    assert len(result['predictions'][0]) == 3
    (result,) = inferencer(picture(), pose_based_nms=True, **options)
    assert [round(person['bbox_score'], 1) for person in result['predictions'][0]] == [0.9, 0.7]


def test_pose_nms_keeps_all_who_are_apart(inferencer):
    lefts, tops = np.meshgrid(np.arange(8) * 15.0, np.arange(6) * 15.0)
    corners = np.stack([lefts.ravel(), tops.ravel()], -1)
    boxes = np.hstack([corners, corners + 12]).astype(np.float32)
    (result,) = inferencer(picture(), bboxes=[boxes], bbox_format='xyxy', pose_based_nms=True)
    assert len(result['predictions'][0]) > 30


def test_tracking_knows_whose_poses_were_suppressed(inferencer):
    boxes = np.array([[5, 5, 45, 85, 0.6], [5, 5, 45, 85, 0.8], [70, 5, 110, 85, 0.7]], np.float32)
    swapped = boxes.copy()
    swapped[:2, 4] = swapped[1::-1, 4]
    frames = [boxes, swapped, boxes, swapped]
    results = list(
        inferencer(
            [picture(0)] * 4, bboxes=frames, bbox_format='xyxy', pose_based_nms=True, tracking=True
        )
    )
    for result in results:
        found = {p['bbox'][0][0]: p['track_id'] for p in result['predictions'][0]}
        assert found == {5.0: 0, 70.0: 1}


def test_runs_do_not_share_settings(inferencer):
    pictures = [picture(number) for number in range(6)]
    (expected, *_) = zip(
        *[(r['visualization'][0],) for r in inferencer(pictures, return_vis=True, radius=6)]
    )
    found = []
    for result in inferencer(pictures, return_vis=True, radius=6):
        list(inferencer(pictures[0], return_vis=True, radius=1, skeleton_style='openpose'))
        found.append(result['visualization'][0])
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_the_drop_in_of_mmposes_front(weights, tmp_path):
    front = MMPoseInferencer(tiny_config(), weights, device='cpu', det_model='whole_image')
    assert isinstance(front, mmpose.apis.MMPoseInferencer)
    assert isinstance(front.inferencer, ViTPoseInferencer)
    (path,) = save_pictures(tmp_path, 1)
    (result,) = front(path, use_oks_tracking=True, num_instances=3, return_vis=True)
    assert keypoints(result).shape == (1, 17, 2) and len(result['visualization']) == 1
    with pytest.raises(ValueError, match='unknown argument'):
        list(front(path, nonsense=1))
    with pytest.raises(ValueError, match='Either 2d or 3d'):
        MMPoseInferencer()


def test_heatmaps_are_drawn_as_mmpose_draws_them(inferencer, weights):
    theirs = Pose2DInferencer(tiny_config(), weights, 'cpu', det_model='whole_image')
    (expected,) = theirs(picture(), draw_heatmap=True, return_vis=True)
    (found,) = inferencer(picture(), draw_heatmap=True, return_vis=True)
    assert found['visualization'][0].shape == expected['visualization'][0].shape == (180, 120, 3)
    assert (found['visualization'][0] != expected['visualization'][0]).mean() < 0.02
    (plain,) = inferencer(picture(), return_vis=True)
    assert plain['visualization'][0].shape == (90, 120, 3)


def test_other_heads_of_mmpose_are_read_in_batches_too(tmp_path):
    codec = dict(type='SimCCLabel', input_size=(48, 64), simcc_split_ratio=2.0)
    head = dict(
        type='SimCCHead',
        in_channels=32,
        out_channels=17,
        input_size=(48, 64),
        in_featuremap_size=(3, 4),
        simcc_split_ratio=2.0,
        deconv_out_channels=None,
        decoder=codec,
    )
    cfg = tiny_config(type='TopdownPoseEstimator', head=head)
    weights = save_weights(cfg, tmp_path)
    options = dict(bboxes=[random_boxes(3)] * 2, bbox_format='xyxy')
    ours = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image')
    alone = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', people_batch_size=1)
    pictures = [picture(0), picture(1)]
    for one, other in zip(ours(pictures, **options), alone(pictures, **options)):
        np.testing.assert_allclose(keypoints(one), keypoints(other), atol=2e-3)
    with pytest.raises(ValueError, match='dtype and compile need a model'):
        ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dtype='bf16')


# --- where the people are ---


def test_the_detectors_people_and_nobody(detecting):
    images = [with_people(0, BOX), with_people(1), with_people(2, BOX, (80, 20, 110, 80))]
    results = list(detecting(images))
    assert [len(result['predictions'][0]) for result in results] == [1, 0, 2]
    assert results[0]['predictions'][0][0]['bbox'] == ([20.0, 10.0, 70.0, 80.0],)
    (given,) = detecting(images[0], bboxes=np.array([BOX]), bbox_format='xyxy')
    np.testing.assert_allclose(keypoints(results[0]), keypoints(given), atol=2e-3)


def test_scores_and_overlaps_count_once(detecting):
    image = picture(0) // 2
    FakeDetector.draw(image, BOX, score=25)
    assert [len(r['predictions'][0]) for r in detecting(image)] == [0]
    assert [len(r['predictions'][0]) for r in detecting(image, bbox_thr=0.2)] == [1]


@pytest.mark.parametrize('count', [0, 1, 300])
def test_any_number_of_people(inferencer, count):
    boxes = random_boxes(count).reshape(-1, 4)
    (result,) = inferencer(picture(), bboxes=[boxes], bbox_format='xyxy')
    assert keypoints(result).shape == (count, 17, 2)
    if count:
        alone = inferencer(picture(), bboxes=[boxes[-1:]], bbox_format='xyxy')
        np.testing.assert_allclose(keypoints(result)[-1:], keypoints(next(alone)), atol=2e-3)


@pytest.mark.parametrize('box', [(-40, -30, 50, 60), (100, 70, 200, 150), (30, 30, 31, 31)])
def test_boxes_partly_outside_or_of_one_pixel(inferencer, box):
    (result,) = inferencer(picture(), bboxes=[[box]], bbox_format='xyxy')
    inferencer.model.cfg = inferencer.cfg
    (expected,) = inference_topdown(inferencer.model, picture(), [box])
    distances = np.abs(keypoints(result) - expected.pred_instances.keypoints)
    assert np.median(distances) < 2e-3  # flat heatmaps of random weights differ by more


def test_formats_and_scores_of_given_boxes(inferencer):
    left, top, right, bottom = BOX
    as_xywh = [[left, top, right - left, bottom - top, 0.25]]
    (one,) = inferencer(picture(), bboxes=[[BOX]], bbox_format='xyxy')
    (other,) = inferencer(picture(), bboxes=[as_xywh], bbox_format='xywh')
    np.testing.assert_allclose(keypoints(one), keypoints(other), atol=1e-4)
    assert one['predictions'][0][0]['bbox_score'] == 1
    assert other['predictions'][0][0]['bbox_score'] == 0.25


def test_boxes_by_name_and_from_a_file(inferencer, tmp_path):
    paths = save_pictures(tmp_path / 'in', 3)
    boxes = {Path(paths[0]).name: [BOX], paths[1]: [], Path(paths[2]).name: [BOX, (0, 0, 50, 50)]}
    found = [len(r['predictions'][0]) for r in inferencer(paths, bboxes=boxes, bbox_format='xyxy')]
    assert found == [1, 0, 2]
    row = dict(category_id=1, bbox=[20, 10, 50, 70])
    rows = [dict(row, image_id=0, score=0.9), dict(row, image_id=2, score=0.1)]
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps(rows))
    results = list(inferencer(paths, boxes_file=str(file)))
    assert [len(result['predictions'][0]) for result in results] == [1, 0, 0]
    results = list(inferencer(paths, boxes_file=BoxesFile(file)))
    assert [len(result['predictions'][0]) for result in results] == [1, 0, 1]


def test_the_whole_picture_only_where_asked_for(detecting):
    (result,) = detecting(with_people(0))
    assert result['predictions'] == [[]]
    (result,) = detecting(with_people(0), whole_image=True)
    assert result['predictions'][0][0]['bbox'] == ([0.0, 0.0, 120.0, 90.0],)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(bboxes=[[BOX]]), "say how boxes are given: bbox_format='xyxy'"),
        (dict(bboxes=[[BOX]], bbox_format='cxcywh'), "got 'cxcywh'"),
        (dict(bboxes=[], bbox_format='xyxy'), 'there are no boxes left for 000000.jpg'),
        (dict(bboxes=[[BOX], [BOX]], bbox_format='xyxy'), 'more images than there are'),
        (dict(bboxes=[BOX], bbox_format='xyxy'), r'shape \(N, 4\).*got \(4,\)'),
        (dict(bboxes=[[(70, 10, 20, 80)]], bbox_format='xyxy'), r'box \[70.0, .*no area as xyxy'),
        (dict(bboxes=[[(0, 0, float('nan'), 8)]], bbox_format='xyxy'), 'is not finite'),
        (dict(bboxes={'other.jpg': []}, bbox_format='xyxy'), "neither '000000.jpg'"),
        (dict(bboxes=[[BOX]], bbox_format='xyxy', whole_image=True), 'only one of bboxes'),
        (dict(boxes_file='missing.json'), 'missing.json cannot be read'),
        (dict(bbox_thr=3), 'bbox_thr must lie within 0 and 1, got 3'),
        (dict(nms_thr=-1), 'nms_thr must lie within 0 and 1, got -1'),
        (dict(batch_size=0), 'batch_size must be a whole number above 0, got 0'),
        (dict(smoothing=True), 'needs tracking=True'),
        (dict(tracking=dict(threshold=7)), 'threshold must be above 0'),
        (dict(tracking=True, smoothing=dict(beta=-1)), 'beta'),
        (dict(tracking=dict(foo=1)), "tracking={'foo': 1} or .* does not fit"),
        (dict(bbox_thr='high'), "bbox_thr must lie within 0 and 1, got 'high'"),
        (dict(kpt_thr='high'), "kpt_thr must be a number, got 'high'"),
        (dict(skeleton_style='other'), "'mmpose' or 'openpose', got 'other'"),
        (dict(arrays_out='arrays.txt'), 'ends with .npz'),
        (dict(nonsense=1), 'unknown argument'),
    ],
)
def test_misuse_is_named(detecting, options, message):
    with pytest.raises(ValueError, match=message):
        list(detecting(with_people(0, BOX), **options))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(people_batch_size=0), 'people_batch_size must be a whole number above 0, got 0'),
        (dict(det_batch_size=1.5), 'det_batch_size must be .*, got 1.5'),
        (dict(dtype='int8'), "dtype must be one of .* got 'int8'"),
        (dict(dataset='coco'), "single head, which reads all alike, got dataset='coco'"),
    ],
)
def test_misuse_at_construction_is_named(weights, options, message):
    with pytest.raises(ValueError, match=message):
        ViTPoseInferencer(tiny_config(), weights, 'cpu', det_model='whole_image', **options)


# --- batches ---


def test_people_of_many_frames_share_batches(inferencer, monkeypatch):
    sizes = []
    reader = inferencer._reader
    launch = reader.launch
    monkeypatch.setattr(reader, 'batch_size', 4)
    monkeypatch.setattr(
        reader, 'launch', lambda people: sizes.append(len(people)) or launch(people)
    )
    counts = [1, 0, 2, 3, 1, 0, 2]
    boxes = [random_boxes(count, seed) for seed, count in enumerate(counts)]
    pictures = [picture(seed) for seed in range(len(counts))]
    results = list(inferencer(pictures, bboxes=boxes, bbox_format='xyxy'))
    assert sizes == [4, 4, 1]
    assert [len(result['predictions'][0]) for result in results] == counts
    sizes.clear()
    alone = list(inferencer(pictures, bboxes=boxes, bbox_format='xyxy', batch_size=1))
    assert sizes == [1, 2, 3, 1, 2]
    for one, other in zip(results, alone):
        np.testing.assert_allclose(keypoints(one), keypoints(other), atol=2e-3)


def test_each_result_comes_before_the_next_of_a_generator_is_needed(inferencer):
    seen = []

    def frames():
        for number in range(4):
            while len(seen) < number:  # waits for the result of the frame before
                pass
            yield picture(number)

    for result in inferencer(frames()):
        seen.append(keypoints(result))
    assert len(seen) == 4


def test_an_exception_of_the_users_generator_comes_after_the_results_before(inferencer):
    def frames():
        yield picture(0)
        raise KeyError('camera')

    results = inferencer(frames())
    assert keypoints(next(results)).shape == (1, 17, 2)
    with pytest.raises(KeyError, match='camera'):
        next(results)


# --- several heads ---


class LoadedDetector(FakeDetector):
    """Takes the arguments of a real one, and chooses classes as that does."""

    choose = Detector.choose

    def __init__(self, *_: object) -> None:
        super().__init__()


@pytest.fixture(scope='module')
def several(tmp_path_factory) -> tuple:
    cfg = several_heads()
    return cfg, save_weights(cfg, tmp_path_factory.mktemp('several'))


def test_a_head_by_name(several):
    cfg, weights = several
    options = dict(bboxes=[[BOX]], bbox_format='xyxy')
    for name, count in dict(coco=17, aic=14).items():
        made = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dataset=name)
        (result,) = made(picture(), return_vis=True, **options)
        assert np.array(result['predictions'][0][0]['keypoints']).shape == (count, 2)
        assert 'dataset' not in result['predictions'][0][0]
    with pytest.raises(ValueError, match="no head for dataset_name 'mpii'"):
        ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dataset='mpii')


def test_several_heads_for_the_same_person(several, tmp_path):
    cfg, weights = several
    made = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dataset=['aic', 'coco'])
    boxes = random_boxes(2)
    options = dict(bboxes=[boxes], bbox_format='xyxy')
    (result,) = made(picture(), return_vis=True, out_dir=str(tmp_path), **options)
    (people,) = result['predictions']
    assert [person['dataset'] for person in people] == ['aic', 'aic', 'coco', 'coco']
    assert [len(person['keypoints']) for person in people] == [14, 14, 17, 17]
    for name in ('aic', 'coco'):
        alone = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dataset=name)
        (expected,) = alone(picture(), **options)
        for one, other in zip(
            (person for person in people if person['dataset'] == name), expected['predictions'][0]
        ):
            np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=2e-3)
    with pytest.raises(ValueError, match=r"one kind of keypoints, not those of \['aic', 'coco'\]"):
        list(made(picture(), coco_out=str(tmp_path / 'coco.json'), **options))
    (samples,) = made(picture(), return_datasamples=True, **options)
    assert [sample.metainfo['dataset_name'] for sample in samples['predictions']] == ['aic', 'coco']


@pytest.mark.parametrize('dataset', ['by-class', dict(person='coco', dog='ap10k')])
def test_heads_by_the_detectors_classes(several, dataset):
    cfg, weights = several
    made = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image', dataset=dataset)
    made.detector, made._whole_image = FakeDetector(), False
    image = with_people(0, BOX)
    FakeDetector.draw(image, (80, 20, 110, 80), label=1)
    FakeDetector.draw(image, (2, 2, 15, 80), label=2)
    (result,) = made(image)
    found = [(person['dataset'], person['bbox'][0][0]) for person in result['predictions'][0]]
    assert sorted(found) == [('ap10k', 80.0), ('coco', 20.0)], 'a tree has no head'
    with pytest.raises(ValueError, match="draw_heatmap draws those of the head for 'coco'"):
        list(made(image, draw_heatmap=True))
    with pytest.raises(ValueError, match='do not say which classes'):
        list(made(image, bboxes=[[BOX]], bbox_format='xyxy'))


@pytest.mark.parametrize(
    ('dataset', 'classes', 'found'),
    [
        ('ap10k', None, ['dog']),
        ('aic', None, ['person']),
        (['aic', 'ap10k'], None, ['person', 'dog']),
        ('by-class', None, ['person', 'dog']),
        (dict(dog='ap10k'), None, ['dog']),
        (dict(dog='ap10k', person='coco'), ['person'], ['person']),
        ('ap10k', ['tree'], ['tree']),
    ],
)
def test_the_classes_to_find_follow_from_the_heads(several, monkeypatch, dataset, classes, found):
    cfg, weights = several

    monkeypatch.setattr('vitpose_mm.apis.inferencer.Detector', LoadedDetector)
    made = ViTPoseInferencer(
        cfg, weights, 'cpu', det_model='any', det_cat_ids=classes, dataset=dataset
    )
    assert [LoadedDetector.class_names[label] for label in made.detector.labels] == found


@pytest.mark.parametrize(
    ('dataset', 'classes', 'message'),
    [
        (dict(person='coco', dgo='ap10k'), None, r"dataset names \['dgo'\]; the detector has"),
        (dict(person='coco'), ['person', 'dog'], r"det_cat_ids has \['dog'\], for which"),
        ('coco', ['cow'], "the detector has no class 'cow'"),
        ('coco', (None,), 'the detector has no class None'),
        ('coco', [], 'det_cat_ids must say which classes'),
    ],
)
def test_classes_without_head_or_heads_without_class(
    several, monkeypatch, dataset, classes, message
):
    cfg, weights = several

    monkeypatch.setattr('vitpose_mm.apis.inferencer.Detector', LoadedDetector)
    with pytest.raises(ValueError, match=message):
        ViTPoseInferencer(
            cfg, weights, 'cpu', det_model='any', det_cat_ids=classes, dataset=dataset
        )


# --- faults of the world ---


def test_what_waits_behind_a_failed_frame_is_not_written(inferencer, tmp_path, monkeypatch):
    paths = save_pictures(tmp_path / 'in', 8)
    write = Outputs.write

    def failing(self, estimated, *arguments):
        if estimated.frame.index == 3:
            raise OSError(5, 'bad disk')
        write(self, estimated, *arguments)

    monkeypatch.setattr(Outputs, 'write', failing)
    coco = tmp_path / 'coco.json'
    with pytest.raises(OSError, match='bad disk'):
        list(inferencer(paths, coco_out=str(coco)))
    assert [entry['image_id'] for entry in json.loads(coco.read_text())] == [0, 1, 2]


def test_boxes_and_pictures_are_never_overwritten_by_results(inferencer, tmp_path):
    (path,) = save_pictures(tmp_path, 1)
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps([dict(image_id=0, category_id=1, bbox=[0, 0, 9, 9], score=0.9)]))
    before = boxes.read_bytes()
    for options in (
        dict(boxes_file=str(boxes), coco_out=str(boxes)),
        dict(coco_out=path),
    ):
        with pytest.raises(ValueError, match='is an input and would be overwritten'):
            list(inferencer(path, **options))
    assert boxes.read_bytes() == before and not list(tmp_path.glob('*.partial'))


def test_one_broken_picture_among_many(inferencer, tmp_path, caplog):
    paths = save_pictures(tmp_path / 'in', 5)
    Path(paths[2]).write_bytes(b'no picture')
    messages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('vitpose_mm.apis.run.print_log', lambda text, *_: messages.append(text))
        results = list(inferencer(paths, out_dir=str(tmp_path / 'out')))
    assert ['error' in result for result in results] == [False, False, True, False, False]
    assert results[2]['predictions'] == [[]] and '002.png' in results[2]['error']
    assert len(messages) == 1 and '002.png' in messages[0]
    assert len(list((tmp_path / 'out/predictions').iterdir())) == 4


def test_broken_pictures_alone_are_errors(inferencer, tmp_path):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(b'')
    with pytest.raises(ImageError, match=r'broken.jpg is empty'):
        list(inferencer(str(path)))
    with pytest.raises(ImageError, match='none of 2 pictures could be read'):
        list(inferencer([str(path), str(tmp_path / 'missing.jpg')]))


@pytest.mark.parametrize('kind', ['grey', '16 bits', 'transparent'])
def test_unusual_pictures(inferencer, tmp_path, kind):
    image = cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY)
    if kind == '16 bits':
        image = image.astype(np.uint16) * 257
    if kind == 'transparent':
        image = np.dstack([picture(), np.full((90, 120), 7, np.uint8)])
    path = str(tmp_path / 'unusual.png')
    cv2.imwrite(path, image)
    (from_file,) = inferencer(path)
    (from_array,) = inferencer(image)
    assert keypoints(from_file).shape == (1, 17, 2)
    np.testing.assert_allclose(keypoints(from_file), keypoints(from_array), atol=2e-3)
    with pytest.raises(ImageError, match='float64 of shape'):
        list(inferencer(picture() / 255.0))


def test_a_full_disk_is_named_and_leaves_whole_files(inferencer, tmp_path, monkeypatch):
    paths = save_pictures(tmp_path / 'in', 4)
    write = Path.write_text
    written = []

    def full(self, text, *arguments, **options):
        written.append(self)
        if len(written) == 3:
            raise OSError(28, 'No space left on device')
        return write(self, text, *arguments, **options)

    monkeypatch.setattr(Path, 'write_text', full)
    results = inferencer(paths, pred_out_dir=str(tmp_path / 'out'))
    with pytest.raises(OSError, match=r'002.json could not be written \(No space left'):
        list(results)
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert '000.json' in names and '002.json' not in names and '002.json.partial' not in names
    for name in names:
        assert len(json.loads((tmp_path / 'out' / name).read_text())) == 1


def test_an_interrupt_leaves_complete_files(inferencer, tmp_path):
    paths = save_pictures(tmp_path / 'in', 6)
    coco, arrays = tmp_path / 'coco.json', tmp_path / 'arrays.npz'
    results = inferencer(paths, batch_size=1, coco_out=str(coco), arrays_out=str(arrays))
    next(results), next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    entries = json.loads(coco.read_text())
    with np.load(arrays) as columns:
        assert len(entries) == len(columns['frame']) >= 2
    assert [entry['image_id'] for entry in entries] == list(range(len(entries)))


def test_running_out_of_memory_is_survived(inferencer, monkeypatch, caplog):
    reader = inferencer._reader
    read, sizes = reader._read, []

    def limited(people):
        sizes.append(len(people))
        if len(people) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        return read(people)

    monkeypatch.setattr(reader, 'batch_size', 8)
    monkeypatch.setattr(reader, '_read', limited)
    boxes = random_boxes(20)
    (result,) = inferencer(picture(), bboxes=[boxes], bbox_format='xyxy')
    assert keypoints(result).shape == (20, 17, 2)
    assert sizes[:3] == [8, 4, 2] and max(sizes[3:]) == 2, 'it stays small'


def test_inputs_are_never_overwritten(inferencer, tmp_path):
    paths = save_pictures(tmp_path, 2)
    before = Path(paths[0]).read_bytes()
    with pytest.raises(ValueError, match=r'000.png is an input and would be overwritten'):
        list(inferencer(paths, vis_out_dir=str(tmp_path)))
    assert Path(paths[0]).read_bytes() == before
    other = save_pictures(tmp_path / 'in', 1)
    with pytest.raises(ValueError, match=r'000.png is an input and would be overwritten'):
        list(inferencer([*other, paths[0]], vis_out_dir=str(tmp_path)))
    assert Path(paths[0]).read_bytes() == before


def test_nothing_to_read_is_named(inferencer, tmp_path):
    with pytest.raises(ValueError, match='holds no pictures or videos'):
        list(inferencer(str(tmp_path)))
    with pytest.raises(ImageError, match=r'missing.jpg cannot be read'):
        list(inferencer(str(tmp_path / 'missing.jpg')))


def test_the_default_detector_is_loaded_when_it_is_needed(weights, monkeypatch):
    made = ViTPoseInferencer(tiny_config(), weights, 'cpu')
    loaded = []
    monkeypatch.setattr(
        'vitpose_mm.apis.inferencer.Detector',
        lambda *arguments: loaded.append(arguments) or FakeDetector(),
    )
    list(made(picture(), bboxes=[[BOX]], bbox_format='xyxy'))
    assert not loaded
    (result,) = made(with_people(0, BOX))
    assert len(loaded) == 1 and 'rtmdet_m' in loaded[0][0]
    assert len(result['predictions'][0]) == 1
    list(made(with_people(0, BOX)))
    assert len(loaded) == 1


def test_progress_is_shown_on_demand(weights, capsys):
    made = ViTPoseInferencer(
        tiny_config(), weights, 'cpu', det_model='whole_image', show_progress=True
    )
    list(made([picture(0), picture(1)]))
    assert '2/2 frames' in capsys.readouterr().out


def test_the_log_is_quiet(inferencer, caplog):
    with caplog.at_level(logging.WARNING):
        list(inferencer([picture(0)]))
    assert not caplog.records
