"""Test a pose model from a config and a checkpoint."""

import argparse
import os

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Test a pose model. Metrics come out in the log, in the working folder, and in '
        'the file given by --out; predictions in the one given by --dump; AP, PCK and kinds of '
        'error of each keypoint in the folder given by --report.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or its address')
    parser.add_argument(
        '--work-dir', help='working folder; default: work_dir of the config, or work_dirs/CONFIG'
    )
    parser.add_argument('--out', help='write metrics to this file (.json, .yaml or .pkl)')
    parser.add_argument('--dump', help='write predictions to this file (.pkl)')
    parser.add_argument(
        '--report', metavar='DIR', help='write DIR/DATA_SET/report.txt, .json and .png'
    )
    parser.add_argument('--show-dir', help='write pictures of results to this folder')
    parser.add_argument('--show', action='store_true', help='show results in a window')
    parser.add_argument('--interval', type=int, default=1, help='show every N-th sample')
    parser.add_argument('--wait-time', type=float, default=1, help='seconds a window stays')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, as in model.test_cfg.flip_test=False or '
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
        engine.set_test_options(cfg, args.checkpoint, args.dump, args.out, args.report)
        engine.set_visualization(cfg, args.show, args.show_dir, args.interval, args.wait_time)
        engine.prepare_environment(cfg, args.launcher)
    except ValueError as error:
        parser.error(str(error))
    try:
        engine.run_test(engine.build_runner(cfg, 'test'), args.out)
    except engine.DataError as error:
        parser.error(str(error))
    engine.leave_processes()


if __name__ == '__main__':
    main()
