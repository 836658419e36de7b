"""Learning rate, warm-up, steps and batches of a config."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from .findings import Finding

FEW_STEPS = 500
FACTOR = 2.0  # between batch sizes, from which the learning rate is called unfit
FAULT_FACTOR = 8.0


class Batches(NamedTuple):
    """How training goes through its samples.

    Attributes:
        size: Samples in a step of one process.
        num_gpus: Number of processes.
        accumulation: Steps whose gradients are added up before the weights change.
        steps_per_epoch: In each process; None if it is not known.
        max_epochs: None for training by iterations.
        max_steps: None if it is not known.
    """

    size: int
    num_gpus: int
    accumulation: int
    steps_per_epoch: Optional[int]
    max_epochs: Optional[int]
    max_steps: Optional[int]

    @property
    def total(self) -> int:
        """Samples behind a change of the weights."""
        return self.size * self.num_gpus * self.accumulation


def batches_of(cfg: Mapping, num_samples: Optional[int], num_gpus: int) -> Batches:
    """Read them off a config.

    Args:
        num_samples: In the training set, None if it is not known.
    """
    loader, train = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    size = loader.get('batch_size') or 1
    accumulation = (cfg.get('optim_wrapper') or {}).get('accumulative_counts') or 1
    num_samples = (loader.get('sampler') or {}).get('epoch_size') or num_samples
    steps = loader.get('num_batch_per_epoch')
    if steps is None and num_samples is not None:
        in_process = -(-num_samples // num_gpus)
        steps = in_process // size if loader.get('drop_last') else -(-in_process // size)
    max_epochs, max_steps = train.get('max_epochs'), train.get('max_iters')
    if max_steps is None and max_epochs is not None and steps is not None:
        max_steps = max_epochs * steps
    return Batches(size, num_gpus, accumulation, steps, max_epochs, max_steps)


def check_schedule(cfg: Mapping, batches: Batches) -> Iterator[Finding]:
    """Everything that the config alone, and the number of samples, tell of the training."""
    if batches.steps_per_epoch == 0:
        yield Finding(
            'fault',
            'batch-larger-than-data',
            f'A batch of {batches.size} in each of {batches.num_gpus} processes is larger than the '
            'training set, and drop_last=True drops it: there is no step at all.',
            'Lower train_dataloader.batch_size, or set drop_last=False.',
        )
        return
    if batches.max_steps is not None and batches.max_steps < FEW_STEPS:
        yield Finding(
            'warning',
            'few-steps',
            f'Training has {batches.max_steps} steps in all (batch {batches.size}, '
            f'{batches.steps_per_epoch} steps in an epoch); expect nothing of less than '
            f'{FEW_STEPS}.',
            'Raise train_cfg.max_epochs, or lower train_dataloader.batch_size.',
            count=batches.max_steps,
        )
    yield from _check_learning_rate(cfg, batches)
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
        yield from _check_scheduler(scheduler, batches)


def _check_learning_rate(cfg: Mapping, batches: Batches) -> Iterator[Finding]:
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    rate = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr')
    if not base or not isinstance(rate, (int, float)):
        return
    factor = batches.total / base
    if scaling.get('enable'):
        factor = batches.accumulation  # which mmengine does not count
        rate = rate * batches.size * batches.num_gpus / base
    if 1 / FACTOR <= factor <= FACTOR:
        return
    accumulated = f' x {batches.accumulation} accumulated' if batches.accumulation > 1 else ''
    unfit = 'large' if factor < 1 else 'small'
    scaled = f'optim_wrapper.optimizer.lr={rate * factor:.3g}'
    automatic = '' if batches.accumulation > 1 or scaling.get('enable') else '--auto-scale-lr, or '
    yield Finding(
        'fault' if factor <= 1 / FAULT_FACTOR else 'warning',
        'learning-rate',
        f'The learning rate {rate:g} is meant for {base} samples in a step '
        f'(auto_scale_lr.base_batch_size), but there are {batches.total} ({batches.num_gpus} GPUs '
        f'x {batches.size}{accumulated}): it is {max(factor, 1 / factor):.3g} times too {unfit}.',
        f'Train with {automatic}{scaled}. If there will be more processes, tell this check '
        'by --gpus.',
    )


def _check_scheduler(scheduler: Mapping, batches: Batches) -> Iterator[Finding]:
    kind, by_epoch = str(scheduler.get('type')), scheduler.get('by_epoch', True)
    unit = 'epochs' if by_epoch else 'steps'
    last = batches.max_epochs if by_epoch else batches.max_steps
    if last is None:
        return
    end = scheduler.get('end')
    # those that begin low are warm-ups
    factor = scheduler.get('start_factor', 1 / 3 if kind.startswith('Linear') else 1)
    steps = end is not None and end - (scheduler.get('begin') or 0)
    if kind.startswith('Linear') and factor < 1 and steps == 1 and not by_epoch:
        yield Finding(
            'fault',
            'warm-up',
            f'The warm-up ({kind}) has a single step, of which mmengine never gets to the end: the '
            f'learning rate stays at {factor:g} of its value.',
            "Lengthen it ('end' in param_scheduler), or take it out.",
        )
    if kind.startswith(('Linear', 'Constant')) and factor < 1 and end and end >= last:
        yield Finding(
            'fault',
            'warm-up',
            f'The warm-up ({kind}) ends after {end} {unit}, but training after {last}: the '
            'learning rate never gets to its value.',
            "Shorten it ('end' in param_scheduler), or train longer.",
        )
    milestones = scheduler.get('milestones') or []
    begin = scheduler.get('begin') or 0
    late = [each for each in milestones if each >= last]
    if late:
        yield Finding(
            'warning',
            'milestones',
            f'{kind} has milestones {list(milestones)} from {begin} on, but training ends after '
            f'{last} {unit}: the learning rate is not lowered at {late}.',
            'Bring milestones to about 0.8 and 0.95 of the training.',
            count=len(late),
        )
