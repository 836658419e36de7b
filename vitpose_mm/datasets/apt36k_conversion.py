"""From the annotation file that APT-36K is released with to COCO's format, in fixed splits.

The release is one file in nearly COCO's format. Its images have Windows paths of the authors'
machine, ``D:\\Animal_pose\\AP-36k-patr1\\29wolf\\v3c2\\frame7.jpg`` (species, clip, frame), and a
``video_id``; its annotations have a ``track_id``, and ``is_crowd`` where COCO has ``iscrowd``.

No split is published, neither with the data nor with the official ViTPose code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..files import written_whole

NUM_KEYPOINTS = 17
FILE_NAMES = {
    'train': 'train_annotations_1.json',
    'val': 'val_annotations_1.json',
    'test': 'test_annotations_1.json',
}  # the official configs name the first two
SPLIT_OF_TENTH = (*['train'] * 7, 'val', *['test'] * 2)
NUM_LISTED = 5

_NUMBER = (int, float)
_NAMES = {int: 'a whole number', str: 'text', _NUMBER: 'a number', list: 'a list'}
_REQUIRED = {
    'image': {'id': int, 'file_name': str, 'width': _NUMBER, 'height': _NUMBER},
    'annotation': {
        'id': int,
        'image_id': int,
        'category_id': int,
        'bbox': list,
        'keypoints': list,
    },
}


class WrittenSplit(NamedTuple):
    path: Path
    num_clips: int
    num_images: int
    num_annotations: int


def normalized_file_name(file_name: str) -> str:
    """``species/clip/frame.jpg``, the last three parts of a path in Windows' or POSIX's style.

    Raises:
        ValueError: The path has fewer parts.
    """
    parts = [part for part in re.split(r'[\\/]', file_name) if part]
    if len(parts) < 3:
        raise ValueError(
            f'file_name {file_name!r} should end in species, clip and frame, as in '
            r"'D:\Animal_pose\AP-36k-patr1\29wolf\v3c2\frame7.jpg'"
        )
    return '/'.join(parts[-3:])


def clip_of(file_name: str) -> str:
    """``species/clip`` of a normalized file name."""
    return file_name.rpartition('/')[0]


def split_of(clip: str) -> str:
    """``'train'``, ``'val'`` or ``'test'``, by the SHA-256 of the video's name alone.

    On average 7 : 1 : 2. A clip stays where it is whatever else is in the file, and clips of one
    video stay together: ``v3c1`` and ``v3c2`` are of ``v3``. Other names are taken as they are.

    Args:
        clip: ``species/clip``, as the release spells it.
    """
    video = re.sub(r'(/v\d+)c\d.*', r'\1', clip)
    digest = hashlib.sha256(video.encode()).digest()
    return SPLIT_OF_TENTH[int.from_bytes(digest[:4], 'big') * len(SPLIT_OF_TENTH) >> 32]


def repaired_annotation(annotation: dict) -> dict:
    """A copy with COCO's ``iscrowd``, ``num_keypoints`` and ``area``.

    ``num_keypoints`` is counted; an area that is not there is the box's, as in AP-10K.
    """
    repaired = {key: value for key, value in annotation.items() if key != 'is_crowd'}
    repaired['iscrowd'] = int(annotation.get('iscrowd', annotation.get('is_crowd', 0)))
    repaired['num_keypoints'] = sum(visible > 0 for visible in annotation['keypoints'][2::3])
    width, height = annotation['bbox'][2:]
    repaired.setdefault('area', width * height)
    return repaired


def split_release(release: dict) -> dict[str, dict]:
    """The content of each split's file, by the names of the splits.

    Images and annotations keep their order and further entries, such as ``track_id``; whatever
    else the release holds is in every split. Annotations keep their ids unless one is repeated or
    0, which pycocotools takes for "no match": then all are numbered from 1.

    Raises:
        ValueError: The content is not what APT-36K is released as.
    """
    _check(release)
    splits = {name: {**release, 'images': [], 'annotations': []} for name in FILE_NAMES}
    split_of_image = {}
    for image in release['images']:
        file_name = normalized_file_name(image['file_name'])
        split = split_of_image[image['id']] = split_of(clip_of(file_name))
        splits[split]['images'].append({**image, 'file_name': file_name})

    ids = {annotation['id'] for annotation in release['annotations']}
    renumber = len(ids) < len(release['annotations']) or 0 in ids
    for number, annotation in enumerate(release['annotations'], start=1):
        repaired = repaired_annotation(annotation)
        if renumber:
            repaired['id'] = number
        splits[split_of_image[annotation['image_id']]]['annotations'].append(repaired)
    return splits


def _check(release: dict) -> None:
    keys = ('images', 'annotations', 'categories')
    missing = [
        key
        for key in keys
        if not isinstance(release, dict) or not isinstance(release.get(key), list)
    ]
    if missing:
        raise ValueError(
            f'no list of {" and ".join(missing)}; wanted is apt36k_annotations.json as released, '
            f'with lists of {", ".join(keys)}'
        )
    if not release['images']:
        raise ValueError('the list of images is empty')
    for kind, types in _REQUIRED.items():
        for index, entry in enumerate(release[f'{kind}s']):
            name = f'{kind} {index} of the list'
            if not isinstance(entry, dict):
                raise ValueError(
                    f'{name} is {entry!r}; wanted is an object with {", ".join(types)}'
                )
            absent = [key for key in types if key not in entry]
            if absent:
                raise ValueError(f'{name} has no {", ".join(absent)}')
            for key, wanted in types.items():
                if not isinstance(entry[key], wanted):
                    raise ValueError(f'{name} has {key} {entry[key]!r}; wanted is {_NAMES[wanted]}')

    image_ids, originals = set(), {}
    for image in release['images']:
        if image['id'] in image_ids:
            raise ValueError(f'image id {image["id"]} is there twice; ids must be unique')
        image_ids.add(image['id'])
        original = image['file_name']
        file_name = normalized_file_name(original)
        if file_name in originals:
            raise ValueError(
                f'{originals[file_name]!r} and {original!r} would both be {file_name!r}; species, '
                'clip and frame must tell images apart'
            )
        originals[file_name] = original
    for annotation in release['annotations']:
        name = f'annotation {annotation["id"]}'
        if annotation['image_id'] not in image_ids:
            raise ValueError(
                f'{name} is of image {annotation["image_id"]}, which is not among the '
                f'{len(image_ids)} images'
            )
        keypoints, box = annotation['keypoints'], annotation['bbox']
        if len(keypoints) != 3 * NUM_KEYPOINTS:
            raise ValueError(
                f'{name} has {len(keypoints) / 3:.3g} keypoints; wanted are {NUM_KEYPOINTS}, each '
                'x, y and visibility'
            )
        if len(box) != 4:
            raise ValueError(f'{name} has bbox {box}; wanted is [left, top, width, height]')
        crowd = annotation.get('iscrowd', annotation.get('is_crowd', 0))
        for key, values in (('keypoints', keypoints), ('bbox', box), ('iscrowd', [crowd])):
            others = [value for value in values if not isinstance(value, _NUMBER)]
            if others:
                raise ValueError(f'{name} has {others[0]!r} in its {key}; wanted are numbers')


def find_clips(clips: Iterable[str], images: str | Path) -> dict[str, str]:
    """Where the folder of each clip is below ``images``, by the release's names of the clips.

    Five clips have names beyond ASCII, which tools for unpacking spell in different ways; they are
    found by what comes before, if only one folder fits. Species have numbers, by which folders are
    found whose misspelt names (``raccon``) were corrected. What is not found keeps its name.
    """
    images, clips = Path(images), set(clips)
    found = {}
    for clip in sorted(clips):
        species, _, name = clip.partition('/')
        number = _leading_number(species)
        if number is not None and not (images / species).is_dir():
            fitting = (folder for folder in _folders(images) if _leading_number(folder) == number)
            species = _only(fitting, default=species)
        start = _ascii_start(name)
        if start != name and not (images / species / name).is_dir():
            others = {other.partition('/')[2] for other in clips if other != clip}
            fitting = (
                folder
                for folder in _folders(images / species)
                if _ascii_start(folder) == start and folder not in others
            )
            name = _only(fitting, default=name)
        found[clip] = f'{species}/{name}'
    return found


def _folders(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _only(names: Iterable[str], default: str) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else default


def _leading_number(name: str) -> str | None:
    match = re.match(r'\d+', name)
    return match and match[0]


def _ascii_start(name: str) -> str:
    return re.match(r'[\x00-\x7f]*', name)[0]


def rename_to_files(splits: dict[str, dict], images: str | Path) -> dict[str, dict]:
    """The splits with file names as they are on disk, relative to ``images``.

    Raises:
        ValueError: ``images`` is not a folder.
        FileNotFoundError: Some images are not there.
    """
    if not os.path.isdir(images):
        raise ValueError(f'images {str(images)!r} is not a folder')
    file_names = [image['file_name'] for split in splits.values() for image in split['images']]
    folders = find_clips(map(clip_of, file_names), images)
    renamed = {name: f'{folders[clip_of(name)]}/{name.rpartition("/")[2]}' for name in file_names}
    missing = [name for name in renamed.values() if not os.path.isfile(Path(images, name))]
    if missing:
        listed = ', '.join(missing[:NUM_LISTED]) + (', ...' if len(missing) > NUM_LISTED else '')
        raise FileNotFoundError(
            f'{len(missing)} of {len(renamed)} images are not below {images}: {listed}. It should '
            'hold the folders of the species, such as 29wolf'
        )
    return {
        split: {
            **content,
            'images': [
                {**image, 'file_name': renamed[image['file_name']]} for image in content['images']
            ],
        }
        for split, content in splits.items()
    }


def convert_file(
    annotations: str | Path,
    out_dir: str | Path,
    images: str | Path | None = None,
) -> dict[str, WrittenSplit]:
    """Write the splits of a released annotation file, each file whole or not at all.

    Args:
        annotations: ``apt36k_annotations.json`` of the release.
        out_dir: Folder of the files of ``FILE_NAMES``; made if need be.
        images: Folder that holds the species' folders. If given, every image must be there, and
            names are written as they are on disk.

    Returns:
        What was written, by the names of the splits.

    Raises:
        ValueError: The file is not APT-36K's, or ``images`` is no folder.
        OSError: ``annotations`` or an image is not there, or nothing can be written.
    """
    content = Path(annotations).read_bytes()
    try:
        release = json.loads(content)
    except ValueError as error:
        raise ValueError(f'{annotations} is not JSON: {error}') from error
    try:
        splits = split_release(release)
    except ValueError as error:
        raise ValueError(f'{annotations}: {error}') from error
    num_clips = {
        name: len({clip_of(image['file_name']) for image in split['images']})
        for name, split in splits.items()
    }
    if images is not None:
        splits = rename_to_files(splits, images)

    Path(out_dir).mkdir(parents=True, exist_ok=True)
    written = {}
    for name, split in splits.items():
        path = Path(out_dir, FILE_NAMES[name])
        with written_whole(path) as partial:
            Path(partial).write_text(json.dumps(split))
        written[name] = WrittenSplit(
            path, num_clips[name], len(split['images']), len(split['annotations'])
        )
    return written
