"""Images that training passed over because they cannot be read: counted, reported, limited."""

import logging
from collections.abc import Collection, Iterable
from typing import Optional

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from .data_check import DataError, data_infos, leaves

NUM_LISTED = 5  # of the paths that a message is about


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Count the images that ``LoadCheckedImage(on_error='skip')`` passed over, and set a limit.

    Counted are distinct files, since the start of the process: a resumed run begins again. A scalar
    ``train/skipped_images`` and, at the end of each epoch, a line in the log say how many there
    are, once there is one. Samples need ``PackPersonInputs``, or another packing that has
    ``skipped_images`` among its ``meta_keys``.

    In training by iterations, which has one epoch for mmengine, the line comes at the end.

    Args:
        max_share: Of the distinct files of the training data, in [0, 1]. One file is always
            tolerated; to tolerate none there is ``on_error='raise'``.

    Raises:
        ValueError: ``max_share`` is something else.
        DataError: There are more. A process finds out about the files that it met itself after the
            iteration, about those of all processes at the end of an epoch.
    """

    def __init__(self, max_share: float = 0.01) -> None:
        is_number = isinstance(max_share, (int, float)) and not isinstance(max_share, bool)
        if not is_number or not 0 <= max_share <= 1:
            raise ValueError(
                f'max_share must be a share of the files, a number from 0 to 1, got {max_share!r}.'
            )
        self.max_share = max_share
        self.skipped: set[str] = set()
        self._num_files: Optional[int] = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        self._add(runner, skipped_in(data_batch['data_samples']))

    def after_train_epoch(self, runner: Runner) -> None:
        self._add(runner, set().union(*all_gather_object(self.skipped)))
        if self.skipped:
            # the number of files is the same in all processes; only the first logs
            print_log(
                f'{len(self.skipped)} of {self.num_files(runner)} training images could not be '
                f'read since the start: {listed(self.skipped)}',
                logger='current',
                level=logging.WARNING,
            )

    def _add(self, runner: Runner, paths: set[str]) -> None:
        if paths <= self.skipped:
            return
        self.skipped |= paths
        runner.message_hub.update_scalar('train/skipped_images', len(self.skipped))
        number = len(self.skipped)
        total = max(self.num_files(runner), number)  # only mmengine's data sets are counted
        if number > max(self.max_share * total, 1):
            raise DataError(
                f'{number} of {total} training images ({number / total:.2%}) cannot be read, more '
                f'than SkippedImagesHook(max_share={self.max_share}) tolerates: '
                f'{listed(self.skipped)}. Mend them or take them out, compare data_root with where '
                'the files are, or raise max_share.'
            )

    def num_files(self, runner: Runner) -> int:
        """Number of distinct files of the training data; counted at the first call."""
        if self._num_files is None:
            parts = leaves(runner.train_dataloader.dataset)
            infos = (info for part in parts for info in data_infos(part.dataset))
            self._num_files = len({str(info['img_path']) for info in infos})
        return self._num_files


def skipped_in(samples: Iterable) -> set[str]:
    """Paths of the images that were passed over for these data samples."""
    return {path for sample in samples for path in sample.get('skipped_images', ())}


def listed(paths: Collection[str]) -> str:
    """The first of some paths, and how many more there are."""
    first = sorted(paths)[:NUM_LISTED]
    more = f' and {len(paths) - len(first)} more' if len(paths) > len(first) else ''
    return ', '.join(first) + more
