"""Make COCO-style annotation files, in fixed splits, of APT-36K's release."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(
            'Convert the annotation file of the APT-36K release. What comes out: '
            "OUT_DIR/{train,val,test}_annotations_1.json in COCO's format, file names relative to "
            'the folder that holds the folders of the species. Every video is in one of them, by '
            'a hash of its name, about 7 : 1 : 2; the same on every machine. Each file is written '
            'whole or not at all.'
        )
    )
    parser.add_argument('annotations', metavar='JSON', help='apt36k_annotations.json, as released')
    parser.add_argument(
        'out_dir',
        metavar='OUT_DIR',
        nargs='?',
        default='data/apt36k/annotations',
        help='folder to write to (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='folder that holds the folders of the species (data/apt36k). Every image must then '
        'be there, and names that unpacking has changed are written as they are on disk',
    )
    return parser


def main() -> None:
    parser = build_parser()
    args = vars(parser.parse_args())
    # Imported late for a quick --help.
    from vitpose_mm.datasets.apt36k_conversion import convert_file

    try:
        written = convert_file(**args)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for path, *counts in written.values():
        print('{}: {} clips, {} images, {} animals'.format(path, *counts))
    if args['images'] is None:
        print('Whether the images are there was not checked: --images DIR does.')


if __name__ == '__main__':
    main()
