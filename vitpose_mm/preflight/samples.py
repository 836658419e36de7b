"""Samples as training sees them: after the pipeline, with the targets of their head."""

import random
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from mmpose.structures import PoseDataSample
from torch import nn

from vitpose_mm.codecs.functional import heatmap_maxima
from vitpose_mm.engine.data_check import Leaf
from vitpose_mm.engine.reproducibility import SampleIndex, seed_generators
from vitpose_mm.models import MultiDatasetHead
from vitpose_mm.models.heads.multi_dataset_head import dataset_name_of

from .findings import LEAST_PEOPLE, NUM_EXAMPLES, Finding, severity_by_share


@dataclass(frozen=True)
class Sample:
    """A sample after the training pipeline.

    Attributes:
        image: (H, W, 3) uint8, BGR, input px.
        keypoints: (K, 2), input px.
        visible: (K,) above 0 where labelled.
        heatmaps: (K, h, w) targets of its head.
        weights: (K,) of the targets.
        metainfo: Meta information of its data set.
        caption: Name of the data set and id of the annotation.
        path: Of the image.
    """

    image: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    heatmaps: np.ndarray
    weights: np.ndarray
    metainfo: dict
    caption: str
    path: str


@dataclass(frozen=True)
class Draw:
    """Samples drawn from a data set, and what the pipeline raised by the indices of others."""

    samples: Sequence[Sample]
    errors: dict[int, Exception]


def draw_samples(leaf: Leaf, head: Optional[nn.Module], count: int, seed: int) -> Draw:
    """Draw samples at random and augment them, alike for one seed.

    Args:
        leaf: Data set and what its samples go through.
        head: The model's, whose targets are made; a ``MultiDatasetHead`` takes that of the data
            set.
        count: At most how many.
    """
    dataset, samples, errors = leaf.dataset, [], {}
    outer = list(leaf.transforms)[len(dataset.pipeline.transforms) :]
    chosen = random.Random(seed).sample(range(len(dataset)), min(count, len(dataset)))
    for index in chosen:
        seed_generators(seed, index)  # for pipelines without SeedAugmentation
        try:
            data = dataset[SampleIndex(index, seed, 0)]
            for transform in outer:
                data = transform(data)
            samples.append(_sample(data, head, leaf))
        except Exception as error:  # of anyone's transforms
            errors[index] = error
    return Draw(samples, errors)


def _sample(data: dict, head: Optional[nn.Module], leaf: Leaf) -> Sample:
    sample: PoseDataSample = data['data_samples']
    image = data['inputs']
    if image.dtype != torch.uint8:
        image = image.float().clamp(0, 255).byte()
    if isinstance(head, MultiDatasetHead):
        head = head.heads[head.route(dataset_name_of(sample)).head]
    heatmaps, weights = (each[0] for each in head.targets([sample], torch.device('cpu')))
    instances = sample.gt_instances
    if 'transformed_keypoints' in instances:
        keypoints = instances.transformed_keypoints[0, :, :2]
    else:
        pixels = heatmap_maxima(heatmaps[None])[0][0].numpy()
        keypoints = pixels * (np.array(image.shape[:0:-1]) / heatmaps.shape[:0:-1])
    visible = instances.keypoints_visible[0] if 'keypoints_visible' in instances else weights
    visible = np.asarray(visible)
    info = sample.metainfo
    return Sample(
        np.ascontiguousarray(image.permute(1, 2, 0).numpy()),
        np.asarray(keypoints, dtype=np.float64),
        visible[..., 0] if visible.ndim == 2 else visible,
        heatmaps.numpy(),
        weights.numpy(),
        leaf.dataset.metainfo,
        f'{leaf.dataset.metainfo.get("dataset_name")} {info.get("id")}',
        str(info.get('img_path')),
    )


def check_samples(draw: Draw) -> Iterator[Finding]:
    """What the pipeline refuses, keypoints whose targets are lost, and samples without any."""
    if draw.errors:
        error = next(iter(draw.errors.values()))
        total = len(draw.samples) + len(draw.errors)
        yield Finding(
            'fault',
            'pipeline',
            f'{len(draw.errors)} of {total} samples tried cannot be made by the training pipeline: '
            f'{_transform_of(error)}{type(error).__name__}: {error}',
            'Mend these annotations or the pipeline; training would stop here.',
            count=len(draw.errors),
            examples=tuple(f'sample {i}' for i in list(draw.errors)[:NUM_EXAMPLES]),
        )
    samples = draw.samples
    if len(samples) < LEAST_PEOPLE:
        return
    labelled = np.array([(each.visible > 0).sum() for each in samples])
    kept = np.array([((each.visible > 0) & _has_target(each)).sum() for each in samples])
    empty = (labelled > 0) & (kept == 0)
    for kind, count, total, shares, message, advice in (
        (
            'targets-lost',
            int((labelled - kept).sum()),
            int(labelled.sum()),
            (0.6, 0.35),
            'labelled keypoints lie outside of their crop after augmentation and teach nothing',
            'Look at the picture: are boxes too small or in the wrong place, or shift, scale and '
            'rotation of the pipeline too strong?',
        ),
        (
            'targets-empty',
            int(empty.sum()),
            len(samples),
            (0.5, 0.1),
            'samples have no target at all after augmentation',
            'Look at the picture: crops show nothing of the keypoints.',
        ),
    ):
        severity = severity_by_share(count, total, *shares)
        if severity is not None:
            yield Finding(
                severity,
                kind,
                f'{count} of {total} {message}.',
                advice,
                count=count,
                examples=tuple(each.caption for each, none in zip(samples, empty) if none)[
                    :NUM_EXAMPLES
                ],
            )
            return  # what is empty has lost all


def _transform_of(error: Exception) -> str:
    """Which transform raised an error, since many messages do not say it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raising = [
        frame.f_locals.get('self') for frame in frames if frame.f_code.co_name == 'transform'
    ]
    return f'in {type(raising[-1]).__name__}, ' if raising else ''


def _has_target(sample: Sample) -> np.ndarray:
    return (sample.weights > 0) & (sample.heatmaps.reshape(len(sample.weights), -1).max(1) > 0)
