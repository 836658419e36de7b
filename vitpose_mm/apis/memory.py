"""What to do when a batch does not fit into memory."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from mmengine.logging import print_log


class HasBatchSize(Protocol):
    batch_size: int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory is short, on a GPU or on the host."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or 'out of memory' in text
    )


def halving_batches(run: Callable[[Sequence], list], items: Sequence, owner: HasBatchSize) -> list:
    """Run a batch, in smaller pieces where it does not fit into memory.

    ``owner.batch_size`` is halved until pieces fit, with a warning, and stays so: what did not fit
    once is not tried again.

    Args:
        run: From items to as many results.
        items: A batch.
        owner: Whose ``batch_size`` it is.

    Returns:
        The results of all items.

    Raises:
        RuntimeError: Not even one item fits.
    """
    results: list = []
    while len(results) < len(items):
        piece = items[len(results) : len(results) + owner.batch_size]
        try:
            results += run(piece)
            continue
        except RuntimeError as error:
            if not is_out_of_memory(error) or len(piece) == 1:
                raise
            reason = str(error).splitlines()[0]
        # outside of the handler, where the traceback no longer holds the tensors
        owner.batch_size = max(1, len(piece) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print_log(
            f'A batch of {len(piece)} does not fit into memory ({reason}). From here on batches of '
            f'{owner.batch_size} are used.',
            logger='current',
            level=logging.WARNING,
        )
    return results
