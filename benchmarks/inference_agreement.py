"""Keypoints of ViTPoseInferencer against mmpose's inference_topdown on annotated people."""

import argparse
from collections import defaultdict

import numpy as np
from common import describe_machine, write_report
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vitpose_mm.analysis import format_report, set_threads
from vitpose_mm.apis import ViTPoseInferencer

Poses = dict[int, list[np.ndarray]]  # by image id: (K, 3) for each person


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Poses all annotated people of a COCO-style file in their boxes, by '
        'ViTPoseInferencer and by inference_topdown of mmpose, one after the other, and compares '
        'keypoints in image px and AP.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config of the pose model')
    parser.add_argument('weights', help='its checkpoint, trained')
    parser.add_argument('--annotations', required=True, help='COCO-style file with keypoints')
    parser.add_argument('--images', required=True, help='folder of its images')
    parser.add_argument('--threads', type=int, default=2, help='threads of torch')
    parser.add_argument('--dtype', default='fp32', help='of our network; the other is in float32')
    parser.add_argument('--device', default='cpu', help='where both run')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    return parser.parse_args()


def average_precision(annotated: COCO, poses: Poses) -> float:
    """AP of poses in ground-truth boxes, scored by the mean of their keypoints' scores."""
    results = [
        dict(
            image_id=image,
            category_id=1,
            keypoints=pose.ravel().tolist(),
            score=float(pose[:, 2].mean()),
        )
        for image, people in poses.items()
        for pose in people
    ]
    evaluation = COCOeval(annotated, annotated.loadRes(results), 'keypoints')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def main() -> None:
    args = parse_arguments()
    set_threads(args.threads)
    annotated = COCO(args.annotations)
    boxes = defaultdict(list)
    for annotation in annotated.anns.values():
        if annotation['num_keypoints']:
            boxes[annotation['image_id']].append(annotation['bbox'])
    paths = {i: f'{args.images}/{annotated.imgs[i]["file_name"]}' for i in boxes}

    inferencer = ViTPoseInferencer(
        Config.fromfile(args.config), args.weights, args.device, dtype=args.dtype,
        det_model='whole_image',
    )  # fmt: skip
    results = inferencer(
        list(paths.values()), bboxes=list(boxes.values()), bbox_format='xywh',
        return_datasamples=True,
    )  # fmt: skip
    ours, theirs = {}, {}
    for image, result in zip(boxes, results):
        instances = result['predictions'][0].pred_instances
        ours[image] = list(np.dstack([instances.keypoints, instances.keypoint_scores]))
    model = init_model(args.config, args.weights, args.device)
    for image, own in boxes.items():
        samples = inference_topdown(model, paths[image], np.array(own, np.float32), 'xywh')
        each = [sample.pred_instances for sample in samples]
        theirs[image] = [np.dstack([e.keypoints, e.keypoint_scores])[0] for e in each]

    one = np.concatenate([np.stack(ours[image]) for image in boxes])
    other = np.concatenate([np.stack(theirs[image]) for image in boxes])
    distances = np.linalg.norm(one[..., :2] - other[..., :2], axis=-1)
    figures = {
        'people': len(one),
        'median distance, px': float(np.median(distances)),
        'distance of 99 %, px': float(np.quantile(distances, 0.99)),
        'greatest distance, px': float(distances.max()),
        'greatest difference of scores': float(np.abs(one[..., 2] - other[..., 2]).max()),
        'AP, ours': average_precision(annotated, ours),
        'AP, mmpose': average_precision(annotated, theirs),
    }
    machine = describe_machine()
    settings = dict(
        config=args.config, device=args.device, threads=args.threads, dtype_of_ours=args.dtype
    )
    content = dict(
        title='ViTPoseInferencer against inference_topdown', figures=figures, settings=settings,
        machine=machine,
    )  # fmt: skip
    text = f'{content["title"]}\n\n{format_report(dict(figures=figures))}\n\n'
    text += f'{format_report(dict(settings=settings, machine=machine))}\n'
    print(text)
    write_report(args.out, content, text)


if __name__ == '__main__':
    main()
