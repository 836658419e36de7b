"""Curves of training runs from mmengine's ``vis_data/scalars.json``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Union


def find_scalars(path: Union[str, Path]) -> list[Path]:
    """The logs of a run, oldest first: a file itself, or all in a working folder.

    Raises:
        ValueError: There are none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    # each start of a run has a folder named by its time
    files = sorted({*path.glob('vis_data/scalars.json'), *path.glob('*/vis_data/scalars.json')})
    if not files:
        raise ValueError(
            f'{path} is neither a log nor a working folder with */vis_data/scalars.json'
        )
    return files


def read_scalars(path: Union[str, Path]) -> list[dict[str, float]]:
    """Read a run's log, joined from all its starts.

    What a run wrote before it was killed and then, resumed, came to again, is left out.

    Raises:
        ValueError: There is no log, or a line of it is no JSON object.
    """
    joined: list[dict[str, float]] = []
    for file in find_scalars(path):
        records = [_parse(file, line) for line in file.read_text().splitlines() if line.strip()]
        for training in (True, False):
            # validation counts epochs where training counts iterations
            steps = [r['step'] for r in records if _is_training(r) == training]
            if steps:
                joined = [
                    r for r in joined if _is_training(r) != training or r['step'] < min(steps)
                ]
        joined += records
    return joined


def curve(records: Sequence[dict], key: str) -> tuple[list[float], list[float], bool]:
    """Steps and values of a key, and whether training wrote it.

    Where training and validation both wrote it, as ``loss_kpt``, it is training's; ``val/loss_kpt``
    is validation's.
    """
    validation = key.startswith('val/')
    key = key[4:] if validation else key
    having = [record for record in records if key in record]
    training = not validation and any(map(_is_training, having))
    having = [record for record in having if _is_training(record) == training]
    return [r['step'] for r in having], [r[key] for r in having], training


def plot_logs(
    paths: Sequence[Union[str, Path]], keys: Sequence[str], out: Union[str, Path]
) -> dict[str, list[int]]:
    """Draw one picture: a plot for each key, a line for each run that has it.

    Args:
        paths: Working folders or ``scalars.json`` files.
        keys: What to plot, such as ``loss_kpt`` over iterations or ``coco/AP`` over epochs; see
            :func:`curve`.
        out: Picture to write, of a type that matplotlib knows.

    Returns:
        For each key, how many points each run has.

    Raises:
        ValueError: There is no such log, or no run has such a key.
    """
    # matplotlib takes a second to import, and a figure of its own needs no display
    from matplotlib.figure import Figure

    if not keys:
        raise ValueError('keys must name at least one thing to plot')
    runs = {str(path): read_scalars(path) for path in paths}
    known = {key for records in runs.values() for record in records for key in record}
    unknown = [key for key in keys if not any(curve(records, key)[0] for records in runs.values())]
    if unknown:
        raise ValueError(f'no run has the key {unknown[0]!r}; there are {", ".join(sorted(known))}')
    figure = Figure(figsize=(8, 3 * len(keys)), layout='constrained')
    points: dict[str, list[int]] = {}
    for key, axes in zip(keys, figure.subplots(len(keys), squeeze=False)[:, 0]):
        points[key] = []
        for path, records in runs.items():
            steps, values, training = curve(records, key)
            points[key].append(len(steps))
            if steps:
                axes.plot(steps, values, marker='' if training else 'o', label=path)
                by_epoch = not training and any('epoch' in record for record in records)
                axes.set_xlabel('epoch' if by_epoch else 'iteration')
        axes.set_ylabel(key)
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    return points


def _is_training(record: dict) -> bool:
    return 'iter' in record


def _parse(file: Path, line: str) -> dict[str, float]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f'{file} is no log of scalars, one JSON object per line: {line!r}') from (
            error
        )
    if not isinstance(record, dict) or 'step' not in record:
        raise ValueError(f'{file} has a line without a step: {line!r}')
    return record
