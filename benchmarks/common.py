"""What the benchmarks share: turns, machine description, report."""

import argparse
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Optional

import cv2
import torch

from vitpose_mm.analysis import (
    describe_device,
    format_report,
    format_table,
    set_threads,
    time_alternately,
    write_json,
)

PACKAGES = ('mmengine', 'mmcv', 'mmpose', 'mmpretrain', 'numpy', 'opencv-python')
PEER_CONFIG = (
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py'
)
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
OUR_CONFIG = CONFIGS / 'body/vitpose_small_classic_8xb64-210e_coco-256x192.py'
SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64), sigma=2.0)  # of the codecs
OURS, PEER = 'vitpose_mm', 'mmpose'


def parse_arguments(
    description: str,
    rounds: int,
    add_options: Optional[Callable[[argparse.ArgumentParser], object]] = None,
) -> argparse.Namespace:
    """Read the options that all benchmarks have, and more if asked, and set the threads."""
    parser = argparse.ArgumentParser(
        description=f'{description} Both run in turns in one process, after a check that their '
        'results agree; medians and ratios come out.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--rounds', type=int, default=rounds, help='timed runs of each')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch and OpenCV')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    if add_options is not None:
        add_options(parser)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    return arguments


def describe_machine(device: Optional[torch.device] = None) -> dict[str, object]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = 'absent'
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return {
        **describe_device(device or torch.device('cpu')),
        'cores': cores,
        'system': f'{platform.system()} {platform.machine()}',
        'python': platform.python_version(),
        **versions,
        'date': datetime.date.today().isoformat(),
    }


class Report:
    """Comparisons of one benchmark; printed at the end, and written if ``out`` is given."""

    def __init__(self, title: str, agreement: Mapping[str, str]) -> None:
        self.title = title
        self.agreement = dict(agreement)
        self.comparisons: list[dict] = []
        self.figures: dict[str, object] = {}  # what is no time

    def alternate(
        self,
        what: str,
        calls: Mapping[str, Callable[[], object]],
        rounds: int,
        warm_up: int = 3,
        per: Optional[int] = None,
        prepare: Callable[[], object] = lambda: None,
        device: Optional[torch.device] = None,
    ) -> None:
        """Time calls in turns.

        Args:
            what: What is done.
            calls: The first is ours; the others are compared with it.
            rounds: Timed runs of each.
            warm_up: Runs of each before those.
            per: How many samples one run handles, to state samples per second.
            prepare: Called before each run, not timed.
            device: Where they run, by default the CPU.
        """
        seconds = time_alternately(calls, rounds, warm_up, device, prepare)
        ours = next(iter(calls))
        for name, values in seconds.items():
            # Two neighbours in time share the machine's moods, so each round has a ratio.
            ratios = [theirs / mine for theirs, mine in zip(values, seconds[ours])]
            low, _, high = quantiles(ratios, n=4) if rounds > 1 else ratios * 3
            self.comparisons.append(
                {
                    'what': what,
                    'side': name,
                    'milliseconds, median': median(values) * 1e3,
                    'samples per second': per and per / median(values),
                    'time relative to ours, median': median(ratios),
                    'time relative to ours, middle half': [low, high],
                    'rounds': rounds,
                }
            )

    def table(self) -> str:
        rows: list[Sequence[object]] = [
            ('what', 'side', 'ms', 'samples/s', 'time / ours', 'middle half', 'rounds')
        ]
        for each in self.comparisons:
            rate = each['samples per second']
            low, high = each['time relative to ours, middle half']
            rows.append(
                (
                    each['what'],
                    each['side'],
                    f'{each["milliseconds, median"]:.2f}',
                    f'{rate:.1f}' if rate else '',
                    f'{each["time relative to ours, median"]:.2f}',
                    f'{low:.2f}-{high:.2f}',
                    each['rounds'],
                )
            )
        return format_table(rows)

    def finish(
        self, out: Optional[str], where: Optional[torch.device] = None, **settings: object
    ) -> None:
        """Print the table, and write it beside all figures to ``out``.json and ``out``.txt.

        ``where`` is the device that was measured, by default the CPU.
        """
        content = {
            'title': self.title,
            'machine': describe_machine(where),
            'settings': settings,
            'agreement': self.agreement,
            'comparisons': self.comparisons,
            'figures': self.figures,
        }
        lines = [self.title, '', self.table(), '']
        for part in ('figures', 'agreement', 'settings', 'machine'):
            if content[part]:
                lines += [format_report({part: content[part]}), '']
        text = '\n'.join(lines)
        print(text)
        write_report(out, content, text)


def write_report(out: Optional[str], content: Mapping[str, object], text: str) -> None:
    """Write figures to ``out``.json and their table to ``out``.txt, unless ``out`` is None."""
    if out is not None:
        stem = Path(out)
        write_json(content, stem.with_name(stem.name + '.json'))
        stem.with_name(stem.name + '.txt').write_text(text)


def require_agreement(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float, what: str) -> str:
    """Compare results before anything is timed.

    Returns:
        A sentence with the greatest difference found.
    """
    difference = (ours - theirs).abs().max().item()
    if not difference <= tolerance:
        raise SystemExit(f'{what} differ by {difference:.3g}, more than {tolerance:g}')
    return f'greatest difference {difference:.2g} (tolerance {tolerance:g})'


def peer_config() -> object:
    """mmpose's shipped config of ViTPose-S with the classic decoder."""
    import mmpretrain.models  # noqa: F401  (registers the backbone)
    from mmengine.hub import get_config

    return get_config(PEER_CONFIG)
