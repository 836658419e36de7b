"""Small videos whose frames tell their number, and what other programs do to videos."""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

NUM_NUMBERS = 64  # then they start again with 0


def numbered_frame(number: int, hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8 whose six fields, dark or bright, are the bits of a number."""
    bits = np.array([number >> bit & 1 for bit in range(6)]).reshape(2, 3)
    field = (64 + 128 * bits).astype(np.uint8)
    return cv2.cvtColor(cv2.resize(field, hw[::-1], interpolation=0), cv2.COLOR_GRAY2BGR)


def read_number(image: np.ndarray) -> int:
    """The number, modulo ``NUM_NUMBERS``, of a :func:`numbered_frame` of any size."""
    bits = cv2.resize(image[..., 1], (3, 2), interpolation=cv2.INTER_AREA).ravel() > 128
    return sum(1 << bit for bit in range(6) if bits[bit])


def make_video(path: Path, images: Iterable[np.ndarray], fps: float = 25.0) -> Path:
    """Write images with OpenCV alone; without any, a file with a video track and no frames."""
    images = list(images)
    height, width = images[0].shape[:2] if images else (48, 64)
    code = cv2.VideoWriter_fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def make_numbered_video(path: Path, num_frames: int, fps: float = 25.0) -> Path:
    return make_video(path, map(numbered_frame, range(num_frames)), fps)


def read_numbers(path: Path) -> list[int]:
    """Numbers of all frames, by OpenCV alone."""
    capture, numbers = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        success, image = capture.read()
        if not success:
            return numbers
        numbers.append(read_number(image))


def cut_off(path: Path, fraction: float) -> Path:
    """Keep the first part of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def set_rotation(path: Path, degrees: int) -> None:
    """Have players turn an .mp4 clockwise by 90, 180 or 270 degrees, as phones do."""
    one = 1 << 16
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    matrix = struct.pack('>9i', a, b, 0, -b, a, 0, 0, 0, 1 << 30)
    _change_box(path, 'moov/trak/tkhd', lambda body: body[:40] + matrix + body[76:])


def set_frame_durations(path: Path, milliseconds: list[int]) -> None:
    """Give each frame of an .mp4 its own duration."""

    def set_scale(body: bytes) -> bytes:
        return body[:12] + struct.pack('>II', 1000, sum(milliseconds)) + body[20:]

    rows = b''.join(struct.pack('>II', 1, duration) for duration in milliseconds)
    table = struct.pack('>II', 0, len(milliseconds)) + rows
    _change_box(path, 'moov/trak/mdia/mdhd', set_scale)
    _change_box(path, 'moov/trak/mdia/minf/stbl/stts', lambda _: table)
    # else the frames end where they did before
    path.write_bytes(path.read_bytes().replace(b'edts', b'free'))


def _change_box(path: Path, box: str, change: Callable[[bytes], bytes]) -> None:
    """Replace the body of one box of an .mp4 whose index comes last, so that nothing moves."""
    data = path.read_bytes()
    assert 0 < data.find(b'mdat') < data.find(b'moov')
    changed = _change_boxes(data, box.encode().split(b'/'), change)
    assert changed != data
    path.write_bytes(changed)


def _change_boxes(data: bytes, names: list[bytes], change: Callable[[bytes], bytes]) -> bytes:
    changed, position = b'', 0
    while position < len(data):
        size, name = struct.unpack_from('>I4s', data, position)
        body = data[position + 8 : position + size]
        if name == names[0]:
            body = change(body) if len(names) == 1 else _change_boxes(body, names[1:], change)
        changed += struct.pack('>I4s', len(body) + 8, name) + body
        position += size
    return changed
