"""What the measuring tools share: options, and the way from config to report."""

import argparse
from collections.abc import Callable
from typing import Optional

from mmengine.config import Config, DictAction


def config_parser(description: str, defaults_in_help: bool = False) -> argparse.ArgumentParser:
    """A parser of a config and of what every tool does with one.

    Args:
        defaults_in_help: Whether --help adds the default of every option.
    """
    formatter = argparse.HelpFormatter
    if defaults_in_help:
        formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--json', metavar='OUT', help='write the figures to this file as well')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, as in model.backbone.arch=large',
    )
    return parser


def add_timing_options(
    parser: argparse.ArgumentParser, timed: str, rounds: int, warm_up: int, dtype: str
) -> None:
    """Add where, in which precision and how often something is timed.

    Args:
        timed: What a round is, in the plural.
        rounds: Default number of rounds.
        warm_up: Default number of rounds before those.
        dtype: What the precision applies to.
    """
    parser.add_argument(
        '--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32', help=dtype
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; a GPU where there is one')
    parser.add_argument('--threads', type=int, help="threads on the CPU; torch's own number")
    parser.add_argument('--rounds', type=int, default=rounds, help=f'timed {timed}')
    parser.add_argument('--warm-up', type=int, default=warm_up, help=f'{timed} before those')


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[Config, argparse.Namespace], dict],
    format_report: Optional[Callable[[dict], str]] = None,
) -> None:
    """Parse, measure, print, and write the JSON file if asked.

    Args:
        measure: Makes the report. Its ValueError and FileNotFoundError are the user's to mend and
            end in one sentence.
        format_report: By default one line for each entry.
    """
    args = parser.parse_args()
    # Imported late for a quick --help.
    from vitpose_mm import analysis
    from vitpose_mm.engine import load_config

    try:
        analysis.set_threads(getattr(args, 'threads', None))
        report = measure(load_config(args.config, cfg_options=args.cfg_options), args)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print((format_report or analysis.format_report)(report))
    analysis.write_json(report, args.json)
