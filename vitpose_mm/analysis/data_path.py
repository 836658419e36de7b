"""Samples per second of a training data set, its transforms and its workers."""

import copy
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from statistics import mean
from typing import Optional

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from vitpose_mm.datasets import MultiDataset
from vitpose_mm.engine.parts import transforms_of
from vitpose_mm.engine.reproducibility import find_sampler

from .machine import cpu_name
from .models import config_scope

LOADING = 'annotation of the sample'


def build_train_loader(
    cfg: Config,
    num_workers: Optional[int] = None,
    batch_size: Optional[int] = None,
    seed: int = 0,
) -> DataLoader:
    """Build the data loader of training as the runner does, OpenCV's threads included.

    Args:
        cfg: Config with ``train_dataloader``.
        num_workers: Worker processes; by default the config's.
        batch_size: By default the config's.
        seed: Of order and augmentation.
    """
    if cfg.get('train_dataloader') is None:
        raise ValueError('the config must have a train_dataloader')
    loader_cfg = copy.deepcopy(cfg.train_dataloader)
    if num_workers is not None:
        loader_cfg.num_workers = num_workers
    if batch_size is not None:
        loader_cfg.batch_size = batch_size
    if not loader_cfg.get('num_workers'):
        # torch refuses both without workers
        loader_cfg.pop('prefetch_factor', None)
        loader_cfg.persistent_workers = False
    set_multi_processing(**cfg.get('env_cfg', {}).get('mp_cfg', {}))
    with config_scope(cfg):
        return Runner.build_dataloader(loader_cfg, seed=seed)


def endless_batches(loader: DataLoader) -> Iterator[dict]:
    """Epoch after epoch, each in an order of its own."""
    if not len(loader):
        raise ValueError(f'the data set has {len(loader.dataset)} samples, too few for one batch')
    epoch = 0
    while True:
        sampler = find_sampler(loader)
        if hasattr(sampler, 'set_epoch'):  # as mmengine's DistSamplerSeedHook does
            sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def measure_data_path(
    cfg: Config,
    num_workers: Optional[int] = None,
    batch_size: Optional[int] = None,
    num_samples: int = 1000,
    seed: int = 0,
) -> dict[str, object]:
    """Time how fast batches of the training set arrive in the main process, which only takes them.

    The clock starts when all that workers may have made ahead has been taken, so that what is
    counted has been made in the time that is measured.

    Args:
        num_samples: How many samples to count at least, in whole batches.
    """
    loader = build_train_loader(cfg, num_workers, batch_size, seed)
    if num_samples < 1:
        raise ValueError(f'num_samples must be at least 1, got {num_samples}')
    batch_size = loader.batch_size or loader.batch_sampler.batch_size
    num_batches = -(-num_samples // batch_size)
    batches = endless_batches(loader)
    ahead = 1 + loader.num_workers * (loader.prefetch_factor or 0)
    start = time.perf_counter()
    next(batches)
    first = time.perf_counter()
    for _ in islice(batches, ahead - 1):
        pass
    begin = time.perf_counter()
    counted = sum(len(batch['inputs']) for batch in islice(batches, num_batches))
    seconds = time.perf_counter() - begin
    return {
        'samples per second': counted / seconds,
        'seconds to the first batch': first - start,
        'samples counted': counted,
        'samples before those': f'{ahead} batches',
        'samples in an epoch': len(loader.dataset),
        'batch size': batch_size,
        'workers': loader.num_workers or 'none, in the main process',
        'up to': 'a batch of samples in the main process, not yet normalised, on the host',
        'device': f'cpu ({cpu_name()})',
    }


def steps_of(dataset: BaseDataset, prefix: str) -> dict[str, Callable]:
    """What makes a sample of its index, by names that begin with a prefix.

    Raises:
        ValueError: The data set has no pipeline of its own.
    """
    transforms = transforms_of(dataset)
    if not transforms:
        raise ValueError(
            f'transforms can be timed where the data set itself has a pipeline, '
            f'{type(dataset).__name__} has none'
        )

    def load(index: int) -> dict:  # as mmpose's prepare_data does
        return {**dataset.get_data_info(index), 'dataset': dataset}

    named = {
        f'{prefix}{index} {type(each).__name__}': each for index, each in enumerate(transforms)
    }
    return {prefix + LOADING: load, **named}


def time_transforms(
    cfg: Config, num_samples: int = 100, warm_up: int = 5, seed: int = 0
) -> dict[str, float]:
    """Milliseconds per sample of each transform of the training pipeline, in this process.

    Of a ``MultiDataset`` each data set's own: ``coco: 3 FastRandomFlip``.

    Args:
        num_samples: How many samples to average over.
        warm_up: Samples before those, not counted.

    Raises:
        ValueError: The data set is a wrapper without a pipeline of its own.
    """
    if num_samples < 1:
        raise ValueError(f'num_samples must be at least 1, got {num_samples}')
    loader = build_train_loader(cfg, num_workers=0, seed=seed)
    dataset = loader.dataset
    parts, prefixes = [dataset], ['']
    if isinstance(dataset, MultiDataset):
        parts, prefixes = dataset.datasets, [f'{label}: ' for label in dataset.labels]
    steps = [steps_of(part, prefix) for part, prefix in zip(parts, prefixes)]
    ends = list(accumulate(map(len, parts)))
    milliseconds: dict[str, list[float]] = {name: [] for each in steps for name in each}

    def samples() -> Iterator[int]:
        while True:
            yield from find_sampler(loader)

    for count, index in enumerate(islice(samples(), warm_up + num_samples)):
        which = bisect_right(ends, index)
        value = index - (ends[which] - len(parts[which]))
        for name, step in steps[which].items():
            start = time.perf_counter()
            value = step(value)
            elapsed = time.perf_counter() - start
            if count >= warm_up:
                milliseconds[name].append(elapsed * 1e3)
            if value is None:  # the pipeline refuses this sample
                break
    return {name: mean(values) if values else 0.0 for name, values in milliseconds.items()}
