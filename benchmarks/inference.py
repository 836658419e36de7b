"""From picture or video to people: ViTPoseInferencer against mmpose's inferencer."""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from common import OUR_CONFIG, OURS, PEER, Report, parse_arguments, require_agreement
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis.inferencers import Pose2DInferencer

from vitpose_mm.analysis import build_model
from vitpose_mm.apis import ViTPoseInferencer

NETWORK = 'bare network'
PEOPLE = (1, 4, 12)
SMALL, LARGE = 'at 480 px', '12-megapixel paths'
NUM_VIDEO_FRAMES, NUM_VIDEO_PEOPLE = 200, 2
WIDTHS = dict(tiny=192, small=384)
DETECTOR = 'yolox_nano_8xb8-300e_coco'


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--images', required=True, help='folder of photos, to be resized')
    parser.add_argument('--archs', nargs='+', default=['tiny', 'small'], choices=list(WIDTHS))
    parser.add_argument('--device', default='cpu', help='where both run')
    parser.add_argument('--det-config', help='mmdet config; without it only given boxes are timed')
    parser.add_argument('--det-weights', help='its weights')
    parser.add_argument('--dtype', default='fp32', choices=['fp32', 'bf16'], help='of our network')
    parser.add_argument('--only', default='', metavar='WORD', help='cases whose names hold this')
    parser.add_argument('--no-flip-test', action='store_true', help='without flip test')


def configs(arch: str, flip_test: bool) -> dict[str, Config]:
    """Our recipe, and the same with everything but the backbone's class from mmpose."""
    ours = Config.fromfile(OUR_CONFIG)
    ours.model.backbone.update(arch=arch)
    ours.model.head.in_channels = WIDTHS[arch]
    ours.model.test_cfg.flip_test = flip_test
    peer = copy.deepcopy(ours)
    peer.model.type = 'TopdownPoseEstimator'
    del peer.model.pretrained_dataset
    peer.model.data_preprocessor.type = 'PoseDataPreprocessor'
    codec = dict(peer.model.head.decoder, type='UDPHeatmap')
    peer.model.head.update(
        type='HeatmapHead',
        deconv_out_channels=(256, 256),
        deconv_kernel_sizes=(4, 4),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec,
    )
    peer.test_dataloader.dataset.pipeline = [
        dict(type='LoadImage'),
        dict(type='GetBBoxCenterScale'),
        dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
        dict(type='PackPoseInputs'),
    ]
    return {OURS: ours, PEER: peer}


class GivenBoxes:
    """Stands for a detector in mmpose's inferencer, which throws boxes away that it is given."""

    boxes = np.zeros((0, 4), np.float32)

    def __call__(self, image: object, return_datasamples: bool = True) -> dict:
        instances = InstanceData(
            bboxes=torch.from_numpy(self.boxes),
            scores=torch.linspace(1, 0.9, len(self.boxes)),  # mmpose sorts by them
            labels=torch.zeros(len(self.boxes), dtype=torch.long),
        )
        return dict(predictions=[DetDataSample(pred_instances=instances)])


def boxes_in(height: int, width: int, count: int) -> np.ndarray:
    """Boxes (N, 4) xyxy of people side by side, two thirds of the image high."""
    lefts = np.linspace(0, width * 0.75, count)
    size = (width * 0.25, height * 2 / 3)
    rows = [(left, height / 6, left + size[0], height / 6 + size[1]) for left in lefts]
    return np.array(rows, np.float32)


def resized(path: Path, long_side: int) -> np.ndarray:
    image = cv2.imread(str(path))
    scale = long_side / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def make_inputs(photos: list[Path], folder: Path) -> dict[tuple[str, int], tuple]:
    """Paths and boxes for each case: more pictures where there are fewer people."""
    cases, rng = {}, np.random.default_rng(0)
    for what, long_side, counts in ((SMALL, 480, (16, 8, 4)), (LARGE, 4000, (8, 4, 4))):
        for number, photo in enumerate(photos[:16]):
            image = resized(photo, long_side)[: int(long_side * 0.75)]
            if what == LARGE:  # what a sensor adds; files get the size of photos
                noise = rng.normal(0, 6, image.shape).astype(np.int16)
                image = (image + noise).clip(0, 255).astype(np.uint8)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
            cv2.imwrite(str(folder / f'{long_side}_{number}.jpg'), image, quality)
        for people, count in zip(PEOPLE, counts):
            paths = [folder / f'{long_side}_{number}.jpg' for number in range(count)]
            shapes = [cv2.imread(str(path)).shape for path in paths]
            boxes = [boxes_in(*shape[:2], people) for shape in shapes]
            cases[what, people] = [str(path) for path in paths], boxes
    return cases


def make_video(photos: list[Path], path: Path) -> str:
    """A pan over a photo, 480 x 360 px."""
    image = cv2.resize(cv2.imread(str(photos[0])), (960, 360))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 25, (480, 360))
    for number in range(NUM_VIDEO_FRAMES):
        start = number * 480 // NUM_VIDEO_FRAMES
        writer.write(np.ascontiguousarray(image[:, start : start + 480]))
    writer.release()
    return str(path)


def use_up(results: Iterator[dict]) -> list[np.ndarray]:
    """Keypoints (N, K, 2) of each frame."""
    return [
        np.array([person['keypoints'] for person in result['predictions'][0]]).reshape(-1, 17, 2)
        for result in results
    ]


class Sides:
    """Both inferencers with the same weights, and the network alone."""

    def __init__(self, arch: str, args: argparse.Namespace, folder: Path) -> None:
        both = configs(arch, not args.no_flip_test)
        torch.manual_seed(0)
        model = build_model(both[OURS])
        weights = str(folder / f'{arch}.pth')
        torch.save(dict(state_dict=model.state_dict()), weights)
        detector = (args.det_config, args.det_weights, [0]) if args.det_config else ('whole_image',)
        self.ours = ViTPoseInferencer(
            both[OURS], weights, args.device, 'mmpose', *detector, dtype=args.dtype
        )
        self.peer = Pose2DInferencer(both[PEER], weights, args.device, 'mmpose', *detector)
        self.peer_detector = self.peer.detector
        if not args.det_config:
            self.peer.det_cat_ids = (0,)

    def given(self, inputs: object, boxes: list[np.ndarray]) -> dict[str, Callable[[], list]]:
        """Calls with boxes given, and the bare network on as many people."""
        given = GivenBoxes()

        def peer() -> list:
            self.peer.detector = given
            found = []
            if isinstance(inputs, str):  # the frames of a video have the same boxes
                given.boxes = boxes[0]
                return use_up(self.peer(inputs, bbox_thr=0, nms_thr=1))
            for path, own in zip(inputs, boxes):
                given.boxes = own
                found += use_up(self.peer(path, bbox_thr=0, nms_thr=1))
            return found

        def ours() -> list:
            return use_up(self.ours(inputs, bboxes=boxes, bbox_format='xyxy'))

        return {OURS: ours, PEER: peer, NETWORK: self.network(sum(map(len, boxes)))}

    def detected(self, inputs: object) -> dict[str, Callable[[], list]]:
        def peer() -> list:
            self.peer.detector = self.peer_detector
            return use_up(self.peer(inputs))

        return {OURS: lambda: use_up(self.ours(inputs)), PEER: peer}

    def network(self, num_people: int) -> Callable[[], None]:
        """Backbone and head on normalised inputs on the device, in our batches."""
        model, batch_size = self.ours.model, self.ours._reader.batch_size
        device = next(model.parameters()).device
        copies = 2 if model.test_cfg.flip_test else 1
        inputs = torch.randn(batch_size * copies, 3, 256, 192, device=device)
        inputs = inputs.to(self.ours._reader.dtype)

        @torch.inference_mode()
        def run() -> None:
            for start in range(0, num_people, batch_size):
                count = min(batch_size, num_people - start) * copies
                model.head(model.extract_feat(inputs[:count]))

        return run


def check(sides: Sides, calls: dict[str, Callable[[], list]], what: str, tolerance: float) -> str:
    """Both must find the same people; decoded as mmpose blurs at borders, for the comparison."""
    decoder = sides.ours.model.head.decoder
    decoder.variant = 'mmpose'
    ours, theirs = calls[OURS](), calls[PEER]()
    decoder.variant = 'official'
    if [len(people) for people in ours] != [len(people) for people in theirs]:
        raise SystemExit(f'{what}: different numbers of people')
    shares = np.concatenate(
        [
            (np.linalg.norm(a - b, axis=-1) / np.ptp(b)).ravel()
            for a, b in zip(ours, theirs)
            if len(b)
        ]
    )
    median = torch.tensor([float(np.median(shares))])
    return 'median, of the picture: ' + require_agreement(median, torch.zeros(1), tolerance, what)


def main() -> None:
    args = parse_arguments(
        'Time the way from pictures and videos to people.', rounds=5, add_options=add_options
    )
    photos = sorted(Path(args.images).glob('*.jpg'))[:16]
    agreement: dict[str, str] = {}
    report = Report('From picture or video to people', agreement)
    with tempfile.TemporaryDirectory() as folder:
        cases = make_inputs(photos, Path(folder))
        video = make_video(photos, Path(folder) / 'video.mp4')
        sizes = [path.stat().st_size for path in Path(folder).glob('4000_*.jpg')]
        report.figures['12-megapixel files, MB'] = sum(sizes) / len(sizes) / 1e6
        for arch in args.archs:
            sides = Sides(arch, args, Path(folder))
            timed = {}
            for (what, people), (paths, boxes) in cases.items():
                name = f'{arch}, {people} people {what}, boxes given'
                timed[name] = sides.given(paths, boxes), len(paths), people
            boxes = [boxes_in(360, 480, NUM_VIDEO_PEOPLE)] * NUM_VIDEO_FRAMES
            name = f'{arch}, video of {NUM_VIDEO_FRAMES} frames, {NUM_VIDEO_PEOPLE} people given'
            timed[name] = sides.given(video, boxes), NUM_VIDEO_FRAMES, NUM_VIDEO_PEOPLE
            if args.det_config:
                for what in (SMALL, LARGE):
                    paths = cases[what, 4][0]
                    timed[f'{arch}, {what}, detector'] = sides.detected(paths), len(paths), None
            for name, (calls, num_frames, people) in timed.items():
                if args.only not in name:
                    continue
                agreement[name] = check(sides, calls, name, 1e-3 if args.dtype == 'fp32' else 0.1)
                rounds = max(1, args.rounds // 2) if 'video' in name else args.rounds
                report.alternate(name, calls, rounds, warm_up=0, per=num_frames)
                if people is not None:
                    mine = report.comparisons[-len(calls)]['milliseconds, median'] / 1e3
                    report.figures[name] = f'{num_frames * people / mine:.1f} people/s'
                print(report.comparisons[-len(calls) :], flush=True)
    report.finish(
        args.out,
        threads=args.threads,
        flip_test=not args.no_flip_test,
        dtype_of_ours=args.dtype,
        people_batch_size=sides.ours._reader.batch_size,
        detector=args.det_config and Path(args.det_config).stem,
    )


if __name__ == '__main__':
    main()
