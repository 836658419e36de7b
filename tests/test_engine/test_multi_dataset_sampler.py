"""Shares of data sets: counts, coverage, reproducibility, ranks."""

from collections import Counter

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmpose.registry import DATASETS

from vitpose_mm.datasets import MultiDataset
from vitpose_mm.engine import (
    DataError,
    MultiDatasetSampler,
    SeededSampler,
    multi_dataset_sampler,
    samples_per_epoch,
)

LENGTHS = dict(coco=10, aic=40, mpii=5)


@DATASETS.register_module()
class NumberedDataset(BaseDataset):
    """Samples know the data set's name and, by the pipeline, their seed."""

    def __init__(self, name: str, length: int, pipeline=(), test_mode=False):
        self.length = length
        super().__init__(
            metainfo=dict(dataset_name=name), pipeline=list(pipeline), test_mode=test_mode
        )

    def load_data_list(self) -> list[dict]:
        name = self.metainfo['dataset_name']
        return [dict(name=name, number=number) for number in range(self.length)]


class Draw:
    def __call__(self, results: dict) -> dict:
        return {**results, 'draw': np.random.rand()}


def dataset(lengths=LENGTHS, pipeline=()) -> MultiDataset:
    parts = {
        name: dict(type='NumberedDataset', name=name, length=length)
        for name, length in lengths.items()
    }
    return MultiDataset(parts, pipeline)


def drawn(data: MultiDataset, epoch: int = 0, **options) -> list[tuple[str, int]]:
    sampler = MultiDatasetSampler(data, seed=7, **options)
    sampler.set_epoch(epoch)
    assert len(sampler) == len(list(sampler))
    return [(data[i]['name'], data[i]['number']) for i in sampler]


def test_concatenation_is_the_seeded_sampler():
    data = dataset()
    ours, theirs = (cls(data, seed=7) for cls in (MultiDatasetSampler, SeededSampler))
    for epoch in (0, 3):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert [(i, i.position) for i in ours] == [(i, i.position) for i in theirs]


def test_ratios_give_fixed_numbers_of_samples_evenly():
    data = dataset()
    ratios = dict(coco=2, aic=1, mpii=1)
    seen = Counter()
    for epoch in range(6):
        samples = drawn(data, epoch, ratios=ratios, epoch_size=40)
        assert Counter(name for name, _ in samples) == dict(coco=20, aic=10, mpii=10)
        assert [name for name, _ in samples[:20]].count('coco') < 20, 'mixed'
        seen.update(samples)
    # 120 draws of 10 people, 60 of 40, 60 of 5: each pass is over before the next begins
    for name, low, high in (('coco', 12, 12), ('aic', 1, 2), ('mpii', 12, 12)):
        counts = [seen[name, number] for number in range(LENGTHS[name])]
        assert (min(counts), max(counts)) == (low, high)


def test_temperature():
    lengths = dict(big=1000, small=10)
    data = dataset(lengths)

    def shares(temperature: float) -> tuple[int, int]:
        counts = MultiDatasetSampler(data, temperature=temperature, seed=0).counts
        return counts['big'], counts['small']

    assert shares(1) == (1000, 10)
    assert shares(2) == (918, 92)  # sqrt(1000) : sqrt(10) = 10 : 1 of 1010
    assert shares(1e9) == (505, 505)


def test_rounding_goes_to_the_largest_remainders():
    lengths = dict(a=5, b=5, c=5)
    assert samples_per_epoch(dict(a=1, b=1, c=1), lengths, 11) == dict(a=4, b=4, c=3)
    assert samples_per_epoch(dict(a=1.3, b=1.9, c=1.8), lengths, 5) == dict(a=1, b=2, c=2)


@pytest.mark.parametrize('epoch', [0, 1, 5])
def test_ranks_share_an_epoch(epoch, monkeypatch):
    data, options = dataset(), dict(ratios=dict(coco=3, aic=2, mpii=2), epoch_size=31)
    whole = drawn(data, epoch, **options)
    parts = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(drawn(data, epoch, **options))
    assert [len(part) for part in parts] == [16, 16]
    joined = [sample for pair in zip(*parts) for sample in pair]
    assert joined == [*whole, whole[0]], 'rounded up by the first'
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        parts[rank] = drawn(data, epoch, round_up=False, **options)
    assert [len(part) for part in parts] == [16, 15]


def test_same_seed_same_order_and_other_epochs_others():
    data, options = dataset(), dict(temperature=2)
    assert drawn(data, 4, **options) == drawn(data, 4, **options)
    assert drawn(data, 4, **options) != drawn(data, 5, **options)


def test_order_does_not_change_between_versions():
    assert multi_dataset_sampler.permutation(8, 2, 7, 0, 3) == [2, 3, 4, 7, 6, 1, 0, 5]


def test_a_sample_drawn_twice_is_augmented_twice():
    data = dataset(dict(one=2, other=30), [dict(type='SeedAugmentation'), Draw()])
    sampler = MultiDatasetSampler(data, ratios=dict(one=1, other=1), seed=7)
    samples = [data[i] for i in sampler]
    assert Counter(sample['name'] for sample in samples) == dict(one=16, other=16)
    assert len({sample['draw'] for sample in samples}) == 32


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ratios=dict(coco=1, aic=1)), r"given for the data sets .*'mpii'.*got \['coco',"),
        (dict(ratios=dict(coco=1, aic=1, mpii=0)), r"must be positive, got \{'mpii': 0\}"),
        (dict(ratios=dict(coco=1, aic=1, mpii=float('nan'))), 'must be positive'),
        (
            dict(ratios=dict(coco=1000, aic=1000, mpii=1)),
            r"give no sample of \['mpii'\] in an epoch of 55: raise",
        ),
        (dict(temperature=0), 'temperature must be positive, got 0'),
        (dict(temperature=2, ratios=dict(coco=1)), 'either ratios or temperature'),
        (dict(epoch_size=3), 'epoch_size 3 needs ratios'),
        (dict(temperature=2, shuffle=False), 'need shuffle=True'),
    ],
)
def test_bad_shares_are_told_at_start(options, message):
    with pytest.raises(DataError, match=message):
        MultiDatasetSampler(dataset(), seed=0, **options)


def test_shares_need_a_multi_dataset():
    with pytest.raises(DataError, match='in a MultiDataset, got a list'):
        MultiDatasetSampler([1, 2], temperature=2, seed=0)
