"""Two real data sets trained alone and together: what a shared backbone and experts give.

    python benchmarks/joint_training.py --coco DIR --lsp DIR --start deit_tiny.npz --out STEM

Four arms, the same recipe and the same number of steps and of samples of its own data for each data
set: each alone, both with a head each, and both with a head and an expert each.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import CONFIGS, describe_machine
from mmengine.config import Config

from vitpose_mm.analysis import format_report, format_table, write_json
from vitpose_mm.analysis.logs import read_scalars

CONFIG = CONFIGS / 'custom/vitpose_plus_tiny_classic_1xb14-12e_coco-style-lsp-128x96.py'
ROOT = CONFIGS.parent
ARMS = {
    'COCO alone': (['coco'], 10, False),
    'LSP alone': (['lsp_extended'], 4, False),
    'both, a head each': (['coco', 'lsp_extended'], 14, False),
    'both, a head and an expert each': (['coco', 'lsp_extended'], 14, True),
}
COLUMNS = {
    'COCO AP': 'coco/AP',
    'AP .5': 'coco/AP .5',
    'val loss': 'coco/kpt',
    'LSP PCK@0.1': 'lsp_extended/PCK',
    'LSP AP': 'lsp_extended/AP',
    'val loss ': 'lsp_extended/kpt',
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--coco', required=True, help="people in COCO's format")
    parser.add_argument('--lsp', required=True, help='Leeds Sports Pose Extended')
    parser.add_argument('--start', required=True, help='weights of a DeiT-tiny')
    parser.add_argument('--work-dir', default='work_dirs/joint_training')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--parallel', type=int, default=1, help='arms at once, a thread each')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    return parser.parse_args()


def config_of(arm: str, seed: int, arguments: argparse.Namespace) -> Config:
    """The published config with the data sets, batch and experts of an arm."""
    os.environ.update(COCO_ROOT=arguments.coco, LSP_ROOT=arguments.lsp)
    cfg = Config.fromfile(CONFIG)
    names, batch_size, with_experts = ARMS[arm]
    backbone, head = cfg.model.backbone, cfg.model.head
    backbone.init_cfg.checkpoint = arguments.start
    backbone.experts = backbone.experts if with_experts else []
    head.heads = {name: head.heads[name] for name in names}
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=1)
        loader.dataset.datasets = {name: loader.dataset.datasets[name] for name in names}
    cfg.train_dataloader.batch_size = batch_size
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.metrics = {name: evaluator.metrics[name] for name in names}
    cfg.default_hooks.checkpoint.save_best = None
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
    cfg.randomness = dict(seed=seed)
    return cfg


def prepare(arm: str, seed: int, arguments: argparse.Namespace) -> tuple[Config, Path]:
    """Write the config of an arm into the arm's own folder."""
    cfg = config_of(arm, seed, arguments)
    folder = Path(arguments.work_dir, f'{arm.replace(",", "").replace(" ", "-")}-seed-{seed}')
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / 'arm.py')
    return cfg, folder


def run(arm: str, seed: int, cfg: Config, folder: Path, parallel: int) -> dict[str, object]:
    """Train an arm in a process of its own, and return its row."""
    command = [sys.executable, ROOT / 'tools/train.py', folder / 'arm.py', '--work-dir', folder]
    environment = dict(os.environ, OMP_NUM_THREADS='1' if parallel > 1 else '2')
    with open(folder / 'output.txt', 'w') as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{arm} failed, see {folder}/output.txt')
    records = read_scalars(folder)
    last = [record for record in records if 'iter' not in record][-1]
    return {
        'arm': arm,
        'seed': seed,
        'steps': steps_per_epoch(folder / 'output.txt') * cfg.train_cfg.max_epochs,
        'batch': cfg.train_dataloader.batch_size,
        **{column: last[key] for column, key in COLUMNS.items() if key in last},
        'people': {n: last[f'{n}/people'] for n in ARMS[arm][0]},
        'CPU minutes': (usage.ru_utime + usage.ru_stime) / 60,
    }


def steps_per_epoch(log: Path) -> int:
    """From the lines ``Epoch(train) [1][50/140]``."""
    return int(re.findall(r'Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]', log.read_text())[-1])


def main() -> None:
    arguments = parse_arguments()
    start = time.perf_counter()
    jobs = [(arm, seed) for seed in arguments.seeds for arm in ARMS]
    order = sorted(jobs, key=lambda job: -ARMS[job[0]][1])  # the longest first
    # here, as mmengine cannot read configs in several threads
    prepared = {job: prepare(*job, arguments) for job in order}
    with ThreadPoolExecutor(arguments.parallel) as pool:
        rows = pool.map(lambda job: run(*job, *prepared[job], arguments.parallel), order)
        done = dict(zip(order, rows))
    rows = [done[job] for job in jobs]
    header = ['arm', 'seed', 'steps', 'batch', *COLUMNS, 'CPU minutes']
    shown = [
        [f'{v:.3g}' if isinstance(v := row.get(c, ''), float) else v for c in header]
        for row in rows
    ]
    cfg, _ = prepared[order[0]]
    settings = {
        'epochs': cfg.train_cfg.max_epochs,
        'input': '128x96',
        'config': CONFIG.name,
        'CPU minutes of all arms': sum(row['CPU minutes'] for row in rows),
        'minutes on the clock': (time.perf_counter() - start) / 60,
    }
    content = {'settings': settings, 'machine': describe_machine(), 'arms': rows}
    text = format_table([header, *shown]) + '\n\n' + format_report(settings)
    text += '\n' + format_report(content['machine'])
    print(text)
    if arguments.out:
        write_json(content, f'{arguments.out}.json')
        Path(f'{arguments.out}.txt').write_text(text + '\n')


if __name__ == '__main__':
    main()
