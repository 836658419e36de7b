"""Write a data set of generated people."""

import argparse

from mmengine.utils import ProgressBar

from vitpose_mm.datasets.generated_persons import write_dataset


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draws scenes of articulated, clothed people and writes them as a data set in '
        'the format of COCO keypoints: OUT_DIR/images/{train,val}/*.jpg and '
        'OUT_DIR/annotations/person_keypoints_{train,val}.json (boxes, areas and 17 keypoints with '
        'visibility). The same options give the same scenes. The folder appears whole or not at '
        'all; if it already holds exactly this data set, nothing is written.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        'out_dir', nargs='?', default='data/generated_persons', help='folder to write'
    )
    parser.add_argument('--num-train', type=int, default=3000, help='number of training scenes')
    parser.add_argument('--num-val', type=int, default=300, help='number of held-out scenes')
    parser.add_argument('--seed', type=int, default=0, help='scenes of other seeds are others')
    parser.add_argument(
        '--image-size', type=int, nargs=2, default=(320, 240), metavar=('WIDTH', 'HEIGHT'),
        help='size of the pictures in pixels',
    )  # fmt: skip
    parser.add_argument(
        '--people', type=int, nargs=2, default=(1, 4), metavar=('LEAST', 'MOST'),
        help='number of people in a scene',
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    progress = ProgressBar(arguments.num_train + arguments.num_val)
    try:
        written = write_dataset(
            arguments.out_dir,
            arguments.num_train,
            arguments.num_val,
            arguments.seed,
            tuple(arguments.image_size),
            tuple(arguments.people),
            on_progress=lambda done, total: progress.update(),
        )
    except ValueError as error:
        raise SystemExit(f'generate_persons: {error}') from error
    print(f'\n{arguments.out_dir}: ' + ('written' if written else 'already there, nothing to do'))


if __name__ == '__main__':
    main()
