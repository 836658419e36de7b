"""The command `vitpose-mm`, also `python -m vitpose_mm`.

Subcommands import what they need when they run.
"""

import argparse
from collections.abc import Sequence
from typing import Optional

from .commands import check, detect_persons, evaluate, new_dataset, predict


def doctor(arguments: argparse.Namespace) -> int:
    from .doctor import examine, format_table

    print('Trying every import, which takes about half a minute ...', flush=True)
    findings = examine()
    print(format_table(findings))
    problems = sum(finding.status == 'problem' for finding in findings)
    if problems:
        print(
            f'\n{problems} problem(s). Mend the first one first: the others often follow from it.'
        )
        return 1
    print('\nAll fine.')
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='vitpose-mm', description='ViTPose and ViTPose++ for MMPose.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    command = commands.add_parser(
        'doctor',
        help='tell what is installed, what does not fit and how to mend it (status 1 if needed)',
    )
    command.set_defaults(run=doctor)
    for module in (check, predict, detect_persons, evaluate, new_dataset):
        module.add_command(commands)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a subcommand and returns its exit status."""
    parsed = build_parser().parse_args(arguments)
    return parsed.run(parsed)
