"""Time and memory of a training step."""

import copy
import gc
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS
from mmengine.structures import InstanceData, PixelData
from mmpose.structures import PoseDataSample
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vitpose_mm.models import MultiDatasetHead

from .machine import describe_device, select_device, select_dtype, synchronize, time_alternately
from .models import build_model, config_scope, input_hw

COUNTED = {
    'cuda': "peak of the bytes in tensors, torch.cuda.max_memory_allocated (not the allocator's "
    'reserve, nor the CUDA context)',
    'cpu': "peak of the bytes in tensors, from every event of torch's CPU allocator (not what "
    'oneDNN and MKL allocate for themselves, nor Python and its libraries)',
}


class TrainingStep:
    """A training step as the runner does it, on made-up people; call it again and again.

    Normalises a batch of 8-bit images, runs forward and loss with the accuracy that goes to the
    log, backward, and the config's optimizer with its gradient clipping. Targets are made in the
    step where the head makes them, and are in the batch where it does not.

    Args:
        cfg: Config with ``model`` and ``optim_wrapper``.
        batch_size: Number of people.
        dtype: float32, or what autocast uses; losses are not scaled.
        device: Where the model is.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        device: Optional[torch.device] = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        self.device = device or torch.device('cpu')
        self.dtype = dtype
        self.model = build_model(cfg).to(self.device).train()
        with config_scope(cfg):
            self.optim_wrapper = build_optim_wrapper(self.model, copy.deepcopy(cfg.optim_wrapper))
        samples = made_up_samples(batch_size, input_hw(cfg), heads_of(self.model))
        generator = torch.Generator().manual_seed(0)
        size = (batch_size, *input_hw(cfg), 3)
        images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        self.batch = collate_function(cfg)(
            [
                dict(inputs=image.permute(2, 0, 1), data_samples=sample)
                for image, sample in zip(images, samples)
            ]
        )

    def __call__(self) -> Tensor:
        """Do a step and return its loss."""
        enabled = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=enabled):
            data = self.model.data_preprocessor(self.batch, True)
            losses = self.model(**data, mode='loss')
        loss, _ = self.model.parse_losses(losses)
        self.optim_wrapper.update_params(loss)
        return loss.detach()

    def held(self) -> Iterator[Tensor]:
        """What is there between two steps: batch, weights, buffers and the optimizer's state."""
        yield from self.batch['inputs']
        for sample in self.batch['data_samples']:
            if 'gt_fields' in sample:
                yield sample.gt_fields.heatmaps
        yield from self.model.parameters()
        yield from self.model.buffers()
        for state in self.optim_wrapper.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def measure_training_step(
    cfg: Config,
    batch_size: int = 16,
    dtype: str = 'float32',
    device: Optional[str] = None,
    activation_checkpointing: Union[bool, str] = False,
    rounds: int = 5,
    warm_up: int = 1,
) -> dict[str, object]:
    """Time steps, see :class:`TrainingStep`, then measure the memory of another one.

    Returns:
        Seconds, bytes, and all that they depend on.
    """
    device = select_device(device)
    if activation_checkpointing:
        cfg = copy.deepcopy(cfg)
        cfg.model.backbone.activation_checkpointing = activation_checkpointing
    step = TrainingStep(cfg, batch_size, select_dtype(dtype), device)
    seconds = time_alternately({'step': step}, rounds, warm_up, device)['step']
    before, peak = peak_memory(step, step.held(), device)
    height, width = input_hw(cfg)
    return {
        'seconds per step, median': median(seconds),
        'images per second': batch_size / median(seconds),
        'peak memory, MB': peak / 1e6,
        'of which before the step, MB': before / 1e6,
        'what is counted': COUNTED[device.type],
        'input': f'{height}x{width}',
        'batch size': batch_size,
        'dtype': dtype if dtype == 'float32' else f'{dtype} by autocast, weights float32',
        'activation checkpointing': cfg.model.backbone.get('activation_checkpointing', False),
        'optimizer': type(step.optim_wrapper.optimizer).__name__,
        'rounds': f'{rounds} after {warm_up} for warming up',
        **describe_device(device),
    }


def peak_memory(
    call: Callable[[], object], held: Iterable[Tensor], device: torch.device
) -> tuple[int, int]:
    """Bytes of tensors before a call, and at its peak.

    Args:
        call: Something that has been called before, so that all that stays is there.
        held: The tensors that there are before the call; not needed on a GPU, which counts itself.
        device: Whose memory.

    Returns:
        Bytes before, and bytes at the peak, the former included.
    """
    gc.collect()
    if device.type == 'cuda':
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
        return before, torch.cuda.max_memory_allocated(device)
    storages = [tensor.untyped_storage() for tensor in held]
    before = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    return before, before + peak_of_cpu_allocations(call)


def peak_of_cpu_allocations(call: Callable[[], object]) -> int:
    """Greatest number of bytes that torch's CPU allocator has given out during a call.

    The sum is over all of the allocator's events, which the profiler records, so it is exact, and
    the same from run to run with the same number of threads.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        # The trace is the profiler's one documented way to each single event.
        path = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    allocations = [
        (event['ts'], event['args']['Bytes']) for event in events if event.get('name') == '[memory]'
    ]
    given_out = peak = 0
    for _, size in sorted(allocations, key=lambda event: event[0]):
        given_out += size
        peak = max(peak, given_out)
    return peak


def collate_function(cfg: Config) -> Callable[[list[dict]], dict]:
    """What makes batches of samples in training, as the runner finds it."""
    options = (cfg.get('train_dataloader') or {}).get('collate_fn', {})
    if callable(options):
        return options
    options = dict(options)
    function = FUNCTIONS.get(options.pop('type', 'pseudo_collate'))
    return partial(function, **options)


def heads_of(model: BaseModel) -> dict[str, nn.Module]:
    """Heads by the ``dataset_name`` of their samples; a single one has any."""
    if isinstance(model.head, MultiDatasetHead):
        return dict(model.head.heads.items())
    return {'any': model.head}


def made_up_samples(
    num_samples: int, input_hw: tuple[int, int], heads: dict[str, nn.Module]
) -> list[PoseDataSample]:
    """Data samples with what the pipeline of their data sets would give, each data set in turn.

    Keypoints are in input px, as of ``PackPoseInputs(pack_transformed=True)``; heads whose codec
    cannot make targets of these get their targets.
    """
    rng = np.random.default_rng(0)
    samples = []
    for name, head in itertools.islice(itertools.cycle(heads.items()), num_samples):
        num_keypoints = head.out_channels
        keypoints = rng.uniform(0, input_hw[::-1], (1, num_keypoints, 2)).astype(np.float32)
        sample = PoseDataSample(metainfo=dict(dataset_name=name))
        sample.gt_instances = InstanceData(
            transformed_keypoints=keypoints,
            keypoints_visible=np.ones((1, num_keypoints), dtype=np.float32),
        )
        sample.gt_instance_labels = InstanceData()
        if not hasattr(head.decoder, 'batch_encode'):
            add_targets(sample, head.decoder)
        samples.append(sample)
    return samples


def add_targets(sample: PoseDataSample, codec: object) -> None:
    """Encode a sample's keypoints as mmpose's pipelines do by ``GenerateTarget``."""
    encoded = codec.encode(
        sample.gt_instances.transformed_keypoints, sample.gt_instances.keypoints_visible
    )
    sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
    sample.gt_instance_labels = InstanceData(
        keypoint_weights=torch.from_numpy(encoded['keypoint_weights'])
    )
