"""The report as a metric: the AP is that of mmpose's metrics, from files and from samples."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from made_people import make_annotations
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.evaluation import CocoMetric, CocoWholeBodyMetric, PCKAccuracy
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample

from vitpose_mm.apis.boxes_files import read_annotation_file
from vitpose_mm.apis.evaluation import evaluate
from vitpose_mm.engine import DatasetEvaluator, set_test_options
from vitpose_mm.evaluation import KeypointReport, report
from vitpose_mm.evaluation.configs import with_reports

BODY_PARTS = dict(keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


@pytest.fixture(autouse=True)
def _pictures(request, monkeypatch) -> None:
    """Pictures take long: they are drawn in one test."""
    if request.node.name != 'test_whole_body':
        monkeypatch.setattr(report, 'write_picture', lambda _, path: Path(path).touch())


def meta_of(name: str) -> dict:
    return parse_pose_metainfo(DATASETS.get(name).METAINFO)


def made_file(seed: int = 0, num_keypoints: int = 17, num_images: int = 12) -> dict:
    content = make_annotations(seed, num_images, num_keypoints)
    for image in content['images']:
        image.update(width=1000, height=1000, file_name=f'{image["id"]}.png', crowdIndex=0.5)
    return content


def write(content: dict, folder: Path) -> str:
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def samples_of(content: dict, annotated: bool = True, spread: float = 0.06) -> list[dict]:
    """What a model read from the people's own boxes, or from detected ones that are the same."""
    rng = np.random.default_rng(0)
    samples = []
    for index, person in enumerate(content['annotations']):
        triples = np.array(person['keypoints'], np.float32).reshape(1, -1, 3)
        if not person['num_keypoints'] or person['iscrowd']:
            continue
        left, top, width, height = person['bbox']
        box = np.array([[left, top, left + width, top + height]], np.float32)
        noise = rng.normal(0, spread * width * rng.random(), triples[..., :2].shape)
        samples.append(
            dict(
                id=person['id'] if annotated else index,
                img_id=person['image_id'],
                category_id=1,
                ori_shape=(1000, 1000),
                pred_instances=dict(
                    keypoints=(triples[..., :2] + noise).astype(np.float32),
                    keypoint_scores=rng.uniform(0.1, 1, triples.shape[:2]).astype(np.float32),
                    bboxes=box,
                ),
                gt_instances=dict(
                    bboxes=box,
                    bbox_scores=rng.uniform(0.5, 1, 1).astype(np.float32),
                    bbox_scales=1.25 * (box[:, 2:] - box[:, :2]),
                    # with detected boxes mmpose gives visible keypoints at the origin
                    keypoints=triples[..., :2] * np.float32(annotated),
                    keypoints_visible=np.float32((triples[..., 2] > 0) | (not annotated)),
                ),
            )
        )
    return samples


def run(metric, samples: list[dict], meta: dict) -> dict:
    metric.dataset_meta = dict(meta)
    metric.process([], samples)
    return metric.evaluate(size=len(samples))


def report_of(samples: list[dict], meta: dict, folder: Path, **options: object) -> SimpleNamespace:
    """What is returned, and the JSON."""
    returned = run(KeypointReport(out_dir=str(folder), **options), samples, meta)
    written = json.loads((folder / meta['dataset_name'] / 'report.json').read_text())
    return SimpleNamespace(returned=returned, written=written, all=written['all'])


@pytest.mark.parametrize('annotated', [True, False])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(use_area=False, nms_mode='none', score_mode='bbox'),
        dict(use_area=False, iou_type='keypoints_crowd'),
    ],
    ids=['plain', 'no area', 'crowd'],
)
def test_ap_is_that_of_cocometric(tmp_path, annotated, options):
    content, meta = made_file(), meta_of('CocoDataset')
    samples, path = samples_of(content, annotated), write(content, tmp_path)
    expected = run(CocoMetric(path, **options), samples, meta)
    found = report_of(samples, meta, tmp_path, ann_file=path, **options)
    assert found.returned['report/AP/all'] == expected['coco/AP']
    assert 0.1 < expected['coco/AP'] < 0.95
    names = {'AP': 'AP', 'AP50': 'AP .5', 'AP75': 'AP .75', 'AR': 'AR'}
    if 'iou_type' not in options:
        names.update({name: name for name in ('AP (M)', 'AP (L)', 'AR (M)', 'AR (L)')})
    for name, of_mmpose in names.items():
        assert found.all[name] == expected[f'coco/{of_mmpose}']
    how = found.written['definitions']['PCK and OKS']
    assert how == ('own boxes' if annotated else 'matches')
    for index, name in meta['keypoint_id2name'].items():
        row = found.written['keypoints'][name]
        assert found.returned[f'report/AP/{name}'] == row['AP']
        visible = [each['keypoints'][3 * index + 2] > 0 for each in content['annotations']]
        crowd = [each['iscrowd'] for each in content['annotations']]
        assert row['people'] == sum(a and not b for a, b in zip(visible, crowd))
    kinds = [found.returned[f'report/errors/{kind}'] for kind in ('good', 'jitter', 'miss')]
    assert min(kinds) > 0


@pytest.mark.parametrize('threshold', [0.05, 0.1])
def test_pck_is_that_of_pckaccuracy(tmp_path, threshold):
    content, meta = made_file(1), meta_of('CocoDataset')
    samples = samples_of(content, spread=0.2)
    expected = run(PCKAccuracy(threshold), samples, meta)['PCK']
    found = report_of(
        samples, meta, tmp_path, ann_file=write(content, tmp_path), pck_thresholds=[threshold]
    )
    assert found.all[f'PCK@{threshold}'] == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.95


def test_people_from_samples(tmp_path):
    content, meta = made_file(2), meta_of('CocoDataset')
    samples = samples_of(content)
    ids = {sample['id'] for sample in samples}
    kept = [person for person in content['annotations'] if person['id'] in ids]
    kept_images = {person['image_id'] for person in kept}
    images = [image for image in content['images'] if image['id'] in kept_images]
    path = write(dict(content, annotations=kept, images=images), tmp_path)
    meta['dataset_name'] = 'mpii'
    with_file = report_of(samples, meta, tmp_path, ann_file=path, use_area=False)
    # twice in a row, as in validation while training
    metric = KeypointReport(from_samples=True, out_dir=str(tmp_path / 'other'))
    for _ in range(2):
        run(metric, [dict(each, category_id=[1]) for each in samples], meta)
        other = json.loads((tmp_path / 'other/mpii/report.json').read_text())
        assert other['people'] == len(kept)
        for name, value in with_file.all.items():
            assert other['all'][name] == pytest.approx(value, abs=1e-6)  # boxes are float32


def test_offset(tmp_path):
    content, meta = made_file(3), meta_of('CocoDataset')
    samples = samples_of(content)
    path = write(content, tmp_path)
    expected = report_of(samples, meta, tmp_path / 'a', ann_file=path)
    for sample in samples:
        sample['pred_instances']['keypoints'] = sample['pred_instances']['keypoints'] - 1
    found = report_of(samples, meta, tmp_path / 'b', ann_file=path, offset=1.0)
    assert found.all['OKS'] == pytest.approx(expected.all['OKS'], abs=1e-5)
    shifted = report_of(samples, meta, tmp_path / 'c', ann_file=path)
    assert shifted.all['OKS'] != pytest.approx(expected.all['OKS'], abs=1e-4)


def test_whole_body(tmp_path):
    content, meta = made_file(4, 133, 6), meta_of('CocoWholeBodyDataset')
    samples = samples_of(content)
    for person in content['annotations']:
        triples, start = person['keypoints'], 0
        for part, count in BODY_PARTS.items():
            person[part] = triples[3 * start : 3 * (start + count)]
            start += count
    path = write(content, tmp_path)
    expected = run(CocoWholeBodyMetric(path), samples, meta)
    found = report_of(samples, meta, tmp_path, ann_file=path)
    assert found.all['AP'] == expected['coco-wholebody/AP']
    assert found.all['AR'] == expected['coco-wholebody/AR']
    folder = tmp_path / 'coco_wholebody'
    assert (folder / 'report.txt').read_text().count('\n') > 133
    assert cv2.imread(str(folder / 'report.png')).shape[0] > 133 * 15  # px for each row of text


def test_what_is_written(tmp_path):
    content, meta = made_file(5), meta_of('CocoDataset')
    report_of(samples_of(content), meta, tmp_path, ann_file=write(content, tmp_path))
    folder = tmp_path / 'coco'
    assert sorted(each.name for each in folder.iterdir()) == [
        *('report.json', 'report.png', 'report.txt')
    ]
    text = (folder / 'report.txt').read_text()
    written = json.loads((folder / 'report.json').read_text())
    assert text.startswith(f'coco: {written["people"]} people in 12 images; detections: ')
    row = written['keypoints']['left_wrist']
    line = next(line for line in text.splitlines() if line.startswith('left_wrist')).split()
    assert line[1:3] == [str(row['people']), f'{row["AP"]:.3f}']
    assert line[-1] == f'{100 * row["miss"]:.1f}'
    assert 'NaN' not in (folder / 'report.json').read_text()


def test_beside_other_metrics_of_several_data_sets(tmp_path):
    content = made_file(6)
    path = write(content, tmp_path)
    metas = {name: dict(meta_of('CocoDataset'), dataset_name=name) for name in ('one', 'two')}
    evaluator = dict(
        type='DatasetEvaluator',
        metrics=dict(
            one=dict(type='CocoMetric', ann_file=path), two=[dict(type='PCKAccuracy', thr=0.1)]
        ),
    )
    config = with_reports(evaluator, str(tmp_path / 'reports'))
    metrics = DatasetEvaluator(config['metrics'])
    metrics.dataset_meta = dict(dataset_name='both', sources=metas)
    samples = samples_of(content)
    for name in metas:
        metrics.process([dict(sample, dataset_name=name) for sample in samples])
    found = metrics.evaluate(size=2 * len(samples))
    assert found['one/AP/all'] == found['one/AP']
    # areas of boxes for those of people
    expected = run(CocoMetric(path, use_area=False), samples, metas['one'])['coco/AP']
    assert found['two/AP/all'] == pytest.approx(expected, abs=0.01)
    assert {'two/PCK', 'one/AP/nose', 'two/errors/swap'} <= set(found)
    for name in metas:
        assert (tmp_path / 'reports' / name / 'report.png').exists()


@pytest.mark.parametrize(
    ('metrics', 'expected'),
    [
        (
            dict(type='CocoMetric', ann_file='a.json', use_area=False, prefix='p'),
            dict(type='KeypointReport', ann_file='a.json', use_area=False, out_dir='out'),
        ),
        (
            [dict(type='PCKAccuracy'), dict(type='CocoWholeBodyMetric')],
            dict(type='KeypointReport', ann_file=None, out_dir='out'),
        ),
        (
            dict(type='MpiiPCKAccuracy'),
            dict(type='KeypointReport', from_samples=True, offset=1.0, out_dir='out'),
        ),
        (
            dict(type='EPE'),
            dict(type='KeypointReport', from_samples=True, offset=0.0, out_dir='out'),
        ),
        (
            [dict(type='KeypointReport', rule='nearest'), dict(type='CocoMetric')],
            dict(type='KeypointReport', rule='nearest', out_dir='out'),
        ),
    ],
)
def test_reports_in_configs(metrics, expected):
    given = [metrics] if isinstance(metrics, dict) else metrics
    others = [each for each in given if each['type'] != 'KeypointReport']
    assert with_reports(metrics, 'out') == [*others, expected]


def test_report_and_dump_of_a_test(tmp_path):
    cfg = Config(dict(test_evaluator=dict(type='CocoMetric'), load_from=None))
    weights = tmp_path / 'a.pth'
    weights.touch()
    set_test_options(cfg, str(weights), dump='a.pkl', report=str(tmp_path))
    kinds = [metric['type'] for metric in cfg.test_evaluator]
    assert kinds == ['CocoMetric', 'KeypointReport', 'DumpResults']
    cfg.test_evaluator = dict(type='MultiDatasetEvaluator', metrics=[])
    with pytest.raises(ValueError, match="got the evaluator 'MultiDatasetEvaluator'"):
        set_test_options(cfg, str(weights), report=str(tmp_path))


def test_refused(tmp_path):
    content, meta = made_file(7), meta_of('CocoDataset')
    path, samples = write(content, tmp_path), samples_of(content)
    for options, message in (
        (dict(ann_file=path, from_samples=True), 'only one of ann_file'),
        (dict(format_only=True, outfile_prefix='a'), 'format_only=True leaves nothing'),
        (dict(gt_converter=dict(num_keypoints=2, mapping=[])), 'gt_converter'),
        (dict(rule='other'), r"one of \('own', 'nearest'\), got 'other'"),
    ):
        with pytest.raises(ValueError, match=message):
            KeypointReport(**options)
    with pytest.raises(ValueError, match="no annotation file is known for the data set 'none'"):
        run(KeypointReport(), samples, dict(meta, dataset_name='none'))
    with pytest.raises(ValueError, match='51 numbers of keypoints, where 14 keypoints make 42'):
        run(KeypointReport(path), samples, dict(meta, num_keypoints=14))
    del content['annotations'][0]['area']
    with pytest.raises(ValueError, match=r"annotation 1 has no 'area'.*use_area=False"):
        run(KeypointReport(write(content, tmp_path)), samples, meta)
    with pytest.raises(ValueError, match=r'sample 0 holds no annotated people.*give ann_file'):
        run(KeypointReport(from_samples=True), samples_of(content, annotated=False), meta)


class Reader:
    """An inferencer that reads what was made up for the boxes that it is given."""

    def __init__(self, samples: list[dict], meta: dict) -> None:
        self.cfg = Config(dict(data_mode='topdown', test_evaluator=dict(type='CocoMetric')))
        self.metainfos, self.pipeline, self.samples = [meta], Compose([]), samples

    def __call__(self, paths: list[str], bboxes: dict, **options: object):
        for path in paths:
            own = [each for each in self.samples if each['img_id'] == int(Path(path).stem)]
            people = [each['pred_instances'] for each in own]
            instances = InstanceData(
                keypoints=np.concatenate([each['keypoints'] for each in people]),
                keypoint_scores=np.concatenate([each['keypoint_scores'] for each in people]),
                bboxes=np.array(bboxes[path]),
                bbox_scores=np.ones(len(people)),
            )
            sample = PoseDataSample(metainfo=dict(img_path=path))
            sample.pred_instances = instances
            yield dict(predictions=[sample])


def test_through_the_inferencer(tmp_path):
    content, meta = made_file(8), meta_of('CocoDataset')
    samples, path = samples_of(content), write(content, tmp_path)
    for image in content['images']:
        (tmp_path / image['file_name']).touch()
    found = evaluate(
        Reader(samples, meta),
        read_annotation_file(path),
        tmp_path,
        gt_boxes=True,
        report=str(tmp_path / 'reports'),
    )
    written = json.loads((tmp_path / 'reports/coco/report.json').read_text())
    assert written['all']['AP'] == found.metrics['coco/AP'] > 0.1
    assert written['definitions']['PCK and OKS'] == 'own boxes'
    assert not any(name.startswith('report') for name in found.metrics)
