import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from vitpose_mm.datasets import generated_persons
from vitpose_mm.datasets.figure_drawing import IDS_PER_PERSON, PART_IDS, draw_figure, sample_look
from vitpose_mm.datasets.figures import JOINT_INDEX, KEYPOINT_NAMES, sample_figure
from vitpose_mm.datasets.generated_persons import (
    annotate,
    generate_scene,
    keypoint_average_precision,
    mean_pose_results,
    write_dataset,
)

TOOL = Path(__file__).parents[2] / 'tools' / 'generate_persons.py'


def keypoint_array(annotation):
    return np.array(annotation['keypoints']).reshape(17, 3)


def figure_facing_viewer(least, most, seed=0):
    """An upright figure whose torso and head face the viewer by a cosine in [least, most]."""
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        figure = sample_figure(rng)
        facing = (figure.torso_axes[2, 2], figure.head_axes[2, 2])
        if least <= min(facing) and max(facing) <= most and figure.torso_axes[1, 1] > 0.8:
            return figure
    raise AssertionError('no such figure')


def drawn(*figures):
    """Id map of figures on an empty picture 200 px wide and 240 px high."""
    image, ids = np.zeros((240, 200, 3), np.uint8), np.zeros((240, 200), np.uint8)
    for person, figure in enumerate(figures):
        draw_figure(image, ids, figure, sample_look(np.random.default_rng(0)), person)
    return ids


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp('generated') / 'persons'
    assert write_dataset(folder, 60, 40, seed=3)
    return folder


def annotations_of(folder, split):
    path = folder / 'annotations' / f'person_keypoints_{split}.json'
    return json.loads(path.read_text())['annotations']


def test_scene_depends_on_its_seed_alone():
    image, annotations = generate_scene([5, 0, 2])
    generate_scene([5, 0, 1])
    again, annotations_again = generate_scene([5, 0, 2])
    assert image.shape == (240, 320, 3) and image.dtype == np.uint8
    assert np.array_equal(image, again) and annotations == annotations_again
    for other in ([5, 0, 3], [5, 1, 2], [6, 0, 2]):
        assert not np.array_equal(image, generate_scene(other)[0])


def test_scene_size_and_number_of_people():
    for index in range(10):
        image, annotations = generate_scene([index], image_wh=(200, 130), num_people=(2, 3))
        assert image.shape == (130, 200, 3)
        assert len(annotations) <= 3


@pytest.mark.parametrize(
    'options', [{'image_wh': (63, 100)}, {'num_people': (0, 2)}, {'num_people': (3, 2)}]
)
def test_scene_refuses(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        generate_scene([0], **options)


def test_written_twice_is_the_same_to_the_byte(tmp_path):
    for name in ('one', 'other'):
        write_dataset(tmp_path / name, 3, 2, seed=1)
    files = sorted(path for path in (tmp_path / 'one').rglob('*') if path.is_file())
    assert len(files) == 3 + 2 + 2 + 1
    for path in files:
        twin = tmp_path / 'other' / path.relative_to(tmp_path / 'one')
        assert path.read_bytes() == twin.read_bytes()


def test_annotations_are_sound(dataset):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(dataset / 'annotations' / 'person_keypoints_train.json'))
    assert coco.getCatIds() == [1] and coco.loadCats(1)[0]['keypoints'] == list(KEYPOINT_NAMES)
    assert len(coco.imgs) == 60 and 0 not in coco.anns and len(coco.anns) > 60
    for image in coco.imgs.values():
        pixels = cv2.imread(str(dataset / 'images' / 'train' / image['file_name']))
        assert pixels.shape == (image['height'], image['width'], 3)
    kinds = np.zeros(3)
    for annotation in coco.anns.values():
        left, top, width, height = annotation['bbox']
        assert min(left, top) >= 0 and left + width <= 320 and top + height <= 240
        assert 0 < annotation['area'] <= width * height
        keypoints = keypoint_array(annotation)
        visibility = keypoints[:, 2]
        assert annotation['num_keypoints'] == (visibility > 0).sum() > 0
        assert not keypoints[visibility == 0].any()
        x, y = keypoints[visibility > 0, :2].T
        assert x.min() >= 0 and x.max() <= 319 and y.min() >= 0 and y.max() <= 239
        x, y = keypoints[visibility == 2, :2].T  # what is seen was drawn, and the box holds it
        assert (x >= left - 0.5).all() and (x <= left + width - 0.5).all()
        assert (y >= top - 0.5).all() and (y <= top + height - 0.5).all()
        kinds += np.bincount(visibility.astype(int), minlength=3)
    shares = kinds / kinds.sum()
    assert shares[0] > 0.002 and shares[1] > 0.1 and shares[2] > 0.5


def test_box_and_area_are_those_of_the_drawn_pixels():
    ids = np.zeros((100, 120), np.uint8)
    figure = figure_facing_viewer(0.8, 1).placed(60, (50, 50))
    ids[10:40, 20:50] = IDS_PER_PERSON + PART_IDS['torso']
    ids[15:60, 50:52] = IDS_PER_PERSON + PART_IDS['left_foot']
    ids[0:5] = PART_IDS['torso']  # somebody else's
    annotation = annotate(ids, figure, 1)
    assert annotation['bbox'] == [20, 10, 32, 50] and annotation['area'] == 30 * 30 + 45 * 2


@pytest.mark.parametrize('facing', [1, -1])
def test_face_is_seen_from_the_front_only_and_left_is_left(facing):
    least, most = (0.8, 1) if facing > 0 else (-1, -0.8)
    for seed in range(5):
        figure = figure_facing_viewer(least, most, seed).placed(180, (100, 120))
        keypoints = keypoint_array(annotate(drawn(figure), figure, 0))
        points = dict(zip(KEYPOINT_NAMES, keypoints))
        for pair in ('eye', 'ear', 'shoulder', 'hip'):
            # Facing us, a person's left is on the picture's right.
            offset = points[f'left_{pair}'][0] - points[f'right_{pair}'][0]
            assert np.sign(offset) == facing
        if facing < 0:
            assert all(points[name][2] == 1 for name in ('nose', 'left_eye', 'right_eye'))


def test_every_pose_keeps_its_handedness():
    rng = np.random.default_rng(0)
    for _ in range(100):
        figure = sample_figure(rng)
        across = figure.joint('left_shoulder') - figure.joint('right_shoulder')
        down = figure.joint('pelvis') - figure.joint('neck')
        front = -figure.torso_axes[:, 2]
        assert np.dot(np.cross(across, down), -front) > 0
        nose = figure.joint('nose') - figure.joint('head')
        assert np.dot(nose, -figure.head_axes[:, 2]) > 0


def test_what_is_covered_is_hidden_and_what_is_outside_is_not_labelled():
    figure = figure_facing_viewer(0.8, 1).placed(180, (100, 120))
    ids = drawn(figure)
    free = keypoint_array(annotate(ids, figure, 0))
    knee = JOINT_INDEX['left_knee']
    assert free[knee, 2] == 2
    x, y = np.int32(np.round(free[knee, :2]))
    ids[y - 2 : y + 3, x - 2 : x + 3] = IDS_PER_PERSON + PART_IDS['torso']
    covered = keypoint_array(annotate(ids, figure, 0))
    assert covered[knee, 2] == 1
    assert np.array_equal(np.delete(covered[:, :2], knee, 0), np.delete(free[:, :2], knee, 0))

    half_outside = figure.placed(180, (0, 120))
    keypoints = keypoint_array(annotate(drawn(half_outside), half_outside, 0))
    outside = half_outside.joints[:17, 0] < 0
    assert 0 < outside.sum() < 17
    assert np.array_equal(keypoints[:, 2] == 0, outside)


def test_whoever_is_drawn_later_hides_and_the_hidden_are_not_annotated():
    figure = figure_facing_viewer(0.8, 1).placed(180, (100, 120))
    alone = annotate(drawn(figure), figure, 0)
    ids = drawn(figure, figure)
    assert annotate(ids, figure, 0) is None
    assert keypoint_array(annotate(ids, figure, 1))[:, 2].sum() == keypoint_array(alone)[:, 2].sum()


def test_the_near_arm_hides_what_is_behind_it():
    figure = figure_facing_viewer(0.8, 1).placed(180, (100, 120))
    wrist = JOINT_INDEX['right_wrist']
    chest = (figure.joint('neck') + figure.joint('pelvis')) / 2
    for depth, visibility in ((-40, 2), (40, 1)):
        joints = figure.joints.copy()
        joints[wrist] = chest + np.array((0, 0, depth))
        joints[JOINT_INDEX['right_elbow'], 2] = chest[2] + depth
        joints[JOINT_INDEX['right_hand']] = joints[wrist] + (0, 5, 0)
        # Out of the way of the one wrist that is looked at.
        joints[[JOINT_INDEX[f'left_{name}'] for name in ('elbow', 'wrist', 'hand')], 0] = 190
        posed = type(figure)(**{**vars(figure), 'joints': joints})
        assert keypoint_array(annotate(drawn(posed), posed, 0))[wrist, 2] == visibility


def test_reuse_refusal_and_empty_folder(dataset, tmp_path):
    seen = []
    assert not write_dataset(dataset, 60, 40, seed=3, on_progress=lambda *done: seen.append(done))
    assert not seen
    with pytest.raises(ValueError, match='out_dir'):
        write_dataset(dataset, 60, 40, seed=4)
    (tmp_path / 'note.txt').write_text('mine')
    with pytest.raises(ValueError, match='out_dir'):
        write_dataset(tmp_path, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ['note.txt']
    (tmp_path / 'empty').mkdir()
    assert write_dataset(tmp_path / 'empty', 1, 1, on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(ValueError, match='num_val'):
        write_dataset(tmp_path / 'none', 1, 0)


def test_damaged_set_is_not_reused(tmp_path):
    write_dataset(tmp_path / 'set', 2, 1)
    (tmp_path / 'set' / 'images' / 'train' / '000001.jpg').unlink()
    with pytest.raises(ValueError, match='out_dir'):
        write_dataset(tmp_path / 'set', 2, 1)


def test_error_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def failing_scene(seed, **options):
        if seed[2] == 2:
            raise OSError('disk full')
        return generate_scene(seed, **options)

    monkeypatch.setattr(generated_persons, 'generate_scene', failing_scene)
    with pytest.raises(OSError, match='disk full'):
        write_dataset(tmp_path / 'set', 4, 1)
    assert list(tmp_path.iterdir()) == []


def test_mean_pose_is_put_into_each_box():
    def annotation(bbox, first, visibility):
        keypoints = np.zeros((17, 3))
        keypoints[0] = (*first, visibility)
        return {
            'image_id': 7, 'category_id': 1, 'bbox': bbox, 'keypoints': keypoints.ravel().tolist()
        }  # fmt: skip

    train = [
        annotation([0, 0, 10, 20], (5, 5), 2),  # (0.5, 0.25) of the box
        annotation([10, 10, 10, 10], (20, 15), 1),  # (1, 0.5)
        annotation([0, 0, 10, 10], (0, 0), 0),  # not labelled
    ]
    (result,) = mean_pose_results(train, [annotation([100, 200, 20, 40], (0, 0), 0)])
    assert result['keypoints'][:3] == [100 + 0.75 * 20, 200 + 0.375 * 40, 1]
    assert result['image_id'] == 7


def test_mean_pose_scores_low_and_the_truth_high(dataset):
    truth_path = dataset / 'annotations' / 'person_keypoints_val.json'
    train, val = annotations_of(dataset, 'train'), annotations_of(dataset, 'val')
    assert keypoint_average_precision(truth_path, mean_pose_results(train, val)) < 0.1
    truth = [{**annotation, 'score': 1.0} for annotation in val]
    assert keypoint_average_precision(truth_path, truth) == pytest.approx(1)


def test_tool(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    with pytest.raises(SystemExit) as end:
        run('--help')
    assert end.value.code == 0
    assert 'person_keypoints_{train,val}.json' in capsys.readouterr().out
    arguments = (str(tmp_path / 'set'), '--num-train', '2', '--num-val', '1', '--seed', '5')
    assert 'written' in run(*arguments)
    assert len(list((tmp_path / 'set' / 'images' / 'train').iterdir())) == 2
    assert 'nothing to do' in run(*arguments)
    with pytest.raises(SystemExit, match='out_dir'):
        run(*arguments[:-1], '6')
