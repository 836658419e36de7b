"""A report as text, JSON and picture."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from vitpose_mm.files import written_whole
from vitpose_mm.report import format_table, write_json

from .errors import KINDS

COLOURS = dict(zip(KINDS, ('#d9d9d9', '#4c78a8', '#f2a93b', '#b279a2', '#d1495b')))
TOTALS = ('AP', 'AP50', 'AP75', 'AP (M)', 'AP (L)', 'AR', 'AR (M)', 'AR (L)', 'OKS', 'found')
AP_COLOUR = '#59636f'
ROW_HEIGHT = 0.19  # inches


def write_report(report: Mapping, folder: Union[str, Path]) -> None:
    """Write ``report.txt``, ``report.json`` and ``report.png``, each whole or not at all.

    Raises:
        OSError: They could not be written.
    """
    folder = Path(folder)
    write_json(report, folder / 'report.json')
    with written_whole(folder / 'report.txt') as partial:
        Path(partial).write_text(report_text(report), encoding='utf-8')
    with written_whole(folder / 'report.png') as partial:
        write_picture(report, partial)


def report_text(report: Mapping) -> str:
    """Tables of a report.

    Args:
        report: Of :func:`~vitpose_mm.evaluation.analysis.analyse`, with the name of its data set.
    """
    total, detections = report['all'], report['detections']
    pck = [name for name in total if name.startswith('PCK')]
    headline = (
        f'{report["data set"]}: {report["people"]} people in {report["images"]} images; '
        f'detections: {detections["matched"]} matched, {detections["duplicates"]} duplicates, '
        f'{detections["background"]} of nobody\n'
        f'{", ".join(KINDS)}: per cent of the keypoints of people found'
    )
    columns = ('AP', 'AP50', 'AP75', 'AR', 'OKS', *pck)
    keypoints = [('keypoint', 'people', *columns, *KINDS)]
    for name, row in {'all': {'people': report['people'], **total}, **report['keypoints']}.items():
        keypoints.append((name, row['people'], *_fractions(row, columns), *_percent(row)))
    groups = [('group', 'people', 'AP', 'found', *KINDS)]
    for name, row in _groups(report):
        groups.append((name, row['people'], *_fractions(row, ('AP', 'found')), *_percent(row)))
    gains = [('AP without', 'AP', 'gain')]
    for name, value in report['AP without'].items():
        gain = None if value is None else value - total['AP']
        gains.append((name, '-', '-') if gain is None else (name, f'{value:.3f}', f'{gain:+.3f}'))
    totals = [TOTALS, tuple(_fractions(total, TOTALS))]
    tables = (totals, keypoints, groups, gains)
    return '\n\n'.join([headline, *map(format_table, tables)]) + '\n'


def write_picture(report: Mapping, path: Union[str, Path]) -> None:
    """Draw AP and kinds of error by keypoint and group as a PNG."""
    # pyplot would choose a back end for the whole process
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(_groups(report))
    num_rows = (len(report['keypoints']) + 1, len(groups), len(report['AP without']))
    margins = (1.1, 0.8, 0.8)  # inches above and below
    heights = [count * ROW_HEIGHT + margin for count, margin in zip(num_rows, margins)]
    figure = Figure(figsize=(11, sum(heights)), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, height_ratios=heights)
    figure.suptitle(f'{report["data set"]}, {report["people"]} people')
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    rows = {'all': report['all'], **report['keypoints']}
    _draw_precisions(left, list(rows), [row['AP'] for row in rows.values()], 'AP')
    _draw_kinds(right, list(rows), list(rows.values()), 'share of keypoints')
    # above the plot, where no bar is
    right.legend(ncols=len(KINDS), loc='lower right', bbox_to_anchor=(1, 1), frameon=False)
    left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    names = [f'{name} ({row["people"]})' for name, row in groups]
    _draw_precisions(left, names, [row['AP'] for _, row in groups], 'AP, people')
    _draw_kinds(right, names, [row for _, row in groups], 'share of keypoints')
    gains = {
        name: 0.0 if value is None else value - report['all']['AP']
        for name, value in report['AP without'].items()
    }
    below = figure.add_subplot(grid[2, 0])
    label = 'gain of AP without errors of a kind'
    _draw_precisions(below, list(gains), list(gains.values()), label, 1.1 * max(gains.values()))
    figure.savefig(path, format='png')


def _draw_precisions(
    axes, names: Sequence[str], values: Sequence[float], label: str, limit: Optional[float] = 1
) -> None:
    _label_rows(axes, names, label)
    axes.set_xlim(0, limit or 1)
    axes.barh(range(len(names)), [max(value, 0) for value in values], color=AP_COLOUR)
    for row, value in enumerate(values):
        text = ' nobody' if value == -1 else f' {value:.3f}'
        inside = value > 0.85 * axes.get_xlim()[1]
        where = dict(ha='right', color='white') if inside else dict(ha='left')
        axes.text(max(value, 0), row, text, va='center', fontsize=7, **where)


def _draw_kinds(axes, names: Sequence[str], rows: Sequence[Mapping], label: str) -> None:
    _label_rows(axes, names, label)
    axes.set_xlim(0, 1)
    starts = [0.0] * len(rows)
    for kind in KINDS:
        shares = [row[kind] or 0.0 for row in rows]
        axes.barh(range(len(rows)), shares, left=starts, color=COLOURS[kind], label=kind)
        starts = [start + share for start, share in zip(starts, shares)]


def _label_rows(axes, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(axis='x', labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)


def _groups(report: Mapping) -> Iterator[tuple[str, Mapping]]:
    for split, of_split in report['groups'].items():
        for name, row in of_split.items():
            yield f'{split} {name}', row


def _fractions(row: Mapping, names: Sequence[str]) -> list[str]:
    return ['-' if row[name] is None or row[name] == -1 else f'{row[name]:.3f}' for name in names]


def _percent(row: Mapping) -> list[str]:
    return ['-' if row[kind] is None else f'{100 * row[kind]:.1f}' for kind in KINDS]
