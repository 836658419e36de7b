"""Measure images per second of inference."""

import argparse

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Time the way from normalised images on the device to heatmaps or keypoints. '
        'Images per second come out, with all that they depend on.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--checkpoint', help='weights; random ones are as fast')
    parser.add_argument('--batch-size', type=int, default=1, help='images in a batch')
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
        help='what weights and images are cast to',
    )
    parser.add_argument(
        '--flip-test', action='store_true', help='run mirrored images as well, as test_cfg does'
    )
    parser.add_argument('--compile', action='store_true', help='compile the model first')
    parser.add_argument('--decode', action='store_true', help='decode heatmaps to keypoints')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; a GPU where there is one')
    parser.add_argument('--threads', type=int, help="threads on the CPU; torch's own number")
    parser.add_argument('--rounds', type=int, default=20, help='timed batches')
    parser.add_argument('--warm-up', type=int, default=3, help='batches before those')
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
    # Imported late for a quick --help.
    from vitpose_mm import analysis
    from vitpose_mm.engine import load_config

    try:
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        analysis.set_threads(args.threads)
        report = analysis.measure_throughput(
            cfg,
            args.checkpoint,
            args.batch_size,
            args.dtype,
            args.flip_test,
            args.compile,
            args.decode,
            args.device,
            args.rounds,
            args.warm_up,
        )
    except ValueError as error:
        parser.error(str(error))
    print(analysis.format_report(report))
    analysis.write_json(report, args.json)


if __name__ == '__main__':
    main()
