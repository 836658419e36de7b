"""Images per second of inference."""

from statistics import median
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.models.utils.tta import flip_heatmaps
from torch import Tensor

from vitpose_mm.engine.launch import require_checkpoint

from .machine import describe_device, select_device, select_dtype, time_alternately
from .models import build_model, input_hw, predicting_head


def measure_throughput(
    cfg: Config,
    checkpoint: Optional[str] = None,
    batch_size: int = 1,
    dtype: str = 'float32',
    flip_test: bool = False,
    compiled: bool = False,
    decode: bool = False,
    device: Optional[str] = None,
    rounds: int = 20,
    warm_up: int = 3,
) -> dict[str, object]:
    """Time the way from normalised images on the device to heatmaps or keypoints.

    A round is one batch; the GPU is waited for after each. Reading, cropping and normalising images
    are not included.

    Args:
        cfg: Config with a top-down ``model`` that has a heatmap head.
        checkpoint: Weights; random ones are as fast.
        batch_size: Images in a batch.
        dtype: What weights and images are cast to: 'float32', 'bfloat16' or 'float16'.
        flip_test: Whether to run mirrored images as well and to average the heatmaps.
        compiled: Whether to compile the model by ``torch.compile``, in the warm-up.
        decode: Whether to decode heatmaps to keypoints in numpy, by the head's codec.
        device: By default a GPU where there is one.
        rounds: Number of rounds.
        warm_up: Rounds before those, not counted.

    Returns:
        Images per second (that of the median round, the slowest and the fastest) and all that they
        depend on.
    """
    device = select_device(device)
    torch_dtype = select_dtype(dtype)
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, got {batch_size}')
    height, width = input_hw(cfg)
    model = build_model(cfg)
    if checkpoint is not None:
        require_checkpoint(checkpoint)
        load_checkpoint(model, checkpoint, map_location='cpu')
    model = model.to(device, torch_dtype).eval()
    network = torch.compile(model) if compiled else model
    images = torch.randn(
        batch_size, 3, height, width, generator=torch.Generator().manual_seed(0)
    ).to(device, torch_dtype)
    test_cfg = model.test_cfg
    # Which keypoints form pairs is the data set's to say, and makes no difference in time.
    head = predicting_head(model)
    pairs = list(range(head.out_channels))

    def infer() -> object:
        heatmaps: Tensor = network(images, None)
        if flip_test:
            mirrored = flip_heatmaps(
                network(images.flip(-1), None),
                pairs,
                test_cfg.get('flip_mode', 'heatmap'),
                test_cfg.get('shift_heatmap', False),
            )
            heatmaps = (heatmaps + mirrored) / 2
        return head.decode(heatmaps.float()) if decode else heatmaps

    with torch.inference_mode():
        seconds = time_alternately({'model': infer}, rounds, warm_up, device)['model']
    return {
        'images per second, median': batch_size / median(seconds),
        'images per second, slowest round': batch_size / max(seconds),
        'images per second, fastest round': batch_size / min(seconds),
        'milliseconds per batch, median': median(seconds) * 1e3,
        'input': f'{height}x{width}',
        'batch size': batch_size,
        'dtype': dtype,
        'flip test': flip_test,
        'compiled': compiled,
        'decoding to keypoints included': decode,
        'rounds': f'{rounds} of one batch each, after {warm_up} for warming up',
        **describe_device(device),
    }
