"""One run of an inferencer: from frames to results and files, each stage beside the others."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Optional, Union

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmpose.evaluation.functional import nearby_joints_nms
from mmpose.structures import PoseDataSample, merge_data_samples, split_instances
from mmpose.visualization import PoseLocalVisualizer

from vitpose_mm.datasets.loading import ImageError

from .drawing import Drawer
from .estimation import Estimated, Located, Poses, Reader, estimate
from .frames import Inputs, ReadAhead, Source, in_chunks
from .locating import Locator
from .outputs import Outputs
from .progress import ProgressLine
from .tracking import OneEuroSmoother, Tracker

WRITE_BEHIND = 4  # frames that may wait to be drawn and written
PICTURE_RATE = 25.0  # frames a second that lists of pictures are tracked with

Options = Union[bool, dict]


class Run:
    """A run over inputs; options are grouped as mmpose's inferencers group them.

    Args:
        reader: Reads people.
        metainfos: Meta information of the data set of each head that reads.
        visualizer: mmpose's.
        reading: ``merge_results``, ``pose_based_nms``, ``tracking``, ``smoothing``.
        drawing: ``return_vis``, ``vis_out_dir``, and options of :class:`Drawer`.
        writing: Options of :class:`Outputs` but ``vis_out_dir``.
        return_datasamples: Whether predictions are samples.
    """

    def __init__(
        self,
        reader: Reader,
        metainfos: Sequence[dict],
        visualizer: PoseLocalVisualizer,
        reading: dict,
        drawing: dict,
        writing: dict,
        return_datasamples: bool = False,
    ) -> None:
        self.reader = reader
        self.metainfos = list(metainfos)
        self.return_datasamples = return_datasamples
        self.merge_results: bool = reading.get('merge_results', True)
        self.pose_based_nms: bool = reading.get('pose_based_nms', False)
        self.follower = None
        tracking, smoothing = reading.get('tracking', False), reading.get('smoothing', False)
        if smoothing is not False and tracking is False:
            raise ValueError('smoothing follows people over frames: it needs tracking=True')
        if tracking is not False:
            self.follower = Follower(self.metainfos, tracking, smoothing)
        drawing = dict(drawing)
        self.return_vis: bool = drawing.pop('return_vis', False)
        vis_out_dir = drawing.pop('vis_out_dir', '')
        self.draws = bool(self.return_vis or vis_out_dir or drawing.get('show'))
        self.shows = bool(drawing.get('show'))
        self.drawer = Drawer(visualizer, self.metainfos, **drawing)
        self._failed = False
        self.vis_out_dir, self.writing = vis_out_dir, writing
        if writing.get('coco_out') and len(self.metainfos) > 1:
            names = [metainfo['dataset_name'] for metainfo in self.metainfos]
            raise ValueError(f'coco_out holds one kind of keypoints, not those of {names}')

    def results(
        self, inputs: Inputs, locator: Locator, batch_size: Optional[int], show_progress: bool
    ) -> Iterator[dict]:
        """Results of all frames, in order; see ``ViTPoseInferencer.__call__``."""
        prompt = inputs.live or batch_size is not None
        num_frames, errors = 0, []
        waiting: deque[Future] = deque()
        with ExitStack() as stack:  # each is closed, whatever happens to the others
            files = [*inputs.files, *locator.files]
            self.outputs = Outputs(self.vis_out_dir, **self.writing, inputs=files)
            stack.callback(self.outputs.close)
            writer = ThreadPoolExecutor(1, 'draw and write')
            stack.callback(writer.shutdown)  # after what has been handed to it
            line = ProgressLine(inputs.num_items, disable=not show_progress)
            stack.callback(line.close)
            on_cpu = self.reader.device.type == 'cpu'
            # what runs beside a network on the CPU takes its cores away
            frames = iter(inputs) if on_cpu and not inputs.live else ReadAhead(inputs)
            stack.callback(frames.close)
            chunks = in_chunks(frames, batch_size or locator.batch_size, inputs.live)
            if on_cpu:
                chunks = map(locator.locate, chunks)
            else:
                is_cuda = self.reader.device.type == 'cuda'
                locate = beside(locator.locate) if is_cuda else locator.locate
                chunks = ReadAhead(map(locate, chunks), size_of_chunk)
                stack.callback(chunks.close)
            for estimated in estimate(chunks, self.reader, self.draws, prompt):
                frame = estimated.frame
                num_frames += 1
                if frame.error is not None:
                    errors.append(frame.error)
                    print_log(f'{frame.error} It is passed over.', 'current', logging.WARNING)
                self._follow(estimated)
                waiting.append(self._submit(writer, estimated))
                line.advance(frame.source, len(estimated.boxes))
                while len(waiting) > (0 if prompt else WRITE_BEHIND):
                    yield waiting.popleft().result()
                if self.drawer.stopped:
                    break
            while waiting:
                yield waiting.popleft().result()
            if not self.drawer.stopped:
                locator.finish()
        if errors and len(errors) == num_frames:
            raise ImageError(f'none of {num_frames} pictures could be read. The first: {errors[0]}')

    def _submit(self, writer: ThreadPoolExecutor, estimated: Estimated) -> Future:
        if not self.shows:
            return writer.submit(self._finish, estimated)
        done: Future = Future()  # windows belong to the thread that asks for results
        done.set_result(self._finish(estimated))
        return done

    def _follow(self, estimated: Estimated) -> None:
        if self.pose_based_nms:
            estimated.poses = [
                poses[distinct_poses(poses, estimated.boxes.scores)] for poses in estimated.poses
            ]
        if self.follower is not None and estimated.frame.error is None:
            self.follower.follow(estimated)

    def _finish(self, estimated: Estimated) -> dict:
        if self._failed:
            raise RuntimeError('a frame before could not be written')
        try:
            return self._write(estimated)
        except BaseException:
            self._failed = True  # files end here, without what waits behind
            raise

    def _write(self, estimated: Estimated) -> dict:
        frame = estimated.frame
        samples = [self._sample(estimated, number) for number in range(len(self.metainfos))]
        people = [self._people(sample) for sample in samples]
        drawn = None
        if self.draws and frame.image is not None:
            moves = frame.source.video is not None
            drawn = self.drawer.draw(frame.image, samples, frame.source.name, moves)
        frame.image = None
        bgr = None if drawn is None else cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        self.outputs.write(estimated, people, bgr)
        result = dict(predictions=people, visualization=None)
        if len(self.metainfos) > 1:
            result['predictions'] = [[person for each in people for person in each]]
        if self.return_datasamples:
            result['predictions'] = samples
        if not self.merge_results:
            result['predictions'] = [
                only_person(sample, row) if self.return_datasamples else [person]
                for sample, each in zip(samples, people)
                for row, person in enumerate(each)
            ]
        if self.draws:
            result['visualization'] = [drawn] if self.return_vis and drawn is not None else []
        if frame.seconds is not None:
            result['time'] = frame.seconds
        if frame.error is not None:
            result['error'] = frame.error
        return result

    def _sample(self, estimated: Estimated, number: int) -> PoseDataSample:
        """All people of a frame that one head has read, as mmpose merges them."""
        frame, boxes, poses = estimated.frame, estimated.boxes, estimated.poses[number]
        instances = InstanceData(
            keypoints=poses.keypoints,
            keypoint_scores=poses.scores,
            keypoints_visible=poses.scores,
            bboxes=boxes.xyxy[poses.rows],
            bbox_scores=boxes.scores[poses.rows],
        )
        if estimated.ids is not None:
            instances.track_ids = estimated.ids[poses.rows]
        metainfo = dict(
            img_path=frame.source.name,
            ori_shape=frame.hw,
            img_shape=frame.hw,
            dataset_name=self.metainfos[number]['dataset_name'],
        )
        sample = PoseDataSample(metainfo=metainfo, pred_instances=instances)
        if poses.samples and 'pred_fields' in poses.samples[0]:
            sample.pred_fields = merge_data_samples(poses.samples).pred_fields
        if poses.samples:  # heads of mmpose may tell more than scores
            visible = [each.pred_instances.keypoints_visible for each in poses.samples]
            instances.keypoints_visible = np.concatenate(visible)
        return sample

    def _people(self, sample: PoseDataSample) -> list[dict]:
        instances = sample.pred_instances
        people = split_instances(instances)
        for row, person in enumerate(people):
            if 'track_ids' in instances:
                person['track_id'] = int(instances.track_ids[row])
            if len(self.metainfos) > 1:
                person['dataset'] = sample.metainfo['dataset_name']
        return people


class Follower:
    """Ids of people over frames, and smoothed keypoints; each video has its own.

    Args:
        metainfos: Meta information of each head that reads.
        tracking: True, or arguments of :class:`Tracker`.
        smoothing: Whether to smooth, or arguments of :class:`OneEuroSmoother`.
    """

    def __init__(self, metainfos: Sequence[dict], tracking: Options, smoothing: Options) -> None:
        self.metainfos = metainfos
        self._tracking = tracking if isinstance(tracking, dict) else {}
        self._smoothing = smoothing if isinstance(smoothing, dict) else {}
        self._smooths = smoothing is not False
        self._video: Optional[Source] = None
        self._begin()  # so that wrong arguments are found at once

    def _begin(self) -> None:
        # poses of several heads cannot be compared, boxes can
        sigmas = self.metainfos[0]['sigmas'] if len(self.metainfos) == 1 else None
        try:
            self._tracker = Tracker(sigmas, **self._tracking)
            self._smoothers = [
                OneEuroSmoother(**self._smoothing) for _ in self.metainfos if self._smooths
            ]
        except TypeError as error:
            raise ValueError(
                f'tracking={self._tracking} or smoothing={self._smoothing} does not fit: {error}'
            ) from error
        self._classes: dict[str, int] = {}

    def follow(self, estimated: Estimated) -> None:
        """Give a frame's people their ids, and smooth their keypoints in place."""
        frame, boxes = estimated.frame, estimated.boxes
        video = None if frame.source.video is None else frame.source
        if video is not self._video:
            self._video = video
            self._begin()
        seconds = frame.index / PICTURE_RATE if frame.seconds is None else frame.seconds
        # without those whose poses were suppressed
        kept = np.unique(np.concatenate([poses.rows for poses in estimated.poses]))
        keypoints = scores = None
        if len(self.metainfos) == 1:
            order = np.argsort(estimated.poses[0].rows)
            keypoints = estimated.poses[0].keypoints[order]
            scores = estimated.poses[0].scores[order]
        classes = None
        if boxes.classes is not None:
            names = [boxes.classes[row] for row in kept]
            numbers = [self._classes.setdefault(each, len(self._classes)) for each in names]
            classes = np.array(numbers, np.int64)
        estimated.ids = np.full(len(boxes), -1)
        estimated.ids[kept] = self._tracker.update(
            boxes.xyxy[kept], keypoints, scores, seconds, classes
        )
        for poses, smoother in zip(estimated.poses, self._smoothers):
            ids, own = estimated.ids[poses.rows], boxes.xyxy[poses.rows]
            poses.keypoints = smoother.update(ids, poses.keypoints, own, seconds)


def distinct_poses(poses: Poses, box_scores: np.ndarray) -> list[int]:
    """Rows of poses without those of which a third of the keypoints are near a better one's."""
    if not len(poses.rows):
        return []
    people = [
        dict(keypoints=keypoints, score=box_scores[row])
        for keypoints, row in zip(poses.keypoints, poses.rows)
    ]
    kept = nearby_joints_nms(
        people,
        num_nearby_joints_thr=poses.keypoints.shape[1] // 3,
        max_dets=len(people),  # mmpose's default would leave 30
    )
    return sorted(kept)


def only_person(sample: PoseDataSample, row: int) -> PoseDataSample:
    """One of the people of a sample, without heatmaps, which are of all."""
    instances = sample.pred_instances[row : row + 1]
    return PoseDataSample(metainfo=sample.metainfo, pred_instances=instances)


def beside(function: Callable) -> Callable:
    """A function whose work for the GPU does not queue up behind that of other threads."""
    stream = torch.cuda.Stream()

    def run(*arguments: object) -> object:
        with torch.cuda.stream(stream):
            return function(*arguments)

    return run


def size_of_chunk(chunk: Sequence[Located]) -> int:
    return sum(located.frame.num_bytes for located in chunk)
