"""Boxes written for evaluation: whole, of the right images, and readable by mmpose."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
from mmpose.datasets import CocoDataset
from tiny_people import random_boxes

from vitpose_mm.apis import boxes_files, detector
from vitpose_mm.apis.boxes import Boxes, BoxesFile
from vitpose_mm.apis.boxes_files import read_annotation_file, write_boxes
from vitpose_mm.apis.detector import Detector
from vitpose_mm.cli import main
from vitpose_mm.datasets.loading import ImageError

HEIGHT, WIDTH = 90, 120


class Finder(Detector):
    """Finds boxes by the grey of a picture."""

    def __init__(self, by_grey: dict[int, Boxes], class_names: Sequence[str] = ('person',)) -> None:
        self.by_grey, self.class_names = by_grey, list(class_names)
        self.batch_size = 2
        self.choose(None)

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.3) -> list[Boxes]:
        names = [self.class_names[label] for label in self.labels]
        found = []
        for image in images:
            boxes = self.by_grey.get(int(image[0, 0, 0]), Boxes(classes=[]))
            named = [name in names for name in boxes.classes]
            found.append(boxes[(boxes.scores > threshold) & np.array(named, bool)])
        return found


def boxes_of(xyxy: Sequence, scores: Sequence[float], name: str = 'person') -> Boxes:
    xyxy, scores = np.array(xyxy, np.float32), np.array(scores, np.float32)
    return Boxes(xyxy, scores, [name] * len(xyxy))


def save_grey(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), grey, np.uint8))
    return path


def save_annotations(path: Path, ids_by_name: dict[str, int], **further: object) -> Path:
    images = [
        dict(id=number, file_name=name, width=WIDTH, height=HEIGHT)
        for name, number in ids_by_name.items()
    ]
    path.write_text(json.dumps(dict(images=images, **further)))
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of 000000000007.png, ...8.png (nobody) and ...9.png, of grey 7, 8 and 9."""
    for number in (7, 8, 9):
        save_grey(tmp_path / f'photos/{number:012d}.png', number)
    return tmp_path / 'photos'


@pytest.fixture
def finder() -> Finder:
    """120 boxes in the first picture, best first, 109 above 0.1, and one in the last."""
    many = boxes_of(random_boxes(120), np.linspace(1, 0.01, 120))
    return Finder({7: many, 9: boxes_of([(10, 20, 40.5, 80.25)], [0.75])})


def test_all_boxes_above_the_threshold_are_written(photos, finder, tmp_path):
    written = write_boxes(photos, finder, tmp_path / 'new/boxes.json', bbox_thr=0.1)
    rows = json.loads((tmp_path / 'new/boxes.json').read_text())
    assert rows[-1] == dict(image_id=9, category_id=1, bbox=[10, 20, 30.5, 60.25], score=0.75)
    assert [row['image_id'] for row in rows] == [7] * 109 + [9]
    assert (written.num_images, written.num_boxes, written.problems) == (3, 110, [])
    read = BoxesFile(tmp_path / 'new/boxes.json')
    expected = finder.by_grey[7][finder.by_grey[7].scores > 0.1]
    np.testing.assert_allclose(read.of('000000000007.png').xyxy, expected.xyxy, atol=1e-4)
    np.testing.assert_array_equal(read.of('000000000007.png').scores, expected.scores)
    assert len(read.of('000000000008.png')) == 0
    assert not list(tmp_path.glob('**/*.partial*'))


def test_mmpose_reads_the_file(photos, finder, tmp_path):
    out = tmp_path / 'boxes.json'
    names = {'000000000009.png': 90, '000000000007.png': 70, '000000000008.png': 80}
    ann = save_annotations(
        tmp_path / 'ann.json', names, categories=[dict(id=1, name='person')], annotations=[]
    )
    write_boxes(photos, finder, out, read_annotation_file(ann), bbox_thr=0.5)
    dataset = CocoDataset(
        str(ann), str(out), data_prefix=dict(img=str(photos)), test_mode=True, serialize_data=False
    )
    (last,) = [info for info in dataset.data_list if info['img_id'] == 90]
    assert last['img_path'] == str(photos / '000000000009.png')
    np.testing.assert_array_equal(last['bbox'], [[10, 20, 40.5, 80.25]])
    assert last['bbox_score'] == np.float32(0.75)
    expected = finder.by_grey[7][finder.by_grey[7].scores > 0.5]
    boxes = np.concatenate([info['bbox'] for info in dataset.data_list if info['img_id'] == 70])
    np.testing.assert_allclose(boxes, expected.xyxy, atol=1e-4)


def test_boxes_that_overlap_are_suppressed_if_asked(photos, tmp_path):
    boxes = boxes_of([(10, 10, 50, 50), (10, 10, 50, 52), (60, 10, 90, 50)], [0.5, 0.9, 0.7])
    kept = {}
    for threshold in (1, 0.5):
        write_boxes(photos, Finder({7: boxes}), tmp_path / 'boxes.json', nms_thr=threshold)
        rows = json.loads((tmp_path / 'boxes.json').read_text())
        kept[threshold] = sorted(round(row['score'], 6) for row in rows)
    assert kept == {1: [0.5, 0.7, 0.9], 0.5: [0.7, 0.9]}


def test_boxes_outside_of_the_image_which_mmpose_refuses_are_left_out(photos, tmp_path):
    boxes = boxes_of([(WIDTH, 10, WIDTH + 20, 50), (WIDTH - 1, 10, WIDTH + 20, 50)], [0.5, 0.5])
    assert write_boxes(photos, Finder({7: boxes}), tmp_path / 'boxes.json').num_boxes == 1


# --- ids ---


def test_annotations_say_which_images_of_a_folder_and_their_ids(photos, finder, tmp_path):
    save_grey(photos / 'more/9.png', 9)
    ann = read_annotation_file(
        save_annotations(tmp_path / 'ann.json', {'000000000007.png': 1, 'more/9.png': 2})
    )
    written = write_boxes(photos, finder, tmp_path / 'boxes.json', ann, bbox_thr=0.99)
    assert written.num_images == 2
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert {row['image_id'] for row in rows} == {1}
    # as files the same, whatever folder they are told by
    files = [photos / 'more/9.png', photos / '000000000007.png']
    write_boxes(files, finder, tmp_path / 'boxes.json', ann, bbox_thr=0.5)
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert rows[0]['image_id'] == 2
    assert {row['image_id'] for row in rows} == {1, 2}


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['a.png'], 'which image_id .*a.png has cannot be told'),
        (['x/007.png', 'y/7.png'], r'x/007.png and .*y/7.png have the same image_id 7'),
        (['clip.mp4'], 'clip.mp4 is a video'),
        (['nowhere.png'], 'there is no picture or folder .*nowhere.png'),
        (['empty'], 'the folder .*empty holds no pictures'),
    ],
)
def test_pictures_without_ids_of_their_own(tmp_path, finder, names, message):
    for name in ('a.png', 'x/007.png', 'y/7.png', 'clip.mp4'):
        save_grey(tmp_path / name, 7) if name.endswith('png') else (tmp_path / name).touch()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=message):
        write_boxes([tmp_path / name for name in names], finder, tmp_path / 'boxes.json')
    assert not (tmp_path / 'boxes.json').exists()


def test_images_that_annotations_do_not_know(photos, finder, tmp_path):
    ann = read_annotation_file(save_annotations(tmp_path / 'ann.json', {'other.png': 1}))
    with pytest.raises(ValueError, match=r'ann.json has no image .*000000000007.png'):
        write_boxes([photos / '000000000007.png'], finder, tmp_path / 'boxes.json', ann)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"images": []}', 'has no images'),
        ('[]', 'has no images'),
        ('{"images": [', 'cannot be read'),
        ('{"images": [{"id": 1}]}', "each image must have 'id' and 'file_name'"),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]}',
            'some of its 2 images have the same id or file_name',
        ),
    ],
)
def test_unusable_annotation_files(tmp_path, content, message):
    (tmp_path / 'ann.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_annotation_file(tmp_path / 'ann.json')


def test_several_classes_have_the_category_ids_of_their_names(photos, tmp_path):
    dog, cat = boxes_of([(1, 1, 9, 9)], [0.9], 'dog'), boxes_of([(1, 1, 9, 9)], [0.8], 'cat')
    finder = Finder({7: dog, 9: cat}, ['cat', 'dog'])
    with pytest.raises(ValueError, match=r"no category is named \['cat', 'dog'\]: there is none"):
        write_boxes(photos, finder, tmp_path / 'boxes.json')
    names = {f'{number:012d}.png': number for number in (7, 8, 9)}
    categories = [dict(id=18, name='dog')]
    path = save_annotations(tmp_path / 'ann.json', names, categories=categories)
    with pytest.raises(ValueError, match=r"named \['cat'\]: .*ann.json has \['dog'\]"):
        write_boxes(photos, finder, tmp_path / 'boxes.json', read_annotation_file(path))
    categories.append(dict(id=17, name='cat'))
    path = save_annotations(tmp_path / 'ann.json', names, categories=categories)
    write_boxes(photos, finder, tmp_path / 'boxes.json', read_annotation_file(path))
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert [(row['image_id'], row['category_id']) for row in rows] == [(7, 18), (9, 17)]
    finder.choose('cat')
    write_boxes(photos, finder, tmp_path / 'boxes.json')
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert [(row['image_id'], row['category_id']) for row in rows] == [(9, 1)]


# --- what goes wrong ---


def test_missing_and_broken_pictures_are_told_and_passed_over(photos, finder, tmp_path):
    names = {f'{number:012d}.png': number for number in (6, 7, 8, 9)}
    ann = read_annotation_file(save_annotations(tmp_path / 'ann.json', names))
    (photos / '000000000007.png').write_bytes(b'no picture')
    written = write_boxes(photos, finder, tmp_path / 'boxes.json', ann)
    assert (written.num_images, written.num_boxes) == (2, 1)
    missing, broken = written.problems
    assert '000000000006.png is missing' in missing
    assert '000000000007.png cannot be decoded' in broken
    (tmp_path / 'boxes.json').write_text('old')
    for numbers in ((8, 9), (7,)):  # first a broken one is left, then none
        for number in numbers:
            (photos / f'{number:012d}.png').unlink()
        with pytest.raises(ImageError, match='none of 4 pictures could be read'):
            write_boxes(photos, finder, tmp_path / 'boxes.json', ann)
        assert (tmp_path / 'boxes.json').read_text() == 'old'


def test_a_file_is_written_whole_or_not_at_all(photos, finder, tmp_path, monkeypatch):
    (tmp_path / 'boxes.json').write_text('old')
    monkeypatch.setattr(finder, 'batch_size', 1)
    detect = finder.detect

    def fail_at_the_last(images, threshold):
        if images[0][0, 0, 0] == 9:
            raise RuntimeError('the detector fails')
        return detect(images, threshold)

    monkeypatch.setattr(finder, 'detect', fail_at_the_last)
    with pytest.raises(RuntimeError, match='the detector fails'):
        write_boxes(photos, finder, tmp_path / 'boxes.json')
    assert (tmp_path / 'boxes.json').read_text() == 'old'
    assert not list(tmp_path.glob('*.partial*'))


# --- the command ---


@pytest.fixture
def command(monkeypatch, finder, photos, tmp_path):
    """Run the command on the photos with the finder for a detector."""
    monkeypatch.setattr(detector, 'Detector', lambda *arguments: finder)

    def run(*options: str, images: Sequence[object] = (photos,)) -> int:
        base = ['--det', 'some-name', '--out', str(tmp_path / 'boxes.json'), '--device', 'cpu']
        return main(['detect-persons', *map(str, images), *base, *options])

    return run


def test_command(command, finder, photos, tmp_path, capsys):
    finder.class_names = ['cat', 'person']
    finder.by_grey[8] = boxes_of([(1, 1, 9, 9)], [0.9], 'cat')
    assert command() == 0
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert len(rows) == 120  # the one with a score of 0.01 is not above the threshold
    assert {row['image_id'] for row in rows} == {7, 9}
    assert '3 images, 120 boxes' in capsys.readouterr().out
    assert command('--classes', '0', '--bbox-thr', '0.5') == 0
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert [row['image_id'] for row in rows] == [8]
    (photos / '000000000009.png').write_bytes(b'no picture')
    assert command() == 1
    assert '1 images could not be read:\n  image' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--classes', 'horse'], "the detector has no class 'horse'"),
        (['--bbox-thr', '2'], 'bbox_thr must lie within 0 and 1, got 2.0'),
        (['--batch-size', '0'], 'must be a whole number above 0, got 0'),
        (['--det', __file__], '--det-weights must name a file'),
        (['--annotations', 'nowhere.json'], 'the annotation file nowhere.json cannot be read'),
    ],
)
def test_unusable_options_give_one_sentence(command, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        command(*options)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_classes_must_be_told_where_nothing_is_usual(command, finder, capsys):
    finder.class_names = ['cat', 'dog']
    with pytest.raises(SystemExit):
        command()
    assert "--classes must say which classes to find; the detector has, from 0: ['cat', 'dog']" in (
        capsys.readouterr().err
    )


def test_help_says_what_comes_out(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['detect-persons', '--help'])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "Out comes a JSON list in COCO's results format" in shown
    assert f'{boxes_files.DEFAULT_THRESHOLD}' in shown


def test_a_real_detector_finds_the_annotated_people(real_data_dir, real_weights_dir, tmp_path):
    ann = real_data_dir / 'coco/test_coco.json'
    config = Path(mmdet.__file__).with_name('.mim') / 'configs/yolox/yolox_nano_8xb8-300e_coco.py'
    status = main(
        [
            *('detect-persons', str(real_data_dir / 'coco'), '--annotations', str(ann)),
            *('--det', str(config), '--device', 'cpu', '--out', str(tmp_path / 'boxes.json')),
            *('--det-weights', str(real_weights_dir / 'yolox_nano_coco.pth'), '--bbox-thr', '0.5'),
        ]
    )
    assert status == 0
    content = json.loads(ann.read_text())
    rows = json.loads((tmp_path / 'boxes.json').read_text())
    assert {row['image_id'] for row in rows} <= {image['id'] for image in content['images']}
    (skier,) = [row['bbox'] for row in rows if row['image_id'] == 785]
    (annotated,) = [each['bbox'] for each in content['annotations'] if each['image_id'] == 785]
    np.testing.assert_allclose(skier, annotated, atol=20)
