"""A head that begins with another's weights, keypoint by keypoint."""

from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.model import initialize
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor

from vitpose_mm.checkpoints import CheckpointError, list_with_shapes, read_weights

from .heatmap_heads import ViTPoseHead

FINAL = ('final_layer.weight', 'final_layer.bias')


@WEIGHT_INITIALIZERS.register_module()
class PretrainedKeypoints:
    """Begin a head with the decoder of a checkpoint, and keypoints with those of their name there.

    To be a head's ``init_cfg``. All layers before the last are the checkpoint's; of the last one,
    whose rows belong to keypoints, the rows that are named, while the others begin as in a new
    head.

    Args:
        checkpoint: File of any source in ``vitpose_mm.checkpoints``.
        keypoints: For each of the head's keypoints the number of the checkpoint's that it begins
            with, or None.
        dataset: Data set of the head to take from a checkpoint with several.

    Raises:
        CheckpointError: When it is called: the checkpoint has no such head or keypoint, or a
            decoder of another kind or shape.
        TypeError: The module is no head of this package.
        ValueError: ``keypoints`` are not as many as the head has.
    """

    def __init__(
        self, checkpoint: str, keypoints: Sequence[Optional[int]], dataset: Optional[str] = None
    ) -> None:
        self.checkpoint = checkpoint
        self.keypoints = list(keypoints)
        self.dataset = dataset

    def __call__(self, module: ViTPoseHead) -> None:
        if not isinstance(module, ViTPoseHead):
            raise TypeError(
                f'PretrainedKeypoints is for heads of ViTPose, got a {type(module).__name__}'
            )
        if len(self.keypoints) != module.out_channels:
            raise ValueError(
                f'PretrainedKeypoints has {len(self.keypoints)} keypoints, the head '
                f'{module.out_channels}'
            )
        initialize(module, module.default_init_cfg)
        given, own = self._head(), module.state_dict()
        # counters of batch norms, which not every source has
        begun = {name: t for name, t in own.items() if name.endswith('num_batches_tracked')}
        unlike = {
            name: tensor
            for name, tensor in given.items()
            if name not in own or _inner_shape(name, own[name]) != _inner_shape(name, tensor)
        }
        if unlike or own.keys() - given.keys() - begun.keys():
            raise CheckpointError(
                f'the decoder in {self.checkpoint} is not that of the {type(module).__name__}: '
                f'{list_with_shapes(unlike or given)}, where the head has '
                f'{list_with_shapes(own)}. Give the head the same decoder and channels, or begin '
                'with the backbone alone'
            )
        begun.update(given)
        for name in FINAL:
            begun[name] = self._rows(given[name], own[name])
        module.load_state_dict(begun)

    def _head(self) -> dict[str, Tensor]:
        """The decoder's weights."""
        weights = read_weights(self.checkpoint)
        if not weights.heads:
            raise CheckpointError(f'{self.checkpoint} holds no head, only a backbone')
        weights = weights.only_head(self.dataset, 'name it by dataset of PretrainedKeypoints')
        (head,) = weights.heads.values()
        missing = [name for name in FINAL if name not in head]
        if missing:
            raise CheckpointError(f'the head in {self.checkpoint} has no {", ".join(missing)}')
        return head

    def _rows(self, given: Tensor, own: Tensor) -> Tensor:
        """The last layer's weight or bias, keypoint by keypoint."""
        per_keypoint = len(own) // len(self.keypoints)  # more than one in the minimal decoder
        available = len(given) // per_keypoint
        beyond = [n for n in self.keypoints if n is not None and not 0 <= n < available]
        if beyond:
            raise CheckpointError(
                f'{self.checkpoint} has keypoints 0 to {available - 1}, asked for were {beyond}'
            )
        rows = own.clone().unflatten(0, (-1, per_keypoint))
        for row, number in enumerate(self.keypoints):
            if number is not None:
                rows[row] = given.unflatten(0, (-1, per_keypoint))[number]
        return rows.flatten(0, 1)


def _inner_shape(name: str, tensor: Tensor) -> torch.Size:
    """The shape of a weight, without the keypoints of the last layer."""
    return tensor.shape[1:] if name in FINAL else tensor.shape
