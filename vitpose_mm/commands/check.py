"""`vitpose-mm check`: what in a config and its data will not train, and a picture of it."""

import argparse

from . import saying_errors

EXAMPLES = """examples:
  # before training on one GPU
  vitpose-mm check configs/custom/vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py

  # as it will be trained: 4 processes, another learning rate; the report for a program
  vitpose-mm check CONFIG --gpus 4 --cfg-options optim_wrapper.optimizer.lr=2e-4 --json check.json
"""
DESCRIPTION = """Look for what will not train: in data, model and schedule of a config.

Prints what was found by data set, faults first, and what to do about it; draws training samples
after augmentation beside their targets. Status 1 if there are faults, 0 if not, 2 for misuse.
"""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        'check',
        help='tell what in a config and its data will not train, and draw training samples',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, as for tools/train.py')
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        metavar='N',
        help='how many processes training will have (default: %(default)s)',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='as it will be given to tools/train.py'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='override entries of the config'
    )
    depth = parser.add_argument_group('how much to look at')
    depth.add_argument(
        '--num-images',
        type=int,
        default=300,
        metavar='N',
        help='images of each data set to open (default: %(default)s)',
    )
    depth.add_argument(
        '--overlap-seconds',
        type=float,
        default=20.0,
        metavar='S',
        help='time to look for pictures in training and validation alike (default: %(default)g)',
    )
    out = parser.add_argument_group('results')
    out.add_argument(
        '--out',
        metavar='FILE',
        help='the picture, .jpg or .png (default: check.jpg in the working folder)',
    )
    out.add_argument('--json', metavar='FILE', help='write the findings to this JSON file, too')
    out.add_argument(
        '--num-samples',
        type=int,
        default=16,
        metavar='N',
        help='samples in the picture (default: %(default)s)',
    )
    out.add_argument(
        '--seed', type=int, default=0, help='of samples and augmentation (default: %(default)s)'
    )
    parser.set_defaults(run=check, parser=parser)


@saying_errors
def check(arguments: argparse.Namespace) -> int:
    import contextlib
    import io
    import os

    from mmengine.config import DictAction
    from mmengine.logging import MMLogger

    from vitpose_mm.engine import load_config, set_training_options
    from vitpose_mm.preflight.findings import format_findings
    from vitpose_mm.preflight.picture import draw_picture, require_picture_name, write_picture
    from vitpose_mm.preflight.running import examine, report_of
    from vitpose_mm.report import write_json

    parser = argparse.ArgumentParser()
    parser.add_argument('entries', nargs='*', action=DictAction, default={})
    changes = parser.parse_args(arguments.cfg_options or []).entries
    cfg = load_config(arguments.config, cfg_options=changes)
    load_from, cfg.load_from = cfg.get('load_from'), None  # if it is missing, that is a finding
    set_training_options(cfg, auto_scale_lr=arguments.auto_scale_lr)
    cfg.load_from = load_from
    out = arguments.out or os.path.join(cfg.work_dir, 'check.jpg')
    require_picture_name(out)
    # what mmengine and pycocotools say while they read is no finding
    MMLogger.get_instance('vitpose_mm_check', log_level='CRITICAL')
    with contextlib.redirect_stdout(io.StringIO()):
        report = examine(
            cfg,
            arguments.gpus,
            arguments.num_samples,
            arguments.seed,
            arguments.num_images,
            arguments.overlap_seconds,
        )
    for where, counts in report.counts.items():
        total, used = sum(counts.values()), counts.get('used', 0)
        reasons = ', '.join(f'{name}: {n}' for name, n in counts.items() if name != 'used')
        print(f'{where}: {used} of {total} annotations used' + (f' ({reasons})' if reasons else ''))
    for note in report.notes:
        print(f'{note}.')
    if report.samples:
        write_picture(draw_picture(report.samples), out)
        print(f'{len(report.samples)} training samples and their targets are drawn in {out}.')
    else:
        print('There is no picture, as no training sample could be made.')
    print('\n' + format_findings(report.findings))
    write_json(report_of(report, arguments.config, out if report.samples else None), arguments.json)
    return 1 if any(each.severity == 'fault' for each in report.findings) else 0
