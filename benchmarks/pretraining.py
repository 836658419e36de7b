"""A small ViTPose trained from random weights, and from those that MAE pre-training made.

    python benchmarks/pretraining.py --coco DIR --encoder work_dirs/mae/epoch_60.pth --out STEM

Same samples, steps and seeds, and the recipe of CONFIG. Its layer-wise decay of the learning rate
is meant for pre-trained weights, so random ones are trained with and without it.
"""

import argparse
import os

from arms import COLUMNS, prepare, run_arms, study_parser
from common import CONFIGS
from mmengine.config import Config

CONFIG = CONFIGS / 'custom/vitpose_tiny_classic_1xb10-5e_coco-style-128x96.py'
STARTS = ('MAE', 'random', 'random, no layer decay')


def parse_arguments() -> argparse.Namespace:
    parser = study_parser(__doc__, 'pretraining')
    parser.add_argument('--encoder', required=True, help='checkpoint of the pre-training')
    parser.add_argument('--epochs', type=int, help="by default the config's")
    return parser.parse_args()


def config_of(start: str, seed: int, arguments: argparse.Namespace) -> Config:
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg.checkpoint = arguments.encoder
    if start != 'MAE':
        cfg.model.backbone.pop('init_cfg')
    if start == 'random, no layer decay':
        cfg.optim_wrapper.paramwise_cfg.layer_decay_rate = 1.0
    return prepare(cfg, seed, arguments.epochs)


def main() -> None:
    arguments = parse_arguments()
    os.environ.update(DATA_ROOT=arguments.coco)
    arms = {
        f'{start}, seed {seed}': config_of(start, seed, arguments)
        for seed in arguments.seeds
        for start in STARTS
    }
    run_arms(
        arms,
        arguments.work_dir,
        COLUMNS,
        arguments.parallel,
        arguments.out,
        epochs=next(iter(arms.values())).train_cfg.max_epochs,
        input='128x96',
        config=CONFIG.name,
        encoder=arguments.encoder,
    )


if __name__ == '__main__':
    main()
