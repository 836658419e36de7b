"""Kinds of error: planted ones, and a plain loop over everything."""

import dataclasses

import numpy as np
import pytest
from made_people import FLIP, NAMES, SIGMAS, image_people, make_annotations, make_detections

from vitpose_mm.evaluation import analyse
from vitpose_mm.evaluation.errors import (
    KINDS,
    errors_of_people,
    find_errors,
    kinds_of_error,
    match_people,
    num_overlaps,
    precision_without_errors,
)
from vitpose_mm.evaluation.similarities import similarities_of

SIDE = 100.0  # px
FAR = 20.0  # px: a similarity of exp(-2) for these sigmas
SIGMAS_ALIKE = [0.05] * 5


def person(number: int, left: float, visible=(2, 2, 2, 2, 2), **more: object) -> dict:
    """Somebody of 100 x 100 px whose keypoints are 40 px and more from each other."""
    points = np.add([[50, 5], [5, 50], [95, 50], [20, 95], [80, 95]], [left, 0])
    return dict(
        id=number,
        image_id=1,
        category_id=1,
        bbox=[left, 0, SIDE, SIDE],
        area=SIDE**2,
        keypoints=np.column_stack([points, visible]).ravel().tolist(),
        num_keypoints=sum(each > 0 for each in visible),
        iscrowd=0,
        **more,
    )


def points_of(someone: dict) -> np.ndarray:
    return np.array(someone['keypoints'], float).reshape(-1, 3)[:, :2]


def detection(points: np.ndarray, score: float = 0.9) -> dict:
    return dict(
        image_id=1,
        category_id=1,
        keypoints=np.column_stack([points, np.ones(len(points))]).ravel().tolist(),
        bbox=[*points.min(0), *np.ptp(points, axis=0)],
        score=score,
    )


def file_of(*people: dict) -> dict:
    return dict(images=[dict(id=1)], categories=[dict(id=1, name='')], annotations=list(people))


def split(annotations: dict, results: list[dict], sigmas=SIGMAS_ALIKE, rule='own'):
    images = image_people(annotations, results)
    similarities = [similarities_of(each, sigmas) for each in images]
    matches = match_people(images, similarities)
    return (
        images,
        similarities,
        [
            find_errors(people, each, rows, sigmas, FLIP, rule)
            for people, each, rows in zip(images, similarities, matches)
        ],
    )


@pytest.fixture
def planted():
    """One of each kind for the first person; the second is found, the third is not."""
    first, second = person(1, 0), person(2, 110)
    lost = person(3, 1000, visible=(2, 2, 0, 0, 0))
    points = points_of(first)
    read = points.copy()
    read[0] += (0, 3)  # exp(-9 / 200) = 0.956: good
    read[1] += (0, 10)  # exp(-100 / 200) = 0.607: jitter
    read[2] = points[1]  # the other hand
    read[3] = points_of(second)[4] + (4, 0)  # the second's other foot, at 0.923
    read[4] += (FAR, 30)
    results = [
        detection(read),
        detection(points_of(second), 0.8),
        detection(points_of(second) + 5, 0.7),  # a duplicate
        detection(points_of(second) + 5000, 0.95),  # of nobody
    ]
    return split(file_of(first, second, lost), results)


def test_each_kind_planted_once(planted):
    (people,), _, (errors,) = planted
    assert errors.matches.tolist() == [0, 1, -1, -1]
    assert errors.near_somebody.tolist() == [True, True, True, False]
    kinds = [[KINDS[kind] for kind in row if kind >= 0] for row in errors.kinds]
    assert kinds == [['good', 'jitter', 'inversion', 'swap', 'miss'], ['good'] * 5, [], []]
    gathered = errors_of_people([people], [errors])
    assert gathered.found.tolist() == [True, True, False]
    assert gathered.counts().sum(0).tolist() == [6, 1, 1, 1, 1]
    assert gathered.counts()[3].tolist() == [1, 0, 0, 1, 0]  # the left foot


def test_what_corrected_keypoints_have(planted):
    (people,), (similarities,), (errors,) = planted
    own = errors.own[0]
    np.testing.assert_allclose(own[:2], np.exp([-9 / 200, -0.5]), rtol=1e-12)
    for kind, index, expected in (
        ('jitter', 1, 0.85),
        ('inversion', 2, 1),
        ('swap', 3, np.exp(-16 / 200)),
        ('miss', 4, 0.5),
    ):
        corrected = errors.corrected(KINDS.index(kind))[0]
        assert corrected[index] == pytest.approx(expected, abs=1e-12)
        others = np.arange(5) != index
        np.testing.assert_array_equal(corrected[others], own[others])
    # scores 0.95 (of nobody), 0.9 (OKS 0.313), 0.8 (OKS 1), 0.7 (a duplicate); 3 people
    assert similarities.objects(people.labelled)[0, 0] == pytest.approx(own.mean(), abs=1e-12)


def test_ap_without_a_kind_of_error(planted):
    images, similarities, errors = planted
    without = precision_without_errors(images, similarities, errors)
    # Found is the second person alone, third in rank: precision 1 / 3 for recalls up to 1 / 3,
    # which are 34 of 101.
    base = 34 / 101 / 3
    assert without['jitter'] == pytest.approx(base)  # OKS 0.361: nothing gained
    # the first with an OKS of 0.513 or 0.498 or 0.413
    assert without['inversion'] == pytest.approx(base + (67 / 101 * 2 / 3 - base) / 10)
    assert without['swap'] == pytest.approx(base)
    assert without['miss'] == pytest.approx(base)
    assert without['scores'] == pytest.approx(34 / 101)
    assert without['background'] == pytest.approx(34 / 101 / 2)
    assert without['not found'] == pytest.approx(51 / 101 / 3)


@pytest.mark.parametrize(
    ('own', 'mirrored', 'others', 'own_first', 'nearest'),
    [
        (0.85, 0, 0, 'good', 'good'),
        (0.849, 0, 0, 'jitter', 'jitter'),
        (0.5, 0.499, 0.4, 'jitter', 'jitter'),
        (0.499, 0.499, 0.4, 'miss', 'miss'),
        (0.499, 0.5, 0.4, 'inversion', 'inversion'),
        (0.499, 0.5, 0.6, 'swap', 'swap'),
        (0.6, 0.9, 0.4, 'jitter', 'inversion'),
        (0.9, 0.2, 0.95, 'good', 'swap'),
    ],
)
def test_rules(own, mirrored, others, own_first, nearest):
    for rule, expected in (('own', own_first), ('nearest', nearest)):
        (kind,) = kinds_of_error(np.array([own]), np.array([mirrored]), np.array([others]), rule)
        assert KINDS[kind] == expected
    with pytest.raises(ValueError, match=r"one of \('own', 'nearest'\), got 'other'"):
        kinds_of_error(np.array([own]), np.array([mirrored]), np.array([others]), 'other')


def plain_kinds(annotations, results, matches, sigmas, rule) -> list[list[str]]:
    """The same in loops, of an image: names of kinds, '' where there is none."""
    people = annotations['annotations']
    rows = []
    for result, match in zip(results, matches):
        names = [''] * 5
        for index in range(5):
            if match < 0 or people[match]['keypoints'][3 * index + 2] == 0:
                continue
            x, y = result['keypoints'][3 * index : 3 * index + 2]
            near = {}
            for number, someone in enumerate(people):
                for part in (index, FLIP[index]):
                    a, b, visible = someone['keypoints'][3 * part : 3 * part + 3]
                    square = (x - a) ** 2 + (y - b) ** 2
                    scale = 2 * someone['area'] * (2 * sigmas[index]) ** 2
                    near[number, part] = np.exp(-square / scale) if visible else 0
            own = near.pop((match, index))
            nobody = ((-1, -1), 0)
            where, best = max(near.items(), key=lambda each: each[1], default=nobody)
            at_home = own >= 0.5 and (rule == 'own' or own >= best)
            if at_home:
                names[index] = 'good' if own >= 0.85 else 'jitter'
            elif best < 0.5:
                names[index] = 'miss'
            else:
                names[index] = 'inversion' if where[0] == match else 'swap'
        rows.append(names)
    return rows


@pytest.mark.parametrize('rule', ['own', 'nearest'])
def test_random_people_as_in_a_plain_loop(rule):
    annotations = make_annotations(11, num_images=25)
    results = make_detections(annotations, 11, spread=0.1)
    rng = np.random.default_rng(11)
    for result in results:  # hands and feet the wrong way round, or of somebody else
        triples = np.array(result['keypoints']).reshape(-1, 3)
        if rng.random() < 0.4:
            triples = triples[list(FLIP)]
        result['keypoints'] = triples.ravel().tolist()
    sigmas = SIGMAS * 2
    images, _, errors = split(annotations, results, sigmas, rule)
    seen = set()
    for people, each in zip(images, errors):
        own = [a for a in annotations['annotations'] if a['image_id'] == people.image_id]
        reads = [r for r in results if r['image_id'] == people.image_id]
        expected = plain_kinds(dict(annotations=own), reads, each.matches, sigmas, rule)
        found = [[KINDS[kind] if kind >= 0 else '' for kind in row] for row in each.kinds]
        assert found == expected
        seen.update(name for row in expected for name in row)
    assert seen == {'', *KINDS}


def test_others_are_people_of_the_image_found_or_not(planted):
    first, second = person(1, 0), person(2, 110)
    read = points_of(first)
    read[3] = points_of(second)[3]
    for others, expected in (([], 'miss'), ([second], 'swap')):
        _, _, (errors,) = split(file_of(first, *others), [detection(read)])
        assert KINDS[errors.kinds[0, 3]] == expected
    hidden = person(2, 110, visible=(2, 2, 2, 0, 0))
    _, _, (errors,) = split(file_of(first, hidden), [detection(read)])
    assert KINDS[errors.kinds[0, 3]] == 'miss'


def test_overlaps():
    boxes = np.array([[0, 0, 10, 10], [8, 0, 10, 10], [9, 0, 10, 10], [100, 0, 10, 10.0]])
    # IoU of neighbours: 20 / 180 = 0.11 and 10 / 190 = 0.05, and 90 / 110
    assert num_overlaps(boxes).tolist() == [1, 2, 1, 0]
    assert num_overlaps(np.zeros((0, 4))).tolist() == []


def test_groups_hold_everybody_once():
    annotations = make_annotations(12)
    images = image_people(annotations, make_detections(annotations, 12))
    report = analyse(images, NAMES, SIGMAS, FLIP)
    areas = np.concatenate([each.areas[~each.ignored] for each in images])
    for of_split in report['groups'].values():
        assert sum(row['people'] for row in of_split.values()) == report['people'] == len(areas)
    sizes = [row['people'] for row in report['groups']['size'].values()]
    assert sizes == [
        (areas < 1024).sum(),
        ((areas >= 1024) & (areas <= 9216)).sum(),
        (areas > 9216).sum(),
    ]
    assert report['groups']['size']['medium']['AP'] == report['all']['AP (M)']
    shares = [sum(report['all'][kind] for kind in KINDS)]
    shares += [sum(row[kind] for kind in KINDS) for row in report['keypoints'].values()]
    np.testing.assert_allclose(shares, 1, rtol=1e-12)


def test_images_without_people_or_detections():
    annotations = file_of(person(1, 0))
    annotations['images'] = [dict(id=index) for index in (1, 2, 3)]
    stray = dict(detection(points_of(person(1, 0)), 0.5), image_id=2)
    images = image_people(annotations, [detection(points_of(person(1, 0))), stray])
    report = analyse(images, NAMES, SIGMAS_ALIKE, FLIP)
    assert report['detections'] == dict(matched=1, duplicates=0, background=1)
    assert report['all']['AP'] == pytest.approx(1)
    nobody = [dataclasses.replace(each, ignored=np.ones_like(each.ignored)) for each in images]
    with pytest.raises(ValueError, match='nobody in 3 images has labelled keypoints'):
        analyse(nobody, NAMES, SIGMAS_ALIKE, FLIP)
