"""`vitpose-mm detect-persons`: boxes of persons in a file, for evaluation with detected boxes."""

import argparse
from typing import Optional, Union

from . import saying_errors

EXAMPLES = """examples (DET and DET_W are config and weights of a detector of mmdet):
  # boxes for the evaluation on COCO val2017
  vitpose-mm detect-persons val2017/ --det DET --det-weights DET_W \\
      --annotations person_keypoints_val2017.json --out boxes.json

  # then AP with these boxes
  vitpose-mm evaluate person_keypoints_val2017.json --images val2017/ --pose CONFIG --weights W \\
      --boxes boxes.json
"""
DESCRIPTION = """Find persons, or other classes, by any model of mmdet, and write their boxes to a file.

Out comes a JSON list in COCO's results format (image_id, category_id, bbox as left, top, width and
height, score), which `vitpose-mm evaluate --boxes` and mmpose's data sets (bbox_file) take. The
file is there whole or not at all. Pictures that are missing or cannot be read are reported and
passed over (status 1).
"""  # noqa: E501


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        'detect-persons',
        help='write boxes of persons to a file, for evaluation with detected boxes',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('images', nargs='+', metavar='IMAGES', help='pictures, or folders of them')
    parser.add_argument(
        '--det', required=True, metavar='CONFIG', help='mmdet config, or a name that mmdet knows'
    )
    parser.add_argument(
        '--det-weights', metavar='FILE', help='its weights (names have some by default)'
    )
    parser.add_argument('--out', required=True, metavar='FILE', help='JSON file to write')
    parser.add_argument(
        '--annotations',
        metavar='FILE',
        help="COCO annotation file that says the images' ids, and with one folder as IMAGES which "
        "of its files are taken (default: all, and the digits at the end of files' stems)",
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='classes to find, by names or numbers from 0 (default: person, or the only one); '
        'several get the category ids of their names in the annotation file, one gets 1',
    )
    add_box_options(parser, 'least score of boxes (default: 0.01)')
    parser.add_argument(
        '--batch-size', type=positive, metavar='N', help='images in a batch (GPU: 8, CPU: 1)'
    )
    parser.add_argument('--device', help="such as cuda:0 or cpu (default: a GPU if there's one)")
    parser.set_defaults(run=detect_persons, parser=parser)


def add_box_options(parser: argparse._ActionsContainer, threshold_help: str) -> None:
    """Add the options that choose among the boxes of a detector."""
    parser.add_argument('--bbox-thr', type=float, metavar='SCORE', help=threshold_help)
    parser.add_argument(
        '--nms-thr',
        type=float,
        default=1.0,
        metavar='IOU',
        help="greatest IoU of boxes (default: 1, so there is only the detector's own suppression)",
    )


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number above 0, got {text}')
    return number


@saying_errors
def detect_persons(arguments: argparse.Namespace) -> int:
    import os
    import time

    from mmengine.device import get_device

    from vitpose_mm.apis import boxes_files
    from vitpose_mm.apis.detector import Detector

    start = time.monotonic()
    device = arguments.device or get_device()
    boxes_files.require_weights(arguments.det, arguments.det_weights, '--det-weights')
    annotations = None
    if arguments.annotations is not None:
        annotations = boxes_files.read_annotation_file(arguments.annotations)
    batch_size = arguments.batch_size or (1 if device == 'cpu' else 8)
    detector = Detector(arguments.det, arguments.det_weights, None, device, batch_size)
    detector.choose(chosen_classes(arguments.classes, detector.class_names))
    threshold = arguments.bbox_thr
    written = boxes_files.write_boxes(
        arguments.images,
        detector,
        arguments.out,
        annotations,
        boxes_files.DEFAULT_THRESHOLD if threshold is None else threshold,
        arguments.nms_thr,
        num_readers=min(8, max(1, (os.cpu_count() or 1) // 2)),
        show_progress=True,
    )
    print(
        f'{written.num_images} images, {written.num_boxes} boxes in {arguments.out}, '
        f'{time.monotonic() - start:.1f} s with loading.'
    )
    return report_problems(written.problems)


def chosen_classes(wanted: Optional[list[str]], names: list[str]) -> list[Union[str, int]]:
    """Classes by names or numbers, as ``Detector`` takes them.

    Raises:
        ValueError: None are told, and it does not go without saying which.
    """
    if wanted is not None:
        return [int(each) if each.isdigit() and each not in names else each for each in wanted]
    if 'person' in names:
        return ['person']
    if len(names) == 1:
        return [0]
    raise ValueError(f'--classes must say which classes to find; the detector has, from 0: {names}')


def report_problems(problems: list[str]) -> int:
    """Print what could not be read; the exit status."""
    if not problems:
        return 0
    print(f'{len(problems)} images could not be read:')
    for problem in problems:
        print(f'  {problem}')
    return 1
