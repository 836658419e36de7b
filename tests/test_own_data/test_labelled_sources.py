"""Files in COCO's format, with what tools leave out put right."""

import json

import numpy as np
import pytest
from mmpose.datasets import CocoDataset
from mmpose.evaluation import CocoMetric
from own_data_files import KEYPOINTS, NAMES, coco_content, person, read, write_coco

from vitpose_mm.own_data import (
    infer_metainfo,
    read_labelled,
    to_coco,
)

# --- COCO's format as it should be ---


def test_a_whole_file_is_read_as_it_is(tmp_path):
    content = coco_content()
    content['images'][0]['license'] = 3
    path = write_coco(tmp_path, content, images='images')
    labelled = read_labelled(path)
    assert labelled.as_is
    assert to_coco(labelled) == content
    assert labelled.notes == []
    assert labelled.source == str(path)
    assert labelled.images_folder == str(tmp_path / 'images')
    assert labelled.flip_indices is None
    assert not labelled.has_val


@pytest.mark.parametrize(
    'name, count, keypoints, links',
    [
        ('coco_persons/person_keypoints_val.json', 903, 17, 19),
        ('coco_persons/person_keypoints_train.json', 4498, 17, 19),
        ('lsp_extended/person_keypoints_val.json', 300, 14, 0),
        ('coco/test_coco.json', 14, 17, 19),
        ('ochuman/test_ochuman.json', 5, 17, 19),
    ],
)
def test_real_files_are_read_as_they_are(real_data_dir, name, count, keypoints, links):
    labelled = read_labelled(real_data_dir / name)
    content = json.loads((real_data_dir / name).read_text())
    assert labelled.as_is
    assert labelled.notes == []
    assert labelled.images == content['images']
    assert labelled.annotations == content['annotations']
    assert len(labelled.annotations) == count
    assert len(labelled.category['keypoints']) == keypoints
    assert len(labelled.category['skeleton']) == links


def test_real_files_that_the_metric_cannot_read_are_mended(real_data_dir):
    crowdpose = read_labelled(real_data_dir / 'crowdpose' / 'test_crowdpose.json')
    assert not crowdpose.as_is
    assert crowdpose.notes == [
        '5 annotations have no area: 0.53 of the box',
        'the skeleton has links up to 17, and there are 14 keypoints: left out',
    ]
    aic = read_labelled(real_data_dir / 'aic' / 'test_aic.json')
    assert not aic.as_is
    assert aic.category['keypoints'][12:] == ['Head top', 'Neck']
    assert [annotation['iscrowd'] for annotation in aic.annotations] == [0] * 9
    # of its 54 categories, two have annotations; CocoMetric would average over them
    ap10k = read_labelled(real_data_dir / 'ap10k' / 'test_ap10k.json')
    assert not ap10k.as_is
    assert ap10k.notes == ['2 categories with the same keypoints are joined into one']
    assert [annotation['category_id'] for annotation in ap10k.annotations] == [1, 1]


# --- annotations that are mended ---

MENDED = {
    'num_keypoints missing': (dict(num_keypoints=...), dict(num_keypoints=3), 'num_keypoints'),
    'num_keypoints of 0': (dict(num_keypoints=0), dict(num_keypoints=3), 'num_keypoints'),
    # 3 around, 1/8 of the longer side (32) on each side
    'bbox missing': (dict(bbox=...), dict(bbox=[16, 6, 28, 40]), 'no box'),
    'bbox empty': (dict(bbox=[]), dict(bbox=[16, 6, 28, 40]), 'no box'),
    'bbox of zeros': (dict(bbox=[0, 0, 0, 0]), dict(bbox=[16, 6, 28, 40]), 'no box'),
    'bbox of null': (dict(bbox=[None] * 4), dict(bbox=[16, 6, 28, 40]), 'no box'),
    'bbox cut at the picture': (
        dict(bbox=..., keypoints=[2, 10, 2, 78, 42, 2, 20, 58, 1]),
        dict(bbox=[0, 0.5, 80, 59.5]),
        'no box',
    ),
    'one keypoint and no bbox': (
        dict(bbox=..., keypoints=[2, 10, 2, 0, 0, 0, 0, 0, 0], num_keypoints=1),
        dict(bbox=[0, 0, 0, 0]),
        'too few keypoints',
    ),
    'area missing': (dict(area=...), dict(area=1060), 'no area'),
    'area of 0': (dict(area=0), dict(area=1060), 'no area'),
    'iscrowd missing': (dict(iscrowd=...), dict(iscrowd=0), 'no iscrowd'),
    'is_crowd': (dict(iscrowd=..., is_crowd=1), dict(iscrowd=1), 'no iscrowd'),
    'nested keypoints': (
        dict(keypoints=[[30, 10, 2], [40, 42, 2], [20, 42, 1]]),
        dict(keypoints=KEYPOINTS),
        'a list for each keypoint',
    ),
    'no visibility': (
        dict(keypoints=[30, 10, 0, 0, 20, 42], num_keypoints=2),
        dict(keypoints=[30, 10, 2, 0, 0, 0, 20, 42, 2]),
        'without visibility',
    ),
    'nested without visibility': (
        dict(keypoints=[[30, 10], None, [20, 42]], num_keypoints=2),
        dict(keypoints=[30, 10, 2, 0, 0, 0, 20, 42, 2]),
        'null',
    ),
    'null': (
        dict(keypoints=[30, 10, 2, None, None, 2, 20, 42, 1], num_keypoints=2),
        dict(keypoints=[30, 10, 2, 0, 0, 0, 20, 42, 1]),
        'null',
    ),
    'booleans': (
        dict(keypoints=[30, 10, True, 0, 0, False, 20, 42, False], num_keypoints=2),
        dict(keypoints=[30, 10, 2, 0, 0, 0, 20, 42, 1]),
        'true and false',
    ),
    'no keypoints': (
        dict(keypoints=..., num_keypoints=...),
        dict(keypoints=[0] * 9, num_keypoints=0),
        'none labelled',
    ),
    'id missing': (dict(id=...), dict(id=1), 'ids of annotations'),
    'id of 0': (dict(id=0), dict(id=1), 'ids of annotations'),
    'id repeated': (dict(id=2), dict(id=1), 'ids of annotations'),
    'id as text': (dict(id='7'), dict(id=7), None),
    'category_id as it likes': (dict(category_id=0), dict(category_id=1), None),
}


@pytest.mark.parametrize('case', MENDED)
def test_annotations_are_mended(tmp_path, case):
    changes, mended, note = MENDED[case]
    labelled = read(tmp_path, coco_content(person(1, **changes), person(2)))
    kept = {key: value for key, value in changes.items() if value is not ...}
    assert labelled.annotations == [{**person(1), **kept, **mended}, person(2)]
    assert not labelled.as_is
    # the folder has no images
    notes = [text for text in labelled.notes if 'was found near' not in text]
    assert bool(notes) == (note is not None)
    assert note is None or any(note in text for text in notes)
    assert all(text.startswith('1 annotations') or 'from 1' in text for text in notes)


@pytest.mark.parametrize(
    'changes',
    [
        dict(keypoints=[0.3, 0.1, 2, 0.4, 0.7, 2, 0.2, 0.7, 1]),  # normalised
        dict(bbox=[10, 5, 50, 55]),  # perhaps corners
        dict(bbox=[50, 55, -40, -50]),
        dict(keypoints=[30, 10, 2.0, 400, 42, 2.0, 20, -42, 1.0]),
        dict(num_keypoints=2),  # CrowdPose counts in another way
        dict(bbox=[0, 0, 0, 0], keypoints=[0] * 9, num_keypoints=0),
        dict(iscrowd=1, segmentation=dict(counts=[1], size=[60, 80])),
    ],
)
def test_faults_that_a_check_should_report_are_left(tmp_path, changes):
    labelled = read(tmp_path, coco_content(person(1, **changes), person(2)))
    assert labelled.annotations[0] == person(1, **changes)
    assert labelled.as_is


def test_visibility_of_other_values_is_left_and_said(tmp_path):
    keypoints = [30, 10, 0.7, 40, 42, 2, 20, 42, 3]
    labelled = read(tmp_path, coco_content(person(1, keypoints=keypoints), person(2)))
    assert labelled.annotations[0]['keypoints'] == keypoints
    assert labelled.as_is
    assert '1 annotations have visibility other than 0, 1 and 2: left so' in labelled.notes


def test_mended_files_are_read_and_judged_by_mmpose(tmp_path):
    nothing = dict(bbox=..., area=..., iscrowd=..., num_keypoints=..., id=...)
    categories = [dict(id=5, name='dog', keypoints=NAMES)]
    content = coco_content(person(1, **nothing), person(2, **nothing), categories=categories)
    for image in content['images']:
        image.update(id=f'{image["id"]}a')
    for annotation in content['annotations']:
        annotation.update(category_id=5, image_id=f'{annotation["image_id"]}a')
    labelled = read(tmp_path, content)
    path = tmp_path / 'written.json'
    path.write_text(json.dumps(to_coco(labelled)))
    metainfo, _ = infer_metainfo('dogs', labelled.category['keypoints'])

    dataset = CocoDataset(ann_file=str(path), metainfo=metainfo, test_mode=True)
    people = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert len(people) == 2
    np.testing.assert_array_equal(people[0]['bbox'], [[16, 6, 44, 46]])
    metric = CocoMetric(ann_file=str(path))
    metric.dataset_meta = dataset.metainfo
    for one in people:
        found = dict(keypoints=one['keypoints'], keypoint_scores=np.ones((1, 3)))
        truth = dict(bbox_scores=np.ones(1), bbox_scales=np.array([[28.0, 40.0]]))
        sample = dict(
            id=one['id'],
            img_id=one['img_id'],
            category_id=1,
            pred_instances=found,
            gt_instances=truth,
        )
        metric.process({}, [sample])
    assert metric.evaluate(2)['coco/AP'] == pytest.approx(1)


# --- categories, names and skeletons ---

DOG = dict(id=2, name='dog', keypoints=['nose', 'tail', 'paw'], skeleton=[])
PERSON = dict(id=1, name='person', keypoints=NAMES, skeleton=[[1, 2]])


def test_the_category_has_the_id_1(tmp_path):
    labelled = read(tmp_path, coco_content(categories=[{**PERSON, 'id': 5}]))
    assert labelled.category == PERSON
    assert not labelled.as_is


def test_categories_without_keypoints_are_left_out(tmp_path):
    # as CVAT writes a task with a label for boxes, and a skeleton
    box = dict(id=1, name='box', supercategory='', keypoints=[], skeleton=[])
    rectangle = person(2, keypoints=..., num_keypoints=..., category_id=1)
    content = coco_content(
        person(1, category_id=2), rectangle, categories=[box, {**PERSON, 'id': 2}]
    )
    labelled = read(tmp_path, content)
    assert labelled.category == {**PERSON, 'id': 1}
    assert labelled.annotations == [person(1)]
    assert len(labelled.images) == 2
    assert '1 annotations of other categories are left out' in labelled.notes
    assert not labelled.as_is


def test_categories_with_other_keypoints_have_to_be_chosen(tmp_path):
    content = coco_content(person(1), person(2, category_id=2), categories=[PERSON, DOG])
    message = (
        r'2 categories have different keypoints.*--category.*'
        r'person: 3 keypoints \(nose, left_hip, right_hip\); dog: 3 keypoints \(nose, tail, paw\)'
    )
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)
    labelled = read(tmp_path, content, category='dog')
    assert labelled.category == {**DOG, 'id': 1}
    assert [a['id'] for a in labelled.annotations] == [2]
    with pytest.raises(
        ValueError, match="no category 'cat' with keypoints; there are: person, dog"
    ):
        read(tmp_path, content, category='cat')
    # one that nothing is labelled with is in nobody's way
    assert read(tmp_path, coco_content(categories=[PERSON, DOG])).category['name'] == 'person'


def test_categories_with_the_same_keypoints_are_joined(tmp_path):
    dog = {**PERSON, 'id': 7, 'name': 'dog'}
    content = coco_content(person(1), person(2, category_id=7), categories=[PERSON, dog])
    labelled = read(tmp_path, content)
    assert labelled.category['name'] == 'object'
    assert [a['category_id'] for a in labelled.annotations] == [1, 1]
    assert '2 categories with the same keypoints are joined into one' in labelled.notes
    assert not labelled.as_is


@pytest.mark.parametrize('categories', [[], [dict(id=1, name='person')]])
def test_names_may_be_given(tmp_path, categories):
    content = coco_content(categories=categories)
    with pytest.raises(ValueError, match=r'3 keypoints without names.*\(--keypoints nose'):
        read(tmp_path, content)
    labelled = read(tmp_path, content, keypoint_names=['a', 'b', 'c'])
    assert labelled.category['keypoints'] == ['a', 'b', 'c']
    assert labelled.as_is == bool(categories)
    with pytest.raises(ValueError, match=r'annotation 1 has 9 numbers.*4 keypoints are named.*12'):
        read(tmp_path, content, keypoint_names=['a', 'b', 'c', 'd'])


@pytest.mark.parametrize(
    'skeleton, expected, note',
    [
        ([[1, 2], [2, 3]], [[1, 2], [2, 3]], None),
        ([[0, 1], [1, 2]], [[1, 2], [2, 3]], 'counts from 0'),
        ([['nose', 'left_hip']], [[1, 2]], None),
        ([['1', '2']], [[1, 2]], None),
        ([[1, 4]], [], 'links up to 4, and there are 3 keypoints'),
        ([[0, 3]], [], 'links up to 3'),
        ([[1, 2, 3]], [], 'no list of pairs'),
        ([1, 2], [], 'no list of pairs'),
        (None, [], None),
    ],
)
def test_skeletons_count_from_1(tmp_path, skeleton, expected, note):
    labelled = read(tmp_path, coco_content(categories=[{**PERSON, 'skeleton': skeleton}]))
    assert labelled.category['skeleton'] == expected
    assert labelled.as_is  # mmpose does not read it
    assert any(note in text for text in labelled.notes) if note else len(labelled.notes) == 1


# --- what COCO readers refuse ---


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(annotations=[]), 'the list of annotations is empty'),
        (dict(images=[]), 'the list of images is empty'),
        (dict(images=None), "in COCO's format, with lists of images, annotations"),
        (
            dict(annotations=[person(1, keypoints=...)]),
            'none of its 1 annotations has keypoints',
        ),
        (dict(annotations=[person(1, keypoints=[1, 2, 2] * 4)]), 'annotation 1 has 12 numbers'),
        (dict(annotations=[person(1, keypoints=[dict(x=1)])]), r"has \{'x': 1\} in its keypoints"),
        (dict(annotations=[person(1, keypoints=[[1, 2, 2], [1, 2]])]), 'of different lengths'),
        (dict(annotations=[person(1, bbox=[1, 2, 3])]), r'annotation 1 has bbox \[1, 2, 3\]'),
        (dict(images=[dict(id=1, width=8, height=6)]), 'image 1 has no file_name'),
        (dict(images=[dict(file_name='a')]), 'has no id'),
        (
            dict(images=[dict(id=1, file_name='a'), dict(id='1', file_name='b')]),
            '1 ids are of several images, such as 1',
        ),
        (
            dict(categories=[PERSON, DOG], annotations=[person(1, category_id=4)]),
            r"the category_id \['4'\], which no category has",
        ),
    ],
)
def test_coco_files_that_cannot_be_used(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, coco_content(**change))
