"""How a model is trained on keypoints of one's own: sizes, schedule, regularisation."""

import math
from dataclasses import dataclass

from vitpose_mm.architectures import ARCHITECTURES

DECODERS = {
    'classic': 'TopdownHeatmapSimpleHead',
    'simple': 'TopdownHeatmapBilinearHead',
    'minimal': 'TopdownHeatmapPixelShuffleHead',
}
# Layer decay and drop path of arXiv 2204.12484, Table 1; S as in the official configs, Ti is ours.
REGULARISATION = {
    'tiny': (0.8, 0.0),
    'small': (0.8, 0.1),
    'base': (0.75, 0.3),
    'large': (0.8, 0.5),
    'huge': (0.8, 0.55),
}
PATCH = 16
PAPER_WARM_UP = 500  # steps


@dataclass(frozen=True)
class Recipe:
    """A model and its schedule.

    The default is the paper's (arXiv 2204.12484, Table 1: AdamW, layer-wise decay, drop path,
    learning rate divided by 10 at 81 % and 95 % of the epochs, mmpose's strong augmentation), with
    its learning rate of 5e-4 taken for batches of 64 and changed by the square root of the batch.

    ``small_data`` is for people by the hundreds, where all is over in some thousand steps: a
    learning rate four times as high that falls along a cosine, patch and position embedding frozen,
    drop path of at least 0.1, an exponential moving average of the weights, and mild augmentation.

    Attributes:
        arch: A name in ``REGULARISATION``.
        decoder: A name in ``DECODERS``.
        input_hw: Height and width of the input, px, multiples of 16.
        epochs: Passes over the data.
        batch_size: People in a batch of one process.
        steps_per_epoch: Batches in a pass.
        small_data: Whether people are few.

    Raises:
        ValueError: A value does not fit.
    """

    arch: str
    decoder: str
    input_hw: tuple[int, int]
    epochs: int
    batch_size: int
    steps_per_epoch: int
    small_data: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (('arch', REGULARISATION), ('decoder', DECODERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name} must be one of {", ".join(allowed)}, got {getattr(self, name)!r}'
                )
        if any(side < 2 * PATCH or side % PATCH for side in self.input_hw):
            height, width = self.input_hw
            raise ValueError(
                f'the input size must be height x width in px, multiples of {PATCH} from '
                f'{2 * PATCH}, got {height}x{width}'
            )
        for name in ('epochs', 'batch_size', 'steps_per_epoch'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')

    @property
    def learning_rate(self) -> float:
        rate = 5e-4 * math.sqrt(self.batch_size / 64) * (4 if self.small_data else 1)
        return float(f'{rate:.2g}')

    @property
    def codec(self) -> dict:
        """UDP heatmaps of a quarter of the input; at 256 px those of the paper."""
        height, width = self.input_hw
        # targets and blur grow with the heatmap, as in mmpose's configs of 384x288
        blur = max(11, round(11 * height / 256) // 2 * 2 + 1)
        return dict(
            type='BatchedUDPHeatmap',
            input_size=(width, height),
            heatmap_size=(width // 4, height // 4),
            sigma=max(1.5, 2 * height / 256),
            **({} if blur == 11 else {'blur_kernel_size': blur}),
        )

    def backbone(self, pretrained: bool) -> dict:
        """Config of the backbone, without its start; what is random is not frozen."""
        rate = REGULARISATION[self.arch][1]
        backbone = dict(type='ViT', arch=self.arch, img_size=self.input_hw, drop_path_rate=rate)
        if self.small_data:
            backbone['drop_path_rate'] = max(0.1, rate)
            if pretrained:
                backbone['frozen_stages'] = 0
        return backbone

    def head(self) -> dict:
        """Config of the decoder, without keypoints."""
        head = dict(type=DECODERS[self.decoder], in_channels=ARCHITECTURES[self.arch]['embed_dim'])
        if self.decoder == 'classic' and self.arch == 'tiny':
            head['deconv_out_channels'] = (64, 64)  # else the decoder would outweigh the backbone
        return head

    def schedule(self) -> dict[str, object]:
        """What a runner has for the schedule, by its names."""
        schedulers = []
        warm_up = min(PAPER_WARM_UP, self.num_steps // 20)
        if warm_up > 1:  # mmengine's warm-up of one step never ends
            schedulers.append(
                dict(type='LinearLR', begin=0, end=warm_up, start_factor=0.001, by_epoch=False)
            )
        if self.small_data:
            falling = dict(
                type='CosineAnnealingLR',
                T_max=self.epochs,
                by_epoch=True,
                convert_to_iter_based=True,
            )
        else:
            milestones = {self.epochs * 170 // 210, self.epochs * 200 // 210}
            falling = dict(
                type='MultiStepLR',
                begin=0,
                end=self.epochs,
                milestones=sorted(milestones - {0}),
                gamma=0.1,
                by_epoch=True,
            )
        return dict(
            train_cfg=dict(max_epochs=self.epochs, val_interval=max(1, self.epochs // 10)),
            optim_wrapper=dict(
                constructor='LayerDepthDecayOptimWrapperConstructor',
                optimizer=dict(
                    type='AdamW', lr=self.learning_rate, betas=(0.9, 0.999), weight_decay=0.1
                ),
                paramwise_cfg=dict(layer_decay_rate=REGULARISATION[self.arch][0]),
                clip_grad=dict(max_norm=1.0, norm_type=2),
            ),
            param_scheduler=[*schedulers, falling],
            auto_scale_lr=dict(base_batch_size=self.batch_size),
        )

    def hooks(self) -> list[dict]:
        """Hooks of training."""
        hooks = [
            dict(type='SyncBuffersHook'),
            dict(type='SeedIterationHook'),
            dict(type='CheckDataHook'),
            dict(type='ValidationLossHook'),
        ]
        if self.small_data:
            momentum = min(0.02, 20 / self.num_steps)
            hooks.append(
                dict(
                    type='EMAHook',
                    ema_type='ExpMomentumEMA',
                    momentum=float(f'{momentum:.1g}'),
                    gamma=max(1, self.num_steps // 20),
                    update_buffers=True,
                )
            )
        return hooks

    def augmentation(self, half_body: bool) -> list[dict]:
        """Transforms that change people at random, between the box and the crop."""
        transforms = [dict(type='FastRandomFlip', direction='horizontal')]
        if self.small_data:
            mild = dict(shift_factor=0.08, scale_factor=(0.75, 1.25), rotate_factor=40)
            return [*transforms, dict(type='FastRandomBBoxTransform', **mild)]
        if half_body:
            transforms.append(dict(type='RandomHalfBody'))
        return [*transforms, dict(type='FastRandomBBoxTransform')]

    @property
    def num_steps(self) -> int:
        return self.epochs * self.steps_per_epoch
