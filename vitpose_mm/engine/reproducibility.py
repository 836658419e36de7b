"""Training as a function of (seed, epoch, sample) and (seed, iteration, rank).

mmengine's checkpoints hold no random state, and its workers are seeded by their number alone. Here
nothing random outlives a sample or an iteration, so nothing needs to be saved: a resumed run equals
an uninterrupted one, and augmentation depends neither on the number of workers nor on how samples
are dealt to ranks. Three parts, used together:

    train_dataloader = dict(sampler=dict(type='SeededSampler', shuffle=True), ...)
    train_pipeline = [dict(type='SeedAugmentation'), dict(type='LoadImage'), ...]
    custom_hooks = [dict(type='SeedIterationHook')]
"""

import random
from collections.abc import Callable, Iterator
from typing import Optional

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import DefaultSampler
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import DATA_SAMPLERS, HOOKS, TRANSFORMS
from torch.utils.data import DataLoader, get_worker_info

# First words of the two families of seeds, so that they never coincide.
AUGMENTATION, ITERATION = 0, 1


def seed_generators(*words: int, seed_torch: Optional[Callable[[int], object]] = None) -> None:
    """Seed Python's and numpy's global generators, and torch's by ``seed_torch`` if given."""
    state = np.random.SeedSequence(words).generate_state(8)  # uint32
    np.random.seed(state[:4])
    random.seed(state[4:6].tobytes())
    if seed_torch is not None:
        seed_torch(int.from_bytes(state[6:].tobytes(), 'little'))


class SampleIndex(int):
    """Index of a sample that knows the run's seed, the epoch, and its position in the whole.

    Data set wrappers shift or wrap an index (``index - offset``, ``index % length``); the result
    keeps ``position``, the index that the sampler gave, so that two data sets joined in one do not
    augment their first samples alike.
    """

    def __new__(
        cls, index: int, seed: int, epoch: int, position: Optional[int] = None
    ) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        self.epoch = epoch
        self.position = int(index) if position is None else position
        return self

    def __getnewargs__(self) -> tuple:
        return int(self), self.seed, self.epoch, self.position

    def __sub__(self, other: int) -> 'SampleIndex':
        return SampleIndex(int(self) - int(other), self.seed, self.epoch, self.position)

    def __mod__(self, other: int) -> 'SampleIndex':
        return SampleIndex(int(self) % int(other), self.seed, self.epoch, self.position)


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler``, same order and same arguments, yielding :class:`SampleIndex`.

    The indices reach :class:`SeedAugmentation` through mmengine's and mmpose's data sets, and
    through ``ConcatDataset``, ``RepeatDataset`` and ``CombinedDataset``. The last draws samples
    itself if given ``sample_ratio_factor``, and then its samples carry no seed.

    The seed is that of the run (``randomness.seed``, or the checkpoint's on resume), which
    :class:`SeedIterationHook` sees to.
    """

    def __iter__(self) -> Iterator[SampleIndex]:
        return iter([SampleIndex(index, self.seed, self.epoch) for index in super().__iter__()])


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Make the augmentation of a sample a function of (seed, epoch, sample).

    Belongs first in a training pipeline. It seeds the global generators of Python and numpy, which
    mmpose's and mmcv's transforms draw from, and torch's inside a worker process; in the main
    process torch's generator belongs to the model. Transforms with generators of their own, such
    as a whole ``albumentations.Compose``, are beyond its reach.

    Raises:
        ValueError: If ``results['sample_idx']`` does not come from a :class:`SeededSampler`.
    """

    def transform(self, results: dict) -> dict:
        index = results.get('sample_idx')
        if not isinstance(index, SampleIndex):
            raise ValueError(
                "SeedAugmentation needs sampler=dict(type='SeededSampler') in the data loader and "
                'a data set that passes its indices on (one that draws another sample where a '
                f'pipeline returns None does not), got sample_idx={index!r}.'
            )
        in_worker = get_worker_info() is not None
        # torch.manual_seed would spend 0.1 ms on GPUs that workers do not use
        seed_torch = torch.default_generator.manual_seed if in_worker else None
        seed_generators(
            AUGMENTATION, index.seed, index.epoch, index.position, seed_torch=seed_torch
        )
        return results


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed every training iteration from (seed, iteration, rank).

    Drop path, dropout and whatever else the model draws then need no saved state; ranks draw
    differently. Works with epoch-based and iteration-based loops.

    The seed is rank 0's ``runner.seed``, which after a resume is the one in the checkpoint's meta.
    mmengine builds the data loader before it reads the checkpoint, so where ``randomness.seed`` is
    not set, or is set to something else, the sampler has another seed by then and is given the
    run's.
    """

    # before every other hook that may draw
    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        seeds = [runner.seed]
        broadcast_object_list(seeds)
        self.seed = seeds[0]

        loop = runner.train_loop
        sampler = find_sampler(loop.dataloader)
        if not isinstance(sampler, SeededSampler) or sampler.seed == self.seed:
            return
        sampler.seed = self.seed
        if hasattr(loop, 'dataloader_iterator'):
            # Iteration-based loops make their iterator, and begin to prefetch, when they are built.
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        seed_generators(ITERATION, self.seed, runner.iter, get_rank(), seed_torch=torch.manual_seed)


def find_sampler(dataloader: DataLoader) -> object:
    """The sampler of indices, also where a batch sampler wraps it."""
    return getattr(dataloader.batch_sampler, 'sampler', dataloader.sampler)
