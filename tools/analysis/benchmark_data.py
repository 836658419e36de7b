"""Measure samples per second of the training data."""

import argparse

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Time how fast batches of a config's training set arrive in the main process. "
        'Samples per second come out, and milliseconds per transform if asked.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--num-workers', type=int, help="worker processes; default: the config's")
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument(
        '--num-samples', type=int, default=1000, help='samples to count; default: %(default)s'
    )
    parser.add_argument(
        '--per-transform',
        action='store_true',
        help='also time each transform on up to 200 of them, in the main process',
    )
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
        report = analysis.measure_data_path(
            cfg, args.num_workers, args.batch_size, args.num_samples
        )
        if args.per_transform:
            report['milliseconds per sample'] = analysis.time_transforms(
                cfg, min(args.num_samples, 200)
            )
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(analysis.format_report(report))
    analysis.write_json(report, args.json)


if __name__ == '__main__':
    main()
