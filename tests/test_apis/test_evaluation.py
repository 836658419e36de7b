"""Average precision through the inferencer is that of mmpose's test loop."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.apis import inference_topdown, init_model
from mmpose.evaluation import CocoMetric
from tiny_people import CODEC, picture, save_pictures, save_weights, several_heads, tiny_config

from vitpose_mm.apis import ViTPoseInferencer
from vitpose_mm.apis.boxes import Boxes
from vitpose_mm.apis.boxes_files import AnnotationFile, read_annotation_file, write_boxes
from vitpose_mm.apis.detector import Detector
from vitpose_mm.apis.evaluation import build_metric, evaluate
from vitpose_mm.cli import main
from vitpose_mm.datasets.loading import ImageError

NUM_IMAGES, PEOPLE_PER_IMAGE = 5, 4
LONELY = NUM_IMAGES - 1  # the image in which no detector finds anybody
OTHER_HEAD = dict(
    type='HeatmapHead',
    in_channels=32,
    out_channels=17,
    deconv_out_channels=(16, 16),
    deconv_kernel_sizes=(4, 4),
    decoder=dict(CODEC, type='UDPHeatmap', sigma=2),
)
# those of the second are run through mmpose's test_step
MODELS = {'batched': dict(), 'others': dict(head=OTHER_HEAD)}


def make_weights(cfg: Config, folder: Path) -> str:
    """Weights whose scores lie well above the metric's 0.2."""
    path = save_weights(cfg, folder)
    checkpoint = torch.load(path)
    for name, tensor in checkpoint['state_dict'].items():
        if name.endswith('final_layer.bias'):
            tensor += 0.6
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope='module')
def worlds(tmp_path_factory) -> dict[str, SimpleNamespace]:
    init_default_scope('mmpose')
    return {
        name: make_world(tmp_path_factory.mktemp(name), tiny_config(**options))
        for name, options in MODELS.items()
    }


@pytest.fixture
def world(worlds) -> SimpleNamespace:
    """That of a model which runs in batches."""
    return worlds['batched']


def make_world(folder: Path, cfg: Config) -> SimpleNamespace:
    """A model, pictures, annotations from which its poses differ, and detected boxes."""
    cfg.dump(folder / 'config.py')
    weights = make_weights(cfg, folder)
    paths = save_pictures(folder / 'images', NUM_IMAGES)
    model = init_model(copy.deepcopy(cfg), weights, device='cpu')

    rng = np.random.default_rng(0)
    images, annotations, detections = [], [], []
    for image_id, path in enumerate(paths, start=20):
        images.append(dict(id=image_id, file_name=Path(path).name, width=120, height=90))
        low = rng.uniform(0, (60, 30), (PEOPLE_PER_IMAGE, 2))
        boxes = np.hstack([low, rng.uniform(40, 56, (PEOPLE_PER_IMAGE, 2))]).round(2)  # xywh
        samples = inference_topdown(model, path, boxes, bbox_format='xywh')
        for number, (box, sample) in enumerate(zip(boxes, samples)):
            keypoints = sample.pred_instances.keypoints[0] + rng.normal(0, number, (17, 2))
            annotations.append(
                dict(
                    id=100 + len(annotations),
                    image_id=image_id,
                    category_id=1,
                    bbox=box.tolist(),
                    area=float(box[2] * box[3] * 0.6),
                    iscrowd=0,
                    num_keypoints=17,
                    keypoints=np.column_stack([keypoints.clip(0.01), np.full(17, 2)])
                    .ravel()
                    .tolist(),
                )
            )
            # each twice, so that there is somebody to suppress
            for _ in range(0 if path == paths[LONELY] else 2):
                moved = (box + rng.normal(0, 0.5, 4)).tolist()
                score = float(rng.uniform(0.3, 1))
                detections.append(
                    dict(image_id=image_id, category_id=1, bbox=moved, score=round(score, 3))
                )
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    ann, boxes_file = folder / 'ann.json', folder / 'boxes.json'
    ann.write_text(json.dumps(content))
    boxes_file.write_text(json.dumps(detections))
    return SimpleNamespace(
        cfg=cfg,
        weights=weights,
        config=str(folder / 'config.py'),
        images=str(folder / 'images'),
        content=content,
        ann=str(ann),
        annotations=read_annotation_file(ann),
        boxes=str(boxes_file),
        detections=detections,
        inferencer=ViTPoseInferencer(
            copy.deepcopy(cfg), weights, 'cpu', det_model='whole_image', people_batch_size=3
        ),
    )


def by_test_loop(world, work_dir: Path, bbox_file=None, thr=None, **metric: object) -> dict:
    """Metrics of mmengine's test loop, which ``tools/test.py`` runs."""
    cfg = copy.deepcopy(world.cfg)
    cfg.pop('train_dataloader', None)
    dataset = cfg.test_dataloader.dataset
    dataset.update(ann_file=world.ann, data_prefix=dict(img=world.images), test_mode=True)
    dataset.update(bbox_file=bbox_file, filter_cfg=thr and dict(bbox_score_thr=thr))
    cfg.test_dataloader.update(
        batch_size=7, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    cfg.update(
        work_dir=str(work_dir),
        test_cfg=dict(),
        test_evaluator=dict(type='CocoMetric', ann_file=world.ann, **metric),
        load_from=world.weights,
        default_hooks=dict(logger=None),
    )
    return Runner.from_cfg(cfg).test()


class Finder(Detector):
    """Finds given boxes (N, 4) xyxy with scores, by the picture's index."""

    def __init__(self, by_index: dict[int, Boxes]) -> None:
        self.class_names, self.labels, self.batch_size = ['person'], [0], 2
        self.by_index = by_index

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.3) -> list[Boxes]:
        found = []
        for image in images:
            index = next(i for i in range(NUM_IMAGES) if np.array_equal(picture(i), image))
            boxes = self.by_index.get(index, Boxes())
            chosen = boxes[boxes.scores > threshold]
            found.append(Boxes(chosen.xyxy, chosen.scores, ['person'] * len(chosen)))
        return found


# --- the same numbers ---


@pytest.mark.parametrize('name', MODELS)
def test_annotated_boxes_as_by_the_test_loop(worlds, name, tmp_path):
    world = worlds[name]
    expected = by_test_loop(world, tmp_path)
    result = evaluate(world.inferencer, world.annotations, world.images, gt_boxes=True)
    assert 0.3 < expected['coco/AP'] < 0.9
    assert result.metrics == pytest.approx(expected, abs=1e-6)
    assert result.report()['people'] == NUM_IMAGES * PEOPLE_PER_IMAGE
    assert (result.num_images, result.problems) == (NUM_IMAGES, [])


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('batched', dict()),
        ('batched', dict(nms_mode='soft_oks_nms', nms_thr=0.5)),
        ('batched', dict(nms_mode='none', score_mode='bbox')),
        ('batched', dict(nms_thr=0.6, score_mode='keypoint')),
        ('batched', dict(score_mode='bbox_rle')),
        ('others', dict(nms_thr=0.6)),
    ],
)
def test_detected_boxes_as_by_the_test_loop(worlds, tmp_path, name, options):
    world = worlds[name]
    expected = by_test_loop(world, tmp_path, world.boxes, **options)
    result = evaluate(
        world.inferencer, world.annotations, world.images, world.boxes, metric_options=options
    )
    assert 0.05 < expected['coco/AP'] < 0.9
    assert result.metrics == pytest.approx(expected, abs=1e-6)
    assert result.num_people == len(world.detections)


def test_options_change_the_numbers(world):
    """What the test above compares is not the same five times."""
    found = [
        evaluate(world.inferencer, world.annotations, world.images, world.boxes,
                 metric_options=options).metrics['coco/AP']
        for options in (dict(), dict(nms_mode='none'), dict(nms_thr=0.6), dict(score_mode='bbox'))
    ]  # fmt: skip
    assert len(set(found)) == 4


def test_thresholds_of_boxes_as_in_mmposes_data_sets(world, tmp_path):
    expected = by_test_loop(world, tmp_path, world.boxes, thr=0.6004)
    result = evaluate(
        world.inferencer, world.annotations, world.images, world.boxes, bbox_thr=0.6004
    )
    assert result.metrics == pytest.approx(expected, abs=1e-6)
    assert result.num_people == sum(row['score'] > 0.6004 for row in world.detections)


def test_images_without_anybody_count(world):
    """Without the image in which nobody was found recall would be higher by a quarter."""
    all_images = evaluate(world.inferencer, world.annotations, world.images, world.boxes)
    content = copy.deepcopy(world.content)
    lonely = content['images'].pop()['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != lonely]
    ann = Path(world.ann).with_name('without.json')
    ann.write_text(json.dumps(content))
    without = evaluate(world.inferencer, read_annotation_file(ann), world.images, world.boxes)
    ratio = all_images.metrics['coco/AR'] / without.metrics['coco/AR']
    assert ratio == pytest.approx((NUM_IMAGES - 1) / NUM_IMAGES)
    assert all_images.num_people == without.num_people


def test_a_detector_gives_what_its_file_gives(world, tmp_path):
    found = {}
    for index in range(NUM_IMAGES - 1):
        rows = [row for row in world.detections if row['image_id'] == 20 + index]
        xywh = np.array([row['bbox'] for row in rows], np.float32)
        scores = np.array([row['score'] for row in rows], np.float32)
        found[index] = Boxes(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), scores)
    finder = Finder(found)
    inferencer = ViTPoseInferencer(copy.deepcopy(world.cfg), world.weights, 'cpu')
    thresholds = dict(bbox_thr=0.4, nms_thr=0.7)
    write_boxes(world.images, finder, tmp_path / 'boxes.json', world.annotations, **thresholds)
    of_file = evaluate(
        inferencer, world.annotations, world.images, str(tmp_path / 'boxes.json'),
        results=str(tmp_path / 'file'),
    )  # fmt: skip
    inferencer.detector = finder
    live = evaluate(
        inferencer, world.annotations, world.images, **thresholds,
        results=str(tmp_path / 'live'),
    )  # fmt: skip
    assert live.metrics == pytest.approx(of_file.metrics, abs=1e-6)
    assert live.num_people == of_file.num_people < len(world.detections)
    rows = {
        name: json.loads((tmp_path / f'{name}.keypoints.json').read_text())
        for name in ('live', 'file')
    }
    assert len(rows['live']) == len(rows['file']) > 0
    for one, other in zip(rows['live'], rows['file']):
        np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=1e-3)
        assert one['score'] == pytest.approx(other['score'], abs=1e-5)


@pytest.mark.parametrize('scope', ['mmpose', 'mmdet'])  # as a detector leaves it
def test_the_metric_of_the_config_is_taken(world, scope):
    init_default_scope(scope)
    meta = world.inferencer.metainfos[0]
    ours = dict(type='CocoMetric', use_area=False, nms_thr=0.7, ann_file='other', prefix='x')
    others = dict(type='PCKAccuracy')
    for evaluator in (
        ours,
        [others, ours],
        dict(type='DatasetEvaluator', metrics=dict(aic=others, coco=[others, ours])),
        dict(type='MultiDatasetEvaluator', metrics=[ours], datasets=[]),
    ):
        metric = build_metric(
            Config(dict(test_evaluator=evaluator)), meta, world.annotations, dict(nms_thr=0.8)
        )
        assert (type(metric), metric.use_area, metric.nms_thr) == (CocoMetric, False, 0.8)
        assert (metric.ann_file, metric.prefix) == (world.ann, 'coco')
    for evaluator in ((), others, dict(type='DatasetEvaluator', metrics=dict(aic=ours))):
        metric = build_metric(Config(dict(test_evaluator=evaluator)), meta, world.annotations)
        assert (metric.use_area, metric.nms_thr, metric.nms_mode) == (True, 0.9, 'oks_nms')
        assert (metric.score_mode, metric.keypoint_score_thr) == ('bbox_keypoint', 0.2)


# --- results for servers ---


def test_without_annotations_results_are_written_alone(world, tmp_path):
    ann = tmp_path / 'image_info.json'
    ann.write_text(json.dumps({**world.content, 'annotations': []}))
    (images_only := json.loads(ann.read_text())).pop('annotations')
    for content in (ann.read_text(), json.dumps(images_only)):
        ann.write_text(content)
        annotations = read_annotation_file(ann)
        with pytest.raises(ValueError, match=r'image_info.json has no annotations'):
            evaluate(world.inferencer, annotations, world.images, world.boxes)
        result = evaluate(
            world.inferencer, annotations, world.images, world.boxes,
            results=str(tmp_path / 'new/dev'),
        )  # fmt: skip
        assert result.metrics == {}
        assert result.report()['people'] == len(world.detections)
        assert [path.name for path in (tmp_path / 'new').iterdir()] == ['dev.keypoints.json']
    rows = json.loads((tmp_path / 'new/dev.keypoints.json').read_text())
    assert {len(row['keypoints']) for row in rows} == {51}
    assert {(row['category_id'], type(row['image_id'])) for row in rows} == {(1, int)}
    # the same people as with annotations
    evaluate(
        world.inferencer, world.annotations, world.images, world.boxes,
        results=str(tmp_path / 'val'),
    )  # fmt: skip
    assert rows == json.loads((tmp_path / 'val.keypoints.json').read_text())


def test_results_are_whole_or_not_at_all(world, tmp_path, monkeypatch):
    (tmp_path / 'dev.keypoints.json').write_text('old')

    def fail(self, keypoints, outfile_prefix):
        Path(f'{outfile_prefix}.keypoints.json').write_text('[{"image_id"')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(CocoMetric, 'results2json', fail)
    with pytest.raises(OSError, match='No space left'):
        evaluate(
            world.inferencer, world.annotations, world.images, world.boxes,
            results=str(tmp_path / 'dev'),
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ['dev.keypoints.json']
    assert (tmp_path / 'dev.keypoints.json').read_text() == 'old'


# --- what does not fit ---


def changed(world, path: Path, **entries: object) -> AnnotationFile:
    path.write_text(json.dumps({**world.content, **entries}))
    return read_annotation_file(path)


def test_boxes_that_are_none_of_the_images(world, tmp_path):
    file = tmp_path / 'boxes.json'
    for rows, message in (
        ([], 'boxes.json holds no boxes'),
        (
            [dict(image_id=5, category_id=1, bbox=[0, 0, 9, 9], score=1)],
            'boxes.json is of other images: it has boxes of 1 images, such as image_id 5',
        ),
        (
            [dict(image_id=20, category_id=2, bbox=[0, 0, 9, 9], score=1)],
            r'boxes of the categories \[2\] alone, asked for are those of \[1\]',
        ),
    ):
        file.write_text(json.dumps(rows))
        with pytest.raises(ValueError, match=message):
            evaluate(world.inferencer, world.annotations, world.images, str(file))


def test_annotations_that_cannot_be_compared_with(world, tmp_path):
    first = world.content['annotations'][0]
    without_area = {key: value for key, value in first.items() if key != 'area'}
    for entries, options, message in (
        (dict(annotations=[{**first, 'keypoints': [1.0] * 42}]), {}, '42 numbers in keypoints'),
        (dict(annotations=[without_area]), {}, "annotation 100 has no 'area'"),
        (dict(categories=[]), {}, "has no 'categories'"),
        (
            dict(annotations=[first, {**first, 'id': 2, 'category_id': 3}]),
            {},
            r'annotations of the categories \[1, 3\]',
        ),
        (
            dict(annotations=[{**first, 'num_keypoints': 0}]),
            dict(boxes_file=None, gt_boxes=True),
            'none of its 1 annotations has a box within the image and labelled keypoints',
        ),
    ):
        annotations = changed(world, tmp_path / 'ann.json', **entries)
        options = {'boxes_file': world.boxes, **options}
        with pytest.raises(ValueError, match=message):
            evaluate(world.inferencer, annotations, world.images, **options)
    # one category has whatever id
    dogs = [{**each, 'category_id': 18} for each in world.content['annotations']]
    annotations = changed(
        world, tmp_path / 'ann.json', annotations=dogs, categories=[dict(id=18, name='dog')]
    )
    found = evaluate(world.inferencer, annotations, world.images, world.boxes)
    expected = evaluate(world.inferencer, world.annotations, world.images, world.boxes)
    assert found.metrics == expected.metrics


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(boxes_file='boxes.json', gt_boxes=True), 'give only one of boxes_file'),
        (dict(gt_boxes=True, bbox_thr=0.3), 'annotated boxes have no scores for bbox_thr'),
        (dict(boxes_file='boxes.json', nms_thr=0.3), 'nms_thr is for boxes of a detector'),
    ],
)
def test_options_that_do_not_go_together(world, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(world.inferencer, world.annotations, world.images, **options)


def test_nobody_found_at_all(world):
    inferencer = ViTPoseInferencer(copy.deepcopy(world.cfg), world.weights, 'cpu')
    inferencer.detector = Finder({})
    with pytest.raises(ValueError, match=r"nobody was found in 5 images \({'bbox_thr': 0.01, "):
        evaluate(inferencer, world.annotations, world.images)


def test_one_head_is_evaluated(world, tmp_path):
    cfg = several_heads()
    weights = save_weights(cfg, tmp_path)
    inferencer = ViTPoseInferencer(
        cfg, weights, 'cpu', det_model='whole_image', dataset=['coco', 'ap10k']
    )
    with pytest.raises(ValueError, match=r"one data set .* got the heads of \['coco', 'ap10k'\]"):
        evaluate(inferencer, world.annotations, world.images, gt_boxes=True)


# --- the command ---


@pytest.fixture
def command(world):
    def run(*options: str, ann: str = world.ann, images: str = world.images) -> int:
        model = ['--pose', world.config, '--weights', world.weights, '--device', 'cpu']
        return main(['evaluate', ann, '--images', images, *model, *options])

    return run


def test_command(command, world, tmp_path, capsys):
    out = tmp_path / 'new/metrics.json'
    options = ['--nms', 'soft_oks_nms', '--oks-thr', '0.5', '--score-mode', 'bbox']
    assert command('--boxes', world.boxes, '--bbox-thr', '0.5', *options, '--out', str(out)) == 0
    expected = evaluate(
        world.inferencer, world.annotations, world.images, world.boxes, bbox_thr=0.5,
        metric_options=dict(nms_mode='soft_oks_nms', nms_thr=0.5, score_mode='bbox'),
    )  # fmt: skip
    assert json.loads(out.read_text()) == pytest.approx(expected.report(), abs=1e-6)
    shown = capsys.readouterr().out
    assert f'coco/AP: {expected.metrics["coco/AP"]:.4g}\n' in shown
    assert f'people: {expected.num_people}\n' in shown


def test_without_flip_test(command, world, tmp_path):
    cfg = copy.deepcopy(world.cfg)
    cfg.model.test_cfg.flip_test = False
    world = SimpleNamespace(**{**vars(world), 'cfg': cfg})
    expected = by_test_loop(world, tmp_path)
    assert command('--gt-boxes', '--no-flip-test', '--out', str(tmp_path / 'metrics.json')) == 0
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_images_that_cannot_be_read_are_told(command, world, tmp_path, capsys):
    images = tmp_path / 'images'
    paths = save_pictures(images, NUM_IMAGES)
    Path(paths[1]).unlink()
    Path(paths[2]).write_bytes(b'no picture')
    out = tmp_path / 'metrics.json'
    assert command('--gt-boxes', '--out', str(out), images=str(images)) == 1
    report = json.loads(out.read_text())
    assert (report['images'], report['people'], report['unreadable_images']) == (5, 12, 2)
    assert 0 < report['coco/AR'] < 0.6, 'their people count as not found'
    shown = capsys.readouterr().out
    assert '2 images could not be read:' in shown
    assert '001.png is missing' in shown
    assert '002.png cannot be decoded' in shown.split('2 images could not be read:')[1]
    for path in paths:
        Path(path).unlink(missing_ok=True)
    assert command('--gt-boxes', images=str(images)) == 1
    assert 'none of 5 images is in' in capsys.readouterr().out
    with pytest.raises(ImageError):
        evaluate(world.inferencer, world.annotations, str(images), gt_boxes=True)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'one of the arguments --boxes --det --gt-boxes is required'),
        (['--gt-boxes', '--boxes', 'boxes.json'], 'not allowed with argument'),
        (['--gt-boxes', '--det-weights', 'w.pth'], '--det-weights w.pth needs --det'),
        (['--det', __file__], '--det-weights must name a file'),
        (['--boxes', 'nowhere.json'], 'the boxes file nowhere.json cannot be read'),
        (['--gt-boxes', '--dataset', 'coco'], 'the model has a single head'),
        (['--gt-boxes', '--images', 'nowhere'], 'there is no folder nowhere of images'),
        (['--gt-boxes', '--weights', 'nowhere.pth'], 'Checkpoint nowhere.pth does not exist'),
    ],
    ids=lambda value: '' if isinstance(value, str) else ' '.join(value)[:30],
)
def test_unusable_options_give_one_sentence(command, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        command(*options)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_head_that_there_is_not(command, tmp_path, capsys):
    cfg = several_heads()
    cfg.dump(tmp_path / 'config.py')
    model = ['--pose', str(tmp_path / 'config.py'), '--weights', save_weights(cfg, tmp_path)]
    with pytest.raises(SystemExit):
        command('--gt-boxes', *model, '--dataset', 'mpii')
    assert "no head for dataset_name 'mpii'; there are heads for ['coco', 'ap10k', 'aic']" in (
        capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        command('--gt-boxes', *model, '--dataset', 'aic')
    assert "14 keypoints of the data set 'aic'" in capsys.readouterr().err
    assert command('--gt-boxes', *model, '--dataset', 'coco') == 0


def test_annotations_without_images(command, tmp_path, capsys):
    (tmp_path / 'ann.json').write_text('{"images": [], "annotations": []}')
    with pytest.raises(SystemExit):
        command('--gt-boxes', ann=str(tmp_path / 'ann.json'))
    assert 'ann.json has no images' in capsys.readouterr().err


def test_help_says_what_comes_out(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['evaluate', '--help'])
    assert stop.value.code == 0
    assert "in COCO's results format in RESULTS.keypoints.json" in capsys.readouterr().out
