"""Metrics by data set, and the table at the end."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from vitpose_mm.engine import DatasetEvaluator, dataset_evaluator

SOURCES = dict(coco=dict(dataset_name='coco', x=1), hand=dict(dataset_name='hand', x=2))
META = dict(SOURCES['coco'], sources=SOURCES)


@METRICS.register_module()
class CountMetric(BaseMetric):
    """Mean number in its samples, times the x of its meta information."""

    def __init__(self, name: str = 'AP', **options) -> None:
        super().__init__(**options)
        self.name = name

    def process(self, data_batch, data_samples) -> None:
        assert len(data_batch['inputs']) == len(data_samples)
        self.results += [
            (inputs, s['number']) for inputs, s in zip(data_batch['inputs'], data_samples)
        ]

    def compute_metrics(self, results) -> dict:
        assert all(inputs == number for inputs, number in results)
        mean = np.mean([number for _, number in results])
        return {self.name: self.dataset_meta['x'] * mean, 'detail': 0.0}


def sample(name: str, number: int) -> PoseDataSample:
    return PoseDataSample(metainfo=dict(dataset_name=name, number=number))


def evaluator() -> DatasetEvaluator:
    metrics = dict(
        coco=dict(type='CountMetric'),
        hand=[dict(type='CountMetric', name='AUC'), dict(type='PCKAccuracy', thr=0.2)],
    )
    return DatasetEvaluator(metrics)


def hand(distance: float) -> PoseDataSample:
    each = sample('hand', 5)
    points = np.zeros((1, 3, 2))
    each.gt_instances = InstanceData(
        keypoints=points, keypoints_visible=np.ones((1, 3)), bboxes=np.array([[0, 0, 10, 10.0]])
    )
    each.pred_instances = InstanceData(keypoints=points + np.array([distance, 0]))
    return each


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(dataset_evaluator, 'print_log', lambda text, *_: lines.append(text))
    return lines


def test_each_metric_sees_its_own_samples_and_meta_information(log):
    evaluation = evaluator()
    evaluation.dataset_meta = META
    batches = [
        [sample('coco', 1), hand(1), sample('coco', 3)],
        [hand(9), sample('coco', 8)],
    ]
    for batch in batches:
        inputs = [each.metainfo['number'] for each in batch]
        evaluation.process(batch, dict(inputs=inputs, data_samples=batch))
    results = evaluation.evaluate(5)
    assert results == {
        'coco/AP': 4.0,
        'coco/detail': 0.0,
        'hand/AUC': 10.0,
        'hand/detail': 0.0,
        'hand/PCK': 0.5,
        'coco/people': 3,
        'hand/people': 2,
    }
    rows = [line.split() for line in log[0].strip().splitlines()]
    assert rows == [
        ['data', 'set', 'metric', 'value', 'people'],
        ['coco', 'AP', '4', '3'],
        ['hand', 'PCK', '0.5', '2'],
        ['hand', 'AUC', '10', '2'],
    ]
    evaluation.process([hand(9)], dict(inputs=[5], data_samples=[hand(9)]))
    evaluation.process([sample('coco', 2)], dict(inputs=[2], data_samples=[sample('coco', 2)]))
    results = evaluation.evaluate(2)
    assert (results['coco/people'], results['hand/people'], results['hand/PCK']) == (1, 1, 0)


def test_people_are_counted_over_processes(monkeypatch, log):
    evaluation = evaluator()
    evaluation.dataset_meta = META
    batch = [sample('coco', 1), hand(1)]
    evaluation.process(batch, dict(inputs=[1, 5], data_samples=batch))
    gathered = [dict(coco=1, hand=1), dict(hand=3)]
    monkeypatch.setattr(dataset_evaluator, 'all_gather_object', lambda mine: gathered)
    results = evaluation.evaluate(5)
    assert (results['coco/people'], results['hand/people']) == (1, 4)


def test_people_of_the_annotation_file_not_boxes(log):
    evaluation = evaluator()
    evaluation.dataset_meta = META
    people = [dict(num_keypoints=3), dict(num_keypoints=0), dict(num_keypoints=2, iscrowd=1)]
    anns = dict(enumerate([*people, dict(num_keypoints=1)]))
    evaluation.metrics_by_dataset['coco'][0].coco = SimpleNamespace(anns=anns)
    batch = [sample('coco', 1), sample('coco', 2), sample('coco', 3), hand(1)]
    evaluation.process(batch, dict(inputs=[1, 2, 3, 5], data_samples=batch))
    results = evaluation.evaluate(4)
    assert (results['coco/people'], results['hand/people']) == (2, 1)


def test_a_single_data_set():
    evaluation = DatasetEvaluator(dict(coco=dict(type='CountMetric')))
    evaluation.dataset_meta = SOURCES['coco']
    evaluation.process([sample('coco', 4)], dict(inputs=[4], data_samples=[sample('coco', 4)]))
    assert evaluation.evaluate(1)['coco/AP'] == 4


def test_data_sets_and_metrics_must_match():
    message = r"to evaluate are \['coco'\], but there are metrics for \['coco', 'hand'\]"
    with pytest.raises(ValueError, match=message):
        evaluator().dataset_meta = SOURCES['coco']
    with pytest.raises(ValueError, match=r"\['coco', 'hand', 'mpii'\], but there are metrics for"):
        evaluator().dataset_meta = dict(META, sources=dict(SOURCES, mpii={}))
    for metrics in ({}, [dict(type='CountMetric')], dict(type='CountMetric')):
        with pytest.raises(ValueError, match='configs of metrics by dataset_name, got'):
            DatasetEvaluator(metrics)
    evaluation = evaluator()
    evaluation.dataset_meta = META
    with pytest.raises(ValueError, match=r"of data set 'aic' has no metric; .*\['coco', 'hand'\]"):
        evaluation.process([sample('aic', 1)], dict(inputs=[1]))


def test_a_metric_twice_with_names_that_differ(log):
    metrics = [dict(type='CountMetric'), dict(type='CountMetric', prefix='again')]
    evaluation = DatasetEvaluator(dict(coco=metrics))
    evaluation.dataset_meta = SOURCES['coco']
    # mmengine's offline evaluation hands over dicts
    evaluation.process([sample('coco', 4).to_dict()], dict(inputs=[4], data_samples=[None]))
    results = evaluation.evaluate(1)
    assert results['coco/AP'] == results['coco/again/AP'] == 4
    assert ['coco', 'again/AP', '4', '1'] in [line.split() for line in log[0].splitlines()]
