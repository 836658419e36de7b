"""How figures are shown and written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from .files import written_whole


def format_report(report: Mapping[str, object]) -> str:
    """One line for each entry; what is in a nested one is indented."""
    lines = []
    for name, value in report.items():
        if isinstance(value, Mapping):
            lines += [f'{name}:', *(f'  {line}' for line in format_report(value).splitlines())]
        else:
            lines.append(f'{name}: {_format(value)}')
    return '\n'.join(lines)


def format_table(rows: Iterable[Sequence[object]]) -> str:
    """Columns, the first to the left and the others to the right."""
    texts = [[_format(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return '\n'.join(
        '  '.join([first.ljust(widths[0]), *(t.rjust(w) for t, w in zip(rest, widths[1:]))])
        for first, *rest in texts
    )


def write_json(report: Mapping[str, object], path: Optional[Union[str, Path]]) -> None:
    """Write a report, whole or not at all, unless ``path`` is None.

    Raises:
        OSError: It could not be written; an old file of this name is as it was.
    """
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            Path(partial).write_text(json.dumps(report, indent=2) + '\n')


def _format(value: object) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.4g}' if abs(value) < 1e4 else f'{value:.0f}'
    return str(value)
