"""Several data sets evaluated in one run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union

from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from mmpose.registry import EVALUATORS

from vitpose_mm.report import format_table

# What goes to the table, in mmpose's names; of metrics without any of these, all goes there.
HEADLINES = ('AP', 'AP .5', 'AR', 'AP(E)', 'AP(M)', 'AP(H)', 'PCK', 'PCK@0.1', 'AUC', 'EPE', 'NME')


@EVALUATORS.register_module()
class DatasetEvaluator(Evaluator):
    """Metrics by data set, each given the samples of its own, and one table at the end.

    Unlike in mmpose's ``MultiDatasetEvaluator``, data sets are told apart by the ``dataset_name``
    of their samples, whatever their class, may have several metrics, and their names are prefixes
    of the results: ``coco/AP``, ``mpii/PCK``, and ``coco/people``, the number of people with
    keypoints in the metric's annotation file, or that of samples where it has none.

    Args:
        metrics: Config of a metric, or of several in a list, by ``dataset_name``. A ``prefix`` in
            it comes between: ``lsp/0.1/PCK``.
        for_all: Configs of metrics that are given the samples of all data sets, such as
            ``DumpResults``.

    Raises:
        ValueError: When the data sets become known: one has no metric, or a metric no data set.
    """

    def __init__(
        self, metrics: dict[str, Union[dict, Sequence[dict]]], for_all: Sequence[dict] = ()
    ) -> None:
        if not isinstance(metrics, dict) or 'type' in metrics or not metrics:
            raise ValueError(f'metrics must be configs of metrics by dataset_name, got {metrics!r}')
        several = {
            name: [given] if isinstance(given, dict) else list(given)
            for name, given in metrics.items()
        }
        super().__init__([*(metric for given in several.values() for metric in given), *for_all])
        built = iter(self.metrics)
        self.metrics_by_dataset: dict[str, list[BaseMetric]] = {
            name: [next(built) for _ in given] for name, given in several.items()
        }
        for name, given in several.items():
            for config, metric in zip(given, self.metrics_by_dataset[name]):
                metric.prefix = '/'.join(filter(None, [name, config.get('prefix')]))
        self.for_all = list(built)
        self._num_samples: dict[str, int] = defaultdict(int)

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Meta information of a ``MultiDataset``, or of a single data set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        sources = dataset_meta.get('sources', {dataset_meta['dataset_name']: dataset_meta})
        if set(sources) != set(self.metrics_by_dataset):
            raise ValueError(
                f'the data sets to evaluate are {sorted(sources)}, but there are metrics for '
                f'{sorted(self.metrics_by_dataset)}: each data set needs a metric in '
                'evaluator.metrics, and each metric a data set'
            )
        self._dataset_meta = dataset_meta
        for name, of_dataset in self.metrics_by_dataset.items():
            for metric in of_dataset:
                metric.dataset_meta = sources[name]
        for metric in self.for_all:
            metric.dataset_meta = dataset_meta

    def process(
        self, data_samples: Sequence[BaseDataElement], data_batch: Optional[Any] = None
    ) -> None:
        """Hand samples to the metrics of their data sets."""
        dicts = [s.to_dict() if isinstance(s, BaseDataElement) else s for s in data_samples]
        for metric in self.for_all:
            metric.process(data_batch, dicts)
        by_dataset = defaultdict(list)
        for index, sample in enumerate(dicts):
            by_dataset[sample['dataset_name']].append(index)
        for name, indices in by_dataset.items():
            if name not in self.metrics_by_dataset:
                raise ValueError(
                    f'a sample of data set {name!r} has no metric; there are some for '
                    f'{list(self.metrics_by_dataset)}'
                )
            own_batch = data_batch and {
                key: [values[index] for index in indices] for key, values in data_batch.items()
            }
            own_samples = [dicts[index] for index in indices]
            for metric in self.metrics_by_dataset[name]:
                metric.process(own_batch, own_samples)
            self._num_samples[name] += len(indices)

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics of all data sets, by ``<dataset_name>/<metric>``."""
        counts = all_gather_object(dict(self._num_samples))
        self._num_samples.clear()
        # samples may be a detector's boxes
        num_annotated = {
            name: num_people(metric.coco.anns.values())
            for name, of_dataset in self.metrics_by_dataset.items()
            for metric in of_dataset
            if getattr(metric, 'coco', None) is not None
        }
        results = super().evaluate(size)
        rows = []
        for name in self.metrics_by_dataset:
            people = num_annotated.get(name, sum(count.get(name, 0) for count in counts))
            of_dataset = {
                key.removeprefix(f'{name}/'): value
                for key, value in results.items()
                if key.startswith(f'{name}/')
            }
            results[f'{name}/people'] = people
            shown = [
                key for wanted in HEADLINES for key in of_dataset if key.split('/')[-1] == wanted
            ]
            shown = shown or list(of_dataset)
            rows += [(name, key, of_dataset[key], people) for key in shown]
        if is_main_process():
            header = ('data set', 'metric', 'value', 'people')
            print_log('\n' + format_table([header, *rows]), 'current')
        return results


def num_people(annotations: Iterable[dict]) -> int:
    """How many of COCO's annotations its evaluation of keypoints wants to be found."""
    return sum(
        each.get('num_keypoints', 1) > 0 and not each.get('iscrowd', 0) for each in annotations
    )
