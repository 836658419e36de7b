"""Several data sets in one, each with its own pipeline and meta information."""

from collections.abc import Sequence

from mmengine.dataset import ConcatDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class MultiDataset(ConcatDataset):
    """Data sets one after the other, whose samples stay what they are in each.

    Unlike in mmpose's ``CombinedDataset`` a sample keeps the keypoints, flip pairs and
    ``dataset_name`` of its own data set, by which models and evaluators route it.

    Args:
        datasets: Configs of data sets by a label of one's choice, which ratios of
            ``MultiDatasetSampler`` refer to. Several may bear one ``dataset_name``.
        pipeline: For data sets whose config has none.

    Raises:
        ValueError: There are no data sets, they are not configs by label, or two that are to be
            evaluated bear one ``dataset_name``.
    """

    def __init__(self, datasets: dict[str, dict], pipeline: Sequence[dict] = ()) -> None:
        if not isinstance(datasets, dict) or not datasets:
            raise ValueError(
                f'datasets must be configs of data sets by label, at least one, got {datasets!r}'
            )
        built = []
        for label, config in datasets.items():
            if not isinstance(config, dict) or 'type' not in config:
                raise ValueError(
                    f'datasets[{label!r}] must be the config of a data set, got {config!r}'
                )
            built.append(DATASETS.build({'pipeline': list(pipeline), **config}))
        tested = [each.metainfo['dataset_name'] for each in built if each.test_mode]
        if len(set(tested)) < len(tested):
            raise ValueError(
                f'data sets to be evaluated need different dataset_names, got {tested}: give the '
                'others meta information of their own (metainfo=dict(...))'
            )
        self.labels = list(datasets)
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
