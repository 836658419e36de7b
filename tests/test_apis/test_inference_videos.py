"""Videos through the inferencer: ids, JSON and frames agree, times and rotations are respected."""

import gc
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_videos import make_numbered_video, make_video, set_frame_durations, set_rotation
from tiny_people import FakeDetector, save_weights, tiny_config

from vitpose_mm.apis import ViTPoseInferencer
from vitpose_mm.apis.frames import Frame
from vitpose_mm.apis.videos import VideoError, VideoReader

HW = (96, 128)


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory) -> ViTPoseInferencer:
    weights = save_weights(tiny_config(), tmp_path_factory.mktemp('weights'))
    made = ViTPoseInferencer(tiny_config(), weights, 'cpu', det_model='whole_image')
    made.detector, made._whole_image = FakeDetector(), False
    return made


def scene(number: int) -> np.ndarray:
    """One person from frame 4 to 23, walking right, another from frame 10 to 15; else nobody."""
    image = np.full((*HW, 3), 60, np.uint8)
    if 4 <= number < 24:
        left = 4 + 2 * (number - 4)
        FakeDetector.draw(image, (left, 8, left + 20, 44))
    if 10 <= number < 16:
        FakeDetector.draw(image, (90, 52, 112, 90))
    return image


@pytest.fixture
def video(tmp_path) -> str:
    return str(make_video(tmp_path / 'people.mp4', map(scene, range(30)), fps=20.0))


def frames_of(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [image for image, _ in reader]


def test_ids_json_and_frames_agree(inferencer, video, tmp_path):
    out = tmp_path / 'out'
    results = list(
        inferencer(video, tracking=True, out_dir=str(out), coco_out=str(out / 'coco.json'))
    )
    expected = [(4 <= n < 24) + (10 <= n < 16) for n in range(30)]
    assert [len(result['predictions'][0]) for result in results] == expected
    ids = [[person['track_id'] for person in result['predictions'][0]] for result in results]
    assert all(set(own) == {0} for own in ids[4:10] + ids[16:24])
    assert all(set(own) == {0, 1} for own in ids[10:16])
    written = json.loads((out / 'predictions/people.json').read_text())
    assert [entry['frame_id'] for entry in written] == list(range(30))
    np.testing.assert_allclose([entry['time'] for entry in written], np.arange(30) / 20, atol=1e-3)
    assert [entry['time'] for entry in written] == [result['time'] for result in results]
    for entry, result in zip(written, results):
        (people,) = result['predictions']
        assert [p['track_id'] for p in entry['instances']] == [p['track_id'] for p in people]
        for one, other in zip(entry['instances'], people):
            np.testing.assert_allclose(one['keypoints'], other['keypoints'])
    drawn = frames_of(out / 'visualizations/people.mp4')
    assert len(drawn) == 30 and drawn[0].shape == (*HW, 3)
    coco = json.loads((out / 'coco.json').read_text())
    assert [entry['image_id'] for entry in coco] == [
        n for n in range(30) for _ in range(expected[n])
    ]


def test_a_video_is_never_written_over_itself(inferencer, video, tmp_path):
    before = Path(video).read_bytes()
    with pytest.raises(ValueError, match=r'people.mp4 is an input and would be overwritten'):
        list(inferencer(video, vis_out_dir=str(tmp_path)))
    assert Path(video).read_bytes() == before


def test_the_name_of_the_only_video(inferencer, video, tmp_path):
    list(inferencer(video, vis_out_dir=str(tmp_path / 'named.avi')))
    assert len(frames_of(tmp_path / 'named.avi')) == 30


def test_smoothing_leaves_first_detections_alone(inferencer, video):
    plain = list(inferencer(video, tracking=True))
    smooth = list(inferencer(video, tracking=True, smoothing=dict(min_cutoff=0.5, beta=0.1)))
    first_seen = set()
    moved = 0
    for one, other in zip(plain, smooth):
        for person, smoothed in zip(one['predictions'][0], other['predictions'][0]):
            assert person['track_id'] == smoothed['track_id']
            if person['track_id'] not in first_seen:
                assert person['keypoints'] == smoothed['keypoints']
                first_seen.add(person['track_id'])
            moved += person['keypoints'] != smoothed['keypoints']
    assert first_seen == {0, 1} and moved > 15


def test_escape_ends_a_video_that_is_shown(inferencer, video, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        inferencer.visualizer, 'show', lambda image, **options: shown.append(options['wait_time'])
    )
    monkeypatch.setattr(
        'vitpose_mm.apis.drawing.cv2.waitKey', lambda _: 27 if len(shown) > 4 else 0
    )
    results = list(inferencer(video, show=True, pred_out_dir=str(tmp_path / 'out')))
    assert len(results) == len(shown) == 5
    assert all(0 < seconds < 0.001 for seconds in shown), 'it does not wait for a key'
    assert len(json.loads((tmp_path / 'out/people.json').read_text())) == 5


def test_each_video_has_its_own_ids(inferencer, video, tmp_path):
    other = str(make_video(tmp_path / 'again.mp4', map(scene, range(8)), fps=20.0))
    results = list(inferencer([video, other], tracking=True, pred_out_dir=str(tmp_path / 'out')))
    assert len(results) == 38
    assert results[-1]['predictions'][0][0]['track_id'] == 0
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['again.json', 'people.json']


def test_a_list_of_pictures_is_tracked_as_one_sequence(inferencer):
    results = list(inferencer([scene(number) for number in range(4, 12)], tracking=True))
    assert [len(result['predictions'][0]) for result in results] == [1] * 6 + [2] * 2
    assert {result['predictions'][0][0]['track_id'] for result in results[:6]} == {0}


def test_variable_rates_are_respected(inferencer, tmp_path):
    path = make_video(tmp_path / 'variable.mp4', map(scene, range(8)), fps=20.0)
    durations = [50, 50, 200, 50, 50, 150, 50, 50]
    set_frame_durations(path, durations)
    list(inferencer(str(path), out_dir=str(tmp_path / 'out')))
    written = json.loads((tmp_path / 'out/predictions/variable.json').read_text())
    times = np.concatenate([[0], np.cumsum(durations)[:-1]]) / 1000
    np.testing.assert_allclose([entry['time'] for entry in written], times, atol=2e-3)
    with VideoReader(tmp_path / 'out/visualizations/variable.mp4') as drawn:
        seconds = [second for _, second in drawn]
    assert seconds[-1] == pytest.approx(times[-1], abs=0.1)


@pytest.mark.parametrize('degrees', [90, 270])
def test_a_portrait_video_with_a_rotation_flag(inferencer, tmp_path, degrees):
    upright = scene(6)
    turned = np.ascontiguousarray(np.rot90(upright, degrees // 90))
    path = make_video(tmp_path / 'phone.mp4', [turned] * 3)
    set_rotation(path, degrees)
    results = list(inferencer(str(path), out_dir=str(tmp_path / 'out')))
    (person,) = results[0]['predictions'][0]
    left, top, right, bottom = person['bbox'][0]
    wanted = inferencer(upright)
    expected = next(wanted)['predictions'][0][0]['bbox'][0]
    if (right - left < bottom - top) != (expected[2] - expected[0] < expected[3] - expected[1]):
        pytest.fail('the person lies on the side')
    assert frames_of(tmp_path / 'out/visualizations/phone.mp4')[0].shape[:2] == HW


def test_stopping_early_leaves_whole_files(inferencer, video, tmp_path):
    results = inferencer(video, out_dir=str(tmp_path / 'out'), batch_size=1)
    for _ in range(12):
        next(results)
    results.close()
    written = json.loads((tmp_path / 'out/predictions/people.json').read_text())
    drawn = frames_of(tmp_path / 'out/visualizations/people.mp4')
    assert len(written) == len(drawn) and 12 <= len(written) < 20
    assert sorted(path.name for path in (tmp_path / 'out/visualizations').iterdir()) == [
        'people.mp4'
    ]


def test_a_video_without_frames(inferencer, tmp_path, video):
    empty = make_video(tmp_path / 'empty.mp4', [])
    with pytest.raises(VideoError, match=r'empty.mp4 (holds no frame|cannot be opened)'):
        list(inferencer(str(empty)))
    results = list(inferencer([str(empty), video]))
    assert 'empty.mp4' in results[0]['error'] and len(results) == 31


def test_a_webcam_that_goes_away(inferencer, tmp_path, monkeypatch):
    frames = [scene(number) for number in range(4, 9)]
    opened = []

    class Camera:
        def __init__(self, *arguments):
            opened.append(arguments[0])
            self.left = list(frames)

        def isOpened(self):  # noqa: N802
            return True

        def read(self):
            return (True, self.left.pop(0)) if self.left else (False, None)

        def get(self, key):
            return 0.0

        def set(self, key, value):
            return True

        def release(self):
            pass

    reader = cv2.VideoCapture
    monkeypatch.setattr('vitpose_mm.apis.videos.cv2.VideoCapture', Camera)
    messages = []
    monkeypatch.setattr('vitpose_mm.apis.videos.print_log', lambda text, **_: messages.append(text))
    results = list(inferencer('webcam:3', tracking=True, show=False, pred_out_dir=str(tmp_path)))
    monkeypatch.setattr('vitpose_mm.apis.videos.cv2.VideoCapture', reader)
    assert opened == [3] and len(results) == 5
    assert any('camera 3 gives no more frames, after 5' in message for message in messages)
    assert len(json.loads((tmp_path / 'webcam3.json').read_text())) == 5


def test_a_full_disk_ends_a_video_whole(inferencer, video, tmp_path, monkeypatch):
    free = [1 << 40] * 3

    def disk_usage(path):
        return type('Usage', (), dict(free=free.pop() if free else 0))

    monkeypatch.setattr('vitpose_mm.apis.videos.shutil.disk_usage', disk_usage)
    monkeypatch.setattr('vitpose_mm.apis.videos.SPACE_CHECK_SECONDS', 0.0)
    with pytest.raises(OSError, match=r'people.mp4 could not be written \(after \d+ frames 0 MiB'):
        list(inferencer(video, out_dir=str(tmp_path / 'out')))
    drawn = frames_of(tmp_path / 'out/visualizations/people.mp4')
    assert 1 <= len(drawn) <= 4
    assert json.loads((tmp_path / 'out/predictions/people.json').read_text())


def test_memory_does_not_grow_with_frames(inferencer, tmp_path):
    """Never are more frames alive than may wait; benchmarks/inference_memory.py has figures."""
    path = str(make_numbered_video(tmp_path / 'long.mp4', 300))
    greatest = 0
    for number, _ in enumerate(inferencer(path, pred_out_dir=str(tmp_path / 'out'))):
        if number % 60 == 59:
            alive = [each for each in gc.get_objects() if isinstance(each, Frame)]
            greatest = max(greatest, len(alive))
    assert 0 < greatest < 200
