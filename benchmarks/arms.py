"""Training runs that differ in one thing, side by side, and their table."""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

from common import CONFIGS, describe_machine, write_report
from mmengine.config import Config

from vitpose_mm.analysis import format_report, format_table
from vitpose_mm.analysis.logs import read_scalars

TRAIN = CONFIGS.parent / 'tools/train.py'
COLUMNS = {'AP': 'coco/AP', 'AP .5': 'coco/AP .5', 'AR': 'coco/AR', 'val loss': 'loss_kpt'}


def study_parser(description: str, name: str) -> argparse.ArgumentParser:
    """Options that all studies have.

    Args:
        description: Docstring of the study.
        name: Of its folder in ``work_dirs``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--coco', required=True, help="people in COCO's format")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--work-dir', default=f'work_dirs/{name}')
    parser.add_argument('--parallel', type=int, default=1, help='arms at once, a thread each')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    return parser


def prepare(cfg: Config, seed: int, epochs: Optional[int] = None) -> Config:
    """Change a config to that of an arm: one worker, one evaluation at the end, no best checkpoint.

    Args:
        epochs: By default the config's; else its last schedule must be a cosine over all epochs.
    """
    if epochs is not None:
        cfg.train_cfg.max_epochs = cfg.param_scheduler[-1].T_max = epochs
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=1)
    cfg.default_hooks.checkpoint.save_best = None
    cfg.randomness = dict(seed=seed)
    return cfg


def run_arms(
    arms: Mapping[str, Config],
    work_dir: str,
    columns: Mapping[str, str],
    parallel: int = 1,
    out: Optional[str] = None,
    **settings: object,
) -> None:
    """Train each arm in a process of its own, and report them in one table.

    Args:
        arms: Configs by name, in the table's order; they start in this order, too.
        work_dir: Where each has a folder of its own.
        columns: Of the table, to what it is called in the log.
        parallel: Arms at once; with more than one each has one thread, else two.
        out: Write ``out``.json and ``out``.txt as well.
        **settings: What the report shall say besides.
    """
    start = time.perf_counter()
    for name, cfg in arms.items():  # here, as mmengine cannot handle configs in several threads
        folder = _folder(work_dir, name)
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(folder / 'arm.py')
    with ThreadPoolExecutor(parallel) as pool:
        rows = list(
            pool.map(
                lambda name: _run(name, arms[name], _folder(work_dir, name), columns, parallel),
                arms,
            )
        )
    header = ['arm', 'seed', 'steps', 'batch', *columns, 'CPU minutes']
    shown = [
        [f'{v:.3g}' if isinstance(v := row.get(c, ''), float) else v for c in header]
        for row in rows
    ]
    settings = {
        **settings,
        'arms at once': parallel,
        'CPU minutes of all arms': sum(row['CPU minutes'] for row in rows),
        'minutes on the clock': (time.perf_counter() - start) / 60,
    }
    content = {'settings': settings, 'machine': describe_machine(), 'arms': rows}
    text = format_table([header, *shown]) + '\n\n' + format_report(settings)
    text += '\n' + format_report(content['machine']) + '\n'
    print(text)
    write_report(out, content, text)


def _folder(work_dir: str, name: str) -> Path:
    return Path(work_dir, re.sub(r'[^\w+]+', '-', name))


def _run(
    name: str, cfg: Config, folder: Path, columns: Mapping[str, str], parallel: int
) -> dict[str, object]:
    command = [sys.executable, TRAIN, folder / 'arm.py', '--work-dir', folder]
    environment = dict(os.environ, OMP_NUM_THREADS='1' if parallel > 1 else '2')
    with open(folder / 'output.txt', 'w') as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{name} failed, see {folder}/output.txt')
    last = [record for record in read_scalars(folder) if 'iter' not in record][-1]
    # from lines such as Epoch(train) [1][50/140]
    log = (folder / 'output.txt').read_text()
    steps_per_epoch = int(re.findall(r'Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]', log)[-1])
    return {
        'arm': name,
        'seed': cfg.randomness.seed,
        'steps': steps_per_epoch * cfg.train_cfg.max_epochs,
        'batch': cfg.train_dataloader.batch_size,
        **{column: last[key] for column, key in columns.items() if key in last},
        **{key: value for key, value in last.items() if key.endswith('people')},
        'CPU minutes': (usage.ru_utime + usage.ru_stime) / 60,
    }
