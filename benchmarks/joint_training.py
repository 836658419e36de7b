"""Two real data sets trained alone and together: what a shared backbone and experts give.

    python benchmarks/joint_training.py --coco DIR --lsp DIR --start deit_tiny.npz --out STEM

Four arms, the same recipe and the same number of steps and of samples of its own data for each data
set: each alone, both with a head each, and both with a head and an expert each.
"""

import argparse
import os

from arms import prepare, run_arms, study_parser
from common import CONFIGS
from mmengine.config import Config

CONFIG = CONFIGS / 'custom/vitpose_plus_tiny_classic_1xb14-12e_coco-style-lsp-128x96.py'
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
    parser = study_parser(__doc__, 'joint_training')
    parser.add_argument('--lsp', required=True, help='Leeds Sports Pose Extended')
    parser.add_argument('--start', required=True, help='weights of a DeiT-tiny')
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
        loader.dataset.datasets = {name: loader.dataset.datasets[name] for name in names}
    cfg.train_dataloader.batch_size = batch_size
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.metrics = {name: evaluator.metrics[name] for name in names}
    return prepare(cfg, seed)


def main() -> None:
    arguments = parse_arguments()
    # the longest first
    jobs = [
        (arm, seed) for seed in arguments.seeds for arm in sorted(ARMS, key=lambda a: -ARMS[a][1])
    ]
    arms = {f'{arm}, seed {seed}': config_of(arm, seed, arguments) for arm, seed in jobs}
    run_arms(
        arms,
        arguments.work_dir,
        COLUMNS,
        arguments.parallel,
        arguments.out,
        epochs=next(iter(arms.values())).train_cfg.max_epochs,
        input='128x96',
        config=CONFIG.name,
    )


if __name__ == '__main__':
    main()
