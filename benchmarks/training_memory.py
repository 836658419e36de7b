"""What training needs of memory, with and without computing again what is not stored.

    python benchmarks/training_memory.py CONFIG --batch-sizes 1 2 3 --threads 2 --out STEM

Weights and AdamW's two moments are always there. Besides, a step needs at its peak either the
gradients, when the optimizer runs, or what forward and backward store, whichever is more. That is
measured at several batch sizes by a backward pass to the images, which makes no gradients of
weights: with everything stored, with all but the results of matrix products and attention computed
again ('selective'), and with whole blocks computed again. Other batch sizes are computed from the
first and the last; how far those between lie from this straight line is told.
"""

import argparse
import gc
from pathlib import Path

import torch
from common import describe_machine, write_report
from mmengine.config import Config

from vitpose_mm.analysis import (
    TrainingStep,
    format_report,
    format_table,
    peak_memory,
    select_device,
    set_threads,
)

MODES = {'everything stored': False, 'selective': 'selective', 'blocks': True}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 3])
    parser.add_argument('--computed', type=int, nargs='+', default=[16, 64], help='batch sizes')
    parser.add_argument('--dtype', default='float32', help='others by autocast')
    parser.add_argument('--device')
    parser.add_argument('--threads', type=int, help='of torch, on the CPU')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    arguments = parser.parse_args()
    arguments.batch_sizes.sort()
    if arguments.batch_sizes[0] == arguments.batch_sizes[-1]:
        parser.error(f'--batch-sizes must be at least two, got {arguments.batch_sizes}')
    return arguments


def stored(step: TrainingStep) -> float:
    """MB that forward, and backward to the images, need at their peak."""
    data = step.model.data_preprocessor(step.batch, True)
    images = data['inputs'].requires_grad_()

    def run() -> None:
        with torch.autocast(step.device.type, step.dtype, enabled=step.dtype != torch.float32):
            losses = step.model(**data, mode='loss')
        loss, _ = step.model.parse_losses(losses)
        loss.backward(inputs=[images])
        images.grad = None

    before, peak = peak_memory(run, (), step.device)
    return (peak - before) / 1e6


def main() -> None:
    arguments = parse_arguments()
    set_threads(arguments.threads)
    device, dtype = select_device(arguments.device), getattr(torch, arguments.dtype)
    sizes, rows, weights = arguments.batch_sizes, [], 0.0
    for name, mode in MODES.items():
        cfg = Config.fromfile(arguments.config)
        cfg.model.backbone.activation_checkpointing = mode
        needed = []
        for size in sizes:
            step = TrainingStep(cfg, size, dtype, device)
            weights = sum(p.numel() * p.element_size() for p in step.model.parameters()) / 1e6
            needed.append(stored(step))
            del step
            gc.collect()
        per_image = (needed[-1] - needed[0]) / (sizes[-1] - sizes[0])

        def line(size: int, needed: list = needed, per_image: float = per_image) -> float:
            return needed[0] + (size - sizes[0]) * per_image

        rows.append(
            {
                'computed again': name,
                **{f'batch {size}, MB': value for size, value in zip(sizes, needed)},
                'off the line, MB': max(abs(v - line(s)) for s, v in zip(sizes, needed)),
                'per image, MB': per_image,
                **{
                    f'step of {size}, GB, computed': (3 * weights + max(weights, line(size))) / 1e3
                    for size in arguments.computed
                },
            }
        )
    settings = {
        'config': Path(arguments.config).name,
        'dtype': arguments.dtype,
        'weights, MB (gradients and each of two moments alike)': weights,
    }
    content = {'settings': settings, 'machine': describe_machine(device), 'rows': rows}
    table = format_table([list(rows[0]), *([*row.values()] for row in rows)])
    text = f'{table}\n\n{format_report(settings)}\n{format_report(content["machine"])}\n'
    print(text)
    write_report(arguments.out, content, text)


if __name__ == '__main__':
    main()
