"""Images of labels: found, named, sized and split; whole exports of tools."""

from hashlib import sha256

import pytest
from own_data_files import NAMES, coco_content, person, read, write_coco, write_image

from vitpose_mm.own_data import (
    read_coco_style,
    read_labelled,
    split,
)
from vitpose_mm.own_data.image_files import name_candidates

PERSON = dict(id=1, name='person', keypoints=NAMES, skeleton=[[1, 2]])


# --- images: ids, names, sizes ---


def test_ids_of_images_become_numbers(tmp_path):
    content = coco_content()
    content['images'][0]['id'] = '1'
    labelled = read(tmp_path, content)
    assert [image['id'] for image in labelled.images] == [1, 2]
    content['images'][0]['id'] = content['annotations'][0]['image_id'] = 'first'
    labelled = read(tmp_path, content)
    assert [image['id'] for image in labelled.images] == [1, 2]
    assert [a['image_id'] for a in labelled.annotations] == [1, 2]
    assert any("such as 'first' are no numbers" in note for note in labelled.notes)
    assert not labelled.as_is


def test_annotations_of_unknown_images_are_left_out(tmp_path):
    labelled = read(tmp_path, coco_content(person(1), person(2, image_id=99)))
    assert [a['id'] for a in labelled.annotations] == [1]
    assert '1 annotations of unknown images are left out' in labelled.notes


def test_sizes_are_taken_from_the_files(tmp_path):
    content = coco_content()
    content['images'][0].update(width=0, height=0)  # as CVAT may write it
    del content['images'][1]['width']
    with pytest.raises(ValueError, match=r"2 images have no width and height, such as '1\.png'"):
        read(tmp_path, content)
    write_image(tmp_path / '1.png', 90, 70)
    write_image(tmp_path / '2.png', 80, 60)
    labelled = read(tmp_path, content)
    assert [(image['width'], image['height']) for image in labelled.images] == [(90, 70), (80, 60)]
    assert labelled.notes == ['2 images have no width and height: taken from the files']


@pytest.mark.parametrize(
    'name, candidate',
    [
        ('a.png', 'a.png'),
        ('images/a.png', 'a.png'),
        ('images\\0a1b2c3d-a.png', 'images/0a1b2c3d-a.png'),
        ('images\\0a1b2c3d-a.png', '0a1b2c3d-a.png'),
        ('/data/upload/3/0a1b2c3d-a.png', 'a.png'),
        ('/data/local-files/?d=cam%201/a.png', 'cam 1/a.png'),
        ('http://host:8080/data/upload/a.png?x=1', 'data/upload/a.png'),
        ('s3://bucket/folder/a.png', 'folder/a.png'),
        ('C:\\photos\\a.png', 'a.png'),
        ('./a.png', 'a.png'),
    ],
)
def test_file_names_are_found_as_tools_write_them(name, candidate):
    candidates = list(name_candidates(name))
    assert candidates[0] == name
    assert candidate in candidates


def test_file_names_become_relative_to_the_folder(tmp_path):
    content = coco_content(count=3)
    names = ['images\\1.png', str(tmp_path / 'photos' / 'b' / '2.png'), 'gone.png']
    for image, name in zip(content['images'], names):
        image['file_name'] = name
    write_image(tmp_path / 'photos' / '1.png')
    write_image(tmp_path / 'photos' / 'b' / '2.png')
    labelled = read(tmp_path, content, images=tmp_path / 'photos')
    assert [image['file_name'] for image in labelled.images] == ['1.png', 'b/2.png', 'gone.png']
    assert labelled.notes == [
        f"1 of 3 images are not in {tmp_path / 'photos'}: 'gone.png'",
        f'2 file names are adapted to what is in {tmp_path / "photos"}, such as '
        "'images\\\\1.png' to '1.png'",
    ]
    with pytest.raises(ValueError, match="images must be a folder, got 'nowhere'"):
        read(tmp_path, content, images='nowhere')


def test_two_images_do_not_become_one(tmp_path):
    content = coco_content()
    content['images'][0]['file_name'] = 'a/1.png'
    content['images'][1]['file_name'] = 'b/1.png'
    write_image(tmp_path / '1.png')
    with pytest.raises(ValueError, match=r"'a/1.png' and 'b/1.png' would both be '1.png'"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    'file, images',
    [
        ('labels.json', ''),
        ('labels.json', 'images'),
        ('annotations/person_keypoints_train2017.json', 'train2017'),
        ('annotations/person_keypoints_default.json', 'images/default'),  # CVAT
        ('annotations/labels.json', 'images'),
        ('train/_annotations.coco.json', 'train'),  # Roboflow
    ],
)
def test_images_are_found_near_the_file(tmp_path, file, images):
    path = write_coco(tmp_path, coco_content(), name=file, images=images or '.')
    labelled = read_coco_style(path)
    assert labelled.images_folder == str(tmp_path / images)
    assert labelled.as_is


def test_absolute_names_of_files_elsewhere(tmp_path):
    content = coco_content()
    for image in content['images']:
        image['file_name'] = str(tmp_path / 'elsewhere' / 'deep' / image['file_name'])
        write_image(tmp_path / 'elsewhere' / 'deep' / image['file_name'])
    labelled = read_coco_style(write_coco(tmp_path / 'here' / 'labels', content))
    assert labelled.images_folder == str(tmp_path / 'elsewhere' / 'deep')
    assert [image['file_name'] for image in labelled.images] == ['1.png', '2.png']


# --- exports of tools, whole ---


def test_label_studio(tmp_path):
    names = ['left_hip', 'right_hip', 'nose']
    content = dict(
        images=[
            dict(width=80, height=60, id=0, file_name='images\\0a1b2c3d-a.png'),
            dict(width=80, height=60, id=1, file_name='images\\0a1b2c3e-b.png'),
        ],
        categories=[
            dict(id=0, name='Dog'),
            dict(id=1, name='default', supercategory='default', keypoints=names, skeleton=[]),
        ],
        annotations=[
            dict(
                id=0,
                image_id=0,
                category_id=1,
                keypoints=[30, 10, 2, 40, 42, 2, 0, 0, 0],
                num_keypoints=2,
                bbox=[30, 10, 10, 32],
                iscrowd=0,
            ),
            dict(id=1, image_id=1, category_id=0, segmentation=[], bbox=[1, 2, 3, 4], area=12),
        ],
        info={},
    )
    write_image(tmp_path / 'images' / '0a1b2c3d-a.png')
    write_image(tmp_path / 'images' / '0a1b2c3e-b.png')
    path = write_coco(tmp_path, content, name='result.json')
    labelled = read_labelled(path)
    assert labelled.images_folder == str(tmp_path)
    assert [image['file_name'] for image in labelled.images] == [
        'images/0a1b2c3d-a.png',
        'images/0a1b2c3e-b.png',
    ]
    assert [image['id'] for image in labelled.images] == [0, 1]
    (annotation,) = labelled.annotations
    assert annotation == {
        **content['annotations'][0],
        'id': 1,
        'category_id': 1,
        'area': 169.6,
    }
    assert labelled.category['keypoints'] == names
    assert any('1 of 1 boxes are exactly around the keypoints' in n for n in labelled.notes)
    assert not labelled.as_is
    # the folder of the pictures before they were uploaded
    write_image(tmp_path / 'originals' / 'a.png')
    write_image(tmp_path / 'originals' / 'b.png')
    labelled = read_labelled(path, tmp_path / 'originals')
    assert [image['file_name'] for image in labelled.images] == ['a.png', 'b.png']


def test_roboflow_in_a_folder(tmp_path):
    def content(number: int) -> dict:
        return dict(
            categories=[
                dict(id=0, name='hips', supercategory='none'),
                {**PERSON, 'id': 1, 'supercategory': 'hips'},
            ],
            images=[dict(id=0, file_name=f'{number}.png', width=80, height=60)],
            annotations=[person(0, image_id=0, category_id=1, segmentation=[])],
        )

    for number, part in enumerate(('train', 'valid')):
        write_coco(tmp_path, content(number), f'{part}/_annotations.coco.json', images=part)
    train = read_labelled(tmp_path, split='train')
    val = read_labelled(tmp_path, split='val')
    assert (train.has_val, val.has_val) == (True, False)
    assert [train.images[0]['file_name'], val.images[0]['file_name']] == ['0.png', '1.png']
    assert val.images_folder == str(tmp_path / 'valid')
    assert train.annotations[0]['id'] == 1
    with pytest.raises(ValueError, match='several files of annotations: name one of train/_annot'):
        read_labelled(tmp_path)


# --- splitting ---


def labelled_images(tmp_path, names):
    content = coco_content(count=len(names))
    for image, name in zip(content['images'], names):
        image['file_name'] = name
    return read(tmp_path, content)


def names_of(labelled) -> list:
    return [image['file_name'] for image in labelled.images]


def test_split_depends_on_names_alone(tmp_path):
    names = [f'{number}.png' for number in range(400)]
    train, val = split(labelled_images(tmp_path, names), 0.2)
    digests = {name: int(sha256(name.encode()).hexdigest(), 16) for name in names}
    assert names_of(val) == [name for name in names if digests[name] < 0.2 * 2**256]
    assert 60 < len(names_of(val)) < 100
    assert sorted(names_of(train) + names_of(val)) == sorted(names)
    assert {a['image_id'] for a in val.annotations} == {image['id'] for image in val.images}
    assert len(train.annotations) + len(val.annotations) == 400
    assert not train.as_is and not val.as_is
    fewer = [*names[::-2], 'new.png']
    again = names_of(split(labelled_images(tmp_path, fewer), 0.2)[1])
    assert set(again) - {'new.png'} == set(names_of(val)) & set(fewer)


def test_entries_of_one_file_stay_together(tmp_path):
    names = [f'{number // 2}.png' for number in range(60)]
    train, val = split(labelled_images(tmp_path, names), 0.3)
    assert not set(names_of(train)) & set(names_of(val))


def test_split_by_folders(tmp_path):
    names = [f'clip{number % 20}/{number}.png' for number in range(80)]
    train, val = split(labelled_images(tmp_path, names), 0.3, by='folders')
    folders = [{name.partition('/')[0] for name in names_of(part)} for part in (train, val)]
    assert len(folders[0]) + len(folders[1]) == 20
    assert not folders[0] & folders[1]


def test_splits_that_are_none(tmp_path):
    labelled = labelled_images(tmp_path, ['a.png', 'b.png'])
    with pytest.raises(ValueError, match=r'0 of the 2 pictures of .* each side needs one'):
        split(labelled, 1e-6)
    for share in (0, 1, -0.1):
        with pytest.raises(ValueError, match='share must be between 0 and 1'):
            split(labelled, share)
    with pytest.raises(ValueError, match="by must be 'images' or 'folders', got 'people'"):
        split(labelled, 0.5, by='people')
