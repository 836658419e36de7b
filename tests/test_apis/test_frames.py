"""Whatever is given comes as one stream of frames, in order, and not further ahead than allowed."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from made_videos import make_numbered_video, read_number
from tiny_people import picture, save_pictures

from vitpose_mm.apis import frames as frames_module
from vitpose_mm.apis.frames import (
    Frame,
    Inputs,
    ReadAhead,
    Source,
    camera_of,
    in_chunks,
    is_live,
    is_video,
    kind_of,
)
from vitpose_mm.apis.videos import VideoError
from vitpose_mm.datasets import ImageError

PATIENCE = 5.0  # seconds after which a test that waits has failed


def names(inputs: object, num_readers: int = 1) -> list[str]:
    return [Path(frame.source.name).name for frame in Inputs(inputs, num_readers)]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, 'it never came'
        time.sleep(0.002)


# ---- what is given


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures 000.png to 002.png, a video, and what is neither."""
    folder = tmp_path / 'in'
    save_pictures(folder, 3)
    make_numbered_video(folder / '001b.mp4', 2)
    (folder / '000.txt').write_text('not a picture')
    (folder / 'without suffix').write_text('not a picture')
    (folder / 'folder.png').mkdir()
    save_pictures(folder / 'deeper', 1, '.jpg')
    return folder


@pytest.mark.parametrize('kind', [str, Path])
@pytest.mark.parametrize('num_readers', [1, 3])
def test_a_folders_pictures_and_videos_by_name(folder, kind, num_readers):
    inputs = Inputs(kind(folder), num_readers)
    assert (inputs.num_items, inputs.live, inputs.single) == (4, False, False)
    found = list(inputs)
    expected = ['000.png', '001.png', '001b.mp4', '001b.mp4', '002.png']
    assert [Path(frame.source.name).name for frame in found] == expected
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.number for frame in found] == [0, 0, 0, 1, 0]
    assert [frame.seconds for frame in found] == [None, None, 0.0, pytest.approx(0.04), None]
    assert [frame.error for frame in found] == [None] * 5
    np.testing.assert_array_equal(found[4].image, picture(2))
    assert inputs.files == [str(folder / name) for name in ('000.png', '001.png', *expected[3:])]
    assert len(list(inputs)) == 5, 'again'


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('*.png', ['000.png', '001.png', '002.png']),
        ('00[12].png', ['001.png', '002.png']),
        ('00?b.mp4', ['001b.mp4', '001b.mp4']),
        ('**/*.jpg', ['000.jpg']),
        ('**/000.*g', ['000.png', '000.jpg']),
    ],
)
def test_patterns(folder, pattern, expected):
    assert names(str(folder / pattern)) == expected
    assert names(folder / pattern) == expected
    assert not Inputs(str(folder / pattern)).single


def test_a_name_that_only_looks_like_a_pattern(tmp_path):
    (path,) = save_pictures(tmp_path / 'in [1]', 1)
    strange = Path(path).rename(tmp_path / 'in [1]/a[0].png')
    assert names(str(strange)) == names(str(strange.parent)) == ['a[0].png']


def test_one_picture(tmp_path):
    (path,) = save_pictures(tmp_path, 1)
    for given in (path, Path(path), picture(0)):
        inputs = Inputs(given)
        assert (inputs.num_items, inputs.live, inputs.single) == (1, False, True)
        (frame,) = inputs
        np.testing.assert_array_equal(frame.image, picture(0))
        assert (frame.index, frame.number, frame.seconds, frame.hw) == (0, 0, None, (90, 120))
        assert frame.source.video is None and frame.num_bytes == 90 * 120 * 3
    assert frame.source.name == '000000.jpg', 'as mmpose calls arrays'
    assert not Inputs([path]).single


def test_one_video(tmp_path):
    path = make_numbered_video(tmp_path / 'a.mp4', 5, fps=12.5)
    inputs = Inputs(path)
    assert (inputs.num_items, inputs.live, inputs.single) == (1, False, True)
    found = list(inputs)
    assert [read_number(frame.image) for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.index for frame in found] == [frame.number for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    assert len({id(frame.source) for frame in found}) == 1
    assert found[0].source.name == str(path)
    assert (found[0].source.video.fps, found[0].source.video.num_frames) == (12.5, 5)


@pytest.mark.parametrize('kind', [list, tuple])
def test_a_mixed_list(folder, kind):
    given = kind(
        [str(folder / '002.png'), picture(7), folder / 'deeper', folder / '001b.mp4', picture(8)]
    )
    inputs = Inputs(given, 2)
    assert (inputs.num_items, inputs.live, inputs.single) == (5, False, False)
    found = list(inputs)
    assert [Path(frame.source.name).name for frame in found] == [
        '002.png', '000001.jpg', '000.jpg', '001b.mp4', '001b.mp4', '000004.jpg',
    ]  # fmt: skip
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found[1].image, picture(7))
    np.testing.assert_array_equal(found[5].image, picture(8))


def test_a_generator_of_arrays_and_paths(folder):
    def items() -> Iterator:
        yield picture(5)
        yield folder / '001b.mp4'
        yield str(folder / '001.png')
        yield str(folder / 'missing.png')
        yield picture(6)

    inputs = Inputs(items(), 3)
    assert (inputs.num_items, inputs.live, inputs.single, inputs.files) == (None, True, False, [])
    found = list(inputs)
    assert [Path(frame.source.name).name for frame in found] == [
        '000000.jpg', '001b.mp4', '001b.mp4', '001.png', 'missing.png', '000004.jpg',
    ]  # fmt: skip
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4, 5]
    assert [frame.error is None for frame in found] == [True, True, True, True, False, True]
    assert [frame.image is None for frame in found] == [False, False, False, False, True, False]


def test_an_iterator_may_use_its_memory_again():
    def items() -> Iterator[np.ndarray]:
        buffer = np.zeros((4, 4, 3), np.uint8)
        for number in range(4):
            buffer[:] = number
            yield buffer

    assert [frame.image[0, 0, 0] for frame in list(Inputs(items()))] == [0, 1, 2, 3]


@pytest.mark.parametrize('is_iterator', [True, False])
def test_arrays_come_as_torch_takes_them(is_iterator):
    turned = picture(0)[::-1, :, ::-1]
    protected = picture(1)
    protected.flags.writeable = False
    given = [turned, protected]
    found = [frame.image for frame in Inputs(iter(given) if is_iterator else given)]
    for image, expected in zip(found, given):
        assert image.flags.c_contiguous and image.flags.writeable
        np.testing.assert_array_equal(image, expected)
    usual = picture(2)
    (frame,) = Inputs([usual])
    assert frame.image is usual, 'no copy where none is needed'


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ([], 'the list of inputs is empty'),
        ((), 'the list of inputs is empty'),
        (7, "inputs must be a path, folder, .* or 'webcam', got int"),
        (None, 'got NoneType'),
        ([7], 'an input must be a path or an image, got int'),
        (['a.jpg', ['b.jpg']], 'an input must be a path or an image, got list'),
        ('webcam:x', "'webcam:ID' with a number, got 'webcam:x'"),
        ('webcam:', "'webcam:ID' with a number, got 'webcam:'"),
        ('webcam:1.5', "'webcam:ID' with a number"),
        ('webcam:²', "'webcam:ID' with a number"),
        ('webcam3', "'webcam:ID' with a number"),
        (['a.jpg', 'webcam:-1'], "got 'webcam:-1'"),
        ('nowhere/*.jpg', r'no file fits the pattern nowhere/\*\.jpg'),
        (['nowhere/[ab].jpg'], 'no file fits the pattern'),
    ],
)
def test_what_cannot_be_read_is_said_at_once(inputs, message):
    with pytest.raises(ValueError, match=message):
        Inputs(inputs)


def test_folders_without_pictures_are_named(tmp_path):
    (tmp_path / 'a.txt').write_text('')
    (tmp_path / 'folder.jpg').mkdir()
    for inputs in (str(tmp_path), tmp_path, ['a.jpg', tmp_path]):
        with pytest.raises(ValueError, match=f'the folder {tmp_path} holds no pictures or videos'):
            Inputs(inputs)
    with pytest.raises(ValueError, match='no file fits'):
        Inputs(str(tmp_path / '*.jpg'))


@pytest.mark.parametrize(('item', 'kind'), [(7, 'int'), (None, 'NoneType'), ([picture()], 'list')])
def test_other_items_of_a_generator_end_it(item, kind):
    stream = iter(Inputs(iter([picture(0), item, picture(1)])))
    next(stream)
    with pytest.raises(ImageError, match=f'input 1 must be a path or an array, got {kind}'):
        next(stream)


# ---- cameras


@pytest.fixture
def cameras(monkeypatch) -> list:
    """Sources that were opened; each gives three frames."""
    opened = []

    class Reader:
        def __init__(self, source) -> None:
            opened.append(source)
            self.info = SimpleNamespace(fps=25.0, num_frames=None, live=True)

        def __enter__(self) -> 'Reader':
            return self

        def __exit__(self, *_) -> None:
            pass

        def __iter__(self) -> Iterator:
            return ((picture(number), number / 10) for number in range(3))

    monkeypatch.setattr(frames_module, 'VideoReader', Reader)
    return opened


@pytest.mark.parametrize(
    ('item', 'opened'),
    [
        ('webcam', 0),
        ('Webcam', 0),
        ('webcam:0', 0),
        ('webcam:12', 12),
        ('rtsp://me:secret@host/1', 'rtsp://me:secret@host/1'),
        ('udp://host:5000', 'udp://host:5000'),
    ],
)
def test_cameras_and_streams(cameras, item, opened):
    inputs = Inputs(item)
    assert (inputs.num_items, inputs.live, inputs.single) == (None, True, True)
    found = list(inputs)
    assert cameras == [opened]
    assert [frame.source.name for frame in found] == [item] * 3
    assert [frame.seconds for frame in found] == [0.0, 0.1, 0.2]
    assert Inputs([item, picture()]).live


@pytest.mark.parametrize('name', ['webcam.mp4', 'webcam.png', 'webcam'])
def test_files_whose_names_begin_with_webcam(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    if name.endswith('.mp4'):
        make_numbered_video(tmp_path / name, 2)
    else:
        cv2.imwrite('webcam.png', picture())
        Path('webcam.png').rename(name)
    assert camera_of(name) is None and not is_live(name)
    inputs = Inputs(name)
    assert not inputs.live
    assert [frame.hw for frame in inputs] == ([(48, 64)] * 2 if 'mp4' in name else [(90, 120)])
    Path(name).unlink()
    if name == 'webcam':
        assert camera_of(name) == 0
    else:
        with pytest.raises(ValueError, match=f'{name} cannot be read: No such file'):
            list(Inputs(name))


@pytest.mark.parametrize(
    ('path', 'kind'),
    [
        ('a.jpg', 'image'),
        ('a.JPEG', 'image'),
        ('x/a.webp', 'image'),
        ('a.tif', 'image'),
        ('a.gif', 'image'),
        ('a.mp4', 'video'),
        ('a.MOV', 'video'),
        ('a.mkv', 'video'),
        ('a.m4v', 'video'),
        ('a.mts', 'video'),
        ('a.ts', 'video'),
        ('http://host/a.mp4?key=b.jpg', 'video'),
        ('http://host/a.jpg', 'image'),
        ('a.txt', None),
        ('a.mp3', None),
        ('mp4', None),
        ('a', None),
    ],
)
def test_kinds_are_the_same_on_all_machines(monkeypatch, path, kind):
    assert kind_of(path) == kind
    assert is_video(path) == (kind == 'video')
    types = frames_module.mimetypes.MimeTypes()  # without those of the machine
    monkeypatch.setattr(frames_module.mimetypes, 'guess_type', types.guess_type)
    assert kind_of(path) == kind


# ---- pictures


@pytest.mark.parametrize('num_readers', [1, 2, 5, 40])
def test_order_with_several_readers(tmp_path, monkeypatch, num_readers):
    paths = save_pictures(tmp_path, 12)
    read, at_work, most, second_done = frames_module.read_image, [], [], threading.Event()

    def overtaken(path):
        at_work.append(path)
        most.append(len(at_work))
        if path == paths[0] and num_readers > 1:
            assert second_done.wait(PATIENCE)
        image = read(path)
        at_work.remove(path)
        if path == paths[1]:
            second_done.set()
        return image

    monkeypatch.setattr(frames_module, 'read_image', overtaken)
    found = list(Inputs(paths, num_readers))
    assert [frame.source.name for frame in found] == paths
    assert [frame.index for frame in found] == list(range(12))
    for number, frame in enumerate(found):
        np.testing.assert_array_equal(frame.image, picture(number))
    assert (max(most) > 1) == (num_readers > 1) and max(most) <= num_readers


@pytest.mark.parametrize('num_readers', [1, 4])
def test_one_broken_picture_among_many(tmp_path, num_readers):
    paths = save_pictures(tmp_path, 4)
    Path(paths[1]).write_bytes(Path(paths[1]).read_bytes()[:50])
    paths.append(str(tmp_path / 'missing.jpg'))
    found = list(Inputs(paths, num_readers))
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.image is None for frame in found] == [False, True, False, False, True]
    assert [frame.hw is None for frame in found] == [False, True, False, False, True]
    assert '001.png is cut off' in found[1].error
    assert 'missing.jpg cannot be read: No such file' in found[4].error
    assert found[1].source.name == paths[1] and found[1].num_bytes == 0


def test_the_only_picture_is_an_error_when_broken(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_bytes(b'nothing')
    for given in (path, str(path)):
        with pytest.raises(ImageError, match=r'a\.jpg cannot be decoded'):
            list(Inputs(given))
    (frame,) = Inputs([path])
    assert 'cannot be decoded' in frame.error


def test_broken_videos(tmp_path):
    good, broken = make_numbered_video(tmp_path / 'a.mp4', 2), tmp_path / 'b.mp4'
    broken.write_bytes(b'nothing')
    found = list(Inputs([broken, good, tmp_path / 'missing.mp4', picture()]))
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.error is None for frame in found] == [False, True, True, False, True]
    assert [frame.number for frame in found] == [0, 0, 1, 0, 0]
    assert 'b.mp4 cannot be opened' in found[0].error
    assert 'missing.mp4 cannot be read' in found[3].error
    assert found[0].source.video is None
    for only in (broken, str(tmp_path / 'missing.mp4')):
        with pytest.raises(VideoError, match=r'\.mp4 cannot be'):
            list(Inputs(only))


def as_kind(kind: str) -> np.ndarray:
    if kind == 'grey':
        return picture()[..., 0]
    if kind == 'one channel':
        return picture()[..., :1]
    if kind == '16 bits':
        return picture().astype(np.uint16) * 256 + 77
    return np.dstack([picture(), np.full((90, 120), 3, np.uint8)])


@pytest.mark.parametrize('kind', ['grey', 'one channel', '16 bits', 'transparent'])
@pytest.mark.parametrize('is_file', [True, False])
def test_unusual_pictures_are_brought_to_three_channels(tmp_path, kind, is_file):
    given = as_kind(kind)
    if is_file:
        cv2.imwrite(str(tmp_path / 'a.png'), given)
        given = tmp_path / 'a.png'
    (frame,) = Inputs(given)
    assert frame.image.dtype == np.uint8 and frame.image.shape == (90, 120, 3)
    expected = picture()
    if kind in ('grey', 'one channel'):
        expected = np.repeat(expected[..., :1], 3, -1)
    np.testing.assert_array_equal(frame.image, expected)


def test_photos_are_turned_upright(tmp_path):
    _, data = cv2.imencode('.jpg', picture())
    # an EXIF segment with orientation 6: turn clockwise
    tiff = (
        b'MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00'
        + b'\0' * 4
    )
    exif = b'Exif\x00\x00' + tiff
    data = data.tobytes()
    plain, turned = tmp_path / 'plain.jpg', tmp_path / 'turned.jpg'
    plain.write_bytes(data)
    turned.write_bytes(
        data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    )
    first, second = Inputs([plain, turned])
    assert (first.hw, second.hw) == ((90, 120), (120, 90))
    np.testing.assert_array_equal(second.image, cv2.rotate(first.image, cv2.ROTATE_90_CLOCKWISE))


@pytest.mark.parametrize('num_readers', [1, 4])
@pytest.mark.parametrize('kind', [list, iter])
def test_arrays_of_other_types_are_named_after_the_frames_before(num_readers, kind):
    given = [picture(0), picture(1), picture(2) / 255.0, picture(3)]
    stream = iter(Inputs(kind(given), num_readers))
    assert [next(stream).index for _ in range(2)] == [0, 1]
    with pytest.raises(ImageError, match=r'image 2 must be .* got float64 of shape \(90, 120, 3\)'):
        next(stream)


# ---- reading ahead


class Producer:
    """Numbers 0, 1, 2, ...; what it does is to be seen."""

    def __init__(self, count: int, error: object = None, sizes: object = 1) -> None:
        self.count, self.error = count, error
        self.num_made = 0
        self.closed = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.size_of = sizes if callable(sizes) else lambda _: sizes

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                assert self.may_go_on.wait(PATIENCE)
                self.num_made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True

    def ahead(self, **options: object) -> ReadAhead:
        return ReadAhead(self, self.size_of, **options)


def assert_makes(producer: Producer, count: int) -> None:
    """So many, and then no more."""
    wait_for(lambda: producer.num_made >= count)
    time.sleep(0.01)
    assert producer.num_made == count


@pytest.mark.parametrize('max_items', [1, 2, 100])
@pytest.mark.parametrize('count', [0, 1, 50])
def test_items_come_in_order(count, max_items):
    ahead = Producer(count).ahead(max_items=max_items)
    assert list(ahead) == list(range(count))
    assert list(ahead) == [] and not ahead.ready()


@pytest.mark.parametrize('error', [KeyError('camera'), KeyboardInterrupt()])
def test_exceptions_come_after_the_items_before_them(error):
    ahead = Producer(3, error).ahead()
    wait_for(lambda: ahead._finished)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as caught:
        next(ahead)
    assert caught.value is error
    assert list(ahead) == [], 'once'


def test_what_cannot_be_iterated_is_an_error_not_a_standstill():
    with pytest.raises(TypeError, match='not iterable'):
        next(ReadAhead(7))


def test_an_error_of_the_size_is_one_of_the_item():
    ahead = ReadAhead([7], lambda item: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(ahead)


@pytest.mark.parametrize(
    ('options', 'size', 'num_waiting'),
    [
        (dict(max_items=3), 1, 3),
        (dict(max_items=1), 1, 1),
        (dict(max_bytes=100), 30, 3),
        (dict(max_bytes=100), 50, 2),
        (dict(max_bytes=100), 101, 1),
        (dict(max_bytes=100, max_items=2), 30, 2),
    ],
)
def test_nothing_is_made_further_ahead_than_allowed(options, size, num_waiting):
    producer = Producer(12, sizes=size)
    ahead = producer.ahead(**options)
    for taken in range(4):
        assert_makes(producer, taken + num_waiting + 1)  # one is in its hand
        assert ahead.ready()
        assert next(ahead) == taken
    assert list(ahead) == list(range(4, 12))
    assert producer.closed


def test_an_item_larger_than_the_bound_passes_alone():
    producer = Producer(6, sizes=lambda number: 1000 if number == 2 else 10)
    ahead = producer.ahead(max_bytes=100)
    assert_makes(producer, 3)  # the large one waits for room
    assert [next(ahead), next(ahead)] == [0, 1]
    assert_makes(producer, 4)  # nothing is put beside it
    assert list(ahead) == [2, 3, 4, 5]


def test_ready_tells_whether_an_item_is_there():
    producer = Producer(2)
    producer.may_go_on.clear()
    ahead = producer.ahead()
    assert not ahead.ready()
    producer.may_go_on.set()
    wait_for(ahead.ready)
    assert list(ahead) == [0, 1]
    assert not ahead.ready()


def test_closing_while_the_producer_waits_for_room():
    producer = Producer(100)
    items = iter(producer)  # held here, so that nothing but close() ends it
    ahead = ReadAhead(items, producer.size_of, max_items=2)
    assert_makes(producer, 3)
    start = time.monotonic()
    ahead.close()
    assert time.monotonic() - start < 1
    assert producer.closed and not ahead._thread.is_alive()
    assert producer.num_made == 3
    assert list(ahead) == []


def test_closing_while_the_producer_is_in_work():
    producer = Producer(100)
    producer.may_go_on.clear()
    ahead = producer.ahead()
    threading.Timer(0.05, producer.may_go_on.set).start()
    ahead.close()
    assert not ahead._thread.is_alive() and producer.closed, 'the one in work is waited for'
    assert producer.num_made == 1
    assert list(ahead) == []


def test_closing_after_the_end_and_with_an_error_on_closing():
    class Stubborn:
        def __iter__(self) -> 'Stubborn':
            return self

        def __next__(self) -> int:
            return 1

        def close(self) -> None:
            raise OSError('camera is gone')

    ahead = ReadAhead(Stubborn(), lambda _: 1, max_items=1)
    assert next(ahead) == 1
    ahead.close()
    assert list(ahead) == []
    ahead = Producer(1).ahead()
    assert list(ahead) == [0]
    ahead.close()


def test_closing_ends_the_threads_that_read_pictures(tmp_path):
    before = threading.active_count()
    ahead = ReadAhead(Inputs(save_pictures(tmp_path, 5), 3), max_items=1)
    assert next(ahead).index == 0
    ahead.close()
    wait_for(lambda: threading.active_count() == before)


# ---- chunks


def frame_of(number: int) -> Frame:
    return Frame(Source(str(number)), number, image=np.zeros((1, 1, 3), np.uint8))


def indices(chunks) -> list[list[int]]:
    return [[frame.index for frame in chunk] for chunk in chunks]


@pytest.mark.parametrize(
    ('count', 'size', 'expected'),
    [
        (7, 3, [[0, 1, 2], [3, 4, 5], [6]]),
        (6, 3, [[0, 1, 2], [3, 4, 5]]),
        (2, 3, [[0, 1]]),
        (3, 1, [[0], [1], [2]]),
        (0, 3, []),
    ],
)
def test_chunks_of_files_are_full(count, size, expected):
    def slowly() -> Iterator[Frame]:
        for number in range(count):
            time.sleep(0.002)
            yield frame_of(number)

    assert indices(in_chunks(ReadAhead(slowly()), size, live=False)) == expected


def test_chunks_of_live_frames_are_what_is_there():
    may_come = threading.Semaphore(0)

    def camera() -> Iterator[Frame]:
        for number in range(6):
            assert may_come.acquire(timeout=PATIENCE)
            yield frame_of(number)

    ahead = ReadAhead(camera())
    chunks = in_chunks(ahead, 3, live=True)
    found = []
    for num_more in (1, 4, 1):
        for _ in range(num_more):
            may_come.release()
        wait_for(lambda wanted=num_more: len(ahead._waiting) == wanted)
        while ahead.ready():
            found += indices([next(chunks)])
    assert found == [[0], [1, 2, 3], [4], [5]]
    assert next(chunks, None) is None


@pytest.mark.parametrize('live', [True, False])
def test_an_exception_comes_after_the_chunk_before_it(live):
    def broken() -> Iterator[Frame]:
        yield from map(frame_of, range(5))
        raise ImageError('gone')

    ahead = ReadAhead(broken())
    wait_for(lambda: ahead._finished)
    chunks = in_chunks(ahead, 3, live)
    assert indices([next(chunks), next(chunks)]) == [[0, 1, 2], [3, 4]]
    with pytest.raises(ImageError, match='gone'):
        next(chunks)


@pytest.mark.parametrize('size', [1, 4])
def test_a_generator_may_wait_for_the_result_of_its_item_before(size):
    results = []

    def items() -> Iterator[np.ndarray]:
        for number in range(20):
            wait_for(lambda number=number: len(results) == number)
            yield np.full((2, 2, 3), number, np.uint8)

    inputs = Inputs(items(), 4)
    for chunk in in_chunks(ReadAhead(inputs), size, inputs.live):
        results += [frame.image[0, 0, 0] for frame in chunk]
    assert results == list(range(20))
