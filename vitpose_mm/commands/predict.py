"""`vitpose-mm predict`: people and their keypoints in pictures and videos."""

import argparse
import time

from . import saying_errors

EXAMPLES = """examples (CONFIG and W are of the pose model, DET and DET_W of a detector of mmdet):
  # people that the detector finds; pictures with skeletons and JSON go to out/
  vitpose-mm predict photos/ --pose CONFIG --weights W --det DET --det-weights DET_W --out out

  # a video, with ids that stay with people and calmer keypoints
  vitpose-mm predict clip.mp4 --pose CONFIG --weights W --det DET --det-weights DET_W \\
      --track --smooth --out out

  # boxes from a file in COCO's results format, results as COCO's tools read them, nothing drawn
  vitpose-mm predict 'val2017/*.jpg' --pose CONFIG --weights W --boxes boxes.json \\
      --save coco --out out

  # ViTPose++: people read by COCO's head, animals by AP-10K's
  vitpose-mm predict zoo/ --pose CONFIG --weights W --det DET --det-weights DET_W \\
      --dataset by-class --out out
"""
DESCRIPTION = """Find people and their keypoints in pictures, folders, glob patterns, videos, streams and webcams.

Out come OUT/visualizations (pictures and videos with skeletons), OUT/predictions (JSON for each
picture or video), and on demand OUT/coco_results.json and OUT/arrays.npz. A picture that cannot be
read is reported and passed over (status 1). Stopped by Ctrl-C, what is done until then is written
whole (status 130).
"""  # noqa: E501
SAVED = ('pictures', 'json', 'coco', 'arrays')


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        'predict',
        help='find people and their keypoints in pictures and videos',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help="paths, or 'webcam', 'webcam:1'")
    add_model_options(parser)
    people = parser.add_argument_group('where the people are (one of these)')
    source = people.add_mutually_exclusive_group(required=True)
    source.add_argument('--det', metavar='CONFIG', help='mmdet config, or a name that mmdet knows')
    source.add_argument('--boxes', metavar='FILE', help="boxes in COCO's results format")
    source.add_argument('--whole-image', action='store_true', help='one person fills each picture')
    people.add_argument('--det-weights', metavar='FILE', help='weights of the detector')
    people.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='classes of the detector to find (default: person, or those of --dataset by-class)',
    )
    people.add_argument(
        '--annotations', metavar='FILE', help='COCO annotation file that says the image ids'
    )
    people.add_argument(
        '--bbox-thr', type=float, default=0.3, help='least score of boxes (default: %(default)s)'
    )
    people.add_argument(
        '--nms-thr', type=float, default=0.3, help='greatest IoU of boxes (default: %(default)s)'
    )
    video = parser.add_argument_group('videos')
    video.add_argument('--track', action='store_true', help='give people ids')
    video.add_argument('--smooth', action='store_true', help='smooth keypoints (with --track)')
    out = parser.add_argument_group('results')
    out.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    out.add_argument(
        '--save',
        nargs='+',
        choices=SAVED,
        default=['pictures', 'json'],
        help='what to write (default: pictures json)',
    )
    out.add_argument(
        '--kpt-thr', type=float, default=0.3, help='least score drawn (default: %(default)s)'
    )
    out.add_argument(
        '--radius', type=int, default=3, help='of keypoints, px (default: %(default)s)'
    )
    out.add_argument('--thickness', type=int, default=1, help='of links, px (default: %(default)s)')
    out.add_argument('--draw-boxes', action='store_true', help='draw boxes, too')
    parser.set_defaults(run=predict, parser=parser)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the pose model."""
    model = parser.add_argument_group('pose model')
    model.add_argument('--pose', required=True, metavar='CONFIG', help='config of the pose model')
    model.add_argument('--weights', required=True, metavar='FILE', help='its checkpoint')
    model.add_argument(
        '--dataset',
        nargs='+',
        metavar='NAME',
        help='whose head of a model with several; several names to have each person read by each; '
        'by-class for people by coco and animals by ap10k',
    )
    model.add_argument('--no-flip-test', action='store_true', help='half the work, less exact')
    model.add_argument('--device', help="such as cuda:0 or cpu (default: a GPU if there's one)")
    model.add_argument('--dtype', choices=('fp32', 'bf16', 'fp16'), default='fp32')
    model.add_argument('--compile', action='store_true', help='compile the network (torch.compile)')
    model.add_argument(
        '--people-batch-size', type=int, metavar='N', help='people in a batch (GPU: 64, CPU: 16)'
    )
    model.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='override entries of the config'
    )


def build_inferencer(arguments: argparse.Namespace, **options: object) -> object:
    """The inferencer that the options of the pose model ask for.

    Raises:
        ValueError: A file is missing, or an option does not fit.
    """
    import torch
    from mmengine.config import DictAction

    from vitpose_mm.apis import ViTPoseInferencer
    from vitpose_mm.engine import load_config
    from vitpose_mm.engine.launch import require_checkpoint

    parser = argparse.ArgumentParser()  # mmengine's action cannot be named where it may be missing
    parser.add_argument('entries', nargs='*', action=DictAction, default={})
    changes = parser.parse_args(arguments.cfg_options or []).entries
    if arguments.device is not None:
        try:
            torch.device(arguments.device)
        except RuntimeError as error:
            raise ValueError(
                f'--device must be such as cpu, cuda or cuda:1, got {arguments.device!r}'
            ) from error
    if arguments.no_flip_test:
        changes['model.test_cfg.flip_test'] = False
    cfg = load_config(arguments.pose, cfg_options=changes)
    require_checkpoint(arguments.weights)
    dataset = arguments.dataset
    if dataset is not None and len(dataset) == 1:
        dataset = dataset[0]
    return ViTPoseInferencer(
        cfg,
        arguments.weights,
        arguments.device,
        dataset=dataset,
        people_batch_size=arguments.people_batch_size,
        dtype=arguments.dtype,
        compile=arguments.compile,
        **options,
    )


@saying_errors
def predict(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from vitpose_mm.apis import BoxesFile
    from vitpose_mm.apis.boxes_files import read_annotation_file

    out = Path(arguments.out)
    options: dict = {'bbox_thr': arguments.bbox_thr, 'nms_thr': arguments.nms_thr}
    start, num_frames, num_people, num_failed = time.monotonic(), 0, 0, 0
    for name in ('det_weights', 'classes'):
        if arguments.det is None and getattr(arguments, name) is not None:
            raise ValueError(f'--{name.replace("_", "-")} needs --det')
    ids_by_name = None
    if arguments.annotations is not None:
        annotations = read_annotation_file(arguments.annotations)
        ids_by_name, options['image_id'] = annotations.ids_by_name, annotations.image_id
    if arguments.boxes is not None:
        options['boxes_file'] = BoxesFile(
            arguments.boxes, threshold=arguments.bbox_thr, ids_by_name=ids_by_name
        )
    inferencer = build_inferencer(
        arguments,
        det_model=arguments.det or 'whole_image',
        det_weights=arguments.det_weights,
        det_cat_ids=arguments.classes,
        show_progress=True,
    )
    if 'pictures' in arguments.save:
        options['vis_out_dir'] = str(out / 'visualizations')
    if 'json' in arguments.save:
        options['pred_out_dir'] = str(out / 'predictions')
    if 'coco' in arguments.save:
        options['coco_out'] = str(out / 'coco_results.json')
    if 'arrays' in arguments.save:
        options['arrays_out'] = str(out / 'arrays.npz')
    results = inferencer(
        arguments.inputs[0] if len(arguments.inputs) == 1 else arguments.inputs,
        tracking=arguments.track,
        smoothing=arguments.smooth,
        kpt_thr=arguments.kpt_thr,
        radius=arguments.radius,
        thickness=arguments.thickness,
        draw_bbox=arguments.draw_boxes,
        show=False,
        **options,
    )
    try:
        for result in results:
            num_frames += 1
            num_people += sum(map(len, result['predictions']))
            num_failed += 'error' in result
    except KeyboardInterrupt:
        results.close()
        print(f'Stopped after {num_frames} frames, which are in {out}.')
        return 130
    seconds = time.monotonic() - start
    print(
        f'{num_frames} frames, {num_people} people, {seconds:.1f} s with loading; results are in '
        f'{out}.'
    )
    if num_failed:
        print(f'{num_failed} pictures could not be read, see above.')
    return 1 if num_failed else 0
