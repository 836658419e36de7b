"""Several data sets in one, each with its own pipeline and meta information."""

from collections.abc import Sequence
from typing import Optional

from mmengine.dataset import BaseDataset, ConcatDataset
from mmpose.registry import DATASETS

from .leakage import leave_out as leave_out_images
from .leakage import left_out_images


@DATASETS.register_module()
class MultiDataset(ConcatDataset):
    """Data sets one after the other, by their labels, whose samples stay what they are in each.

    Unlike in mmpose's ``CombinedDataset`` a sample keeps the keypoints, flip pairs and
    ``dataset_name`` of its own data set, by which models and evaluators route it.

    Args:
        datasets: Configs of data sets by a label of one's choice, which ratios of
            ``MultiDatasetSampler`` refer to. Several may bear one ``dataset_name``.
        pipeline: For data sets whose config has none.
        leave_out: A report of ``tools/audit_leakage.py``: samples of images that it found in
            evaluation sets are taken out, see :func:`~.leakage.leave_out`.

    Raises:
        ValueError: There are no data sets, or they are not configs by label; two that are to be
            evaluated bear one ``dataset_name``; a report does not fit, see ``leave_out``.
    """

    def __init__(
        self,
        datasets: dict[str, dict],
        pipeline: Sequence[dict] = (),
        leave_out: Optional[str] = None,
    ) -> None:
        if not isinstance(datasets, dict) or not datasets:
            raise ValueError(
                f'datasets must be configs of data sets by label, at least one, got {datasets!r}'
            )
        built = []
        # mmengine sorts the configs that it writes, which must not change what is drawn
        self.labels = sorted(datasets)
        for label in self.labels:
            config = datasets[label]
            if not isinstance(config, dict) or 'type' not in config:
                raise ValueError(
                    f'datasets[{label!r}] must be the config of a data set, got {config!r}'
                )
            kind = config['type']
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
            if not (isinstance(kind, type) and issubclass(kind, BaseDataset)):
                raise ValueError(
                    f'datasets[{label!r}] must be a data set itself, not a wrapper or unknown, got '
                    f'type {config["type"]!r}; to see one more often there are ratios of '
                    'MultiDatasetSampler'
                )
            config = {'pipeline': list(pipeline), **config}
            if config.get('metainfo') is not None:
                config['metainfo'] = in_order(config['metainfo'])
            built.append(DATASETS.build(config))
        tested = [each.metainfo['dataset_name'] for each in built if each.test_mode]
        if len(set(tested)) < len(tested):
            raise ValueError(
                f'data sets to be evaluated need different dataset_names, got {tested}: give the '
                'others meta information of their own (metainfo=dict(...))'
            )
        if leave_out is not None:
            if tested:
                raise ValueError(
                    f'leave_out={leave_out!r} is for training: metrics would count the people '
                    f'left out of {tested} as missed'
                )
            images = left_out_images(leave_out)
            for dataset in built:
                leave_out_images(dataset, images)
        # mmengine compares meta information; here it may differ
        keys = sorted({key for dataset in built for key in dataset.metainfo})
        super().__init__(built, ignore_keys=keys)

    @property
    def metainfo(self) -> dict:
        """Meta information of the first data set, and ``sources``: that of each by its name."""
        sources = {each.metainfo['dataset_name']: each.metainfo for each in self.datasets}
        return dict(self.datasets[0].metainfo, sources=sources)

    def lengths(self) -> dict[str, int]:
        """Number of samples by label."""
        return {label: len(each) for label, each in zip(self.labels, self.datasets)}


def in_order(metainfo: dict) -> dict:
    """Meta information, not parsed, with its keypoints and links in the order of their numbers.

    mmengine sorts the numbers as text (0, 1, 10, 11, 2, ...) when it writes a config, and mmpose
    takes what it parses in the order it comes, so that flip pairs would be mixed up.
    """
    entries = ('keypoint_info', 'skeleton_info')
    ordered = {key: dict(sorted(metainfo[key].items())) for key in entries if key in metainfo}
    return {**metainfo, **ordered}
