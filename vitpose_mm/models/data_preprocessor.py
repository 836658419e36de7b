"""From the crops of a batch to the network's input."""

import torch
from mmpose.models import PoseDataPreprocessor
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class StackedPoseDataPreprocessor(PoseDataPreprocessor):
    """mmpose's ``PoseDataPreprocessor``, same arguments, for batches of ``stacked_collate``.

    A stacked batch goes to the device in one transfer and is normalised there by four operations
    instead of four per image; its numbers are those of mmpose, bit by bit. Batches that come as a
    list take mmpose's way.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Args:
            data: ``inputs`` (B, 3, H, W) uint8, or a list of (3, H, W); list ``data_samples``.
            training: Whether to apply ``batch_augments``.

        Returns:
            ``inputs`` (B, 3, H, W) float32 on the model's device, and ``data_samples``.

        Raises:
            ValueError: The images have another number of channels than the mean.
        """
        images = data['inputs']
        if not isinstance(images, Tensor):
            return super().forward(data, training)
        if not self._enable_normalize or self.pad_size_divisor != 1:
            return super().forward({**data, 'inputs': list(images)}, training)
        data = self.cast_data(data)
        inputs, samples = self._normalize(data['inputs']), data.get('data_samples')
        shape = tuple(inputs.shape[2:])
        for sample in samples or ():
            sample.set_metainfo(dict(batch_input_shape=shape, pad_shape=shape))
        if training and self.batch_augments is not None:
            for augment in self.batch_augments:
                inputs, samples = augment(inputs, samples)
        return dict(inputs=inputs, data_samples=samples)

    def _normalize(self, images: Tensor) -> Tensor:
        num_channels = images.shape[1]
        # float32 also in a model cast to half precision, as mmpose's images are
        means, stds = self.mean.flatten().float(), self.std.float()
        if len(means) not in (1, num_channels):
            raise ValueError(
                f'a mean of {len(means)} channels does not fit images of shape '
                f'{tuple(images.shape)}, wanted is (B, {len(means)}, H, W)'
            )
        inputs = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        for channel in range(num_channels):
            source = num_channels - 1 - channel if self._channel_conversion else channel
            mean = means[channel % len(means)]
            torch.sub(images[:, source], mean, out=inputs[:, channel])
        return inputs.div_(stds)
