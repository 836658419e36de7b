"""Videos and cameras, frame by frame with time stamps, and videos written whole."""

import errno
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np
from mmengine.logging import print_log

from vitpose_mm.datasets.loading import to_bgr8
from vitpose_mm.files import written_whole

DEFAULT_FPS = 25.0  # where a file or camera does not tell
MIN_FPS, MAX_FPS = 0.01, 1000.0
CUT_OFF_BELOW = 0.95  # of the frames, and of the seconds, that the container tells
VIDEO_SUFFIXES = ('.mp4', '.mov', '.mkv', '.avi')
MAX_GAP_SECONDS = 60  # that a frame is repeated for
MIN_FREE_BYTES = 64 << 20
SPACE_CHECK_SECONDS = 1.0

# Of the backends only FFmpeg knows rotation flags and the containers' time stamps.
BACKEND = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends() else cv2.CAP_ANY


class VideoError(ValueError):
    """A video or camera that cannot be opened or holds no frames."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is read.

    Args:
        fps: Average frames per second, as OpenCV estimates it; ``DEFAULT_FPS`` where it finds 0,
            NaN, or 1000 and more, as in files that have nothing but stamps in milliseconds.
        num_frames: As the container tells; None where it does not, and for live sources.
        live: A camera or stream, whose frames come when they are taken.
    """

    fps: float
    num_frames: Optional[int]
    live: bool


class VideoReader:
    """The frames of a video, upright, with time stamps; to be gone through once.

    Iterating gives pairs of a frame, (H, W, 3) uint8 BGR, and its seconds since the first frame,
    which has 0.0. For files these are the container's own stamps, so that variable rates are kept;
    for live sources, the time at which the frame was got. A stamp that does not increase, as in
    damaged files, becomes the one before + 1 / fps. Rotation flags, as phones set, are applied.

    A file that ends much earlier than its container says, and a live source that stops giving
    frames, ends the iteration with a warning in the log.

    Args:
        source: A file, an address such as ``rtsp://...``, or the number of a camera.

    Raises:
        VideoError: The source cannot be opened or gives no first frame.
    """

    def __init__(self, source: Union[str, Path, int]) -> None:
        # without the password that addresses of cameras hold
        self._name = re.sub('(?<=://)[^/@]*@', '', f'video {source}')
        is_camera, is_address = isinstance(source, int), isinstance(source, str) and '://' in source
        found = ''
        if is_camera:
            self._name = f'camera {source}'
            capture = cv2.VideoCapture(source)
        elif is_address:
            capture = cv2.VideoCapture(source, BACKEND)
        else:
            found = _describe(source, self._name)
            # a relative path may begin like an address: 'take:1.mp4'
            capture = cv2.VideoCapture(os.path.abspath(source), BACKEND)
        if not capture.isOpened():
            raise VideoError(
                f'{self._name} cannot be opened{found}. OpenCV {cv2.__version__} finds no video '
                'there; of an .mp4 or .mov without its end nothing can be read.'
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # unknown durations become huge or negative
        is_counted = 0 < count < 1e9
        live = is_camera or (is_address and not (is_counted and source.startswith('http')))
        self.info = VideoInfo(
            fps=fps if MIN_FPS <= fps < MAX_FPS else DEFAULT_FPS,
            num_frames=int(count) if is_counted and not live else None,
            live=live,
        )
        success, self._first = capture.read()
        if not success:
            capture.release()
            raise VideoError(f'{self._name} holds no frame that can be decoded{found}.')
        self._capture, self._num_read, self._seconds, self._start = capture, 0, 0.0, 0.0
        self._start = self._clock()

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        while self._capture is not None:
            if self._first is not None:
                image, self._first = self._first, None
                if self.info.live:
                    self._start = time.monotonic()
            else:
                success, image = self._capture.read()
                if not success:
                    self._warn_of_end()
                    self.close()
                    return
                seconds = self._clock() - self._start
                increases = self._seconds < seconds < math.inf  # false for NaN, too
                self._seconds = seconds if increases else self._seconds + 1 / self.info.fps
            self._num_read += 1
            yield image, self._seconds

    def _clock(self) -> float:
        if self.info.live:
            return time.monotonic()
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _warn_of_end(self) -> None:
        info, end = self.info, self._seconds + 1 / self.info.fps
        if info.live:
            message = f'{self._name} gives no more frames, after {self._num_read} in {end:.1f} s.'
        # a number that is estimated from the rate may be wrong, but then the duration is right
        elif max(self._num_read, end * info.fps) < CUT_OFF_BELOW * (info.num_frames or 0):
            message = (
                f'{self._name} ends after {self._num_read} frames ({end:.1f} s), but its container '
                f'tells of {info.num_frames} ({info.num_frames / info.fps:.1f} s). It may be cut '
                'off, damaged, or trimmed without removing the frames.'
            )
        else:
            return
        print_log(message, logger='current', level=logging.WARNING)

    def close(self) -> None:
        """Release the file or camera; iteration ends."""
        if self._capture is not None:
            self._capture.release()
        self._capture = self._first = None

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *_) -> None:
        self.close()


class VideoWriter:
    """A video that is there whole: written beside its place and moved there by :meth:`close`.

    Until then, ``name.partial.mp4`` grows and an older ``name.mp4`` stays. The codec is MPEG-4. The
    size is that of the first frame, to which later ones are resized. The codec wants it even: one
    more pixel repeats the last column of an odd width and the last row of an odd height.

    Args:
        path: Its suffix, one of ``VIDEO_SUFFIXES``, selects the container. The folder is made.
        fps: Frames per second, ``MIN_FPS`` to ``MAX_FPS``; the file has them rounded, by 0.1 at
            most and below 655 per second by 0.005.

    Raises:
        ValueError: Another suffix or rate.
    """

    def __init__(self, path: Union[str, Path], fps: float) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(
                f'path must end with one of {", ".join(VIDEO_SUFFIXES)}, got {str(path)!r}.'
            )
        if not MIN_FPS <= fps <= MAX_FPS:
            raise ValueError(f'fps must be {MIN_FPS} to {MAX_FPS}, got {fps}.')
        self._fps = fps
        path = Path(os.path.abspath(path))
        self._partial = path.with_name(f'{path.stem}.partial{path.suffix}')
        self._writer = self._waiting = self._result = None
        self._slot = self._num_left_out = self._num_written = 0
        self._start, self._checked, self._closed = 0.0, -math.inf, False

    def write(self, image: np.ndarray, seconds: Optional[float] = None) -> None:
        """Add a frame.

        With ``seconds``, it goes to the slot of the file that is nearest to its seconds since the
        first frame, times fps (to the later of two). Empty slots before it repeat the frame before,
        for at most ``MAX_GAP_SECONDS``: longer gaps are shortened to that, with what follows moved
        and a warning in the log at the first. If its slot is taken, or earlier than the last one
        taken, it replaces the frame before. So frames of constant rate ``fps`` come one to one.

        Args:
            image: (H, W, 3) uint8 BGR, or what :func:`to_bgr8` makes it of; copied.
            seconds: On any clock, for all frames or for none. Without, each takes the next slot.

        Raises:
            ValueError: Not an image, seconds not finite, or the writer is closed.
            OSError: The file cannot be opened, or its disk has less than ``MIN_FREE_BYTES`` left.
                :meth:`close` still gives a file of the frames before.
        """
        if self._closed:
            raise ValueError(f'{self._path} is closed.')
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(f'seconds must be finite, got {seconds}.')
        image = to_bgr8(image, f'frame {self._num_written} of {self._path}')
        try:
            if self._waiting is None:
                self._open(image.shape[:2])
                self._start = seconds or 0.0
            else:
                slot = self._find_slot(seconds)
                while self._slot < slot:
                    self._check_space()
                    self._put()
        except OSError as error:
            message = f'{self._path} could not be written ({error.strerror})'
            raise OSError(error.errno, message) from error
        height, width = self._hw
        if image.shape[:2] != self._hw:
            image = cv2.resize(image, (width, height))
        edges = (0, height % 2, 0, width % 2)
        self._waiting = cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE)

    def close(self) -> Optional[Path]:
        """Finish the file, count its frames and move it to its place.

        Returns:
            The path, also when called again; None if nothing was written.

        Raises:
            OSError: Not all frames are in it, as for lack of space. It is removed; an older file of
                its name is untouched.
        """
        if self._closed or self._waiting is None:
            self._closed = True
            return self._result
        self._closed = True
        self._put()
        self._writer.release()
        with written_whole(self._path, partial=self._partial):
            num_found = _count_frames(self._partial)
            # OpenCV's writer says nothing of errors
            if num_found < self._num_written:
                reason = f'{num_found} of {self._num_written} frames arrived; is the disk full?'
                raise OSError(errno.EIO, reason)
        self._result = self._path
        return self._result

    def discard(self) -> None:
        """Remove what was written, if it is not closed yet."""
        self._closed = True
        if self._writer is not None:
            self._writer.release()
            with suppress(OSError):
                self._partial.unlink()

    def _open(self, image_hw: tuple[int, int]) -> None:
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        self._check_space()
        self._partial.open('wb').close()  # OpenCV would not say why it cannot
        height, width = self._hw = image_hw
        # MPEG-4 has at most 65535 ticks per second; OpenCV asks for the rate * 10**decimals.
        rate = round(self._fps, 3 if self._fps < 65 else 2 if self._fps < 655 else 1)
        wh = (width + width % 2, height + height % 2)
        code = cv2.VideoWriter_fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self._partial), BACKEND, code, rate, wh)
        if not self._writer.isOpened():
            self.discard()
            raise OSError(
                errno.EIO,
                f'OpenCV {cv2.__version__} opens no MPEG-4 video of {width} x {height} px at {rate}'
                ' frames per second; it needs FFmpeg, and at most 8190 px are possible',
            )

    def _find_slot(self, seconds: Optional[float]) -> int:
        if seconds is None:
            return self._slot + 1
        slot = math.floor((seconds - self._start) * self._fps + 0.5) - self._num_left_out
        excess = max(0, slot - self._slot - max(1, round(MAX_GAP_SECONDS * self._fps)))
        if excess and not self._num_left_out:
            print_log(
                f'{self._path}: no frame came for {(slot - self._slot) / self._fps:.1f} s, until '
                f'{seconds:.1f} s; such gaps are shortened to {MAX_GAP_SECONDS} s.',
                logger='current',
                level=logging.WARNING,
            )
        self._num_left_out += excess
        return slot - excess

    def _check_space(self) -> None:
        now = time.monotonic()
        if now - self._checked < SPACE_CHECK_SECONDS:
            return
        free = shutil.disk_usage(self._partial.parent).free
        if free < MIN_FREE_BYTES:
            raise OSError(
                errno.ENOSPC,
                f'after {self._num_written} frames {free >> 20} MiB are left on the disk, less '
                f'than {MIN_FREE_BYTES >> 20} MiB',
            )
        self._checked = now

    def _put(self) -> None:
        self._writer.write(self._waiting)
        self._num_written += 1
        self._slot += 1


def _describe(path: Union[str, Path], name: str) -> str:
    try:
        with open(path, 'rb') as file:
            return f' ({os.fstat(file.fileno()).st_size} bytes, beginning {file.read(12)!r})'
    except OSError as error:
        raise VideoError(f'{name} cannot be read: {error.strerror or error}.') from error


def _count_frames(path: Path) -> int:
    """Number of frames that are really in a file, not what its header says; 0 if unreadable."""
    # packets as they are, a hundred times as fast as decoding
    parameters = [cv2.CAP_PROP_FORMAT, -1] if BACKEND == cv2.CAP_FFMPEG else []
    capture = cv2.VideoCapture(str(path), BACKEND, parameters)
    num_frames = 0
    while capture.grab():
        num_frames += 1
    capture.release()
    return num_frames
