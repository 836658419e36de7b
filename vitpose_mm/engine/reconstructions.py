"""Pictures of what a masked autoencoder paints."""

from numbers import Integral
from typing import Optional

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor

from .parts import bare_model
from .reproducibility import SampleIndex

GREY = 128


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draw what a ``MAE`` makes of some training images, always with the same patches hidden.

    The runner's visualizer gets a picture 'reconstructions', with its usual backend a file below
    ``vis_data/vis_image``. A column shows an image, what is visible of it, and what the model
    paints into that. Not for FSDP, whose modules cannot be called past their wrapper.

    Args:
        interval: Every how many epochs; and after the last.
        num_images: How many images, spread over the training set.

    Raises:
        ValueError: One of them is not a positive whole number; or the model paints nothing, or has
            no preprocessor that normalises.
    """

    def __init__(self, interval: int = 20, num_images: int = 8) -> None:
        for name, value in (('interval', interval), ('num_images', num_images)):
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f'{name} must be a positive whole number, got {value!r}')
        self.interval = interval
        self.num_images = num_images
        self._batch: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        model = bare_model(runner)
        normalises = getattr(model.data_preprocessor, '_enable_normalize', False)
        if not hasattr(model, 'reconstruct') or not normalises:
            raise ValueError(
                'ReconstructionHook needs a MAE whose data_preprocessor has mean and std, got '
                f'{type(model).__name__} with {type(model.data_preprocessor).__name__}'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._draw(runner)

    @master_only
    @torch.no_grad()
    def _draw(self, runner: Runner) -> None:
        if self._batch is None:
            self._batch = self._load(runner)
        model = bare_model(runner)
        was_training = model.training
        model.eval()
        data = model.data_preprocessor(self._batch, False)
        images = data['inputs']
        num_patches = model.backbone.pos_embed.shape[1] - 1
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(len(images), num_patches, generator=generator)
        painted, is_hidden = model.reconstruct(images, noise.to(images.device))
        model.train(was_training)
        restore = model.data_preprocessor
        original, painted = (_to_rgb(each, restore) for each in (images, painted))
        hidden = is_hidden.permute(0, 2, 3, 1).cpu().numpy()
        visible = np.where(hidden, GREY, original).astype(np.uint8)
        rows = (np.concatenate(list(images), 1) for images in (original, visible, painted))
        picture = np.concatenate(list(rows))
        runner.visualizer.add_image('reconstructions', picture, step=runner.epoch + 1)

    def _load(self, runner: Runner) -> dict:
        dataset = runner.train_dataloader.dataset
        count = min(self.num_images, len(dataset))
        indices = [len(dataset) * number // count for number in range(count)]
        seed = runner.seed or 0
        return pseudo_collate([dataset[SampleIndex(index, seed, 0)] for index in indices])


def _to_rgb(images: Tensor, preprocessor: torch.nn.Module) -> np.ndarray:
    """Normalised images (B, 3, H, W) to (B, H, W, 3) uint8, RGB."""
    images = images.float() * preprocessor.std + preprocessor.mean
    if not preprocessor._channel_conversion:  # as OpenCV read them
        images = images.flip(1)
    return images.clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
