"""Tell what a checkpoint is."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(
            'Tell what a checkpoint is, without executing anything in it: whose (recognised by the '
            'names in it), architecture, decoder, input size, heads with their keypoints, experts, '
            'what is known of its training, sha256.'
        )
    )
    parser.add_argument(
        'checkpoint', nargs='+', help='.pth, .safetensors, .npz, or a folder of transformers'
    )
    parser.add_argument('--json', metavar='FILE', help='write the same, for all, as a list as well')
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    # Imported late for a quick --help.
    from vitpose_mm.analysis import format_report, write_json
    from vitpose_mm.checkpoints import inspect_file

    try:
        reports = [inspect_file(path) for path in args.checkpoint]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for report in reports:
        print(format_report(readable(report)), end='\n\n')
    write_json(reports, args.json)


def readable(report: dict) -> dict:
    """The same for people: nested lists in a line, and of long ones only the beginning."""
    from vitpose_mm.checkpoints import shorten

    text = {}
    for name, value in report.items():
        if name == 'dropped':
            value = {reason: shorten(names, 4) for reason, names in value.items()}
        elif name == 'parameters':
            value = f'{value / 1e6:.2f} M'
        elif name == 'input_hw':
            name, value = 'input size', value and '{}x{} px'.format(*value)
        elif name == 'named_by' and not (report['heads'] or report['experts']):
            continue
        elif isinstance(value, list):
            value = ', '.join(value)
        text[name.replace('_', ' ')] = 'none' if value in ({}, '', None) else value
    return text


if __name__ == '__main__':
    main()
