"""`vitpose-mm evaluate`: AP of a model with detected or annotated boxes."""

import argparse

from . import saying_errors
from .detect_persons import add_box_options, report_problems
from .predict import add_model_options, build_inferencer

EXAMPLES = """examples (CONFIG and W are of the pose model, DET and DET_W of a detector of mmdet):
  # with boxes of a file, as `vitpose-mm detect-persons` writes it
  vitpose-mm evaluate person_keypoints_val2017.json --images val2017/ --pose CONFIG --weights W \\
      --boxes boxes.json

  # with a detector, boxes above 0.05
  vitpose-mm evaluate person_keypoints_val2017.json --images val2017/ --pose CONFIG --weights W \\
      --det DET --det-weights DET_W --bbox-thr 0.05

  # results of a test set without annotations, for COCO's server: dev.keypoints.json
  vitpose-mm evaluate image_info_test-dev2017.json --images test2017/ --pose CONFIG --weights W \\
      --boxes test-dev_boxes.json --results dev
"""
DESCRIPTION = """Evaluate a pose model on a COCO annotation file, with boxes of a file, of a detector or annotated.

Out come mmpose's metrics (AP and AR by OKS, as from tools/test.py), printed and in the file given
by --out, people in COCO's results format in RESULTS.keypoints.json, and AP, PCK and kinds of error
of each keypoint in the folder given by --report. Images that are missing or
cannot be read are reported, and their people count as not found (status 1).
"""  # noqa: E501


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        'evaluate',
        help='tell the AP of a pose model with detected or annotated boxes',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('annotations', metavar='ANN', help='COCO annotation file')
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of its images')
    add_model_options(parser)
    people = parser.add_argument_group('where the people are (one of these)')
    source = people.add_mutually_exclusive_group(required=True)
    source.add_argument('--boxes', metavar='FILE', help="boxes in COCO's results format")
    source.add_argument('--det', metavar='CONFIG', help='mmdet config, or a name that mmdet knows')
    source.add_argument('--gt-boxes', action='store_true', help='the annotated boxes')
    people.add_argument('--det-weights', metavar='FILE', help='weights of the detector')
    add_box_options(
        people, 'least score of boxes (default: all of --boxes; of --det those above 0.01)'
    )
    metric = parser.add_argument_group(
        "metric (default: as in the config's test_evaluator, else bbox_keypoint, oks_nms, 0.9)"
    )
    metric.add_argument(
        '--score-mode',
        choices=('bbox_keypoint', 'bbox', 'keypoint', 'bbox_rle'),
        help='what people are ranked by',
    )
    metric.add_argument(
        '--nms', choices=('oks_nms', 'soft_oks_nms', 'none'), help='what suppresses alike poses'
    )
    metric.add_argument('--oks-thr', type=float, metavar='OKS', help='its threshold')
    out = parser.add_argument_group('results')
    out.add_argument('--results', metavar='PREFIX', help='write people to PREFIX.keypoints.json')
    out.add_argument('--out', metavar='FILE', help='write metrics and counts to this JSON file')
    out.add_argument(
        '--report', metavar='DIR', help='write DIR/DATA_SET/report.txt, .json and .png'
    )
    parser.set_defaults(run=evaluate, parser=parser)


@saying_errors
def evaluate(arguments: argparse.Namespace) -> int:
    from vitpose_mm.apis import boxes_files, evaluation
    from vitpose_mm.report import format_report, write_json

    if arguments.det is not None:
        boxes_files.require_weights(arguments.det, arguments.det_weights, '--det-weights')
    elif arguments.det_weights is not None:
        raise ValueError(f'--det-weights {arguments.det_weights} needs --det')
    annotations = boxes_files.read_annotation_file(arguments.annotations)
    inferencer = build_inferencer(
        arguments,
        det_model=arguments.det or 'whole_image',
        det_weights=arguments.det_weights,
        show_progress=True,
    )
    chosen = dict(
        score_mode=arguments.score_mode, nms_mode=arguments.nms, nms_thr=arguments.oks_thr
    )
    result = evaluation.evaluate(
        inferencer,
        annotations,
        arguments.images,
        arguments.boxes,
        arguments.gt_boxes,
        arguments.bbox_thr,
        arguments.nms_thr,
        {name: value for name, value in chosen.items() if value is not None},
        arguments.results,
        arguments.report,
    )
    print(format_report(result.report()))
    write_json(result.report(), arguments.out)
    return report_problems(result.problems)
