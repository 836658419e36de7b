"""Plot curves of training runs."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Plot curves of one or several runs. A picture comes out, with a plot for each '
        'key: training over iterations, validation over epochs. The starts of a run that was '
        'killed and resumed are joined.'
    )
    parser.add_argument(
        'logs',
        nargs='+',
        metavar='WORK_DIR_OR_JSON',
        help='working folder of a run, or a vis_data/scalars.json',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        default=['loss_kpt'],
        help='what to plot, such as loss_kpt coco/AP, or val/loss_kpt of ValidationLossHook; '
        'default: loss_kpt',
    )
    parser.add_argument('--out', required=True, metavar='FILE.png', help='picture to write')
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    # Imported late for a quick --help.
    from vitpose_mm.analysis import plot_logs

    try:
        points = plot_logs(args.logs, args.keys, args.out)
    except ValueError as error:
        parser.error(str(error))
    for key, counts in points.items():
        print(f'{key}: {" + ".join(map(str, counts))} points')
    print(args.out)


if __name__ == '__main__':
    main()
