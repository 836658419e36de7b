"""From samples to a batch."""

from collections.abc import Sequence

from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from torch.utils.data import default_collate


@FUNCTIONS.register_module()
def stacked_collate(samples: Sequence[dict]) -> dict:
    """mmengine's ``pseudo_collate``, with the images of a batch in one tensor.

    A worker process then hands one block of shared memory to the main process instead of one per
    image, and data preprocessors normalise the batch at once. Images that differ in shape stay a
    list.

    Args:
        samples: Dicts with ``inputs`` (3, H, W) and ``data_samples``.

    Returns:
        ``inputs`` (B, 3, H, W), and the list ``data_samples``.
    """
    batch = pseudo_collate(samples)
    images = batch['inputs']
    if len({image.shape for image in images}) == 1:
        # Crops lie in memory with their channels last; transposing them here would cost a copy.
        stacked = default_collate([image.permute(1, 2, 0) for image in images])
        batch['inputs'] = stacked.permute(0, 3, 1, 2)
    return batch
