"""Measure time and memory of a training step."""

import argparse
import os

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Time training steps on made-up people (normalising, forward, loss, backward, '
        "gradient clipping, the config's optimizer) and measure the memory of one. Seconds and "
        'megabytes come out, with all that they depend on and with what is counted.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--batch-size', type=int, default=16, help='people in a batch')
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
        help='the latter two by autocast',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; a GPU where there is one')
    parser.add_argument('--threads', type=int, help="threads on the CPU; torch's own number")
    parser.add_argument(
        '--activation-checkpointing',
        action='store_true',
        help='recompute each block in the backward pass instead of storing what it needs',
    )
    parser.add_argument('--rounds', type=int, default=5, help='timed steps')
    parser.add_argument('--warm-up', type=int, default=1, help='steps before those')
    parser.add_argument('--json', metavar='OUT', help='write the figures to this file as well')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config',
    )
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    # torch's profiler announces itself on stderr unless it is told before torch is imported.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    # Imported late for a quick --help.
    from vitpose_mm import analysis
    from vitpose_mm.engine import load_config

    try:
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        analysis.set_threads(args.threads)
        report = analysis.measure_training_step(
            cfg,
            args.batch_size,
            args.dtype,
            args.device,
            args.activation_checkpointing,
            args.rounds,
            args.warm_up,
        )
    except ValueError as error:
        parser.error(str(error))
    print(analysis.format_report(report))
    analysis.write_json(report, args.json)


if __name__ == '__main__':
    main()
