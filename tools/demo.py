"""Train a small detector and a small ViTPose on generated people, and find people with them."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/generated_persons')  # where the demo configs look
POSE = 'configs/demo/vitpose_demo_2xb16-8e_generated-96x72.py'
DETECTOR = 'configs/demo/rtmdet_nano_2xb8-2e_generated-160x192.py'
# Small models train faster in two processes of one thread than in one of two threads.
NUM_PROCESSES = 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draws a data set of people, trains a person detector and a small ViTPose on '
        'it, evaluates on held-out scenes, and runs top-down inference on some of them. Out come '
        'OUT/summary.json, OUT/pictures (skeletons on detected people), OUT/predictions (JSON) and '
        'both checkpoints.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='folder to write')
    parser.add_argument('--num-train', type=int, default=5000, help='number of training scenes')
    parser.add_argument('--num-val', type=int, default=300, help='number of held-out scenes')
    parser.add_argument('--num-pictures', type=int, default=12, help='number of scenes to draw')
    parser.add_argument('--pose-config', default=str(ROOT / POSE), help='config of the ViTPose')
    parser.add_argument('--det-config', default=str(ROOT / DETECTOR), help='config of the detector')
    return parser.parse_args()


def run_tool(name: str, *arguments: object) -> None:
    """Run another tool as a user would; ends the demo where it fails."""
    interpreter = 'bash' if name.endswith('.sh') else sys.executable
    command = [interpreter, str(ROOT / 'tools' / name), *map(str, arguments)]
    print('\n$', *command, flush=True)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        free_port = probe.getsockname()[1]
    variables = dict(
        os.environ,
        # dist_train.sh starts what `python` is on the path
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')]),
        PORT=str(free_port),
        # on a machine with one GPU the processes would fight for it
        CUDA_VISIBLE_DEVICES='',
    )
    status = subprocess.run(command, env=variables).returncode
    if status:
        sys.exit(f'tools/{name} failed with status {status}')


def mean_pose_average_precision() -> float:
    from vitpose_mm.datasets.generated_persons import keypoint_average_precision, mean_pose_results

    files = [DATA / 'annotations' / f'person_keypoints_{split}.json' for split in ('train', 'val')]
    annotations = [json.loads(file.read_text())['annotations'] for file in files]
    return keypoint_average_precision(files[1], mean_pose_results(*annotations))


def infer(args: argparse.Namespace, pose_weights: str, det_weights: str) -> Path:
    """Go from pictures to skeletons; returns a sheet of all pictures."""
    import cv2
    import numpy as np

    from vitpose_mm.apis import ViTPoseInferencer

    inferencer = ViTPoseInferencer(
        args.pose_config,
        pose_weights,
        device='cpu',
        det_model=args.det_config,
        det_weights=det_weights,
    )
    scenes = sorted((DATA / 'images/val').glob('*.jpg'))[: args.num_pictures]
    results = inferencer(
        list(map(str, scenes)),
        bbox_thr=0.4,
        nms_thr=0.65,
        kpt_thr=0.2,
        draw_bbox=True,
        radius=2,
        thickness=1,
        vis_out_dir=str(args.out / 'pictures'),
        pred_out_dir=str(args.out / 'predictions'),
    )
    for _ in results:
        pass
    pictures = [cv2.imread(str(args.out / 'pictures' / scene.name)) for scene in scenes]
    while len(pictures) % 4:
        pictures.append(np.zeros_like(pictures[0]))
    rows = [np.hstack(pictures[start : start + 4]) for start in range(0, len(pictures), 4)]
    sheet = args.out / 'pictures.jpg'
    cv2.imwrite(str(sheet), np.vstack(rows))
    return sheet


def main() -> None:
    args = parse_arguments()
    # Imported late for a quick --help.
    from vitpose_mm.engine.launch import last_checkpoint

    start = time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    run_tool('generate_persons.py', DATA, '--num-train', args.num_train, '--num-val', args.num_val)
    weights, metrics = {}, {}
    for part, config in (('detector', args.det_config), ('pose', args.pose_config)):
        work_dir, results = args.out / part, args.out / f'{part}_metrics.json'
        options = ('--work-dir', work_dir, '--no-validate')
        run_tool('dist_train.sh', config, NUM_PROCESSES, *options)
        weights[part] = last_checkpoint(str(work_dir))
        run_tool('test.py', config, weights[part], '--work-dir', work_dir, '--out', results)
        metrics[part] = json.loads(results.read_text())
    print('\nInference on held-out scenes', flush=True)
    sheet = infer(args, weights['pose'], weights['detector'])

    summary = {
        'keypoint AP, boxes given': metrics['pose']['coco/AP'],
        'keypoint AP of the mean pose in every box': mean_pose_average_precision(),
        # no key where it has found nothing
        'box AP of the detector': metrics['detector'].get('coco/bbox_mAP', 0.0),
        'minutes': round((time.time() - start) / 60, 1),
    }
    (args.out / 'summary.json').write_text(json.dumps(summary, indent=2))
    print('\nOn held-out scenes:')
    for name, value in summary.items():
        print(f'  {name}: {value:.3f}' if value < 1 else f'  {name}: {value}')
    print(f'Skeletons on detected people: {sheet} and {args.out / "pictures"}')
    print(f'As JSON:                      {args.out / "predictions"}')
    print(f'Checkpoints:                  {weights["pose"]}, {weights["detector"]}')


if __name__ == '__main__':
    main()
