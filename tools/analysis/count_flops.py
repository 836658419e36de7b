"""Count the parameters and multiply-adds of a model, part by part."""

import argparse

from measuring import config_parser, run
from mmengine.config import Config


def build_parser() -> argparse.ArgumentParser:
    parser = config_parser(
        'Count parameters and multiply-adds of a model. A table by part comes out, and what is '
        'counted. Nothing is computed, so the largest models take seconds.'
    )
    parser.add_argument(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="size of the input in pixels; default: the config's",
    )
    return parser


def measure(cfg: Config, args: argparse.Namespace) -> dict:
    from vitpose_mm.analysis import complexity_report

    return complexity_report(cfg, args.input_size)


def format_report(report: dict) -> str:
    from vitpose_mm.analysis import format_complexity

    return format_complexity(report)


if __name__ == '__main__':
    run(build_parser(), measure, format_report)
