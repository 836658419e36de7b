"""Pictures, videos, cameras and arrays as one stream of frames, read ahead in a thread."""

import glob
import mimetypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional, Union

import numpy as np

from vitpose_mm.datasets.loading import ImageError, read_image, to_bgr8

from .videos import VideoError, VideoInfo, VideoReader

READ_AHEAD_BYTES = 256 << 20
READ_AHEAD_FRAMES = 32
JOIN_SECONDS = 2.0  # for a thread that may wait for a camera
STREAMS = ('rtsp://', 'rtmp://', 'udp://', 'tcp://')
PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
# what Python tells of other suffixes depends on the machine's /etc/mime.types
KINDS = {
    **dict.fromkeys(PICTURE_SUFFIXES, 'image'),
    **dict.fromkeys(('.mp4', '.mov', '.mkv', '.avi', '.m4v', '.webm', '.mpg', '.mpeg'), 'video'),
    **dict.fromkeys(('.wmv', '.flv', '.ts', '.mts', '.m2ts', '.3gp'), 'video'),
}

Input = Union[str, Path, np.ndarray]


@dataclass(frozen=True)
class Source:
    """A picture, or a video with many frames.

    Attributes:
        name: Path, address, 'webcam:0', or for arrays a made-up file name as mmpose has it.
        video: What is known of a video; None for pictures.
    """

    name: str
    video: Optional[VideoInfo] = None


@dataclass
class Frame:
    """An image on its way.

    Attributes:
        source: Where it comes from.
        index: Its number among all frames, from 0.
        number: Its number in a video, 0 for pictures.
        seconds: Time since the video's first frame; None for pictures.
        image: (H, W, 3) uint8, BGR; None if it could not be read, or is no longer needed.
        error: Why it could not be read.
        hw: Height and width of the image, px; None if it could not be read.
    """

    source: Source
    index: int
    number: int = 0
    seconds: Optional[float] = None
    image: Optional[np.ndarray] = None
    error: Optional[str] = None
    hw: Optional[tuple[int, int]] = None

    def __post_init__(self) -> None:
        if self.image is not None:
            self.hw = self.image.shape[:2]

    @property
    def num_bytes(self) -> int:
        return 0 if self.image is None else self.image.nbytes


class Inputs:
    """What is to be read.

    Args:
        inputs: A path of a picture or video, a folder (its pictures and videos by name), a glob
            pattern, 'webcam' or 'webcam:ID', the address of a picture or stream, an image
            (H, W, 3), a list of such, or an iterator over paths of pictures and images. Iterators
            are advanced in another thread.
        num_readers: Pictures that are read at a time.
        in_bursts: Whether to read no picture while those read before are used, which is faster
            where their use needs all cores.

    Attributes:
        num_items: How many pictures and videos there are, None if that is unknown.
        live: Whether frames come in their own time, so that nothing should wait for others.
        single: Whether it is one picture.
        has_videos: Whether videos are known to be among them.

    Raises:
        ValueError: Nothing is found, or it is nothing of the kind.
    """

    def __init__(self, inputs: object, num_readers: int = 1, in_bursts: bool = False) -> None:
        self.num_readers = num_readers
        self.in_bursts = in_bursts
        self.live = False
        self.single = False
        self.has_videos = False
        self._items: Iterable = ()
        known = (str, Path, np.ndarray)
        if isinstance(inputs, known):
            self._items = list(self._expand(inputs))
            self.single = len(self._items) == 1 and self._items == [inputs]
        elif isinstance(inputs, (list, tuple)):
            self._items = [item for each in inputs for item in self._expand(each)]
            if not self._items:
                raise ValueError('the list of inputs is empty')
        elif isinstance(inputs, Iterable) and not isinstance(inputs, Mapping):
            self._items = inputs
            self.live = True
        else:
            raise ValueError(
                'inputs must be a path, folder, glob pattern, image, list or iterator of these, or '
                f"'webcam', got {type(inputs).__name__}"
            )
        if not self.live:
            self.live = any(is_live(item) for item in self._items)
            self.has_videos = any(map(is_video, self._items))

    @property
    def num_items(self) -> Optional[int]:
        return None if self.live else len(self._items)

    @property
    def files(self) -> list[str]:
        """Paths as far as they are known before, which those of iterators are not."""
        items = self._items if isinstance(self._items, list) else ()
        return [str(item) for item in items if isinstance(item, (str, Path))]

    def _expand(self, item: Input) -> Iterator[Input]:
        if isinstance(item, np.ndarray):
            yield item
            return
        if not isinstance(item, (str, Path)):
            raise ValueError(f'an input must be a path or an image, got {type(item).__name__}')
        path = str(item)
        if os.path.isdir(path):
            found = sorted(
                str(file)
                for file in Path(path).iterdir()
                if kind_of(file) is not None and file.is_file()
            )
            if not found:
                raise ValueError(f'the folder {path} holds no pictures or videos')
            yield from found
        elif not os.path.exists(path) and glob.has_magic(path) and '://' not in path:
            found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
            if not found:
                raise ValueError(f'no file fits the pattern {path}')
            yield from found
        else:
            yield item

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self._frames()):
            frame.index = index
            yield frame

    def _frames(self) -> Iterator[Frame]:
        with ThreadPoolExecutor(self.num_readers, 'read pictures') as pool:
            reading: deque = deque()
            try:
                for position, item in enumerate(self._items):
                    if is_video(item):
                        while reading:
                            yield reading.popleft().result()
                        yield from self._video(item)
                        continue
                    reading.append(pool.submit(self._picture, item, position))
                    # a generator's next item may wait for the result of this one
                    enough = self.num_readers - self.in_bursts
                    while reading and (self.live or len(reading) > enough):
                        yield reading.popleft().result()
                        enough = 0 if self.in_bursts else enough
                while reading:
                    yield reading.popleft().result()
            finally:
                for each in reading:
                    each.cancel()

    def _video(self, item: Union[str, Path]) -> Iterator[Frame]:
        try:
            yield from read_video(item)
        except VideoError as error:
            if self.single:
                raise
            yield Frame(Source(str(item)), 0, error=str(error))

    def _picture(self, item: Input, position: int) -> Frame:
        if isinstance(item, np.ndarray):
            name = f'{position}.jpg'.rjust(10, '0')  # as mmpose calls it
            image = to_bgr8(item, f'image {position}')
            if self.live and np.may_share_memory(image, item):
                image = image.copy()  # an iterator may use the same memory for the next
            # of views with turned axes and of protected memory torch would make no tensor
            return Frame(Source(name), position, image=np.require(image, requirements='CW'))
        if not isinstance(item, (str, Path)):
            raise ImageError(
                f'input {position} must be a path or an array, got {type(item).__name__}'
            )
        try:
            return Frame(Source(str(item)), position, image=read_image(item))
        except ImageError as error:
            if self.single:
                raise
            return Frame(Source(str(item)), position, error=str(error))


def kind_of(path: Union[str, Path]) -> Optional[str]:
    """'image' or 'video' as the suffix says, else None."""
    path = str(path)
    if '://' in path:
        path = path.split('?')[0]
    suffix = os.path.splitext(path)[1].lower()
    kind = KINDS.get(suffix) or (mimetypes.guess_type(f'file{suffix}')[0] or '').split('/')[0]
    return kind if kind in ('image', 'video') else None


def camera_of(item: Input) -> Optional[int]:
    """The number of a camera given as 'webcam' or 'webcam:ID', else None.

    Raises:
        ValueError: The ID is no number.
    """
    if not isinstance(item, str) or not item.lower().startswith('webcam'):
        return None
    if os.path.exists(item) or kind_of(item) is not None:
        return None
    _, colon, number = item.partition(':')
    if not colon and item.lower() == 'webcam':
        return 0
    if not number.isdecimal():
        raise ValueError(
            f"a camera is given as 'webcam' or 'webcam:ID' with a number, got {item!r}"
        )
    return int(number)


def is_live(item: Input) -> bool:
    """Whether an input gives frames in its own time."""
    return isinstance(item, str) and (item.startswith(STREAMS) or camera_of(item) is not None)


def is_video(item: Input) -> bool:
    """Whether an input has frames with times."""
    if isinstance(item, np.ndarray) or not isinstance(item, (str, Path)):
        return False
    return is_live(item) or kind_of(item) == 'video'


def read_video(item: Union[str, Path]) -> Iterator[Frame]:
    """Frames of a video file, stream or camera."""
    camera = camera_of(item)
    with VideoReader(str(item) if camera is None else camera) as video:
        source = Source(str(item), video.info)
        for number, (image, seconds) in enumerate(video):
            yield Frame(source, number, number, seconds, image)


class ReadAhead:
    """An iterator's items, made in a thread before they are asked for.

    Args:
        items: What to iterate over; an exception in it is raised where its item would have come.
        size_of: Bytes of an item.
        max_bytes: About how many bytes may wait.
        max_items: How many items may wait.
    """

    def __init__(
        self,
        items: Iterable,
        size_of: Callable[[object], int] = lambda item: item.num_bytes,
        max_bytes: int = READ_AHEAD_BYTES,
        max_items: int = READ_AHEAD_FRAMES,
    ) -> None:
        self._waiting: deque = deque()
        self._bytes = 0
        self._size_of, self._max_bytes, self._max_items = size_of, max_bytes, max_items
        self._changed = threading.Condition()
        self._closed = self._finished = False
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(
            target=partial(self._fill, items), name='read ahead', daemon=True
        )
        self._thread.start()

    def _fill(self, items: Iterable) -> None:
        iterator = items
        try:
            iterator = iter(items)
            for item in iterator:
                size = self._size_of(item)
                with self._changed:
                    self._changed.wait_for(lambda size=size: self._closed or self._has_room(size))
                    if self._closed:
                        return
                    self._waiting.append((item, size))
                    self._bytes += size
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            if self._closed and hasattr(iterator, 'close'):
                with suppress(Exception):  # nobody would get it
                    iterator.close()
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        fits = self._bytes + size <= self._max_bytes and len(self._waiting) < self._max_items
        return fits or not self._waiting

    def ready(self) -> bool:
        """Whether the next item is there already."""
        return bool(self._waiting)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> object:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished)
            if not self._waiting:
                error, self._error = self._error, None
                raise error or StopIteration
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Stop making items; waits for the one in work, but not for ever."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=JOIN_SECONDS)


def in_chunks(
    frames: Union[ReadAhead, Iterator[Frame]], size: int, live: bool
) -> Iterator[list[Frame]]:
    """Lists of up to ``size`` frames; of live ones only those that are there already.

    An exception comes after the frames before it.
    """
    for frame in frames:
        chunk = [frame]
        try:
            while len(chunk) < size and (not live or frames.ready()):
                chunk.append(next(frames))
        except StopIteration:
            pass
        except Exception:
            yield chunk
            raise
        yield chunk
