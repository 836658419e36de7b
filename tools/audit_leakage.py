"""Find images that training and evaluation sets share."""

import argparse
import os


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(
            'Find images that training and evaluation sets share: equal files, and the same '
            'picture in another encoding or size. Out come a table (for each training and '
            'evaluation set the numbers of training images found by bytes, of others found by '
            'perceptual hash, and of evaluation images concerned) and a JSON file, written whole '
            'or not at all: every pair with its files, how it was found and the distance; the sets '
            'and options; files that cannot be read. Training leaves these images out with '
            "MultiDataset(leave_out='leakage.json'). A set is ANNOTATIONS:FOLDER, with a JSON file "
            "of COCO's format or MPII's and the folder of its images, or a folder."
        )
    )
    parser.add_argument(
        '--config',
        help='take the training sets, and as evaluation sets those for validation and test, from '
        'this config (mmpose)',
    )
    parser.add_argument('--train', nargs='+', metavar='SET', help='sets trained on')
    parser.add_argument('--eval', nargs='+', metavar='SET', help='sets evaluated on')
    parser.add_argument('--out', required=True, metavar='FILE', help='JSON file to write')
    parser.add_argument(
        '--max-distance',
        type=int,
        metavar='BITS',
        help='number of the 64 bits of the perceptual hash in which one picture may differ from '
        'itself; default: 4. Up to 8 finds more of slightly cropped images, and pairs that are '
        'none',
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='threads that hash; default: one per processor'
    )
    parser.add_argument(
        '--fail', action='store_true', help='exit with status 1 if any image is shared'
    )
    return parser


def main() -> int:
    parser = build_parser()
    args = parser.parse_args()
    if bool(args.config) == bool(args.train or args.eval) or bool(args.train) != bool(args.eval):
        parser.error('either --config or both --train and --eval are needed')
    if os.path.isdir(args.out) or not os.path.isdir(os.path.dirname(args.out) or '.'):
        parser.error(f'--out {args.out}: wanted is a file in a folder that exists')
    # Imported late for a quick --help.
    from mmengine.config import Config

    import vitpose_mm  # noqa: F401  (registers data sets)
    from vitpose_mm.datasets.image_hashes import MAX_DISTANCE
    from vitpose_mm.datasets.image_sets import image_sets_of_config, read_image_set
    from vitpose_mm.datasets.leakage import audit, count_rows
    from vitpose_mm.report import format_table, write_json

    try:
        config = args.config and Config.fromfile(args.config)
    except Exception as error:  # of any kind: a config is code
        parser.error(f'{args.config}: {type(error).__name__}: {" ".join(str(error).split())}')
    try:
        if args.config:
            train, evaluation = image_sets_of_config(config)
        else:
            train, evaluation = (
                [read_image_set(text) for text in side] for side in (args.train, args.eval)
            )
        report = audit(
            train,
            evaluation,
            MAX_DISTANCE if args.max_distance is None else args.max_distance,
            (os.cpu_count() or 1) if args.workers is None else args.workers,
        )
        write_json(report, args.out)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(format_table(count_rows(report)))
    print(f'pairs of the same picture: {len(report["shared"])}, listed in {args.out}')
    if report['unreadable']:
        print(f'images not compared, unreadable: {len(report["unreadable"])}, listed there')
    return int(args.fail and bool(report['shared']))


if __name__ == '__main__':
    raise SystemExit(main())
