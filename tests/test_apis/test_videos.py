"""Frames come upright and at their times; a video is written whole or not at all."""

import errno
import math
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from made_videos import (
    NUM_NUMBERS,
    cut_off,
    make_numbered_video,
    make_video,
    numbered_frame,
    read_number,
    read_numbers,
    set_frame_durations,
    set_rotation,
)

from vitpose_mm.apis import videos
from vitpose_mm.apis.videos import VideoError, VideoInfo, VideoReader, VideoWriter

SUFFIXES = ['.mp4', '.mov', '.mkv', '.avi']


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    messages = []
    monkeypatch.setattr(videos, 'print_log', lambda message, **_: messages.append(message))
    return messages


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Its ``now`` is the time; each look at it takes ``step`` seconds."""
    clock = SimpleNamespace(now=100.0, step=0.0)

    def monotonic() -> float:
        clock.now += clock.step
        return clock.now

    monkeypatch.setattr(videos, 'time', SimpleNamespace(monotonic=monotonic))
    return clock


@pytest.fixture
def use_capture(monkeypatch):
    """Put a source in the place of OpenCV's, with one frame for each stamp in milliseconds."""

    def use(stamps: list, fps: float = 25.0, count: float = -1.0, opened: bool = True) -> None:
        class Capture:
            def __init__(self, *_) -> None:
                self.num_read = 0

            def isOpened(self) -> bool:  # noqa: N802
                return opened

            def set(self, *_) -> bool:
                return False

            def get(self, name: int) -> float:
                stamp = stamps[self.num_read - 1] if self.num_read else 0.0
                known = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
                return known.get(name, stamp)

            def read(self) -> tuple:
                if self.num_read == len(stamps):
                    return False, None
                self.num_read += 1
                return True, numbered_frame(self.num_read - 1)

            def release(self) -> None:
                pass

        monkeypatch.setattr(cv2, 'VideoCapture', Capture)

    return use


def read_all(source) -> tuple[list[int], list[float]]:
    with VideoReader(source) as reader:
        pairs = [(read_number(image), seconds) for image, seconds in reader]
    return [number for number, _ in pairs], [seconds for _, seconds in pairs]


def write_all(path: Path, fps: float, seconds: list) -> list[int]:
    """Numbers of the frames in the file."""
    writer = VideoWriter(path, fps)
    for number, moment in enumerate(seconds):
        writer.write(numbered_frame(number, (16, 16)), moment)
    assert writer.close() == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return read_numbers(path)


# ---- reading


@pytest.mark.parametrize('fps', [25.0, 29.97, 12.5])
@pytest.mark.parametrize('suffix', SUFFIXES)
def test_frames_come_in_order_with_their_times(tmp_path, warnings, suffix, fps):
    path = make_numbered_video(tmp_path / f'a{suffix}', 12, fps)
    with VideoReader(str(path)) as reader:
        info = reader.info
        images, seconds = zip(*reader)
    assert (info.num_frames, info.live) == (12, False)
    # OpenCV 4.8 guesses rates of .avi, within 0.01 per cent
    assert info.fps == pytest.approx(fps, rel=1e-4)
    assert [read_number(image) for image in images] == list(range(12))
    assert {(image.shape, image.dtype.name) for image in images} == {((48, 64, 3), 'uint8')}
    # .mkv holds milliseconds
    assert seconds == pytest.approx([i / fps for i in range(12)], abs=6e-4)
    assert seconds[0] == 0.0
    assert warnings == []


def test_variable_rates_are_kept(tmp_path, warnings):
    durations = [40, 40, 160, 33, 500, 10, 40, 1000, 40, 40]
    path = make_numbered_video(tmp_path / 'a.mp4', 10)
    set_frame_durations(path, durations)
    numbers, seconds = read_all(path)
    assert numbers == list(range(10))
    assert seconds == pytest.approx([0.0, *(t / 1000 for t in accumulate(durations[:-1]))])
    assert warnings == []


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_rotation_flags_are_applied(tmp_path, degrees):
    image = np.full((48, 64, 3), 60, np.uint8)
    image[:24, :32] = 0, 0, 255
    path = make_video(tmp_path / 'a.mp4', [image] * 3)
    stored = [image for image, _ in VideoReader(path)]
    set_rotation(path, degrees)
    upright = [image for image, _ in VideoReader(path)]
    # np.rot90 turns counter-clockwise
    assert np.array_equal(upright, [np.rot90(image, -degrees // 90) for image in stored])
    corner = {90: (0, -1), 180: (-1, -1), 270: (-1, 0)}[degrees]
    assert upright[2][corner] == pytest.approx([0, 0, 255], abs=5)


def test_stamps_always_increase(tmp_path, use_capture):
    (tmp_path / 'a.mp4').write_bytes(b'any')
    use_capture([500.0, 540.0, 540.0, 520.0, math.nan, math.inf, 0.0, 1500.0, 1510.0])
    numbers, seconds = read_all(tmp_path / 'a.mp4')
    assert numbers == list(range(9))
    assert seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 1.0, 1.01])


def test_a_name_may_look_like_an_address(tmp_path, monkeypatch):
    make_numbered_video(tmp_path / 'take:1%d.mp4', 3)
    monkeypatch.chdir(tmp_path)
    assert read_all('take:1%d.mp4')[0] == [0, 1, 2]
    writer = VideoWriter('take:2%d.mp4', 25)
    writer.write(numbered_frame(7))
    assert writer.close() == Path('take:2%d.mp4')
    assert read_numbers(tmp_path / 'take:2%d.mp4') == [7]


@pytest.mark.parametrize(
    'make, message',
    [
        pytest.param(lambda path: None, 'cannot be read: No such file', id='missing'),
        pytest.param(lambda path: path.mkdir(), 'cannot be read: Is a directory', id='folder'),
        pytest.param(lambda path: path.touch(), r'cannot be opened \(0 bytes', id='empty'),
        pytest.param(
            lambda path: path.write_text('not a video\n' * 99),
            r"cannot be opened \(1188 bytes, beginning b'not a video",
            id='text',
        ),
        pytest.param(
            lambda path: cut_off(make_numbered_video(path, 9), 0.7),
            'cannot be opened .* without its end nothing can be read',
            id='without its end',
        ),
        pytest.param(lambda path: make_video(path, []), 'cannot be opened', id='no frames, mp4'),
        pytest.param(
            lambda path: make_video(path.with_suffix('.avi'), []).rename(path),
            'holds no frame that can be decoded',
            id='no frames, avi',
        ),
    ],
)
def test_files_that_are_no_videos_are_refused(tmp_path, make, message):
    make(tmp_path / 'a.mp4')
    with pytest.raises(VideoError, match=f'^video {tmp_path}/a.mp4 {message}'):
        VideoReader(tmp_path / 'a.mp4')


@pytest.mark.parametrize('suffix', ['.avi', '.mkv'])
def test_a_file_that_is_cut_off_gives_what_there_is(tmp_path, warnings, suffix):
    path = cut_off(make_numbered_video(tmp_path / f'a{suffix}', 100), 0.7)
    with VideoReader(path) as reader:
        assert reader.info == VideoInfo(fps=25.0, num_frames=100, live=False)
        numbers = [read_number(image) for image, _ in reader]
    assert 10 < len(numbers) < 90
    assert numbers == [i % NUM_NUMBERS for i in range(len(numbers))]
    seconds = len(numbers) / 25
    assert len(warnings) == 1
    assert warnings[0].startswith(
        f'video {path} ends after {len(numbers)} frames ({seconds:.1f} s), but its container tells '
        'of 100 (4.0 s).'
    )


@pytest.mark.parametrize(
    'num_frames, step, count, warned',
    [(95, 40, 100, False), (94, 40, 100, True), (50, 80, 100, False), (94, 40, -1, False)],
    ids=['nearly all', 'too few', 'fewer, as long', 'length unknown'],
)
def test_only_ends_much_too_early_are_told(
    tmp_path, use_capture, warnings, num_frames, step, count, warned
):
    (tmp_path / 'a.mp4').write_bytes(b'any')
    use_capture([i * step for i in range(num_frames)], count=count)
    assert len(read_all(tmp_path / 'a.mp4')[0]) == num_frames
    assert len(warnings) == warned


def test_closing_ends_the_iteration(tmp_path, warnings):
    reader = VideoReader(make_numbered_video(tmp_path / 'a.mp4', 10))
    numbers = []
    for image, _ in reader:
        numbers.append(read_number(image))
        if len(numbers) == 3:
            break
    for image, _ in reader:  # goes on
        numbers.append(read_number(image))
        if len(numbers) == 6:
            reader.close()
    assert numbers == list(range(6))
    assert list(reader) == []
    reader.close()
    assert warnings == []


# ---- cameras and streams


def test_a_camera_that_goes_away_ends_the_iteration(use_capture, warnings, clock):
    use_capture([0.0] * 4, fps=30.0, count=1000.0)
    reader = VideoReader(2)
    assert reader.info == VideoInfo(fps=30.0, num_frames=None, live=True)
    clock.now += 20  # before somebody wants the first frame
    seconds = []
    for (_, moment), wait in zip(reader, (0.1, 0.5, 0.2, 0.3, 0)):
        seconds.append(moment)
        clock.now += wait
    assert seconds == pytest.approx([0.0, 0.1, 0.6, 0.8])
    assert list(reader) == []
    assert warnings == ['camera 2 gives no more frames, after 4 in 0.8 s.']


@pytest.mark.parametrize(
    'opened, message',
    [(False, 'camera 7 cannot be opened'), (True, 'camera 7 holds no frame')],
)
def test_a_camera_without_pictures_is_refused(use_capture, opened, message):
    use_capture([], opened=opened)
    with pytest.raises(VideoError, match=message):
        VideoReader(7)


@pytest.mark.parametrize('fps', [0.0, math.nan, -1.0, 1000.0, 90000.0, math.inf])
def test_rates_that_are_none_become_25(use_capture, fps):
    use_capture([0.0], fps=fps)
    assert VideoReader(0).info.fps == 25.0


@pytest.mark.parametrize(
    'address, count, num_frames, live',
    [
        ('http://host/a.mp4', 300.0, 300, False),
        ('https://host/live.m3u8', -2.3e17, None, True),
        ('https://host/live.m3u8', 9.2e18, None, True),
        ('rtsp://host/1', 0.0, None, True),
        ('rtsp://host/1', 300.0, None, True),
        ('udp://@:1234', -2.3e17, None, True),
    ],
)
def test_streams_are_told_from_files(use_capture, address, count, num_frames, live):
    use_capture([0.0], count=count)
    assert VideoReader(address).info == VideoInfo(25.0, num_frames, live)


def test_messages_hold_no_passwords(use_capture, warnings):
    use_capture([0.0])
    read_all('rtsp://me:secret@host/1')
    assert warnings == ['video rtsp://host/1 gives no more frames, after 1 in 0.0 s.']


# ---- writing


@pytest.mark.parametrize('suffix', [*SUFFIXES, '.MP4'])
def test_an_early_end_leaves_the_frames_written_so_far(tmp_path, suffix):
    path = tmp_path / 'new' / f'a.b{suffix}'
    path.parent.mkdir()
    path.write_bytes(b'old')
    writer = VideoWriter(path, 25)
    for number in range(13):
        writer.write(numbered_frame(number))
    assert path.read_bytes() == b'old'
    assert (path.parent / f'a.b.partial{suffix}').exists()
    assert writer.close() == writer.close() == path
    writer.discard()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert read_numbers(path) == list(range(13))
    assert VideoReader(path).info.fps == 25.0


@pytest.mark.parametrize('noise', [0.0, 5e-4], ids=['exact', 'milliseconds'])
@pytest.mark.parametrize(
    'fps', [23.976, 24000 / 1001, 25, 29.97, 30000 / 1001, 30, 50, 59.94, 119.943, 700.13]
)
def test_constant_rates_come_one_to_one(tmp_path, fps, noise):
    # stamps rounded to milliseconds are too coarse for the last
    rounded = [round(i / fps, 3) if noise and fps < 200 else i / fps for i in range(500)]
    numbers = write_all(tmp_path / 'a.mp4', fps, [1e5 + moment for moment in rounded])
    assert numbers == [i % NUM_NUMBERS for i in range(500)]
    with VideoReader(tmp_path / 'a.mp4') as reader:
        assert reader.info.fps == pytest.approx(fps, rel=1e-4)


@pytest.mark.parametrize(
    'fps, seconds, numbers',
    [
        (10, [None] * 4, [0, 1, 2, 3]),
        (10, [0, 0.1, 0.11, 0.5, 0.62], [0, 2, 2, 2, 2, 3, 4]),
        (10, [7.0, 7.1, 7.3], [0, 1, 1, 2]),
        (10, [0, 0.1, 0.5, 0.3, 0.6], [0, 1, 1, 1, 1, 3, 4]),
        (10, [0, 0, 0], [2]),
        (25, [i / 50 for i in range(20)], [*range(0, 20, 2), 19]),
        (50, [i / 25 for i in range(4)], [0, 0, 1, 1, 2, 2, 3]),
        (0.5, [0, 3, 8], [0, 0, 1, 1, 2]),
    ],
    ids=['slots', 'variable', 'any clock', 'back', 'same', 'half', 'double', 'slow'],
)
def test_frames_come_at_their_times(tmp_path, warnings, fps, seconds, numbers):
    assert write_all(tmp_path / 'a.mp4', fps, seconds) == numbers
    assert warnings == []


def test_long_gaps_are_shortened(tmp_path, warnings):
    numbers = write_all(tmp_path / 'a.mp4', 2, [0, 60, 1000, 1000.5, 5000, 5001])
    assert numbers == [0] * 120 + [1] * 120 + [2] + [3] * 120 + [4] * 2 + [5]
    path = tmp_path / 'a.mp4'
    assert warnings == [
        f'{path}: no frame came for 940.0 s, until 1000.0 s; such gaps are shortened to 60 s.'
    ]


@pytest.mark.parametrize('hw', [(48, 64), (49, 64), (48, 65), (49, 65), (1, 1), (3, 5)])
def test_odd_sizes_lose_nothing(tmp_path, hw):
    image = np.full((*hw, 3), 60, np.uint8)
    image[-1], image[:, -1] = 200, 200
    writer = VideoWriter(tmp_path / 'a.mp4', 25)
    writer.write(image)
    writer.close()
    [(read, _)] = VideoReader(tmp_path / 'a.mp4')
    assert read.shape == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2, 3)
    expected = np.pad(image, ((0, hw[0] % 2), (0, hw[1] % 2), (0, 0)), 'edge')
    assert np.abs(read.astype(int) - expected).mean() < 8
    assert read[-1, -1].mean() == pytest.approx(200, abs=15)


def test_frames_are_made_alike_and_copied(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4', 25)
    image = numbered_frame(1, (48, 64))
    writer.write(image)
    image[:] = 255
    wide = numbered_frame(2, (30, 100))
    for other in (wide, wide[..., 0], numbered_frame(4, (100, 200))[::1, ::2]):
        writer.write(other)
    writer.close()
    images = [image for image, _ in VideoReader(tmp_path / 'a.mp4')]
    assert [read_number(image) for image in images] == [1, 2, 2, 4]
    assert {image.shape for image in images} == {(48, 64, 3)}


def test_without_frames_nothing_is_written(tmp_path):
    writer = VideoWriter(tmp_path / 'new' / 'a.mp4', 25)
    assert writer.close() is None
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_is_discarded_is_gone(tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'old')
    writer = VideoWriter(path, 25)
    writer.write(numbered_frame(0))
    writer.discard()
    assert writer.close() is None
    assert [file.name for file in tmp_path.iterdir()] == ['a.mp4']
    assert path.read_bytes() == b'old'


@pytest.mark.parametrize('name', ['a.gif', 'a', 'a.mp4.webm'])
def test_suffixes_are_checked(name):
    with pytest.raises(ValueError, match=rf"one of .mp4, .mov, .mkv, .avi, got '{name}'"):
        VideoWriter(name, 25)


@pytest.mark.parametrize('fps', [0, -1, math.nan, math.inf, 1001])
def test_rates_are_checked(fps):
    with pytest.raises(ValueError, match=rf'fps must be 0.01 to 1000.0, got {fps}'):
        VideoWriter('a.mp4', fps)


def test_frames_are_checked(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4', 25)
    with pytest.raises(ValueError, match=r'frame 0 of .*a\.mp4 must be an array'):
        writer.write(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match='seconds must be finite, got nan'):
        writer.write(numbered_frame(0), math.nan)
    writer.close()
    with pytest.raises(ValueError, match=r'a\.mp4 is closed'):
        writer.write(numbered_frame(0))


# ---- disks that are full, and other places where no video can be


def test_a_disk_that_fills_up_ends_the_video_before(tmp_path, monkeypatch, clock):
    free, looks = [200 << 20, 65 << 20, 63 << 20], []

    def disk_usage(folder) -> SimpleNamespace:
        assert Path(folder) == tmp_path
        looks.append(clock.now)
        return SimpleNamespace(free=free[len(looks) - 1])

    monkeypatch.setattr(videos.shutil, 'disk_usage', disk_usage)
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'old')
    writer = VideoWriter(path, 25)
    clock.step = 0.25
    writer.write(numbered_frame(0), 0.0)
    with pytest.raises(
        OSError,
        match=rf'{path} could not be written \(after 7 frames 63 MiB are left .* than 64 MiB\)',
    ) as raised:
        for number in range(1, 9):
            writer.write(numbered_frame(number), number * 0.08)
    assert raised.value.errno == errno.ENOSPC
    assert np.diff(looks) == pytest.approx([1.0, 1.0])
    assert path.read_bytes() == b'old'
    assert writer.close() == path
    assert read_numbers(path) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_full_disk_gets_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(videos.shutil, 'disk_usage', lambda _: SimpleNamespace(free=5 << 20))
    writer = VideoWriter(tmp_path / 'a.mp4', 25)
    for _ in range(2):
        with pytest.raises(OSError, match=r'a\.mp4 could not be written \(after 0 frames 5 MiB'):
            writer.write(numbered_frame(0))
    assert writer.close() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_frames_that_do_not_arrive_are_an_error(tmp_path, suffix):
    resource = pytest.importorskip('resource')
    path = tmp_path / f'a{suffix}'
    path.write_bytes(b'old')
    writer, random = VideoWriter(path, 25), np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # files end at 16 KiB, much less than twenty frames of noise need
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, limits[1]))
    try:
        for _ in range(20):
            writer.write(random.integers(0, 255, (96, 96, 3), np.uint8))
        with pytest.raises(OSError) as raised:
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    start, _, end = str(raised.value).partition(' of 20 frames arrived; is the disk full?); ')
    start, _, num_found = start.rpartition('(')
    assert start == f'[Errno {errno.EIO}] {path} could not be written '
    assert end == 'files written before, also of this name, are untouched'
    # the others have their index at the end
    assert int(num_found) in (range(1, 10) if suffix in ('.mkv', '.avi') else range(1))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b'old'
    assert writer.close() is None


@pytest.mark.parametrize(
    'name, reason',
    [('file/a.mp4', 'Not a directory|File exists'), ('folder.mp4', 'Is a directory')],
)
def test_places_where_no_file_can_be_are_told(tmp_path, name, reason):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.mp4').mkdir()
    writer = VideoWriter(tmp_path / name, 25)
    with pytest.raises(OSError, match=rf'{tmp_path / name} could not be written \(({reason})\)'):
        writer.write(numbered_frame(0))
    assert writer.close() is None
    assert sorted(file.name for file in tmp_path.iterdir()) == ['file', 'folder.mp4']


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs a folder of no files')
def test_a_folder_that_takes_no_files_is_told(monkeypatch):
    # /proc has no space, either
    monkeypatch.setattr(videos.shutil, 'disk_usage', lambda _: SimpleNamespace(free=1 << 40))
    writer = VideoWriter('/proc/a.mp4', 25)
    with pytest.raises(OSError, match=r'^\[Errno \d+\] /proc/a.mp4 could not be written \(\w+'):
        writer.write(numbered_frame(0))


def test_a_size_without_codec_is_told(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4', 25)
    with pytest.raises(OSError, match=r'a.mp4 .* no MPEG-4 video of 9001 x 16 px at 25 frames'):
        writer.write(numbered_frame(0, (16, 9001)))
    assert writer.close() is None
    assert list(tmp_path.iterdir()) == []
