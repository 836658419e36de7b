"""Count the parameters and multiply-adds of a model, part by part."""

import argparse

from mmengine.config import DictAction


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Count parameters and multiply-adds of a model. A table by part comes out, and '
        'what is counted. Nothing is computed, so the largest models take seconds.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="size of the input in pixels; default: the config's",
    )
    parser.add_argument('--json', metavar='OUT', help='write the figures to this file as well')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, as in model.backbone.arch=large',
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
        report = analysis.complexity_report(cfg, args.input_size)
    except ValueError as error:
        parser.error(str(error))
    print(analysis.format_complexity(report))
    analysis.write_json(report, args.json)


if __name__ == '__main__':
    main()
