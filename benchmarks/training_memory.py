"""What training needs of memory, with and without computing again what is not stored.

    python benchmarks/training_memory.py CONFIG --batch-sizes 1 2 3 --threads 2 --out STEM

Steps of a config at several batch sizes, each with everything stored, with all but the results of
matrix products and attention computed again ('selective'), and with whole blocks computed again.
What other batches need is computed from the first and the last; how far those between lie from this
straight line is told.
"""

import argparse
from pathlib import Path

from common import describe_machine, write_report
from mmengine.config import Config

from vitpose_mm.analysis import (
    format_report,
    format_table,
    measure_training_step,
    select_device,
    set_threads,
)

MODES = {'everything stored': False, 'selective': 'selective', 'blocks': True}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 3])
    parser.add_argument('--computed', type=int, nargs='+', default=[16, 64], help='batch sizes')
    parser.add_argument('--dtype', default='float32', help='others by autocast')
    parser.add_argument('--device')
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--threads', type=int, help='of torch, on the CPU')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    arguments = parser.parse_args()
    arguments.batch_sizes.sort()
    if arguments.batch_sizes[0] == arguments.batch_sizes[-1]:
        parser.error(f'--batch-sizes must be at least two, got {arguments.batch_sizes}')
    return arguments


def main() -> None:
    arguments = parse_arguments()
    set_threads(arguments.threads)
    cfg = Config.fromfile(arguments.config)
    sizes = arguments.batch_sizes
    steps = {
        name: [
            measure_training_step(
                cfg, size, arguments.dtype, arguments.device, mode, arguments.rounds
            )
            for size in sizes
        ]
        for name, mode in MODES.items()
    }
    rows = []
    for name, reports in steps.items():
        peaks = [report['peak memory, MB'] for report in reports]
        per_image = (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0])
        line = [peaks[0] + (size - sizes[0]) * per_image for size in sizes]
        rows.append(
            {
                'computed again': name,
                **{f'batch {size}, MB': peak for size, peak in zip(sizes, peaks)},
                'off the line, MB': max(abs(a - b) for a, b in zip(peaks, line)),
                'per image, MB': per_image,
                **{
                    f'batch {size}, MB, computed': peaks[0] + (size - sizes[0]) * per_image
                    for size in arguments.computed
                },
                's per image': reports[-1]['seconds per step, median'] / sizes[-1],
            }
        )
    first = steps['everything stored'][0]
    settings = {
        'config': Path(arguments.config).name,
        **{key: first[key] for key in ('input', 'dtype', 'optimizer', 'what is counted')},
        'weights, gradients and optimizer, MB': first['of which before the step, MB'],
        'rounds': arguments.rounds,
    }
    content = {
        'settings': settings,
        'machine': describe_machine(select_device(arguments.device)),
        'rows': rows,
    }
    table = format_table([list(rows[0]), *([*row.values()] for row in rows)])
    text = f'{table}\n\n{format_report(settings)}\n{format_report(content["machine"])}\n'
    print(text)
    write_report(arguments.out, content, text)


if __name__ == '__main__':
    main()
