"""A small ViTPose trained without a teacher, with its knowledge token, its heatmaps, and both.

    python benchmarks/distillation_training.py --coco DIR --start deit_tiny.npz \\
        --teacher FILE.pth --out STEM

The teacher, at 1/8 features, was trained by TEACHER. The student has its architecture at 1/16, a
quarter of the tokens. First the token is fitted to the teacher; then all four arms have the same
start, samples, steps and seeds.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from arms import COLUMNS, TRAIN, prepare, run_arms, study_parser
from common import CONFIGS
from mmengine.config import Config

CUSTOM = CONFIGS / 'custom'
TEACHER = CUSTOM / 'vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py'
STUDENT = CUSTOM / 'vitpose_tiny_classic_1xb10-5e_coco-style-128x96.py'
ARMS = {
    'none': (False, False),
    'token': (True, False),
    'heatmap': (False, True),
    'both': (True, True),
}


def parse_arguments() -> argparse.Namespace:
    parser = study_parser(__doc__, 'distillation_training')
    parser.add_argument('--start', required=True, help='weights of a DeiT-tiny, for the student')
    parser.add_argument('--teacher', required=True, help='weights of the trained teacher')
    parser.add_argument('--teacher-dtype', default='bfloat16')
    parser.add_argument('--arms', nargs='+', default=list(ARMS), choices=ARMS)
    parser.add_argument('--epochs', type=int, help="by default the config's")
    parser.add_argument('--fit-epochs', type=int, default=1, help='of the token')
    return parser.parse_args()


def fit_config(arguments: argparse.Namespace) -> Config:
    cfg = prepare(Config.fromfile(TEACHER), arguments.seeds[0], arguments.fit_epochs)
    cfg.load_from = arguments.teacher
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.num_knowledge_tokens = 1
    cfg.optim_wrapper.optimizer.lr = 5e-3
    cfg.param_scheduler = cfg.param_scheduler[-1:]
    cfg.custom_hooks.append(dict(type='TokenDistillationHook', step='fit'))
    return cfg


def student_config(arm: str, seed: int, tokens: Path, arguments: argparse.Namespace) -> Config:
    by_token, by_heatmap = ARMS[arm]
    cfg = prepare(Config.fromfile(STUDENT), seed, arguments.epochs)
    cfg.model.backbone.init_cfg.checkpoint = arguments.start
    if by_token:
        cfg.model.backbone.num_knowledge_tokens = 1
        cfg.custom_hooks.append(
            dict(type='TokenDistillationHook', step='transfer', tokens=str(tokens))
        )
    if by_heatmap:
        cfg.model.update(
            type='HeatmapDistiller',
            teacher=str(TEACHER),
            teacher_checkpoint=arguments.teacher,
            teacher_dtype=arguments.teacher_dtype,
        )
    return cfg


def main() -> None:
    arguments = parse_arguments()
    os.environ.update(DATA_ROOT=arguments.coco)
    folder = Path(arguments.work_dir, 'fit-token')
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder / 'knowledge_tokens.pth'
    start = time.perf_counter()
    if any(ARMS[arm][0] for arm in arguments.arms):
        fit_config(arguments).dump(folder / 'arm.py')
        with open(folder / 'output.txt', 'w') as log:
            command = [sys.executable, TRAIN, folder / 'arm.py', '--work-dir', folder]
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    minutes = (time.perf_counter() - start) / 60
    arms = {
        f'{arm}, seed {seed}': student_config(arm, seed, tokens, arguments)
        for seed in arguments.seeds
        for arm in arguments.arms
    }
    run_arms(
        arms,
        arguments.work_dir,
        COLUMNS,
        arguments.parallel,
        arguments.out,
        epochs=next(iter(arms.values())).train_cfg.max_epochs,
        input='128x96; teacher 16 x 12 tokens, student 8 x 6',
        **{
            'epochs that fit the token': arguments.fit_epochs,
            'minutes that fitting the token took': minutes,
            'teacher': TEACHER.name,
            'teacher computes in': arguments.teacher_dtype,
            'student': STUDENT.name,
        },
    )


if __name__ == '__main__':
    main()
