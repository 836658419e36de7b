"""Measure time and memory of a training step."""

import argparse
import os

from measuring import add_timing_options, config_parser, run
from mmengine.config import Config


def build_parser() -> argparse.ArgumentParser:
    parser = config_parser(
        'Time training steps on made-up people (normalising, forward, loss, backward, gradient '
        "clipping, the config's optimizer) and measure the memory of one. Seconds and megabytes "
        'come out, with all that they depend on and with what is counted.',
        defaults_in_help=True,
    )
    parser.add_argument('--batch-size', type=int, default=16, help='people in a batch')
    parser.add_argument(
        '--activation-checkpointing',
        nargs='?',
        choices=['selective'],
        const=True,
        default=False,
        help='compute each block again in the backward pass instead of storing what it needs; '
        'selective: store the results of matrix products and attention',
    )
    add_timing_options(parser, 'steps', rounds=5, warm_up=1, dtype='the latter two by autocast')
    return parser


def measure(cfg: Config, args: argparse.Namespace) -> dict:
    from vitpose_mm.analysis import measure_training_step

    return measure_training_step(
        cfg,
        args.batch_size,
        args.dtype,
        args.device,
        args.activation_checkpointing,
        args.rounds,
        args.warm_up,
    )


if __name__ == '__main__':
    # torch's profiler announces itself on stderr unless it is told before torch is imported.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    run(build_parser(), measure)
