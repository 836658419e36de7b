"""Measure samples per second of the training data."""

import argparse

from measuring import config_parser, run
from mmengine.config import Config


def build_parser() -> argparse.ArgumentParser:
    parser = config_parser(
        "Time how fast batches of a config's training set arrive in the main process. Samples per "
        'second come out, and milliseconds per transform if asked.'
    )
    parser.add_argument('--num-workers', type=int, help="worker processes; default: the config's")
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument(
        '--num-samples', type=int, default=1000, help='samples to count; default: %(default)s'
    )
    parser.add_argument(
        '--per-transform',
        action='store_true',
        help='also time each transform on up to 200 of them, in the main process',
    )
    return parser


def measure(cfg: Config, args: argparse.Namespace) -> dict:
    from vitpose_mm.analysis import measure_data_path, time_transforms

    report = measure_data_path(cfg, args.num_workers, args.batch_size, args.num_samples)
    if args.per_transform:
        report['milliseconds per sample'] = time_transforms(cfg, min(args.num_samples, 200))
    return report


if __name__ == '__main__':
    run(build_parser(), measure)
