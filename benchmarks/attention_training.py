"""One small ViTPose at 1/8 features trained with several kinds of attention.

    python benchmarks/attention_training.py --coco DIR --start deit_tiny.npz --out STEM

Full attention, windows, and shifted windows that hear of each other by their means: the same start,
samples, steps and seeds. None of them has parameters that another lacks.
"""

import argparse
import os

from arms import COLUMNS, prepare, run_arms, study_parser
from common import CONFIGS
from mmengine.config import Config

CONFIG = CONFIGS / 'custom/vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py'


def parse_arguments() -> argparse.Namespace:
    parser = study_parser(__doc__, 'attention_training')
    parser.add_argument('--start', required=True, help='weights of a DeiT-tiny')
    parser.add_argument('--variants', nargs='+', default=['full', 'window', 'shift+pool'])
    parser.add_argument('--window', type=int, nargs=2, default=[4, 4], metavar=('ROWS', 'COLUMNS'))
    parser.add_argument('--epochs', type=int, help="by default the config's")
    return parser.parse_args()


def config_of(variant: str, seed: int, arguments: argparse.Namespace) -> Config:
    os.environ.update(DATA_ROOT=arguments.coco)
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg.checkpoint = arguments.start
    cfg.model.backbone.update(attention=variant, window_hw=tuple(arguments.window))
    return prepare(cfg, seed, arguments.epochs)


def main() -> None:
    arguments = parse_arguments()
    arms = {
        f'{variant}, seed {seed}': config_of(variant, seed, arguments)
        for seed in arguments.seeds
        for variant in arguments.variants
    }
    run_arms(
        arms,
        arguments.work_dir,
        COLUMNS,
        arguments.parallel,
        arguments.out,
        epochs=next(iter(arms.values())).train_cfg.max_epochs,
        input='128x96, 16 x 12 tokens',
        window='{} x {}'.format(*arguments.window),
        config=CONFIG.name,
    )


if __name__ == '__main__':
    main()
