"""Randomness as a function of (seed, epoch, sample) and (seed, iteration, rank)."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpose.datasets import CombinedDataset
from mmpose.registry import DATASETS, TRANSFORMS
from torch import nn
from torch.utils.data import DataLoader, Dataset

from vitpose_mm.engine import SampleIndex, SeedAugmentation, SeededSampler

PINNED = [0.66581814348737, 0.5993279785841388]


def draws(*index: int) -> list[float]:
    """What a pipeline would draw first for SampleIndex(index, seed, epoch)."""
    SeedAugmentation()({'sample_idx': SampleIndex(*index)})
    return [np.random.rand(), random.random()]


class Draws(Dataset):
    """Samples are (index, a number from numpy, a number from Python)."""

    metainfo = {}

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        SeedAugmentation()({'sample_idx': index})
        return torch.tensor([index, np.random.rand(), random.random()], dtype=torch.float64)


def samples_by_index(seed: int, epoch: int, **loader) -> torch.Tensor:
    sampler = SeededSampler(Draws(12), seed=seed)
    sampler.set_epoch(epoch)
    rows = torch.cat(list(DataLoader(Draws(12), sampler=sampler, **loader)))
    return rows[rows[:, 0].argsort()]


def test_index_is_an_int_that_travels():
    index = SampleIndex(5, seed=7, epoch=2)
    for same in (index, copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert (same, same.seed, same.epoch, same.position) == (5, 7, 2, 5)
        assert [10, 11, 12, 13, 14, 15][same] == 15
    for moved in (index - 3, index % 3):
        assert (moved, moved.seed, moved.epoch, moved.position) == (2, 7, 2, 5)
    assert pickle.loads(pickle.dumps(index - 3)).position == 5


@pytest.mark.parametrize('shuffle', [True, False])
def test_sampler_keeps_the_order_of_the_default_one(shuffle):
    ours, theirs = (
        cls(range(100), shuffle=shuffle, seed=7) for cls in (SeededSampler, DefaultSampler)
    )
    for epoch in (0, 3):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        indices = list(ours)
        assert indices == list(theirs)
        assert {(index.seed, index.epoch) for index in indices} == {(7, epoch)}
    assert len(ours) == 100


def test_augmentation_depends_on_seed_epoch_and_sample():
    first = draws(5, 7, 2)
    # Recorded: other versions of numpy or Python must not change a run either.
    assert first == pytest.approx(PINNED)
    assert draws(5, 7, 2) == first
    others = [draws(6, 7, 2), draws(5, 8, 2), draws(5, 7, 3)]
    numbers = sum(others, first)
    assert len(set(numbers)) == len(numbers)


def test_augmentation_leaves_torch_alone_in_the_main_process():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draws(5, 7, 2)
    assert torch.equal(torch.rand(2), expected)


def test_augmentation_does_not_depend_on_workers_and_batches():
    expected = samples_by_index(7, 1, batch_size=3, num_workers=0)
    assert expected[:, 0].tolist() == list(range(12))
    assert torch.equal(samples_by_index(7, 1, batch_size=3, num_workers=2), expected)
    assert torch.equal(samples_by_index(7, 1, batch_size=5, num_workers=0), expected)
    assert not torch.equal(samples_by_index(7, 2, batch_size=3, num_workers=0), expected)


@pytest.mark.parametrize('index', [5, None])
def test_augmentation_needs_a_seeded_index(index):
    with pytest.raises(ValueError, match='SeededSampler'):
        SeedAugmentation()({'sample_idx': index})


@TRANSFORMS.register_module()
class KeepPosition:
    """End of a pipeline: what remains of a sample."""

    def __call__(self, results: dict) -> dict:
        index = results['sample_idx']
        return {'index': int(index), 'position': index.position, 'draw': np.random.rand()}


@DATASETS.register_module()
class PositionDataset(BaseDataset):
    def __init__(self, length: int):
        self.length = length
        super().__init__(pipeline=[{'type': 'SeedAugmentation'}, {'type': 'KeepPosition'}])

    def load_data_list(self) -> list[dict]:
        return [{}] * self.length


def concatenated() -> Dataset:
    return ConcatDataset([PositionDataset(2), PositionDataset(3)])


def combined(**options) -> Dataset:
    parts = [{'type': 'PositionDataset', 'length': length} for length in (2, 3)]
    metainfo = {'from_file': 'configs/_base_/datasets/coco.py'}
    return CombinedDataset(metainfo=metainfo, datasets=parts, **options)


@pytest.mark.parametrize('build', [concatenated, combined])
def test_joined_data_sets_augment_by_position_in_the_whole(build):
    dataset = build()
    found = [dataset[i] for i in SeededSampler(dataset, shuffle=False, seed=7)]
    assert [(sample['index'], sample['position']) for sample in found] == [
        (0, 0),
        (1, 1),
        (0, 2),
        (1, 3),
        (2, 4),
    ]
    assert len({sample['draw'] for sample in found}) == 5


def test_repeated_data_set_augments_each_repetition():
    dataset = RepeatDataset(PositionDataset(2), times=2)
    found = [dataset[i] for i in SeededSampler(dataset, shuffle=False, seed=7)]
    assert [sample['index'] for sample in found] == [0, 1, 0, 1]
    assert len({sample['draw'] for sample in found}) == 4


def test_resampled_data_set_is_refused():
    dataset = combined(sample_ratio_factor=[1.0, 0.5])
    with pytest.raises(ValueError, match='SeededSampler'):
        dataset[SampleIndex(0, seed=7, epoch=0)]


class Noise(BaseModel):
    """Records what it is given and what it draws, and fits neither."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.history = []

    def forward(self, *rows: torch.Tensor, mode: str) -> dict:
        self.history.append((torch.stack(rows).tolist(), torch.rand(1).item(), np.random.rand()))
        return {'loss': self.weight.sum()}


def run(work_dir, by_epoch: bool, num_workers: int, seed, resume: bool) -> list:
    """Histories of 6 iterations of 4 samples out of 12; checkpoints after the 3rd and the 6th."""
    length = {'by_epoch': True, 'max_epochs': 2} if by_epoch else {'max_iters': 6}
    runner = Runner(
        model=Noise(),
        work_dir=str(work_dir),
        train_dataloader={
            'dataset': Draws(12),
            'sampler': {'type': 'SeededSampler'},
            'batch_size': 4,
            'num_workers': num_workers,
            'persistent_workers': num_workers > 0,
        },
        train_cfg=length if by_epoch else {'by_epoch': False, **length},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        default_hooks={
            'checkpoint': {
                'type': 'AtomicCheckpointHook',
                'by_epoch': by_epoch,
                'interval': 1 if by_epoch else 3,
            },
            'logger': None,
        },
        custom_hooks=[{'type': 'SeedIterationHook'}],
        randomness={'seed': seed},
        resume=resume,
        load_from=str(work_dir / ('epoch_1.pth' if by_epoch else 'iter_3.pth')) if resume else None,
        default_scope='mmpose',
        experiment_name=f'{work_dir.name}_{seed}_{resume}',
        log_level='ERROR',
    )
    runner.train()
    return runner.model.history


@pytest.mark.parametrize(
    ('by_epoch', 'num_workers'), [(True, 0), (False, 2)], ids=['epochs', 'iterations']
)
def test_resumed_loop_draws_as_the_uninterrupted(tmp_path, by_epoch, num_workers):
    history = run(tmp_path, by_epoch, num_workers, seed=7, resume=False)
    assert len(history) == 6
    assert len({draw for _, *two in history for draw in two}) == 12
    # without a seed of its own it takes over the checkpoint's, in the sampler as well
    assert run(tmp_path, by_epoch, num_workers, seed=None, resume=True) == history[3:]
