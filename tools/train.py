"""Train a pose model from a config."""

import argparse
import os

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Train a pose model. Checkpoints (epoch_N.pth, and last_checkpoint with the '
        'path of the newest) and logs come out in the working folder.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='working folder; default: work_dir of the config, or work_dirs/CONFIG'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value, from the last one in the working folder',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (on GPUs)')
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by actual batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--show-dir', help='write pictures of validation results to this folder')
    parser.add_argument('--show', action='store_true', help='show validation results in a window')
    parser.add_argument('--interval', type=int, default=1, help='show every N-th sample')
    parser.add_argument('--wait-time', type=float, default=1, help='seconds a window stays')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, as in model.backbone.drop_path_rate=0.1 or '
        'key="[(a,b),(c,d)]" (quoted, without blanks)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what has started this process as one of several',
    )
    # torch.distributed.launch passes either spelling; torchrun sets the variable instead
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # Imported late for a quick --help.
    from vitpose_mm import engine

    try:
        cfg = engine.load_config(args.config, args.work_dir, args.cfg_options)
        engine.set_training_options(
            cfg, args.resume, args.amp, not args.no_validate, args.auto_scale_lr
        )
        engine.set_visualization(cfg, args.show, args.show_dir, args.interval, args.wait_time)
        engine.prepare_environment(cfg, args.launcher)
    except ValueError as error:
        parser.error(str(error))
    try:
        engine.build_runner(cfg, 'train').train()
    except engine.DataError as error:
        parser.error(str(error))
    engine.leave_processes()


if __name__ == '__main__':
    main()
