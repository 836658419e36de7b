from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from vitpose_mm.checkpoints import copy_weights, require_exact_match
from vitpose_mm.codecs.functional import heatmap_maxima

from .bilinear import conv3x3_after_bilinear

BACKBONE_ALONE = (
    'To start from a backbone alone, drop load_from and set model.backbone.init_cfg='
    "dict(type='Pretrained', checkpoint=FILE)"
)
MSE = dict(type='KeypointMSELoss', use_target_weight=True)
# From a head's heatmaps (B, K, H, W), weights (B, K) and samples to further losses by name.
HeatmapLosses = Callable[[Tensor, Tensor, Sequence[PoseDataSample]], dict[str, Tensor]]


class ViTPoseHead(HeatmapHead):
    """What the three decoders of ViTPose share; subclasses give layers and ``forward``.

    Targets are drawn on the device by the codec from keypoints that the pipeline packs
    (``PackPoseInputs(pack_transformed=True)``). Targets made in the pipeline by ``GenerateTarget``
    are used where they are given. Weights must fit to the last key when they are loaded.

    Args:
        in_channels: Channels of the features.
        out_channels: Number of keypoints K.
        loss: Config of the loss.
        decoder: Config of the codec, which makes targets and decodes heatmaps.
        **layers: See mmpose's ``HeatmapHead``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        loss: dict = MSE,
        decoder: Optional[dict] = None,
        **layers: object,
    ) -> None:
        super().__init__(in_channels, out_channels, loss=loss, decoder=decoder, **layers)
        self._register_load_state_dict_pre_hook(self._check_state_dict)

    def last_features(self, feats: tuple[Tensor]) -> Tensor:
        """The last feature map (B, C, h, w), which the decoder works on.

        Raises:
            ValueError: C is not ``in_channels``.
        """
        features = feats[-1]
        if features.shape[1] != self.in_channels:
            raise ValueError(
                f'the backbone gives features of {features.shape[1]} channels, but '
                f'model.head.in_channels is {self.in_channels}'
            )
        return features

    def loss(
        self,
        feats: tuple[Tensor],
        batch_data_samples: Sequence[PoseDataSample],
        train_cfg: Optional[dict] = None,
        further_losses: Optional[HeatmapLosses] = None,
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            feats: Features (B, C, h, w), the last of a tuple.
            batch_data_samples: B samples with keypoints or heatmaps, see :meth:`targets`.
            train_cfg: ``compute_acc=False`` leaves the accuracy out.
            further_losses: What else is asked of the heatmaps, which are made once.

        Returns:
            See :meth:`loss_from_heatmaps`; and the further losses.
        """
        heatmaps = self.forward(feats)
        return self.loss_of_samples(heatmaps, batch_data_samples, train_cfg, further_losses)

    def loss_of_samples(
        self,
        heatmaps: Tensor,
        samples: Sequence[PoseDataSample],
        train_cfg: Optional[dict] = None,
        further_losses: Optional[HeatmapLosses] = None,
    ) -> dict[str, Tensor]:
        """Loss of predicted heatmaps (B, K, H, W) of samples, see :meth:`loss`."""
        target, weights = self.targets(samples, heatmaps.device)
        compute_accuracy = (train_cfg or {}).get('compute_acc', True)
        losses = self.loss_from_heatmaps(heatmaps, target, weights, compute_accuracy)
        if further_losses is not None:
            losses.update(further_losses(heatmaps, weights, samples))
        return losses

    def targets(
        self, samples: Sequence[PoseDataSample], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Target heatmaps (B, K, H, W) and keypoint weights (B, K) on the device.

        Raises:
            ValueError: The samples hold neither heatmaps nor transformed keypoints.
        """
        if 'gt_fields' in samples[0] and 'heatmaps' in samples[0].gt_fields:
            target = torch.stack([sample.gt_fields.heatmaps for sample in samples])
            weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
            return target.to(device), weights.to(device)
        if 'transformed_keypoints' not in samples[0].gt_instances or self.decoder is None:
            raise ValueError(
                'training samples hold no targets: pack the keypoints in input px by '
                "dict(type='PackPoseInputs', pack_transformed=True) and give the head its codec "
                "(decoder=codec), or put dict(type='GenerateTarget', encoder=codec) before "
                'PackPoseInputs'
            )
        keypoints = np.concatenate([s.gt_instances.transformed_keypoints for s in samples])
        visible = np.concatenate([s.gt_instances.keypoints_visible for s in samples])
        if visible.ndim == 3:  # (B, K, 2) of mmpose's KeypointConverter: visible, weight
            visible = visible[..., 0]
        packed = np.concatenate([keypoints[..., :2], visible[..., None]], -1, dtype=np.float32)
        packed = torch.from_numpy(packed).to(device, non_blocking=True)
        return self.decoder.batch_encode(packed[..., :2], packed[..., 2])

    def loss_from_heatmaps(
        self, heatmaps: Tensor, target: Tensor, weights: Tensor, compute_accuracy: bool = True
    ) -> dict[str, Tensor]:
        """Loss of predicted heatmaps.

        Args:
            heatmaps: Predicted, (B, K, H, W).
            target: Wanted, (B, K, H, W).
            weights: (B, K), 0 for keypoints that do not count.
            compute_accuracy: Whether to add ``acc_pose``.

        Returns:
            ``loss_kpt``, and ``acc_pose`` (see :func:`heatmap_accuracy`).

        Raises:
            ValueError: Prediction and target differ in shape.
        """
        if heatmaps.shape != target.shape:
            raise ValueError(
                f'the head predicts heatmaps (keypoints, rows, columns) of shape '
                f'{tuple(heatmaps.shape[1:])}, but its targets are {tuple(target.shape[1:])}: '
                "compare out_channels with the dataset's keypoints, and the codec's heatmap_size "
                'with input size, stride of the features and upsampling of the head'
            )
        losses = dict(loss_kpt=self.loss_module(heatmaps, target, weights))
        if compute_accuracy:
            losses['acc_pose'] = heatmap_accuracy(heatmaps.detach(), target, weights)
        return losses

    def _check_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict, *_: object
    ) -> None:
        require_exact_match(self, state_dict, prefix, BACKBONE_ALONE)
        copy_weights(self, state_dict, prefix, local_metadata)


@MODELS.register_module()
class TopdownHeatmapSimpleHead(ViTPoseHead):
    """The classic decoder: deconvolutions with batch norm and ReLU, then a 1 x 1 convolution.

    Source: arXiv 2204.12484, equation 3; official ``TopdownHeatmapSimpleHead``.

    Args:
        in_channels: Channels of the features.
        out_channels: Number of keypoints K.
        deconv_out_channels: Channels of the deconvolutions, each of which doubles the resolution.
        deconv_kernel_sizes: Their kernel sizes.
        loss: Config of the loss.
        decoder: Config of the codec.
        init_cfg: See mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        deconv_out_channels: Sequence[int] = (256, 256),
        deconv_kernel_sizes: Sequence[int] = (4, 4),
        loss: dict = MSE,
        decoder: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            loss,
            decoder,
            deconv_out_channels=deconv_out_channels,
            deconv_kernel_sizes=deconv_kernel_sizes,
            init_cfg=init_cfg,
        )

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Features (B, C, h, w), the last of a tuple, to heatmaps (B, K, 4h, 4w)."""
        return super().forward((self.last_features(feats),))


@MODELS.register_module()
class TopdownHeatmapBilinearHead(ViTPoseHead):
    """The simple decoder: ReLU, bilinear upsampling, then a 3 x 3 convolution.

    Source: arXiv 2204.12484, equation 4; official ``TopdownHeatmapSimpleHead`` with ``upsample=4``.
    ``final_layer`` holds the convolution's weights but is never called: hooks on it do not fire.

    Args:
        in_channels: Channels of the features.
        out_channels: Number of keypoints K.
        upsample: How many times finer than the features the heatmaps are.
        loss: Config of the loss.
        decoder: Config of the codec.
        init_cfg: See mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        upsample: int = 4,
        loss: dict = MSE,
        decoder: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            loss,
            decoder,
            deconv_out_channels=None,
            deconv_kernel_sizes=None,
            final_layer=dict(kernel_size=3, padding=1),
            init_cfg=init_cfg,
        )
        self.upsample = upsample

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Features (B, C, h, w), the last of a tuple, to heatmaps (B, K, h * upsample, ...)."""
        return conv3x3_after_bilinear(
            F.relu(self.last_features(feats)),
            self.final_layer.weight,
            self.final_layer.bias,
            self.upsample,
        )


@MODELS.register_module()
class TopdownHeatmapPixelShuffleHead(ViTPoseHead):
    """The minimal decoder: one linear projection of each token to its patch of every heatmap.

    Source: arXiv 2212.04246, minimal decoder.

    Args:
        in_channels: Channels of the features.
        out_channels: Number of keypoints K.
        upsample: How many times finer than the features the heatmaps are.
        loss: Config of the loss.
        decoder: Config of the codec.
        init_cfg: See mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        upsample: int = 4,
        loss: dict = MSE,
        decoder: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            loss,
            decoder,
            deconv_out_channels=None,
            deconv_kernel_sizes=None,
            final_layer=dict(out_channels=out_channels * upsample**2, kernel_size=1),
            init_cfg=init_cfg,
        )
        self.pixel_shuffle = nn.PixelShuffle(upsample)

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Features (B, C, h, w), the last of a tuple, to heatmaps (B, K, h * upsample, ...)."""
        return self.pixel_shuffle(self.final_layer(self.last_features(feats)))


def heatmap_accuracy(
    heatmaps: Tensor, target: Tensor, weights: Tensor, threshold: float = 0.05
) -> Tensor:
    """Share of maxima near their targets, averaged over keypoints, without leaving the device.

    Same number as mmpose's ``pose_pck_accuracy``, its units included: x in fractions of the
    heatmap's height, y in fractions of its width.

    Args:
        heatmaps: Predicted, (B, K, H, W).
        target: Wanted, (B, K, H, W).
        weights: (B, K); only keypoints above 0 count.
        threshold: Greatest distance that counts as near.

    Returns:
        A scalar; 0 where no keypoint counts.
    """
    predicted, wanted = heatmap_maxima(heatmaps)[0], heatmap_maxima(target)[0]
    x, y = (predicted - wanted).unbind(-1)
    height, width = heatmaps.shape[2:]
    near = torch.hypot(x / height, y / width) < threshold
    counted = weights > 0
    per_keypoint = (near & counted).sum(0) / counted.sum(0).clamp(min=1)
    present = counted.any(0)
    return per_keypoint.sum() / present.sum().clamp(min=1)
