"""Subcommands of `vitpose-mm`: each module has its options and imports the rest when it runs."""

import argparse
import functools
from collections.abc import Callable

Command = Callable[[argparse.Namespace], int]


def saying_errors(run: Command) -> Command:
    """A subcommand that says what went wrong: status 1, and for misuse 2 with the usage."""

    @functools.wraps(run)
    def saying(arguments: argparse.Namespace) -> int:
        from vitpose_mm.datasets.loading import ImageError

        try:
            return run(arguments)
        except (ImageError, OSError) as error:
            print(error)
            return 1
        except ValueError as error:
            arguments.parser.error(str(error))

    return saying
