"""Measure images per second of inference."""

import argparse

from measuring import add_timing_options, config_parser, run
from mmengine.config import Config


def build_parser() -> argparse.ArgumentParser:
    parser = config_parser(
        'Time the way from normalised images on the device to heatmaps or keypoints. Images per '
        'second come out, with all that they depend on.',
        defaults_in_help=True,
    )
    parser.add_argument('--checkpoint', help='weights; random ones are as fast')
    parser.add_argument('--batch-size', type=int, default=1, help='images in a batch')
    parser.add_argument(
        '--flip-test', action='store_true', help='run mirrored images as well, as test_cfg does'
    )
    parser.add_argument('--compile', action='store_true', help='compile the model first')
    parser.add_argument('--decode', action='store_true', help='decode heatmaps to keypoints')
    add_timing_options(
        parser, 'batches', rounds=20, warm_up=3, dtype='what weights and images are cast to'
    )
    return parser


def measure(cfg: Config, args: argparse.Namespace) -> dict:
    from vitpose_mm.analysis import measure_throughput

    return measure_throughput(
        cfg,
        args.checkpoint,
        args.batch_size,
        args.dtype,
        args.flip_test,
        args.compile,
        args.decode,
        args.device,
        args.rounds,
        args.warm_up,
    )


if __name__ == '__main__':
    run(build_parser(), measure)
