"""Files that an inferencer writes: each is there whole, or not at all."""

import errno
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Optional, Union

import cv2
import numpy as np

from vitpose_mm.files import written_whole

from .boxes import image_id_of
from .estimation import Estimated, Poses
from .frames import PICTURE_SUFFIXES, Frame, Source, camera_of
from .videos import VIDEO_SUFFIXES, VideoWriter


class GrowingFile:
    """A file that is written bit by bit and takes its name when it is closed.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = Path(path)
        if self.path.is_dir():  # else all would be lost at the end
            raise IsADirectoryError(
                errno.EISDIR, f'{path} could not be written (it is a folder; wanted is a file)'
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open_files: Optional[ExitStack] = ExitStack()
        partial = self._open_files.enter_context(written_whole(self.path))
        with self._whole():
            self.file: IO = self._open(partial)

    def _open(self, partial: str) -> IO:
        return self._open_files.enter_context(open(partial, 'w'))

    def write(self, data: Union[str, bytes]) -> None:
        with self._whole():
            self.file.write(data)

    def finish(self) -> None:
        """Write what belongs at the end."""

    def close(self) -> None:
        """Give the file its name, unless writing has failed."""
        if self._open_files is None:
            return
        with self._whole():
            self.finish()
        open_files, self._open_files = self._open_files, None
        open_files.close()

    def discard(self) -> None:
        """Remove what was written, if it is not closed yet."""
        with suppress(GeneratorExit), self._whole():
            raise GeneratorExit  # which is how the file would end, too, if nobody closed it

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is written here is written, or else nothing is left of the file."""
        try:
            yield
        except BaseException:
            open_files, self._open_files = self._open_files, None
            if open_files is not None:
                open_files.__exit__(*sys.exc_info())  # says in an OSError which file it is
            raise


class JsonList(GrowingFile):
    """A JSON list, of which only one entry at a time is in memory."""

    def __init__(self, path: Union[str, Path]) -> None:
        super().__init__(path)
        self._empty = True

    def append(self, entry: object) -> None:
        separator = '[\n' if self._empty else ',\n'
        self.write(separator + json.dumps(entry, default=to_plain))
        self._empty = False

    def finish(self) -> None:
        self.write('[]\n' if self._empty else '\n]\n')


class ArraysFile(GrowingFile):
    """Arrays of all people in a compressed ``.npz``, of which only one frame is in memory.

    One row for each pose: ``keypoints`` (N, K, 2) image px, ``keypoint_scores`` (N, K), ``bboxes``
    (N, 4) xyxy, ``bbox_scores`` (N,), ``frame`` (N,) number among all frames of all inputs,
    ``seconds`` (N,) NaN for pictures, ``track_ids`` (N,) -1 without tracking, ``head`` (N,) number
    of the head that read it, 0 with one, and ``source`` (N,) number of its input's name in
    ``names``. K is that of the head with most; those of others are filled up with NaN and scores
    of 0.

    Raises:
        ValueError: The suffix is not ``.npz``.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        if Path(path).suffix != '.npz':
            raise ValueError(f'arrays are written to a file that ends with .npz, got {path}')
        super().__init__(path)
        self._columns: dict[str, tuple[IO, np.dtype, tuple]] = {}
        self._num_rows = 0
        self._names: list[str] = []

    def _open(self, partial: str) -> IO:
        return self._open_files.enter_context(open(partial, 'wb'))

    def append(self, estimated: Estimated) -> None:
        frame = estimated.frame
        if not self._names or self._names[-1] != frame.source.name:
            self._names.append(frame.source.name)
        width = max(poses.keypoints.shape[1] for poses in estimated.poses)
        with self._whole():
            for number, poses in enumerate(estimated.poses):
                self._append_poses(estimated, poses, number, width)

    def _append_poses(self, estimated: Estimated, poses: Poses, head: int, width: int) -> None:
        frame, rows = estimated.frame, poses.rows
        seconds = np.nan if frame.seconds is None else frame.seconds
        ids = np.full(len(estimated.boxes), -1) if estimated.ids is None else estimated.ids
        missing = (0, width - poses.keypoints.shape[1])
        columns = dict(
            keypoints=np.pad(poses.keypoints, ((0, 0), missing, (0, 0)), constant_values=np.nan),
            keypoint_scores=np.pad(poses.scores, ((0, 0), missing)),
            bboxes=estimated.boxes.xyxy[rows],
            bbox_scores=estimated.boxes.scores[rows],
            frame=np.full(len(rows), frame.index, np.int64),
            seconds=np.full(len(rows), seconds, np.float64),
            track_ids=ids[rows].astype(np.int64),
            head=np.full(len(rows), head, np.int64),
            source=np.full(len(rows), len(self._names) - 1, np.int64),
        )
        for name, column in columns.items():
            if name not in self._columns:
                file = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
                self._open_files.enter_context(file)
                self._columns[name] = (file, column.dtype, column.shape[1:])
            self._columns[name][0].write(column.tobytes())
        self._num_rows += len(rows)

    def finish(self) -> None:
        with zipfile.ZipFile(self.file, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, (file, dtype, shape) in self._columns.items():
                header = dict(
                    descr=np.lib.format.dtype_to_descr(dtype),
                    fortran_order=False,
                    shape=(self._num_rows, *shape),
                )
                file.seek(0)
                with archive.open(f'{name}.npy', 'w', force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(file, entry)
            with archive.open('names.npy', 'w', force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.array(self._names, dtype=np.str_))


class Outputs:
    """All files of one run.

    Args:
        vis_out_dir: Folder for drawn pictures and videos, or the name of the only video's file.
        pred_out_dir: Folder for JSON: of a picture the list of its people, of a video one of
            frames with ``frame_id``, ``time`` in seconds and ``instances``.
        coco_out: File for all people in COCO's results format.
        arrays_out: File for all people as arrays, see :class:`ArraysFile`.
        image_id: Ids for ``coco_out`` by the name of a picture; by default the digits at the end of
            its stem, or else the number of the frame.
        inputs: Files that are read, which are never overwritten.

    Raises:
        ValueError: A file would have the name of an input, or two pictures the same id.
        OSError: Something cannot be written.
    """

    def __init__(
        self,
        vis_out_dir: Optional[str] = None,
        pred_out_dir: Optional[str] = None,
        coco_out: Optional[str] = None,
        arrays_out: Optional[str] = None,
        image_id: Callable[[str], Optional[int]] = image_id_of,
        inputs: Iterable[str] = (),
    ) -> None:
        self.vis_out_dir = Path(vis_out_dir) if vis_out_dir else None
        self.pred_out_dir = Path(pred_out_dir) if pred_out_dir else None
        self.image_id = image_id
        self._used: set[Path] = set()
        self._inputs = set(map(place_of, inputs))
        self._names_by_id: dict[int, str] = {}
        self._ids_of_videos: list[range] = []
        self._source: Optional[Source] = None
        self._video: Optional[VideoWriter] = None
        self._frames: Optional[JsonList] = None
        self._coco = self._arrays = None
        for path in filter(None, (coco_out, arrays_out)):
            self._require_no_input(path)
        if arrays_out:
            self._arrays = ArraysFile(arrays_out)
        try:
            if coco_out:
                self._coco = JsonList(coco_out)
        except BaseException:
            if self._arrays is not None:
                self._arrays.discard()
            raise

    def write(
        self, estimated: Estimated, people: Sequence[list[dict]], drawn: Optional[np.ndarray]
    ) -> None:
        """Write what was found in a frame.

        Args:
            estimated: The frame.
            people: For each reading the people as dicts.
            drawn: The picture with skeletons, (H, W, 3) uint8 BGR; None if it was not drawn.
        """
        frame = estimated.frame
        if frame.source is not self._source:
            self._finish_video()
            self._source = frame.source
            if frame.source.video is not None:
                self._begin_video(frame.source)
        instances = [person for each in people for person in each]
        if frame.source.video is None:
            self._write_picture(frame, instances, drawn)
        else:
            if self._frames is not None:
                self._frames.append(
                    dict(frame_id=frame.number, time=frame.seconds, instances=instances)
                )
            if self._video is not None and drawn is not None:
                self._video.write(drawn, frame.seconds)
        if self._coco is not None:
            for entry in self._coco_results(estimated):
                self._coco.append(entry)
        if self._arrays is not None:
            self._arrays.append(estimated)

    def _write_picture(
        self, frame: Frame, instances: list[dict], drawn: Optional[np.ndarray]
    ) -> None:
        if frame.error is not None:
            return
        name = Path(file_name_of(frame.source))
        if self.pred_out_dir is not None:
            path = self._free(self.pred_out_dir, name.with_suffix('.json').name, frame.source)
            with written_whole(path) as partial:
                Path(partial).write_text(json.dumps(instances, indent=2, default=to_plain) + '\n')
        if self.vis_out_dir is not None and drawn is not None:
            is_file = self.vis_out_dir.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)
            if is_file and not self.vis_out_dir.is_dir():
                raise ValueError(
                    f'vis_out_dir must be a folder where the inputs are pictures, got '
                    f'{self.vis_out_dir}'
                )
            suffix = name.suffix.lower() if name.suffix.lower() in PICTURE_SUFFIXES else '.png'
            path = self._free(self.vis_out_dir, name.with_suffix(suffix).name, frame.source)
            encoded, data = cv2.imencode(suffix, drawn)
            if not encoded:
                raise OSError(f'{path} could not be encoded by OpenCV')
            with written_whole(path) as partial:
                Path(partial).write_bytes(data)

    def _begin_video(self, source: Source) -> None:
        name = Path(file_name_of(source))
        if self.vis_out_dir is not None:
            folder, suffix = self.vis_out_dir, name.suffix.lower()
            drawn = name.with_suffix(suffix if suffix in VIDEO_SUFFIXES else '.mp4').name
            if folder.suffix.lower() in VIDEO_SUFFIXES and not folder.is_dir():
                folder, drawn = folder.parent, folder.name
            self._video = VideoWriter(self._free(folder, drawn, source), source.video.fps)
        if self.pred_out_dir is not None:
            self._frames = JsonList(
                self._free(self.pred_out_dir, name.with_suffix('.json').name, source)
            )

    def _free(self, folder: Path, name: str, source: Source) -> Path:
        """A file of this run: neither one that it has written before nor an input."""
        folder.mkdir(parents=True, exist_ok=True)
        stem, suffix = os.path.splitext(name)
        path, number = folder / name, 1
        while path in self._used:  # inputs of one name from several folders
            number += 1
            path = folder / f'{stem}_{number}{suffix}'
        self._used.add(path)
        self._require_no_input(path)
        # inputs of iterators are known only now
        if path.exists() and os.path.exists(source.name) and path.samefile(source.name):
            raise ValueError(f'{path} is an input and would be overwritten: name another place')
        return path

    def _require_no_input(self, path: Union[str, Path]) -> None:
        if self._inputs and place_of(path) in self._inputs:
            raise ValueError(f'{path} is an input and would be overwritten: name another place')

    def _coco_results(self, estimated: Estimated) -> Iterator[dict]:
        frame, boxes = estimated.frame, estimated.boxes
        image_id = self._claim_id(frame)
        for poses in estimated.poses:
            for row, keypoints, scores in zip(poses.rows, poses.keypoints, poses.scores):
                left, top, right, bottom = boxes.xyxy[row].tolist()
                yield dict(
                    image_id=image_id,
                    category_id=1,
                    keypoints=np.column_stack([keypoints, scores]).ravel().tolist(),
                    # as mmpose's CocoMetric with its default score_mode
                    score=pose_score(float(boxes.scores[row]), scores),
                    bbox=[left, top, right - left, bottom - top],
                )

    def _claim_id(self, frame: Frame) -> int:
        """The id of a frame, which is no other's."""
        name, of_picture = frame.source.name, frame.source.video is None
        image_id = self.image_id(name) if of_picture else None
        image_id = frame.index if image_id is None else image_id
        other = self._names_by_id.get(image_id)
        if of_picture:
            if any(image_id in ids for ids in self._ids_of_videos):
                other = 'a frame of a video'
            self._names_by_id[image_id] = name
        else:
            first = image_id - frame.number
            if frame.number == 0 or not self._ids_of_videos:
                self._ids_of_videos.append(range(0))
            self._ids_of_videos[-1] = range(first, image_id + 1)
        if other is not None:
            raise ValueError(
                f'{name} and {other} have the same image_id {image_id} in coco_out: say ids by '
                'image_id=, or run them apart'
            )
        return image_id

    def _finish_video(self) -> None:
        files, self._video, self._frames = (self._video, self._frames), None, None
        close_all(files)

    def close(self) -> None:
        """Give the files that are still open their names; they hold all that was written."""
        try:
            self._finish_video()
        finally:
            files, self._coco, self._arrays = (self._coco, self._arrays), None, None
            close_all(files)


def close_all(files: Iterable) -> None:
    """Close files, also if one fails, whose error is then raised."""
    with ExitStack() as stack:
        for file in files:
            if file is not None:
                stack.callback(file.close)


def pose_score(box_score: float, keypoint_scores: np.ndarray, threshold: float = 0.2) -> float:
    """Score of a person: that of the box times the mean of the keypoints' above the threshold.

    As mmpose's ``CocoMetric(score_mode='bbox_keypoint')``.
    """
    counted = keypoint_scores[keypoint_scores > threshold]
    return box_score * float(counted.mean()) if len(counted) else 0.0


def file_name_of(source: Source) -> str:
    """A name for the files of an input."""
    camera = camera_of(source.name)
    if camera is not None:
        return f'webcam{camera or ""}.mp4'  # mmpose has 'webcam.mp4'
    name = source.name
    if '://' in name:  # without what is asked for, and without a password
        name = name.split('?')[0].rstrip('/').rpartition('@')[2]
    name = os.path.basename(name) or 'stream'
    if source.video is not None and not os.path.splitext(name)[1]:
        name += '.mp4'
    return name


def place_of(path: Union[str, Path]) -> str:
    """A path by which files are the same whose folders are."""
    folder, name = os.path.split(path)
    return os.path.join(real_folder(os.path.abspath(folder)), name)


real_folder = lru_cache(maxsize=64)(os.path.realpath)  # asks the disk for each part


def to_plain(value: object) -> object:
    """Numbers and arrays of numpy for ``json``."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f'{type(value)} cannot be written as JSON')
