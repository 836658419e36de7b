"""Files are whole or not there, hold what was found, and never take an input's place."""

import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
import pytest
from made_videos import numbered_frame, read_numbers
from mmpose.evaluation.metrics import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tiny_people import picture, random_boxes

from vitpose_mm.apis.boxes import Boxes
from vitpose_mm.apis.estimation import Estimated, Poses
from vitpose_mm.apis.frames import Frame, Source
from vitpose_mm.apis.outputs import ArraysFile, JsonList, Outputs, file_name_of
from vitpose_mm.apis.progress import ProgressLine
from vitpose_mm.apis.videos import VideoInfo


def video(name: object, fps: float = 25.0, num_frames: Optional[int] = None) -> Source:
    return Source(str(name), VideoInfo(fps, num_frames, False))


def estimated(
    source: object,
    count: int = 1,
    index: int = 0,
    number: int = 0,
    num_keypoints: Sequence[int] = (17,),
    ids: Optional[list[int]] = None,
    error: Optional[str] = None,
) -> Estimated:
    """People with random keypoints; all are read by all heads."""
    rng = np.random.default_rng(index)
    source = source if isinstance(source, Source) else Source(str(source))
    seconds = None if source.video is None else number / source.video.fps
    frame = Frame(source, index, number, seconds, error=error, hw=(90, 120))
    boxes = Boxes(
        random_boxes(count, index).reshape(-1, 4), rng.uniform(0.5, 1, count).astype(np.float32)
    )
    poses = [
        Poses(
            np.arange(count),
            rng.uniform(0, 90, (count, k, 2)).astype(np.float32),
            rng.uniform(0, 1, (count, k)).astype(np.float32),
        )
        for k in num_keypoints
    ]
    return Estimated(frame, boxes, poses, None if ids is None else np.array(ids))


def people_of(each: Estimated) -> list[list[dict]]:
    """As a run gives them: numbers of numpy among them."""
    return [
        [
            dict(keypoints=keypoints.tolist(), bbox_score=each.boxes.scores[row])
            for row, keypoints in zip(poses.rows, poses.keypoints)
        ]
        for poses in each.poses
    ]


def write(outputs: Outputs, each: Estimated, drawn: Optional[np.ndarray] = None) -> None:
    outputs.write(each, people_of(each), drawn)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


# ---- files that grow


@pytest.mark.parametrize('entries', [[], [{}], [{'a': [1, 2.5, None]}, 'b', [[]], {'c': 'ä"\n'}]])
def test_json_lists_are_json(tmp_path, entries):
    path = tmp_path / 'new' / 'folder' / 'a.json'
    file = JsonList(path)
    for entry in entries:
        file.append(entry)
    assert not path.exists()
    file.close()
    file.close()
    assert json.loads(path.read_text()) == entries
    assert files_in(tmp_path) == ['new/folder/a.json']


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    file = JsonList(tmp_path / 'a.json')
    file.append(dict(a=np.float32(0.5), b=np.array([[1, 2]]), c=np.int64(3), d=np.bool_(True)))
    with pytest.raises(TypeError, match=r'Path.*cannot be written as JSON'):
        file.append(tmp_path)
    file.append(1)
    file.close()
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found == [dict(a=0.5, b=[[1, 2]], c=3, d=True), 1]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    child = os.fork()
    if child == 0:
        file = JsonList(path)
        for number in range(5000):
            file.append(number)
        file.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert path.read_text() == 'old'
    assert len((tmp_path / 'a.json.partial').read_text()) > 5000
    file = JsonList(path)
    file.append(7)
    file.close()
    assert json.loads(path.read_text()) == [7]
    assert files_in(tmp_path) == ['a.json'], 'what the killed one left is gone, too'


needs_full = pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')


@needs_full
@pytest.mark.parametrize('is_old', [True, False])
@pytest.mark.parametrize('num_entries', [0, 1, 5000])
def test_a_full_disk_leaves_the_old_list(tmp_path, num_entries, is_old):
    path = tmp_path / 'a.json'
    if is_old:
        path.write_text('old')
    (tmp_path / 'a.json.partial').symlink_to('/dev/full')
    file = JsonList(path)
    with pytest.raises(OSError, match=r'a\.json could not be written \(No space left') as caught:
        for number in range(num_entries):
            file.append(number)
        file.close()
    assert caught.value.errno == 28
    file.close()
    assert files_in(tmp_path) == (['a.json'] if is_old else [])
    assert not is_old or path.read_text() == 'old'


@needs_full
@pytest.mark.parametrize('is_column', [True, False])
@pytest.mark.parametrize('count', [1, 500])
def test_a_full_disk_leaves_the_old_arrays(tmp_path, monkeypatch, count, is_column):
    path = tmp_path / 'a.npz'
    path.write_text('old')
    if is_column:
        full = open('/dev/full', 'w+b')  # noqa: SIM115
        monkeypatch.setattr(tempfile, 'TemporaryFile', lambda dir: full)
    else:
        (tmp_path / 'a.npz.partial').symlink_to('/dev/full')
    file = ArraysFile(path)
    with pytest.raises(OSError, match=r'a\.npz could not be written \(No space left'):
        file.append(estimated('a.jpg', count))
        file.close()
    file.close()
    assert path.read_text() == 'old' and files_in(tmp_path) == ['a.npz']


@pytest.mark.parametrize('make', [JsonList, ArraysFile])
def test_names_that_cannot_be_written_are_found_at_once(tmp_path, make):
    (tmp_path / 'a.npz').mkdir()
    with pytest.raises(IsADirectoryError, match=r'a\.npz could not be written \(it is a folder'):
        make(tmp_path / 'a.npz')
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'):
        make(tmp_path / 'file' / 'a.npz')
    (tmp_path / 'b.npz.partial').mkdir()
    with pytest.raises(IsADirectoryError, match=r'b\.npz could not be written'):
        make(tmp_path / 'b.npz')


def test_what_is_discarded_leaves_nothing(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    file = JsonList(path)
    file.append(1)
    file.discard()
    file.discard()
    file.close()
    assert files_in(tmp_path) == ['a.json'] and path.read_text() == 'old'


# ---- arrays


@pytest.mark.parametrize('counts', [[0], [2], [1, 0, 3], [0, 300]])
def test_arrays_are_those_of_all_frames(tmp_path, counts):
    path = tmp_path / 'a.npz'
    given = [estimated(f'{index // 2}.jpg', count, index) for index, count in enumerate(counts)]
    file = ArraysFile(path)
    for each in given:
        file.append(each)
    file.close()
    with np.load(path) as found:
        found = dict(found)
    total = sum(counts)
    poses = [each.poses[0] for each in given]
    expected = dict(
        keypoints=np.concatenate([each.keypoints for each in poses]),
        keypoint_scores=np.concatenate([each.scores for each in poses]),
        bboxes=np.concatenate([each.boxes.xyxy for each in given]),
        bbox_scores=np.concatenate([each.boxes.scores for each in given]),
        frame=np.repeat(np.arange(len(counts)), counts),
        seconds=np.full(total, np.nan),
        track_ids=np.full(total, -1),
        head=np.zeros(total, np.int64),
        source=np.repeat(np.arange(len(counts)) // 2, counts),
        names=np.array(['0.jpg', '1.jpg'][: (len(counts) + 1) // 2]),
    )
    assert set(found) == set(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)
        assert found[name].dtype == column.dtype, name
    assert found['keypoints'].shape == (total, 17, 2) and found['bboxes'].shape == (total, 4)
    assert files_in(tmp_path) == ['a.npz']


def test_arrays_of_a_video_with_ids(tmp_path):
    file = ArraysFile(tmp_path / 'a.npz')
    source = video('a.mp4', fps=10)
    for number in range(3):
        each = estimated(source, 2, 5 + number, number, ids=[7, 8 + number])
        each.poses[0] = each.poses[0][[1]]  # suppressed
        file.append(each)
    file.close()
    with np.load(tmp_path / 'a.npz') as found:
        np.testing.assert_allclose(found['seconds'], [0, 0.1, 0.2])
        np.testing.assert_array_equal(found['track_ids'], [8, 9, 10])
        np.testing.assert_array_equal(found['frame'], [5, 6, 7])
        np.testing.assert_array_equal(found['bboxes'][0], random_boxes(2, 5)[1])
        assert found['names'].tolist() == ['a.mp4']


def test_arrays_of_heads_with_different_keypoints(tmp_path):
    file = ArraysFile(tmp_path / 'a.npz')
    given = [estimated('a.jpg', 2, index, num_keypoints=(14, 17, 14)) for index in range(2)]
    for each in given:
        file.append(each)
    file.close()
    with np.load(tmp_path / 'a.npz') as found:
        assert found['keypoints'].shape == (12, 17, 2)
        assert found['head'].tolist() == [0, 0, 1, 1, 2, 2] * 2
        assert found['frame'].tolist() == [0] * 6 + [1] * 6
        for head, k in enumerate((14, 17, 14)):
            rows = found['head'] == head
            expected = np.concatenate([each.poses[head].keypoints for each in given])
            np.testing.assert_array_equal(found['keypoints'][rows, :k], expected)
            assert np.isnan(found['keypoints'][rows, k:]).all()
            expected = np.concatenate([each.poses[head].scores for each in given])
            np.testing.assert_array_equal(found['keypoint_scores'][rows, :k], expected)
            assert (found['keypoint_scores'][rows, k:] == 0).all()


def test_arrays_of_no_frames(tmp_path):
    ArraysFile(tmp_path / 'a.npz').close()
    with np.load(tmp_path / 'a.npz') as found:
        assert found.files == ['names'] and found['names'].shape == (0,)


def test_arrays_need_their_suffix(tmp_path):
    with pytest.raises(ValueError, match=r'a file that ends with \.npz, got .*a\.json'):
        ArraysFile(tmp_path / 'a.json')
    with pytest.raises(ValueError, match=r'\.npz'):
        Outputs(coco_out=str(tmp_path / 'coco.json'), arrays_out=str(tmp_path / 'a.txt'))
    (tmp_path / 'folder').mkdir()
    with pytest.raises(IsADirectoryError):
        Outputs(coco_out=str(tmp_path / 'folder'), arrays_out=str(tmp_path / 'a.npz'))
    assert files_in(tmp_path) == [], 'nothing is left of the other'


# ---- COCO's results


def test_coco_results_are_read_by_pycocotools(tmp_path, capsys):
    path = tmp_path / 'coco.json'
    outputs = Outputs(coco_out=str(path))
    given = [estimated(f'{10 + index:012}.jpg', 3, index) for index in range(4)]
    given[2] = estimated('000000000012.jpg', 0, 2)
    for each in given:
        write(outputs, each)
    outputs.close()
    annotations = []
    for each in given:
        for row, (left, top, right, bottom) in enumerate(each.boxes.xyxy.tolist()):
            visible = np.column_stack([each.poses[0].keypoints[row], np.full(17, 2)])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=10 + each.frame.index,
                    category_id=1,
                    keypoints=visible.ravel().tolist(),
                    num_keypoints=17,
                    bbox=[left, top, right - left, bottom - top],
                    area=(right - left) * (bottom - top),
                    iscrowd=0,
                )
            )
    truth = COCO()
    truth.dataset = dict(
        images=[dict(id=10 + index) for index in range(4)],
        annotations=annotations,
        categories=[dict(id=1, name='person')],
        info={},
    )
    truth.createIndex()
    found = truth.loadRes(str(path))
    assert sorted(found.imgToAnns) == [10, 11, 13]
    evaluation = COCOeval(truth, found, 'keypoints')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == pytest.approx(1.0), 'average precision'
    first = json.loads(path.read_text())[1]
    left, top, right, bottom = random_boxes(3, 0)[1].tolist()
    assert first['bbox'] == [left, top, right - left, bottom - top]


def test_coco_results_are_those_of_mmposes_metric(tmp_path):
    given = [estimated(f'{10 + index}.jpg', 3, index) for index in range(3)]
    given[1].poses[0].scores[2] = 0.15  # none above the metric's threshold
    outputs = Outputs(coco_out=str(tmp_path / 'ours.json'))
    metric = CocoMetric(nms_mode='none', format_only=True, outfile_prefix=str(tmp_path / 'theirs'))
    metric.dataset_meta = dict(dataset_name='unknown', num_keypoints=17)
    metric.coco = COCO()
    results = []
    for each in given:
        write(outputs, each)
        poses = each.poses[0]
        for row in range(3):
            result = dict(id=len(results), img_id=10 + each.frame.index, category_id=1)
            result.update(
                keypoints=poses.keypoints[[row]],
                keypoint_scores=poses.scores[[row]],
                bbox_scores=each.boxes.scores[[row]],
            )
            results.append((result, {}))
    outputs.close()
    metric.compute_metrics(results)
    ours = json.loads((tmp_path / 'ours.json').read_text())
    theirs = json.loads((tmp_path / 'theirs.keypoints.json').read_text())
    assert len(ours) == len(theirs) == 9
    for one, other in zip(ours, theirs):
        assert set(one) - set(other) == {'bbox'}
        assert (one['image_id'], one['category_id']) == (other['image_id'], other['category_id'])
        np.testing.assert_array_equal(one['keypoints'], other['keypoints'])
        assert one['score'] == pytest.approx(other['score'], rel=1e-6)
    assert [entry['score'] == 0 for entry in ours].index(True) == 5


def test_image_ids_of_coco_results(tmp_path):
    outputs = Outputs(coco_out=str(tmp_path / 'a.json'))
    clip = video('0005.mp4')
    for each in (
        estimated('x/img_0042.png', 1, 0),
        estimated('no digits.png', 1, 1),
        estimated(clip, 1, 2, 0),
        estimated(clip, 1, 3, 1),
    ):
        write(outputs, each)
    outputs.close()
    ids = [entry['image_id'] for entry in json.loads((tmp_path / 'a.json').read_text())]
    assert ids == [42, 1, 2, 3]
    outputs = Outputs(coco_out=str(tmp_path / 'a.json'), image_id={'7.png': 99}.get)
    write(outputs, estimated('7.png', 2, 5))
    write(outputs, estimated('8.png', 1, 6))
    outputs.close()
    ids = [entry['image_id'] for entry in json.loads((tmp_path / 'a.json').read_text())]
    assert ids == [99, 99, 6]


# ---- pictures


def test_a_pictures_people_as_json(tmp_path):
    outputs = Outputs(pred_out_dir=str(tmp_path / 'out'))
    two, nobody = estimated('x/a.jpg', 2), estimated('b.c.png', 0)
    write(outputs, two)
    write(outputs, nobody)
    write(outputs, estimated('broken.jpg', 0, error='broken'))
    assert files_in(tmp_path) == ['out/a.json', 'out/b.c.json'], 'at once, but of what was read'
    (people,) = people_of(two)
    expected = [dict(each, bbox_score=float(each['bbox_score'])) for each in people]
    assert json.loads((tmp_path / 'out/a.json').read_text()) == expected
    assert json.loads((tmp_path / 'out/b.c.json').read_text()) == []
    outputs.close()


def test_people_of_several_heads_are_in_one_list(tmp_path):
    outputs = Outputs(pred_out_dir=str(tmp_path))
    write(outputs, estimated('a.jpg', 2, num_keypoints=(17, 14)))
    people = json.loads((tmp_path / 'a.json').read_text())
    assert [len(person['keypoints']) for person in people] == [17, 17, 14, 14]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a.png', 'a.png'),
        ('x/a.PNG', 'a.png'),
        ('a.bmp', 'a.bmp'),
        ('a.gif', 'a.png'),
        ('a.heic', 'a.png'),
        ('a', 'a.png'),
        ('a.b', 'a.png'),
        ('.png', '.png.png'),
        ('http://host/x/a.tif?size=5', 'a.tif'),
    ],
)
def test_drawn_pictures_keep_their_format_if_it_can_be_written(tmp_path, name, expected):
    outputs = Outputs(vis_out_dir=str(tmp_path / 'out'))
    write(outputs, estimated(name), picture())
    assert files_in(tmp_path) == [f'out/{expected}']
    drawn = cv2.imread(str(tmp_path / 'out' / expected), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(drawn, picture())


@pytest.mark.parametrize('suffix', ['.jpg', '.jpeg', '.webp'])
def test_drawn_pictures_of_formats_with_losses(tmp_path, suffix):
    outputs = Outputs(vis_out_dir=str(tmp_path))
    write(outputs, estimated(f'a{suffix}'), picture())
    drawn = cv2.imread(str(tmp_path / f'a{suffix}'))
    assert np.abs(drawn.astype(int) - picture()).mean() < 5


def test_equal_names_from_several_folders_do_not_collide(tmp_path):
    outputs = Outputs(str(tmp_path / 'vis'), str(tmp_path / 'pred'))
    names = ['x/a.png', 'y/a.png', 'z/a.png', 'a_2.png', 'a.bmp', 'a.gif']
    for index, name in enumerate(names):
        write(outputs, estimated(name, index), picture(index))
    outputs.close()
    jsons = ['a.json', 'a_2.json', 'a_3.json', 'a_2_2.json', 'a_4.json', 'a_5.json']
    pictures = ['a.png', 'a_2.png', 'a_3.png', 'a_2_2.png', 'a.bmp', 'a_4.png']
    assert files_in(tmp_path / 'pred') == sorted(jsons)
    assert files_in(tmp_path / 'vis') == sorted(pictures)
    for index in range(6):
        people = json.loads((tmp_path / 'pred' / jsons[index]).read_text())
        assert len(people) == index
        drawn = cv2.imread(str(tmp_path / 'vis' / pictures[index]))
        np.testing.assert_array_equal(drawn, picture(index))
    again = Outputs(pred_out_dir=str(tmp_path / 'pred'))
    write(again, estimated('a.png', 9))
    assert len(json.loads((tmp_path / 'pred/a.json').read_text())) == 9, 'of an earlier run'


@pytest.mark.parametrize('name', ['out.mp4', 'out.AVI', 'out.jpg'])
def test_a_files_name_where_a_folder_is_needed(tmp_path, name):
    outputs = Outputs(vis_out_dir=str(tmp_path / name))
    with pytest.raises(ValueError, match=rf'vis_out_dir must be a folder .* got .*{name}'):
        write(outputs, estimated('a.png'), picture())
    assert files_in(tmp_path) == []
    (tmp_path / name).mkdir()
    write(outputs, estimated('a.png'), picture())
    assert files_in(tmp_path) == [f'{name}/a.png'], 'a folder may have such a name'


@pytest.mark.parametrize('kind', ['the same', 'another name of the folder', 'a link to it'])
def test_an_input_is_never_overwritten(tmp_path, monkeypatch, kind):
    (tmp_path / 'in').mkdir()
    path, out = tmp_path / 'in' / 'a.png', tmp_path / 'in'
    path.write_bytes(b'input')
    if kind == 'another name of the folder':
        out = tmp_path / 'other'
        out.symlink_to(tmp_path / 'in')
    elif kind == 'a link to it':
        out = tmp_path / 'links'
        out.mkdir()
        (out / 'a.png').symlink_to(path)
    outputs = Outputs(vis_out_dir=str(out))
    with pytest.raises(ValueError, match=r'/a\.png is an input and would be overwritten: name an'):
        write(outputs, estimated(path), picture())
    monkeypatch.chdir(tmp_path / 'in')
    with pytest.raises(ValueError, match='would be overwritten'):
        write(Outputs(vis_out_dir=str(out)), estimated('a.png'), picture())
    assert path.read_bytes() == b'input'


def test_inputs_whose_turn_is_still_to_come_are_not_overwritten(tmp_path, monkeypatch):
    for folder in ('x', 'y'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a.png').write_bytes(b'input')
    (tmp_path / 'link').symlink_to(tmp_path / 'y')
    monkeypatch.chdir(tmp_path)
    for out in ('y', str(tmp_path / 'y'), 'link', 'x/../y'):
        outputs = Outputs(vis_out_dir=out, inputs=['x/a.png', 'y/a.png', 'http://host/b.png'])
        with pytest.raises(ValueError, match=r'a\.png is an input and would be overwritten'):
            write(outputs, estimated('x/a.png'), picture())
    for option in ('coco_out', 'arrays_out'):
        with pytest.raises(ValueError, match=r'a\.png is an input and would be overwritten'):
            Outputs(**{option: 'link/a.png'}, inputs=['x/a.png', 'y/a.png'])
    outputs = Outputs(vis_out_dir='out', inputs=['x/a.png', 'y/a.png'])
    write(outputs, estimated('x/a.png'), picture())
    write(outputs, estimated('y/a.png'), picture())
    assert files_in(tmp_path / 'out') == ['a.png', 'a_2.png']
    assert (tmp_path / 'y/a.png').read_bytes() == b'input'


# ---- videos


def test_a_videos_frames_as_json_and_drawn(tmp_path):
    outputs = Outputs(str(tmp_path / 'vis'), str(tmp_path / 'pred'))
    clips = [video('x/a.avi', fps=10), video('x/a.avi', fps=10)]  # the same one twice
    index = 0
    for clip in clips:
        for number in range(4):
            write(outputs, estimated(clip, number, index, number), numbered_frame(index))
            index += 1
    write(outputs, estimated('b.png', 1, index), picture())
    outputs.close()
    assert files_in(tmp_path) == [
        'pred/a.json', 'pred/a_2.json', 'pred/b.json', 'vis/a.avi', 'vis/a_2.avi', 'vis/b.png',
    ]  # fmt: skip
    for name in ('a', 'a_2'):
        frames = json.loads((tmp_path / f'pred/{name}.json').read_text())
        assert [frame['frame_id'] for frame in frames] == [0, 1, 2, 3]
        assert [frame['time'] for frame in frames] == [0, 0.1, 0.2, 0.3]
        assert [len(frame['instances']) for frame in frames] == [0, 1, 2, 3]
        assert len(frames[3]['instances'][0]['keypoints']) == 17
    assert read_numbers(tmp_path / 'vis/a.avi') == [0, 1, 2, 3]
    assert read_numbers(tmp_path / 'vis/a_2.avi') == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a.mov', 'a.mov'),
        ('a.MKV', 'a.mkv'),
        ('a.webm', 'a.mp4'),
        ('webcam:2', 'webcam2.mp4'),
        ('webcam', 'webcam.mp4'),
        ('rtsp://me:secret@host', 'host.mp4'),
        ('rtsp://me:secret@host/live/', 'live.mp4'),
        ('http://host/a.mp4?user=me/b', 'a.mp4'),
        ('what?.mp4', 'what?.mp4'),
        ('me@home.mp4', 'me@home.mp4'),
    ],
)
def test_names_of_drawn_videos(tmp_path, name, expected):
    assert Path(file_name_of(video(name))).stem == Path(expected).stem
    outputs = Outputs(str(tmp_path / 'vis'), str(tmp_path / 'pred'))
    write(outputs, estimated(video(name)), numbered_frame(5))
    outputs.close()
    assert files_in(tmp_path) == [f'pred/{Path(expected).stem}.json', f'vis/{expected}']
    assert read_numbers(tmp_path / 'vis' / expected) == [5]


@pytest.mark.parametrize('name', ['out.mkv', 'out.MP4'])
def test_a_videos_own_name_is_used_once(tmp_path, name):
    outputs = Outputs(vis_out_dir=str(tmp_path / 'new' / name))
    for number, clip in enumerate((video('a.mp4'), video('b.mp4'))):
        write(outputs, estimated(clip), numbered_frame(number))
    outputs.close()
    second = f'{Path(name).stem}_2{Path(name).suffix}'
    assert files_in(tmp_path / 'new') == sorted([name, second])
    assert read_numbers(tmp_path / 'new' / name) == [0]
    assert read_numbers(tmp_path / 'new' / second) == [1]


@pytest.mark.parametrize('out', ['', 'a.mp4'])
def test_a_video_is_not_written_over_itself(tmp_path, out):
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'input')
    (tmp_path / 'pred').mkdir()
    (tmp_path / 'pred/a.json').write_text('old')
    outputs = Outputs(str(tmp_path / out), str(tmp_path / 'pred'))
    with pytest.raises(ValueError, match=r'a\.mp4 is an input and would be overwritten'):
        write(outputs, estimated(video(path)), numbered_frame(0))
    outputs.close()
    assert path.read_bytes() == b'input' and (tmp_path / 'pred/a.json').read_text() == 'old'
    assert files_in(tmp_path) == ['a.mp4', 'pred/a.json']


# ---- runs that are stopped


def test_files_of_a_stopped_run_are_complete(tmp_path):
    outputs = Outputs(
        str(tmp_path / 'vis'),
        str(tmp_path / 'pred'),
        str(tmp_path / 'coco.json'),
        str(tmp_path / 'arrays.npz'),
    )
    clip = video('a.mp4')
    for number in range(3):
        write(outputs, estimated(clip, 2, number, number), numbered_frame(number))
    assert not (tmp_path / 'coco.json').exists() and not (tmp_path / 'pred/a.json').exists()
    outputs.close()
    outputs.close()
    assert files_in(tmp_path) == ['arrays.npz', 'coco.json', 'pred/a.json', 'vis/a.mp4']
    assert len(json.loads((tmp_path / 'pred/a.json').read_text())) == 3
    assert len(json.loads((tmp_path / 'coco.json').read_text())) == 6
    with np.load(tmp_path / 'arrays.npz') as found:
        assert found['keypoints'].shape == (6, 17, 2)
    assert read_numbers(tmp_path / 'vis/a.mp4') == [0, 1, 2]


def test_files_of_a_run_without_frames(tmp_path):
    Outputs(
        str(tmp_path / 'vis'), None, str(tmp_path / 'coco.json'), str(tmp_path / 'a.npz')
    ).close()
    assert files_in(tmp_path) == ['a.npz', 'coco.json']
    assert json.loads((tmp_path / 'coco.json').read_text()) == []


@needs_full
def test_one_file_that_fails_does_not_keep_the_others_from_being_finished(tmp_path):
    (tmp_path / 'coco.json.partial').symlink_to('/dev/full')
    outputs = Outputs(
        None, str(tmp_path / 'pred'), str(tmp_path / 'coco.json'), str(tmp_path / 'a.npz')
    )
    write(outputs, estimated(video('a.mp4'), 2), None)
    with pytest.raises(OSError, match=r'coco\.json could not be written'):
        outputs.close()
    assert files_in(tmp_path) == ['a.npz', 'pred/a.json']
    with np.load(tmp_path / 'a.npz') as found:
        assert found['frame'].tolist() == [0, 0]


# ---- progress


PICTURE, CLIP, ENDLESS = Source('a.jpg'), video('a.mp4', num_frames=3), video('b.mp4')


@pytest.mark.parametrize(
    ('num_items', 'sources', 'expected'),
    [
        (0, [], '0/? frames'),
        (1, [PICTURE], '1/1 frames'),
        (5, [PICTURE] * 2, '2/5 frames'),
        (3, [PICTURE, *[CLIP] * 3, PICTURE], '5/5 frames'),
        (2, [*[CLIP] * 2], '2/4 frames'),
        (2, [*[CLIP] * 3, *[video('a.mp4', num_frames=3)] * 3], '6/6 frames'),
        (2, [PICTURE, *[ENDLESS] * 4], '5/? frames'),
        (3, [ENDLESS, CLIP, PICTURE], '3/? frames'),
        (None, [PICTURE, CLIP], '2/? frames'),
    ],
)
def test_progress_without_a_terminal(capsys, num_items, sources, expected):
    line = ProgressLine(num_items, disable=False)
    for source in sources:
        line.advance(source, 2)
    line.close()
    shown = capsys.readouterr()
    assert expected in shown.out and shown.err == ''
    assert ('people/s' in shown.out) == bool(sources)


def test_progress_is_silent_when_it_is_disabled(capsys):
    line = ProgressLine(3, disable=True)
    line.advance(PICTURE, 2)
    line.advance(CLIP, 0)
    line.close()
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('names', [('a/IMG_1.jpg', 'b/IMG_1.jpg'), ('IMG_1.jpg', 'foo.jpg')])
def test_two_pictures_never_share_an_image_id(tmp_path, names):
    outputs = Outputs(coco_out=str(tmp_path / 'coco.json'))
    write(outputs, estimated(names[0], index=0), picture())
    with pytest.raises(ValueError, match='have the same image_id 1 in coco_out'):
        write(outputs, estimated(names[1], index=1), picture())
