"""What a model for keypoints of one's own begins with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from vitpose_mm.architectures import ARCHITECTURES
from vitpose_mm.checkpoints import CheckpointError, Weights, read_weights
from vitpose_mm.checkpoints.loading import load_file, state_dict_of
from vitpose_mm.checkpoints.weights import decoder_of, num_blocks, num_keypoints

from .meta import pair_names

NUM_DECONVOLUTIONS = 2  # from 1/16 of the input to 1/4
# Data sets whose keypoints a checkpoint may have, by the names of heads.
KNOWN_KEYPOINTS = {
    'coco': 'CocoDataset',
    'aic': 'AicDataset',
    'mpii': 'MpiiDataset',
    'crowdpose': 'CrowdPoseDataset',
    'ap10k': 'AP10KDataset',
    'apt36k': 'APT36KDataset',
    'coco_wholebody': 'CocoWholeBodyDataset',
    'interhand2d': 'InterHand2DSingleDataset',
}


@dataclass(frozen=True)
class Start:
    """What a checkpoint gives to a model.

    Attributes:
        arch: Name of its size in ``ARCHITECTURES``.
        backbone: Entries of the backbone's config.
        decoder: Kind of the decoder that is begun with, None for random weights.
        head: Entries of the head's config that the decoder asks for.
        checkpoint: The file.
        keypoint_names: Names of its head's keypoints, in order.
        dataset: Data set of its head.
    """

    arch: str
    backbone: dict
    decoder: Optional[str] = None
    head: dict = field(default_factory=dict)
    checkpoint: Optional[str] = None
    keypoint_names: Sequence[str] = ()
    dataset: Optional[str] = None

    def head_start(self, keypoint_names: Sequence[str]) -> Optional[dict]:
        """``init_cfg`` of a head with some keypoints, None where it begins with random weights."""
        if self.decoder is None:
            return None
        return dict(
            type='PretrainedKeypoints',
            checkpoint=self.checkpoint,
            keypoints=same_keypoints(keypoint_names, self.keypoint_names),
            dataset=self.dataset,
        )


def read_start(checkpoint: str, head: Optional[str] = None, expert: Optional[str] = None) -> Start:
    """See what a model can begin with.

    Args:
        checkpoint: File of any source in ``vitpose_mm.checkpoints``.
        head: Begin with the decoder, too: that of a data set in ``KNOWN_KEYPOINTS``, or of the data
            set that a file with ``dataset_info`` describes. By default with the backbone alone.
        expert: Data set whose expert to merge, of a checkpoint with experts; by default that of
            ``head``, or COCO's.

    Raises:
        ValueError: There is no such file, or the checkpoint does not have what is asked of it.
    """
    if '://' in checkpoint:
        raise ValueError(f'the start must be a file, got the address {checkpoint}: download it')
    path = os.path.abspath(os.path.expanduser(checkpoint))
    try:
        weights = read_weights(state_dict_of(load_file(path, mapped=True)) or {})
        weights.require_complete()
    except (CheckpointError, FileNotFoundError) as error:
        raise ValueError(f'{checkpoint} cannot be begun with: {error}') from error
    arch, backbone = arch_of(weights, checkpoint)
    backbone['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    dataset = names = None
    if head is not None:
        dataset, names = keypoints_of(head)
    if weights.experts:
        expert = expert or dataset or 'coco'
        if expert not in weights.experts:
            raise ValueError(
                f'{checkpoint} has experts for {", ".join(weights.experts)}, none for {expert!r}: '
                'name one'
            )
        backbone['pretrained_expert'] = expert
    elif expert is not None:
        raise ValueError(f'{checkpoint} has no experts, asked for was that of {expert!r}')
    if head is None:
        return Start(arch, backbone)
    try:
        weights = weights.only_head(dataset, 'name the data set of one')
    except CheckpointError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    if not weights.heads:
        raise ValueError(f'{checkpoint} has no head, only a backbone: begin with that alone')
    (layers,) = weights.heads.values()
    if num_keypoints(layers) != len(names):
        raise ValueError(
            f'the head in {checkpoint} has {num_keypoints(layers)} keypoints, {head} has '
            f'{len(names)}: they are not the same'
        )
    decoder = decoder_of(layers)
    entries = {}
    if decoder == 'classic':
        kernels = [t for name, t in layers.items() if t.ndim == 4 and 'deconv_layers' in name]
        if len(kernels) != NUM_DECONVOLUTIONS:
            raise ValueError(
                f'the head in {checkpoint} has {len(kernels)} deconvolutions, for features at '
                f'another stride, where {NUM_DECONVOLUTIONS} are wanted: begin with the backbone '
                'alone'
            )
        entries['deconv_out_channels'] = tuple(kernel.shape[1] for kernel in kernels)
        entries['deconv_kernel_sizes'] = tuple(kernel.shape[-1] for kernel in kernels)
    return Start(arch, backbone, decoder, entries, path, names, dataset)


def arch_of(weights: Weights, checkpoint: str) -> tuple[str, dict]:
    """Name of a backbone's size, and its ``arch`` where the name does not do.

    Raises:
        ValueError: It is of no size that is known.
    """
    dim = weights.backbone['patch_embed.proj.weight'].shape[0]
    depth = num_blocks(weights.backbone)
    for name, arch in ARCHITECTURES.items():
        if (arch['embed_dim'], arch['depth']) != (dim, depth):
            continue
        num_heads = weights.num_heads or arch['num_heads']
        if weights.source == 'timm' and dim == 384:
            num_heads = 6  # DeiT-S and timm's; ViTPose-S has 12, and the weights do not tell
        if num_heads == arch['num_heads']:
            return name, {}
        return name, dict(arch={**arch, 'num_heads': num_heads})
    raise ValueError(
        f'the backbone in {checkpoint} has {depth} blocks of width {dim}, as none of '
        f'{", ".join(ARCHITECTURES)} has'
    )


def keypoints_of(dataset: str) -> tuple[str, list[str]]:
    """Name and keypoints of a data set, named as in ``KNOWN_KEYPOINTS`` or by a file.

    Raises:
        ValueError: Neither is known.
    """
    if dataset in KNOWN_KEYPOINTS:
        parsed = parse_pose_metainfo(DATASETS.get(KNOWN_KEYPOINTS[dataset]).METAINFO)
        return dataset, [parsed['keypoint_id2name'][i] for i in range(parsed['num_keypoints'])]
    if not Path(dataset).is_file():
        raise ValueError(
            f'keypoints must be those of one of {", ".join(KNOWN_KEYPOINTS)}, or of a file with '
            f'dataset_info, got {dataset!r}'
        )
    try:
        info = Config.fromfile(dataset)['dataset_info']
        keypoints = info['keypoint_info']
        return info['dataset_name'], [keypoints[i]['name'] for i in sorted(keypoints)]
    except Exception as error:  # whatever a file may be that is something else
        raise ValueError(
            f'{dataset} is no file with dataset_info, as mmpose has them: {error!r}'
        ) from error


def same_keypoints(own: Sequence[str], given: Sequence[str]) -> list[Optional[int]]:
    """For each keypoint the number of the given one of its name, however written, or None."""
    numbers = {joint: number for number, joint in enumerate(pair_names(given)[1])}
    return [numbers.get(joint) for joint in pair_names(own)[1]]
