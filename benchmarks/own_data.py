"""From an annotation file to a trained model with three commands, and its PCK before and after.

    python benchmarks/own_data.py TRAIN.json --images DIR --val VAL.json --start FILE \\
        --out benchmarks/results/own_data

Runs `vitpose-mm new-dataset`, `vitpose-mm check` and `tools/train.py`, each in a process of its
own, with two threads. Before: the model as training begins, its head with random weights.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from common import CONFIGS, describe_machine, write_report
from mmengine.config import Config

from vitpose_mm.analysis import format_report
from vitpose_mm.analysis.logs import read_scalars
from vitpose_mm.engine import build_runner

TOOLS = CONFIGS.parent / 'tools'
METRICS = ('PCK', 'AP', 'AP .5', 'AR')


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('labels')
    parser.add_argument('--images', required=True)
    parser.add_argument('--val', required=True)
    parser.add_argument('--start', required=True)
    parser.add_argument('--name', default='own')
    parser.add_argument('--work-dir', default='work_dirs/own_data')
    parser.add_argument(
        '--options',
        default='--input-size 128x96 --epochs 16 --batch-size 16 --small-data',
        help='of new-dataset (default: %(default)s)',
    )
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    return parser.parse_args()


def run(command: list, log: Path) -> tuple[str, float]:
    """Run a command; the command and its minutes."""
    start = time.perf_counter()
    with open(log, 'w') as file:
        subprocess.run(
            list(map(str, command)),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
            env=dict(os.environ, OMP_NUM_THREADS='2'),
        )
    return time.perf_counter() - start


def evaluate_untrained(config: Path, work_dir: Path) -> dict[str, float]:
    """Metrics of the model as training begins."""
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=0)
    cfg.default_hooks.checkpoint.save_best = None
    runner = build_runner(cfg)
    runner.model.init_weights()
    return runner.val()


def main() -> None:
    arguments = parse_arguments()
    work_dir = Path(arguments.work_dir).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    name, out = arguments.name, work_dir / 'config'
    command = [sys.executable, '-m', 'vitpose_mm']
    labels = [arguments.labels, '--images', arguments.images, '--val', arguments.val]
    begin = ['--start', arguments.start, '--name', name, '--out', out]
    config = out / f'{name}.py'
    training = work_dir / 'training'
    commands = {
        'new-dataset': [*command, 'new-dataset', *labels, *begin, *arguments.options.split()],
        'check': [*command, 'check', config, '--out', work_dir / 'check.jpg'],
        'train': [sys.executable, TOOLS / 'train.py', config, '--work-dir', training],
    }
    commands['train'] += ['--cfg-options', 'randomness.seed=0']
    seconds = {key: run(each, work_dir / f'{key}.txt') for key, each in commands.items()}
    before = evaluate_untrained(config, work_dir / 'untrained')
    after = [record for record in read_scalars(training) if f'{name}/PCK' in record][-1]
    report = {
        'options of new-dataset': arguments.options,
        **{f'minutes of {key}': value / 60 for key, value in seconds.items()},
        'minutes of all three': sum(seconds.values()) / 60,
        **{
            f'{metric} {when}': float(values[f'{name}/{metric}'])
            for metric in METRICS
            for when, values in (('before', before), ('after', after))
        },
    }
    content = {'report': report, 'machine': describe_machine()}
    text = format_report(report) + '\n\n' + format_report(content['machine']) + '\n'
    print(text)
    write_report(arguments.out, content, text)


if __name__ == '__main__':
    main()
