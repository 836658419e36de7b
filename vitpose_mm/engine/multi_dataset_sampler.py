"""How often each of several data sets is seen."""

from collections.abc import Iterator
from typing import Optional

import numpy as np
from mmpose.registry import DATA_SAMPLERS

from vitpose_mm.datasets import MultiDataset

from .data_check import DataError
from .reproducibility import SampleIndex, SeededSampler

# First words of seeds, beside those of reproducibility.py.
PASSES, EPOCHS = 2, 3


@DATA_SAMPLERS.register_module()
class MultiDatasetSampler(SeededSampler):
    """Draws from the data sets of a ``MultiDataset`` by given shares, reproducibly.

    Without ``ratios`` and ``temperature`` the data sets are concatenated and shuffled, as in the
    paper: this is :class:`SeededSampler` then. With them, each data set gives a fixed number of
    samples per epoch. It is gone through in a new order again and again, and each epoch goes on
    where the one before stopped, so that all of its samples are seen equally often. Batches mix
    the data sets at random.

    All is a function of (seed, epoch), so nothing needs to be saved to resume.

    Args:
        dataset: A ``MultiDataset``.
        ratios: Relative shares by the data sets' labels, all of them.
        temperature: Shares in proportion to ``length ** (1 / temperature)``: 1 is concatenation,
            larger values approach equal shares.
        epoch_size: Number of samples per epoch, over all processes; by default that of all
            data sets together.
        shuffle: Must be true with ratios or temperature.
        seed: As in mmengine's ``DefaultSampler``, as is ``round_up``.

    Raises:
        DataError: Shares do not fit the data sets, or one of these would give no sample.
    """

    def __init__(
        self,
        dataset: MultiDataset,
        ratios: Optional[dict[str, float]] = None,
        temperature: Optional[float] = None,
        epoch_size: Optional[int] = None,
        shuffle: bool = True,
        seed: Optional[int] = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)
        self.counts = None
        if ratios is None and temperature is None:
            if epoch_size is not None:
                raise DataError(f'epoch_size {epoch_size} needs ratios or a temperature')
            return
        if not isinstance(dataset, MultiDataset):
            raise DataError(
                'ratios and temperature are shares of the data sets in a MultiDataset, got a '
                f'{type(dataset).__name__}'
            )
        if ratios is not None and temperature is not None:
            raise DataError(f'either ratios or temperature, got {ratios} and {temperature}')
        if not shuffle:
            raise DataError('ratios and temperature need shuffle=True')
        self.lengths = dataset.lengths()
        if temperature is not None:
            if not temperature > 0:
                raise DataError(f'temperature must be positive, got {temperature}')
            largest = max(self.lengths.values())
            ratios = {
                label: (length / largest) ** (1 / temperature)
                for label, length in self.lengths.items()
            }
        self.epoch_size = len(dataset) if epoch_size is None else epoch_size
        self.counts = samples_per_epoch(ratios, self.lengths, self.epoch_size)
        self.num_samples = -(-self.epoch_size // self.world_size)
        self.total_size = self.num_samples * self.world_size
        if not round_up:
            self.num_samples = len(range(self.rank, self.epoch_size, self.world_size))
            self.total_size = self.epoch_size

    def __iter__(self) -> Iterator[SampleIndex]:
        if self.counts is None:
            return super().__iter__()
        drawn, start = [], 0
        total = sum(self.lengths.values())
        for source, (label, length) in enumerate(self.lengths.items()):
            first = self.epoch * self.counts[label]
            for number in range(first // length, -(-(first + self.counts[label]) // length)):
                order = permutation(length, PASSES, self.seed, source, number)
                begin = max(first - number * length, 0)
                end = min(first + self.counts[label] - number * length, length)
                # another pass has another position, so a sample seen twice is augmented twice
                drawn += [
                    (start + index, start + index + number * total) for index in order[begin:end]
                ]
            start += length
        drawn = [drawn[i] for i in permutation(len(drawn), EPOCHS, self.seed, self.epoch)]
        drawn += drawn[: self.total_size - len(drawn)]
        return iter(
            [
                SampleIndex(index, self.seed, self.epoch, position)
                for index, position in drawn[self.rank :: self.world_size]
            ]
        )


def samples_per_epoch(
    ratios: dict[str, float], lengths: dict[str, int], epoch_size: int
) -> dict[str, int]:
    """Whole numbers of samples in proportion to ``ratios``, ``epoch_size`` together.

    What is left after rounding down goes to the largest remainders.

    Raises:
        DataError: Labels differ, a ratio is not positive, or a data set gets no sample.
    """
    if set(ratios) != set(lengths):
        raise DataError(
            f'ratios must be given for the data sets {list(lengths)}, got {list(ratios)}'
        )
    bad = {label: ratio for label, ratio in ratios.items() if not 0 < ratio < float('inf')}
    if bad:
        raise DataError(
            f'ratios must be positive, got {bad}; a data set that is not wanted belongs out of '
            'train_dataloader.dataset.datasets'
        )
    shares = {label: ratios[label] / sum(ratios.values()) * epoch_size for label in lengths}
    counts = {label: int(share) for label, share in shares.items()}
    by_remainder = sorted(lengths, key=lambda label: counts[label] - shares[label])
    for label in by_remainder[: epoch_size - sum(counts.values())]:
        counts[label] += 1
    none = [label for label, count in counts.items() if count == 0]
    if none:
        raise DataError(
            f'ratios {ratios} give no sample of {none} in an epoch of {epoch_size}: raise their '
            'ratio or epoch_size'
        )
    return counts


def permutation(length: int, *words: int) -> list[int]:
    """A permutation that depends on the words alone, on every machine."""
    bits = np.random.MT19937(np.random.SeedSequence(words))
    return np.random.RandomState(bits).permutation(length).tolist()
