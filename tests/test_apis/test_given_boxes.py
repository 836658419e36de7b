"""Boxes are read as they were meant, or an error says which is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mmpose.evaluation.functional import nms
from tiny_people import random_boxes

from vitpose_mm.apis.boxes import (
    Boxes,
    BoxesFile,
    GivenBoxes,
    image_id_of,
    parse_boxes,
    require_box_format,
    suppress,
)

NAN, INF = float('nan'), float('inf')


def write_rows(folder: Path, rows: object) -> Path:
    path = folder / 'boxes.json'
    path.write_text(json.dumps(rows))
    return path


def row(image_id: object = 1, score: object = 0.5, category_id: int = 1, **others: object) -> dict:
    bbox = [10, 20, 30, 40]
    return dict(dict(image_id=image_id, category_id=category_id, bbox=bbox, score=score), **others)


# ---- boxes of one image


@pytest.mark.parametrize(
    ('given', 'box_format', 'xyxy', 'scores'),
    [
        ([[1, 2, 11, 22]], 'xyxy', [[1, 2, 11, 22]], [1]),
        ([[1, 2, 10, 20]], 'xywh', [[1, 2, 11, 22]], [1]),
        ([[1, 2, 11, 22, 0.25]], 'xyxy', [[1, 2, 11, 22]], [0.25]),
        ([(1, 2, 10, 20, 0), (-5, -6, 7, 8, 2)], 'xywh', [[1, 2, 11, 22], [-5, -6, 2, 2]], [0, 2]),
        (np.array([[1, 2, 11, 22]], np.int64), 'xyxy', [[1, 2, 11, 22]], [1]),
        ([np.array([0.5, 0.5, 1, 1])], 'xywh', [[0.5, 0.5, 1.5, 1.5]], [1]),
        ([], 'xyxy', np.zeros((0, 4)), []),
        (None, 'xywh', np.zeros((0, 4)), []),
        (np.zeros((0, 4)), 'xywh', np.zeros((0, 4)), []),
        (np.zeros((0, 5)), 'xyxy', np.zeros((0, 4)), []),
    ],
)
def test_boxes_of_both_formats(given, box_format, xyxy, scores):
    boxes = parse_boxes(given, box_format, 'a.jpg')
    assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
    np.testing.assert_array_equal(boxes.xyxy, np.array(xyxy, np.float32))
    np.testing.assert_array_equal(boxes.scores, np.array(scores, np.float32))
    assert boxes.xyxy.shape == (len(xyxy), 4) and boxes.scores.shape == (len(xyxy),)
    assert boxes.classes is None and len(boxes) == len(xyxy)


@pytest.mark.parametrize('box_format', ['xyxy', 'xywh'])
def test_the_users_array_stays_as_it_is(box_format):
    given = np.array([[1, 2, 11, 22, 0.5]], np.float32)
    boxes = parse_boxes(given, box_format, 'a.jpg')
    boxes.xyxy[:], boxes.scores[:] = 7, 7
    np.testing.assert_array_equal(given, [[1, 2, 11, 22, 0.5]])


@pytest.mark.parametrize(
    ('given', 'box_format', 'message'),
    [
        ([1, 2, 11, 22], 'xyxy', r'boxes of a\.jpg must have shape \(N, 4\).*got \(4,\)'),
        ([[1, 2, 3]], 'xyxy', r'boxes of a\.jpg must have .* got \(1, 3\)'),
        ([[1, 2, 11, 22, 1, 0]], 'xyxy', r'or \(N, 5\) with scores, got \(1, 6\)'),
        (np.ones((2, 3, 4)), 'xyxy', r'got \(2, 3, 4\); for several images give one such array'),
        (5, 'xyxy', r'boxes of a\.jpg must have .* got \(\)'),
        ('some', 'xyxy', r'boxes of a\.jpg must be numbers \(N, 4\) or \(N, 5\)'),
        ([[1, 2, 11, 22], [1, 2, 11, 22, 1]], 'xyxy', r'boxes of a\.jpg must be numbers'),
        (
            [[0, 0, 5, 5], [11, 2, 1, 22]],
            'xyxy',
            r'box \[11\.0, 2\.0, 1\.0, 22\.0\] of a\.jpg has no area as xyxy',
        ),
        ([[1, 22, 11, 22]], 'xyxy', r'box \[1\.0, 22\.0, 11\.0, 22\.0\] of a\.jpg has no area'),
        ([[11, 2, 0, 22]], 'xywh', r'\[11\.0, 2\.0, 0\.0, 22\.0\] of a\.jpg has no area as xywh'),
        ([[11, 2, 5, -1, 1]], 'xywh', r'box \[11\.0, 2\.0, 5\.0, -1\.0, 1\.0\] of a\.jpg has no'),
        ([[1, NAN, 11, 22]], 'xyxy', r'box \[1\.0, nan, 11\.0, 22\.0\] of a\.jpg is not finite'),
        ([[1, 2, INF, 22]], 'xywh', r'box \[1\.0, 2\.0, inf, 22\.0\] of a\.jpg is not finite'),
        ([[0, 0, 5, 5, 1], [1, 2, 11, 22, NAN]], 'xyxy', r'22\.0, nan\] of a\.jpg.*not finite'),
    ],
)
def test_other_boxes_are_refused_by_name(given, box_format, message):
    with pytest.raises(ValueError, match=message):
        parse_boxes(given, box_format, 'a.jpg')


@pytest.mark.parametrize('box_format', [None, 'cxcywh', 'XYXY'])
def test_the_format_must_be_said(box_format):
    with pytest.raises(ValueError, match=f"bbox_format='xyxy'.*'xywh'.*got {box_format!r}"):
        require_box_format(box_format)
    with pytest.raises(ValueError, match='say how boxes are given'):
        GivenBoxes([], box_format)
    assert [require_box_format(each) for each in ('xyxy', 'xywh')] == ['xyxy', 'xywh']


@pytest.mark.parametrize(
    ('index', 'rows'),
    [
        (np.array([True, False, True]), [0, 2]),
        ([False, True, False], [1]),
        (np.array([2, 0]), [2, 0]),
        ([1], [1]),
        ([], []),
        (np.zeros(3, bool), []),
    ],
)
@pytest.mark.parametrize('classes', [None, ['a', 'b', 'c']])
def test_rows_of_boxes(index, rows, classes):
    boxes = Boxes(random_boxes(3), np.array([0.1, 0.2, 0.3], np.float32), classes)[index]
    np.testing.assert_array_equal(boxes.xyxy, random_boxes(3)[rows].reshape(-1, 4))
    np.testing.assert_array_equal(boxes.scores, np.array([0.1, 0.2, 0.3], np.float32)[rows])
    assert boxes.classes == (None if classes is None else [classes[each] for each in rows])


def test_the_whole_image_as_a_box():
    boxes = Boxes.whole(np.zeros((30, 50, 3), np.uint8))
    np.testing.assert_array_equal(boxes.xyxy, [[0, 0, 50, 30]])
    np.testing.assert_array_equal(boxes.scores, [1])


# ---- boxes of several images


def one_by_one(*entries: object) -> Iterator:
    yield from entries


@pytest.mark.parametrize('kind', [list, tuple, one_by_one, np.array])
def test_boxes_in_order(kind):
    entries = [[[1, 2, 11, 22]], [[3, 4, 5, 6]]]
    given = GivenBoxes(kind(*entries) if kind is one_by_one else kind(entries), 'xyxy')
    # names do not matter, as frames of a video have the same
    np.testing.assert_array_equal(given.of('a.mp4').xyxy, [[1, 2, 11, 22]])
    with pytest.raises(ValueError, match='entries for more images than there are'):
        GivenBoxes(entries, 'xyxy').require_used_up()
    np.testing.assert_array_equal(given.of('a.mp4').xyxy, [[3, 4, 5, 6]])
    given.require_used_up()
    with pytest.raises(ValueError, match=r'there are no boxes left for b\.jpg: .*one entry for ea'):
        given.of('b.jpg')


def test_boxes_in_order_are_parsed_with_the_images_name():
    given = GivenBoxes([None, [[5, 5, 1, 1]], [[5, 5, 0, 1]]], 'xywh')
    assert len(given.of('a.jpg')) == 0
    np.testing.assert_array_equal(given.of('b.jpg').xyxy, [[5, 5, 6, 6]])
    with pytest.raises(ValueError, match=r'of c\.jpg has no area as xywh'):
        given.of('c.jpg')


def test_boxes_by_path_and_by_file_name():
    given = GivenBoxes(
        {
            'x/a.jpg': [[0, 0, 1, 1]],
            'a.jpg': [[0, 0, 2, 2]],
            Path('y/b.jpg'): [[0, 0, 3, 3]],
            Path('c.jpg'): [[0, 0, 4, 4]],
            'd.jpg': None,
        },
        'xyxy',
    )
    names = ['x/a.jpg', 'z/a.jpg', 'a.jpg', 'y/b.jpg', 'x/c.jpg']
    assert [given.of(name).xyxy[0, 3] for name in names] == [1, 2, 2, 3, 4]
    assert len(given.of('x/d.jpg')) == 0
    given.require_used_up()
    with pytest.raises(ValueError, match=r"neither 'x/b\.jpg' nor 'b\.jpg'; give an empty entry"):
        given.of('x/b.jpg')


@pytest.mark.parametrize('boxes', ['boxes.json', Path('boxes.json'), 5, None])
def test_what_are_no_boxes_for_images(boxes):
    with pytest.raises(TypeError, match='bboxes must be a sequence, an iterator or a dict'):
        GivenBoxes(boxes, 'xyxy')


# ---- boxes of a file


def test_a_files_boxes_above_the_threshold_and_of_the_categories(tmp_path):
    path = write_rows(
        tmp_path,
        [
            row(7, 0.5),
            row(7, 0.25, bbox=[1.5, 2, 3, 4]),
            row(7, 0.9, category_id=2),
            row(8, 0.2),
            row(9, 0.0),
        ],
    )
    boxes = BoxesFile(path)
    np.testing.assert_array_equal(boxes.of('x/0007.jpg').xyxy, [[10, 20, 40, 60], [1.5, 2, 4.5, 6]])
    np.testing.assert_array_equal(boxes.of('0007.jpg').scores, np.array([0.5, 0.25], np.float32))
    assert [len(boxes.of(f'{number}.png')) for number in (7, 8, 9, 10)] == [2, 1, 0, 0]
    assert boxes.of('12345.jpg').xyxy.shape == (0, 4), 'nobody in an image that it does not name'
    boxes.require_used_up()
    assert len(BoxesFile(path, threshold=0.25).of('7')) == 1, 'above, not at'
    np.testing.assert_array_equal(BoxesFile(path, (1, 2)).of('7').scores[2], np.float32(0.9))
    with pytest.raises(
        ValueError, match=r'categories \[1, 2\] alone, asked for are those of \[3\]'
    ):
        BoxesFile(path, [3])
    other = BoxesFile(path)
    other.of('77.jpg')
    with pytest.raises(ValueError, match=r'names none of the 1 pictures; it has image_id \[7'):
        other.require_used_up()


@pytest.mark.parametrize(
    ('name', 'number'),
    [
        ('val2017/000000000139.jpg', 139),
        ('COCO_val2014_000000000042.jpg', 42),
        ('12/img-3.0005.png', 5),
        ('0.jpg', 0),
        ('17', 17),
        ('person.jpg', None),
        ('12/a.jpg', None),
        ('12a.jpg', None),
        ('.jpg', None),
    ],
)
def test_ids_by_the_digits_at_the_end(tmp_path, name, number):
    assert image_id_of(name) == number
    boxes = BoxesFile(write_rows(tmp_path, [row(number or 0)]))
    if number is not None:
        assert boxes.image_id(name) == number and len(boxes.of(name)) == 1
    else:
        message = rf'image_id of .*boxes\.json {Path(name).name!r} has cannot be told'
        with pytest.raises(ValueError, match=message):
            boxes.of(name)


def test_ids_by_the_names_of_annotations(tmp_path):
    path = write_rows(tmp_path, [row(3, 0.3), row('text', 0.5)])
    names = {'people.jpg': 3, 'x/7.jpg': 'text', '5.jpg': 4}
    boxes = BoxesFile(path, ids_by_name=names)
    assert [boxes.image_id(name) for name in ('a/people.jpg', 'x/7.jpg', '5.jpg')] == [3, 'text', 4]
    assert [len(boxes.of(name)) for name in ('people.jpg', 'x/7.jpg', '5.jpg')] == [1, 1, 0]
    with pytest.raises(ValueError, match=r"the annotation file has no image '3\.jpg'"):
        boxes.of('3.jpg')
    boxes = BoxesFile(path, ids_by_name={'x/1.jpg': 3, 'y/1.jpg': 5, '/z/1.jpg': 6, '1.jpg': 7})
    names = ['/data/x/1.jpg', 'data/y/1.jpg', '/z/1.jpg', 'z/1.jpg', './x/1.jpg']
    assert [boxes.image_id(name) for name in names] == [3, 5, 6, 7, 3]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[{"image_id": 1', r'boxes\.json cannot be read: '),
        ('', r'boxes\.json cannot be read: '),
        ('{"annotations": []}', r'boxes\.json must hold a list of boxes .*, got dict'),
        ('7', 'got int'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / 'boxes.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        BoxesFile(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'none\.json cannot be read: .*No such file'):
        BoxesFile(tmp_path / 'none.json')
    (tmp_path / 'binary.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'binary\.json cannot be read'):
        BoxesFile(tmp_path / 'binary.json')


@pytest.mark.parametrize(
    'wrong',
    [
        {},
        [1, 2],
        'row',
        None,
        {'image_id': 1, 'category_id': 1, 'bbox': [1, 2, 3, 4]},
        {'image_id': 1, 'category_id': 1, 'score': 0.5},
        {'image_id': 1, 'bbox': [1, 2, 3, 4], 'score': 0.5},
        {'category_id': 1, 'bbox': [1, 2, 3, 4], 'score': 0.5},
        row(score='high'),
        row(score=None),
        row(bbox=None),
        row(bbox=[1, 2, 'a', 4]),
        row(bbox=[10, 20, 30]),
        row(bbox=[10, 20, 30, 40, 0.5]),
        row(image_id=[1]),
        row(image_id='000001'),
        row(image_id=1.5),
        row(image_id=None),
    ],
)
def test_damaged_rows_are_named(tmp_path, wrong):
    path = write_rows(tmp_path, [row(), wrong])
    with pytest.raises(ValueError, match=r'boxes\.json, entry 1: wanted are image_id, categ') as e:
        BoxesFile(path)
    assert str(e.value).endswith(f'got {wrong!r}')


def test_ids_may_be_written_as_decimals(tmp_path):
    assert len(BoxesFile(write_rows(tmp_path, [row(7.0)])).of('7.jpg')) == 1


@pytest.mark.parametrize(
    ('bbox', 'problem'),
    [([5, 5, 0, 3], 'has no area'), ([5, 5, 3, -3], 'has no area'), ([NAN, 5, 3, 3], 'not finite')],
)
def test_degenerate_boxes_of_a_file_are_named(tmp_path, bbox, problem):
    path = write_rows(tmp_path, [row(1), row(23, bbox=bbox)])
    with pytest.raises(ValueError, match=rf'of image 23 in .*boxes\.json .*{problem}'):
        BoxesFile(path)
    assert len(BoxesFile(path, threshold=0.5).of('23')) == 0, 'not those below the threshold'


# ---- suppression


@pytest.mark.parametrize('threshold', [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize('seed', range(3))
def test_suppression_is_mmposes(seed, threshold):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=40).astype(np.float32)
    boxes = Boxes(random_boxes(40, seed), scores, [str(number) for number in range(40)])
    expected = nms(np.column_stack([boxes.xyxy, scores]), threshold)
    assert 0 < len(expected) < 40 or threshold == 1
    kept = suppress(boxes, threshold)
    assert kept.classes == [str(number) for number in expected]
    np.testing.assert_array_equal(kept.xyxy, boxes.xyxy[expected])
    np.testing.assert_array_equal(kept.scores, scores[expected])


def test_groups_do_not_suppress_each_other():
    boxes = Boxes(
        np.array([[0, 0, 50, 50]] * 5, np.float32),
        np.array([0.5, 0.9, 0.7, 0.8, 0.6], np.float32),
        ['cat', 'dog', 'cat', 'person', 'person'],
    )
    assert suppress(boxes, 0.3).classes == ['dog']
    kept = suppress(boxes, 0.3, boxes.classes)
    assert sorted(zip(kept.classes, kept.scores.tolist())) == [
        ('cat', pytest.approx(0.7)),
        ('dog', pytest.approx(0.9)),
        ('person', pytest.approx(0.8)),
    ]
    mammals = suppress(boxes, 0.3, ['mammal', 'mammal', 'mammal', 'person', 'person'])
    assert mammals.classes == ['dog', 'person']


@pytest.mark.parametrize('count', [0, 1])
def test_suppression_of_nobody_and_of_one(count):
    boxes = Boxes(random_boxes(count).reshape(-1, 4), np.ones(count, np.float32), ['a'] * count)
    kept = suppress(boxes, 0.0, ['a'] * count)
    np.testing.assert_array_equal(kept.xyxy, boxes.xyxy)
    assert kept.classes == ['a'] * count
