"""From crops of people to keypoints, in batches on the device."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import ImgDataPreprocessor
from mmpose.datasets.transforms import (
    GetBBoxCenterScale,
    LoadImage,
    PackPoseInputs,
    TopdownAffine,
)
from mmpose.models.heads import HeatmapHead
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from vitpose_mm.codecs import BatchedHeatmapCodec
from vitpose_mm.codecs.batched_heatmap import is_udp
from vitpose_mm.datasets import TopdownAffineByCodec
from vitpose_mm.models import MultiDatasetHead, TopdownViTPose, ViT
from vitpose_mm.models.layers import pack_linears, packing_pays

from .boxes import Boxes
from .crops import CropGeometry, crop_on_device, crop_on_host, to_image
from .memory import halving_batches

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Reading:
    """How one head reads people.

    Attributes:
        dataset: The data set whose head it is; None for a model with one.
        metainfo: Its meta information.
        head: From features to heatmaps.
        decoder: From heatmaps to keypoints.
        geometry: The crops it needs.
        shift_heatmap: See mmpose's ``flip_heatmaps``.
        expert: Number of the backbone's expert, None where that has none.
    """

    dataset: Optional[str]
    metainfo: dict
    head: nn.Module
    decoder: BatchedHeatmapCodec
    geometry: CropGeometry
    shift_heatmap: bool = False
    expert: Optional[int] = None


@dataclass(frozen=True)
class Person:
    """A crop and where it is from.

    Attributes:
        reading: Number of the :class:`Reading` that it is for.
        crop: (h, w, 3) uint8.
        center: (2,), image px.
        size: Width and height (2,) of what is seen in the crop, image px.
    """

    reading: int
    crop: Union[np.ndarray, Tensor]
    center: np.ndarray
    size: np.ndarray


class Pose(NamedTuple):
    """Keypoints (K, 2) in image px, scores (K,), and the sample of mmpose if there is one."""

    keypoints: np.ndarray
    scores: np.ndarray
    sample: Optional[PoseDataSample] = None


def readings_of(
    model: nn.Module, pipeline: Compose, datasets: Sequence[Optional[str]]
) -> Optional[list[Reading]]:
    """How the heads for some data sets read people.

    Args:
        model: A top-down estimator.
        pipeline: The test pipeline of its config.
        datasets: Names of data sets of a ``MultiDatasetHead``; ``[None]`` for a model with one.

    Returns:
        None if model or pipeline do anything that :class:`BatchReader` does not.
    """
    steps = pipeline.transforms
    known = (LoadImage, GetBBoxCenterScale, TopdownAffine, PackPoseInputs)
    placing = [step for step in steps if isinstance(step, GetBBoxCenterScale)]
    cropping = [step for step in steps if isinstance(step, TopdownAffine)]
    fits = (
        len(placing) == len(cropping) == 1
        and all(isinstance(step, known) for step in steps)
        and all(reads_as_usual(step) for step in steps)
        and isinstance(model.data_preprocessor, ImgDataPreprocessor)
        and model.test_cfg.get('flip_mode', 'heatmap') == 'heatmap'
        and model.test_cfg.get('output_keypoint_indices') is None
    )
    if not fits:
        return None
    readings = []
    for name in datasets:
        head, expert, metainfo = model.head, None, model.dataset_meta
        decoder = getattr(head, 'decoder', None)
        test_cfg, use_udp = model.test_cfg, None
        if isinstance(head, MultiDatasetHead):
            route = head.route(name)
            metainfo, decoder = head.metainfo_of(name), route.decoder
            test_cfg = {**test_cfg, **route.test_cfg}
            head, use_udp = head.heads[route.head], is_udp(type(decoder))
        if not isinstance(head, HeatmapHead) or not isinstance(decoder, BatchedHeatmapCodec):
            return None
        if use_udp is None:
            use_udp = cropping[0].use_udp
            if isinstance(cropping[0], TopdownAffineByCodec):
                use_udp = cropping[0].uses_udp(metainfo['dataset_name'])
        if isinstance(model, TopdownViTPose):
            expert = model.expert_number(metainfo['dataset_name'])
        geometry = CropGeometry(tuple(cropping[0].input_size), placing[0].padding, use_udp)
        shift = test_cfg.get('shift_heatmap', False)
        readings.append(Reading(name, metainfo, head, decoder, geometry, shift, expert))
    return readings


def reads_as_usual(step: object) -> bool:
    """Whether a transform that loads images gives uint8 in three channels."""
    kind, floats = getattr(step, 'color_type', 'color'), getattr(step, 'to_float32', False)
    return kind == 'color' and not floats


@dataclass(frozen=True)
class Launched:
    """A batch that the device may still be working on.

    Attributes:
        people: B people.
        results: (B, K, 3) on the host: keypoints in input px and scores.
        done: When the results are there; None if they are.
    """

    people: Sequence[Person]
    results: Tensor
    done: Optional[torch.cuda.Event]


class BatchReader:
    """Reads crops of people in full batches, flip test, heads and decoding included.

    Args:
        model: A top-down estimator on its device, in ``eval()``.
        readings: How to read, see :func:`readings_of`.
        batch_size: Greatest number of people in a batch; it shrinks where memory is short.
        dtype: 'fp32', 'bf16' or 'fp16': what backbone and heads compute in. Normalisation and
            decoding are in float32.
        compile: Whether to compile the network. Batches are then filled up to ``batch_size``, so
            that there is one shape.
    """

    def __init__(
        self,
        model: nn.Module,
        readings: Sequence[Reading],
        batch_size: int,
        dtype: str = 'fp32',
        compile: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {list(DTYPES)}, got {dtype!r}')
        self.model = model
        self.readings = list(readings)
        self.num_keypoints = [reading.metainfo['num_keypoints'] for reading in self.readings]
        self.batch_size = batch_size
        self.dtype = DTYPES[dtype]
        self.device = next(model.parameters()).device
        self.crops_on_device = self.device.type != 'cpu'  # where OpenCV is faster
        self.flip_test = bool(model.test_cfg.get('flip_test', False))
        self.fixed_shapes = compile
        for name, part in model.named_children():
            if name != 'data_preprocessor':
                part.to(self.dtype)
        on_cpu = self.device.type == 'cpu' and self.dtype == torch.float32
        if on_cpu and not compile and isinstance(model.backbone, ViT) and packing_pays():
            pack_linears(model.backbone)
        self._features = torch.compile(model.extract_feat) if compile else model.extract_feat
        self._heads = [reading.head for reading in self.readings]
        if compile and len(self.readings) == 1:  # else the shares of a batch have any size
            self._heads = [torch.compile(self._heads[0])]

    def prepare(
        self, image: np.ndarray, name: str, boxes: Boxes, assigned: Sequence[tuple[int, int]]
    ) -> Iterator[Person]:
        """Cut crops.

        Args:
            image: (H, W, 3) uint8, BGR.
            name: What errors call it.
            boxes: Boxes of people.
            assigned: Pairs: number of a box, number of the reading it is for.
        """
        if not assigned:
            return
        source = image
        if self.crops_on_device:
            source = self._upload(image)
        # a piece at a time, so that a crowd does not lie in memory all at once
        step = self.batch_size  # which may shrink in between
        for start in range(0, len(assigned), step):
            piece = assigned[start : start + step]
            people: list[Optional[Person]] = [None] * len(piece)
            for number, chosen in rows_by_number([number for _, number in piece]).items():
                geometry = self.readings[number].geometry
                places = geometry.place(boxes.xyxy[[piece[i][0] for i in chosen]])
                matrices = geometry.matrices(*places)
                if self.crops_on_device:
                    matrices = self._upload(matrices)
                    crops = crop_on_device(source, matrices, geometry.input_wh)
                else:
                    crops = crop_on_host(source, matrices, geometry.input_wh)
                for i, crop, center, size in zip(chosen, crops, *places):
                    people[i] = Person(number, crop, center, size)
            yield from people

    @torch.inference_mode()
    def launch(self, people: Sequence[Person]) -> Launched:
        """Read people; on a GPU without waiting for it."""
        rows = halving_batches(self._read, people, self)
        longest = max(map(len, rows))
        if any(len(row) < longest for row in rows):
            rows = [nn.functional.pad(row, (0, 0, 0, longest - len(row))) for row in rows]
        # one transfer, which the GPU does before the next batch
        results = torch.stack(rows).to('cpu', non_blocking=True)
        done = None
        if self.device.type == 'cuda':
            done = torch.cuda.Event()
            done.record()
        return Launched(people, results, done)

    def collect(self, launched: Launched) -> list[Pose]:
        """Keypoints of people in image px, on the host."""
        if launched.done is not None:
            launched.done.synchronize()
        people, results = launched.people, launched.results.numpy()
        keypoints = results[..., :2].copy()
        for number, chosen in rows_by_number([person.reading for person in people]).items():
            centers = np.stack([people[i].center for i in chosen])
            sizes = np.stack([people[i].size for i in chosen])
            input_wh = self.readings[number].geometry.input_wh
            keypoints[chosen] = to_image(keypoints[chosen], centers, sizes, input_wh)
        lengths = [self.num_keypoints[person.reading] for person in people]
        return [Pose(keypoints[i, :k], results[i, :k, 2]) for i, k in enumerate(lengths)]

    def _read(self, people: Sequence[Person]) -> list[Tensor]:
        crops = [person.crop for person in people]
        numbers = [person.reading for person in people]
        if self.fixed_shapes:
            missing = self.batch_size - len(crops)
            crops += crops[:1] * missing
            numbers += numbers[:1] * missing
        if isinstance(crops[0], Tensor):
            stacked = torch.stack(crops)
        else:
            stacked = torch.from_numpy(np.stack(crops))
        images = stacked.permute(0, 3, 1, 2)
        inputs = self.model.data_preprocessor(dict(inputs=images, data_samples=[]))['inputs']
        inputs = inputs.to(self.dtype)
        if self.flip_test:
            inputs = torch.cat([inputs, inputs.flip(-1)])
        routing = ()
        if self.readings[0].expert is not None:
            experts = [self.readings[number].expert for number in numbers]
            routing = (torch.tensor(experts * (2 if self.flip_test else 1)),)
        features = self._features(inputs, *routing)
        results: list = [None] * len(people)
        for number, rows in rows_by_number(numbers).items():
            keypoints = self._keypoints(features, number, rows, len(crops))
            for row, values in zip(rows, keypoints):
                if row < len(people):
                    results[row] = values
        return results

    def _upload(self, array: np.ndarray) -> Tensor:
        """A tensor on the device; a GPU is not waited for."""
        tensor = torch.from_numpy(array)
        if self.device.type == 'cuda':
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _keypoints(
        self, features: tuple[Tensor, ...], number: int, rows: list[int], batch_size: int
    ) -> Tensor:
        """Keypoints in input px and scores (n, K, 3) of the rows of a batch."""
        reading = self.readings[number]
        if len(rows) < batch_size:
            both = rows + [row + batch_size for row in rows] if self.flip_test else rows
            chosen = self._upload(np.array(both))
            features = tuple(each[chosen] for each in features)
        heatmaps = self._heads[number](features)
        if self.flip_test:
            heatmaps, flipped = heatmaps.float().chunk(2)
            flipped = flip_heatmaps(
                flipped, reading.metainfo['flip_indices'], shift_heatmap=reading.shift_heatmap
            )
            heatmaps = (heatmaps + flipped) * 0.5
        keypoints, scores = reading.decoder.decode_tensor(heatmaps)
        return torch.cat([keypoints, scores[..., None]], -1)


def rows_by_number(numbers: Sequence[int]) -> dict[int, list[int]]:
    """Where each number stands in a sequence."""
    rows = defaultdict(list)
    for row, number in enumerate(numbers):
        rows[number].append(row)
    return rows


class SampleReader:
    """Reads people by any model of mmpose, through its own pipeline and ``test_step``.

    Interface as :class:`BatchReader`; the image is read once, and batches are full, too.

    Args:
        model: A top-down estimator on its device, in ``eval()``.
        pipeline: The test pipeline of its config.
        batch_size: Greatest number of people in a batch.
        heatmaps: Whether samples have ``pred_fields``.
    """

    def __init__(
        self, model: nn.Module, pipeline: Compose, batch_size: int, heatmaps: bool = False
    ) -> None:
        self.model = model
        self.heatmaps = heatmaps
        self.pipeline = pipeline
        self.batch_size = batch_size
        chosen = model.test_cfg.get('output_keypoint_indices')
        count = model.dataset_meta['num_keypoints'] if chosen is None else len(chosen)
        self.num_keypoints = [count]
        self.device = next(model.parameters()).device

    def prepare(
        self, image: np.ndarray, name: str, boxes: Boxes, assigned: Sequence[tuple[int, int]]
    ) -> Iterator[dict]:
        for row, _ in assigned:
            person = dict(img=image, img_path=name, **self.model.dataset_meta)
            person.update(bbox=boxes.xyxy[[row]], bbox_score=boxes.scores[[row]])
            yield self.pipeline(person)

    @torch.no_grad()
    def launch(self, people: Sequence[dict]) -> list[PoseDataSample]:
        self.model.test_cfg['output_heatmaps'] = self.heatmaps
        return halving_batches(
            lambda piece: list(self.model.test_step(pseudo_collate(list(piece)))), people, self
        )

    def collect(self, launched: Sequence[PoseDataSample]) -> list[Pose]:
        return [
            Pose(
                sample.pred_instances.keypoints[0],
                sample.pred_instances.keypoint_scores[0],
                sample,
            )
            for sample in launched
        ]
