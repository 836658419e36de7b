"""Memory of ViTPoseInferencer over a long video with people entering, leaving, and none at all."""

import argparse
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from common import CONFIGS, describe_machine, write_report
from mmengine.config import Config

from vitpose_mm.analysis import build_model, format_report, set_threads
from vitpose_mm.apis import ViTPoseInferencer

CONFIG = CONFIGS / 'custom/vitpose_tiny_classic_1xb10-5e_coco-style-128x96.py'
WIDTH, HEIGHT = 640, 480


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Makes a video, runs it with tracking, drawing and all files, and writes down '
        'the resident memory every 50 frames: as a table, JSON and a picture.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--frames', type=int, default=2000, help='frames of the video')
    parser.add_argument('--threads', type=int, default=2, help='threads of torch')
    parser.add_argument('--out', metavar='STEM', help='write STEM.json, STEM.txt and STEM.png')
    return parser.parse_args()


def boxes_of(number: int) -> np.ndarray:
    """Up to four people (N, 4) xyxy that walk through the picture, at times nobody."""
    boxes = []
    for person in range(4):
        left = 3 * (number % 400) - 250 * person
        if 0 <= left < WIDTH - 80:
            boxes.append([left, 120 + 20 * person, left + 80, 360 + 20 * person])
    return np.array(boxes, np.float32).reshape(-1, 4)


def make_video(path: Path, num_frames: int) -> None:
    background = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    background = cv2.resize(background, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 25, (WIDTH, HEIGHT))
    for number in range(num_frames):
        frame = background.copy()
        for left, top, right, bottom in boxes_of(number).astype(int):
            cv2.ellipse(
                frame,
                ((left + right) // 2, (top + bottom) // 2),
                ((right - left) // 2, (bottom - top) // 2),
                0,
                0,
                360,
                (40, 60, 200),
                -1,
            )
        writer.write(frame)
    writer.release()


def resident_megabytes() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmRSS'))


def draw(points: list[tuple[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(*zip(*points))
    axes.set(xlabel='frames', ylabel='resident memory, MB', ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    args = parse_arguments()
    set_threads(args.threads)
    cfg = Config.fromfile(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        video, out = Path(folder) / 'video.mp4', Path(folder) / 'out'
        make_video(video, args.frames)
        torch.manual_seed(0)
        weights = str(Path(folder) / 'random.pth')
        torch.save(dict(state_dict=build_model(cfg).state_dict()), weights)
        inferencer = ViTPoseInferencer(cfg, weights, 'cpu', det_model='whole_image')

        def given() -> Iterator[np.ndarray]:
            yield from map(boxes_of, range(args.frames))

        points, num_people = [], 0
        results = inferencer(
            str(video),
            bboxes=given(),
            bbox_format='xyxy',
            tracking=True,
            smoothing=True,
            out_dir=str(out),
            coco_out=str(out / 'coco.json'),
            arrays_out=str(out / 'arrays.npz'),
        )
        for number, result in enumerate(results, 1):
            num_people += len(result['predictions'][0])
            if number % 50 == 0:
                gc.collect()
                points.append((number, resident_megabytes()))
    later = [value for number, value in points if number > args.frames // 4]
    figures = {
        'frames': args.frames,
        'people': num_people,
        'resident after 50 frames, MB': points[0][1],
        'after a quarter, MB': later[0],
        'at the end, MB': points[-1][1],
        'spread after the first quarter, MB': max(later) - min(later),
    }
    machine = describe_machine()
    title = f'Resident memory over {args.frames} frames of {WIDTH} x {HEIGHT} px'
    text = f'{title}\n\n{format_report(dict(figures=figures, machine=machine))}\n'
    print(text)
    write_report(args.out, dict(title=title, figures=figures, points=points, machine=machine), text)
    if args.out:
        draw(points, Path(f'{args.out}.png'))


if __name__ == '__main__':
    main()
