"""Metrics in configs of evaluators."""

from collections.abc import Mapping, Sequence
from typing import Optional, Union

from mmpose.evaluation import CocoMetric, MpiiPCKAccuracy
from mmpose.registry import METRICS

from .metric import KeypointReport

# Of a config's metric, what is said anew by who copies the rest.
OWN_OPTIONS = ('ann_file', 'prefix', 'format_only', 'outfile_prefix', 'collect_device')


def coco_metric_of(config: Mapping) -> Optional[type[CocoMetric]]:
    """The class of a metric, None for others than mmpose's ``CocoMetric`` and those derived."""
    kind = class_of(config)
    is_coco = isinstance(kind, type) and issubclass(kind, CocoMetric)
    return kind if is_coco and not issubclass(kind, KeypointReport) else None


def class_of(config: Mapping) -> Optional[type]:
    """The class that a metric's config names, None if it is not known."""
    # not built by name: that would be mmdet's of this name once a detector is loaded
    kind = config['type']
    return METRICS.get(kind) if isinstance(kind, str) else kind


def with_reports(
    evaluator: Union[Mapping, Sequence[Mapping]], out_dir: str
) -> Union[dict, list[dict]]:
    """The config of an evaluator with a ``KeypointReport`` for each data set.

    Args:
        evaluator: A metric, metrics, or a ``DatasetEvaluator``.
        out_dir: Where reports go, each to a folder with its data set's name.

    Raises:
        ValueError: It is another evaluator.
    """
    if isinstance(evaluator, Mapping) and evaluator.get('type') == 'DatasetEvaluator':
        metrics = {
            name: _with_report(given, out_dir) for name, given in evaluator['metrics'].items()
        }
        return {**evaluator, 'metrics': metrics}
    return _with_report(evaluator, out_dir)


def _with_report(metrics: Union[Mapping, Sequence[Mapping]], out_dir: str) -> list[dict]:
    metrics = [metrics] if isinstance(metrics, Mapping) else list(metrics)
    if any('metrics' in metric for metric in metrics):
        raise ValueError(
            'report needs a test_evaluator that is a metric, a list of metrics or a '
            f'DatasetEvaluator, got the evaluator {metrics[0].get("type")!r}'
        )
    others = [each for each in metrics if class_of(each) is not KeypointReport]
    given = [each for each in metrics if class_of(each) is KeypointReport]
    return [*others, {**(given[0] if given else report_config(others)), 'out_dir': str(out_dir)}]


def report_config(metrics: Sequence[Mapping]) -> dict:
    """The config of a ``KeypointReport`` that takes people as these metrics of its data set do."""
    for metric in metrics:
        if coco_metric_of(metric):
            kept = {key: value for key, value in metric.items() if key not in OWN_OPTIONS}
            return {**kept, 'type': 'KeypointReport', 'ann_file': metric.get('ann_file')}
    # mmpose leaves MPII's annotations as they are, and its metric adds the 1
    is_mpii = any(class_of(each) is MpiiPCKAccuracy for each in metrics)
    return dict(type='KeypointReport', from_samples=True, offset=float(is_mpii))
