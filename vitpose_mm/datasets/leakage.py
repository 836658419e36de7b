"""Images that training and evaluation share: finding them, and training without them."""

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from vitpose_mm.files import file_sha256

from .image_hashes import MAX_DISTANCE, find_pairs, hash_images
from .image_sets import ImageSet, sample_paths

REPORT_FORMAT = 'vitpose_mm leakage audit 1'


def audit(
    train: Sequence[ImageSet],
    evaluation: Sequence[ImageSet],
    max_distance: int = MAX_DISTANCE,
    num_workers: int = 1,
) -> dict:
    """Find the images of training sets that evaluation sets hold as well.

    Each file is hashed once, whatever number of sets name it. See
    :func:`~vitpose_mm.datasets.image_hashes.find_pairs` for what counts as the same picture.

    Args:
        train: Sets trained on, at least one.
        evaluation: Sets evaluated on, at least one.
        max_distance: Bits in which perceptual hashes may differ.
        num_workers: Number of threads that hash.

    Returns:
        A report for JSON, with 'format', 'options', 'sets' (of 'train' and 'evaluation'), 'shared'
        (pairs of images) and 'unreadable'.

    Raises:
        ValueError: A side has no set, no image of a set can be read, or an option is out of range.
    """
    sides = {'train': list(train), 'evaluation': list(evaluation)}
    for side, sets in sides.items():
        if not sets:
            raise ValueError(f'{side}: at least one set of images is needed, got none.')
        for image_set in sets:
            if not any(os.path.exists(image_set.path(image)) for image in image_set.images):
                raise ValueError(
                    f'{image_set.name}: none of its {len(image_set.images)} images exists; compare '
                    f'the folder {image_set.folder!r} with where they are.'
                )
    find_pairs([], [], max_distance)  # an error now, not after hours
    every_path = [path for sets in sides.values() for _, _, path in _image_paths(sets)]
    hashes, problems = hash_images(every_path, num_workers)

    unreadable = [
        {'side': side, 'set': index, 'image': image, 'problem': problems[path]}
        for side, sets in sides.items()
        for index, image, path in _image_paths(sets)
        if path in problems
    ]
    lost = Counter((image['side'], image['set']) for image in unreadable)
    for image in unreadable:
        image_set, number = sides[image['side']][image['set']], lost[image['side'], image['set']]
        if number == len(image_set.images):
            raise ValueError(
                f'{image_set.name}: none of its {number} images in {image_set.folder!r} can be '
                f'read. One of the problems: {image["problem"]}'
            )

    places = {side: defaultdict(list) for side in sides}  # of a path: the sets and the names there
    for side, sets in sides.items():
        for index, image, path in _image_paths(sets):
            if path in hashes:
                places[side][path].append((index, image))
    paths = {side: list(found) for side, found in places.items()}
    pairs = find_pairs(
        [hashes[path] for path in paths['train']],
        [hashes[path] for path in paths['evaluation']],
        max_distance,
    )
    shared = [
        {
            'train': _end(sides['train'], *train_place, hashes[train_path].sha256),
            'evaluation': _end(sides['evaluation'], *place, hashes[path].sha256),
            'found_by': pair.found_by,
            'distance': pair.distance,
        }
        for pair in pairs
        for train_path, path in [(paths['train'][pair.first], paths['evaluation'][pair.second])]
        for train_place in places['train'][train_path]
        for place in places['evaluation'][path]
    ]
    return {
        'format': REPORT_FORMAT,
        'options': {'max_distance': max_distance},
        'sets': {
            side: [
                {
                    'name': image_set.name,
                    'folder': image_set.folder,
                    'annotations_sha256': image_set.annotations_sha256,
                    'num_images': len(image_set.images),
                    'num_unreadable': lost[side, index],
                }
                for index, image_set in enumerate(sets)
            ]
            for side, sets in sides.items()
        },
        'shared': shared,
        'unreadable': unreadable,
    }


def _image_paths(sets: Sequence[ImageSet]) -> Iterator[tuple[int, str, str]]:
    """Index of the set, name and absolute path of each image."""
    for index, image_set in enumerate(sets):
        for image in image_set.images:
            yield index, image, os.path.abspath(image_set.path(image))


def _end(sets: Sequence[ImageSet], index: int, image: str, sha256: str) -> dict:
    return {'set': index, 'image': image, 'file': sets[index].path(image), 'sha256': sha256}


def count_rows(report: Mapping) -> list[tuple]:
    """A table of numbers of images: the head, then a row for each training and evaluation set."""
    found = defaultdict(set)
    for entry in report['shared']:
        train, evaluation = entry['train'], entry['evaluation']
        sets = train['set'], evaluation['set']
        found[(*sets, entry['found_by'])].add(train['image'])
        found[(*sets, 'evaluation')].add(evaluation['image'])
    head = 'training set', 'evaluation set', 'by bytes', 'by perceptual hash', 'evaluation images'
    return [
        head,
        *(
            (
                train['name'],
                evaluation['name'],
                len(found[i, j, 'bytes']),
                # without those that are also there as they are
                len(found[i, j, 'perceptual'] - found[i, j, 'bytes']),
                f'{len(found[i, j, "evaluation"])} of {evaluation["num_images"]}',
            )
            for i, train in enumerate(report['sets']['train'])
            for j, evaluation in enumerate(report['sets']['evaluation'])
        ),
    ]


@dataclass(frozen=True)
class LeftOutImages:
    """Images of training sets that a report found in evaluation sets.

    Attributes:
        report: Path of the report.
        audited: Names of the training sets by the sha256 of their annotation files.
        contents: By file name (without folders): sha256 of the images called so.
    """

    report: str
    audited: dict[str, str]
    contents: dict[str, set[str]]


def left_out_images(file: Union[str, Path]) -> LeftOutImages:
    """Read from a report which images training should leave out, for :func:`leave_out`.

    Raises:
        ValueError: There is no such file, or it is no report, or a damaged one.
    """
    try:
        with open(file, encoding='utf-8') as opened:
            report = json.load(opened)
    except OSError as error:
        raise ValueError(
            f'the leakage report {file} cannot be read: {error.strerror or error}.'
        ) from error
    except ValueError as error:
        raise ValueError(f'the leakage report {file} is damaged, no JSON: {error}.') from error
    found = report.get('format') if isinstance(report, dict) else None
    if found != REPORT_FORMAT:
        raise ValueError(
            f'{file} is no leakage report that can be read here: its format is {found!r}, wanted '
            f'is {REPORT_FORMAT!r}, as tools/audit_leakage.py writes it.'
        )
    contents = defaultdict(set)
    try:
        for entry in report['shared']:
            contents[PurePath(entry['train']['image']).name].add(entry['train']['sha256'])
        audited = {s['annotations_sha256']: s['name'] for s in report['sets']['train']}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'the leakage report {file} is damaged: {error!r} among its sets or shared images. '
            'Write it again with tools/audit_leakage.py.'
        ) from error
    audited.pop(None, None)  # a plain folder
    return LeftOutImages(str(file), audited, dict(contents))


def leave_out(dataset: BaseDataset, images: LeftOutImages) -> int:
    """Take samples whose image a report lists out of a training set, in place.

    A sample goes if a listed image has the same file name and the file that the sample reads has
    the same bytes as that image had in the audit. So the data may have moved, with another
    ``data_root``, folder or annotation file over the same images, and a different picture of the
    same name is never left out. Only files whose names are listed are read. Files that were renamed
    are not recognised.

    Which data sets were audited follows from the bytes of their annotation files. A line in the log
    says how many samples go, how many images the report lists for training sets, and how many of
    them are in this one: too few where images have changed since the audit, or others are read.

    Args:
        dataset: A training set, no wrapper; it shrinks.
        images: What :func:`left_out_images` read.

    Returns:
        How many samples went.

    Raises:
        TypeError: The data set is none of mmengine's, or a wrapper, whose parts are to be given.
        ValueError: The report does not tell of this data set: its annotation file is none of those
            audited; or nobody would be left over. The data set is then as it was.
    """
    samples = list(sample_paths(dataset))
    name = dataset.ann_file
    audited_sha256 = file_sha256(name) if name and os.path.isfile(name) else None
    if audited_sha256 not in images.audited:
        raise ValueError(
            f'{type(dataset).__name__} with annotations {name!r} is none of the training sets that '
            f'{images.report} was written for ({", ".join(images.audited.values()) or "none"}), '
            'going by the contents of annotation files. Run tools/audit_leakage.py with it, as '
            'ANNOTATIONS:FOLDER: sets given as a plain folder do not count here.'
        )
    found = {}  # (name, sha256) by path
    for path in dict.fromkeys(samples):
        file_name = PurePath(path).name
        if file_name not in images.contents:
            continue
        try:
            sha256 = file_sha256(path)
        except OSError as error:
            # nothing can be learned from it either
            message = f'{path}, listed in {images.report}, cannot be read: {error.strerror}'
            print_log(message, logger='current', level=logging.WARNING)
            continue
        if sha256 in images.contents[file_name]:
            found[path] = file_name, sha256
    kept = [i for i, path in enumerate(samples) if path not in found]
    num_left_out, num_listed = len(samples) - len(kept), sum(map(len, images.contents.values()))
    if num_left_out and not kept:
        raise ValueError(
            f'{name}: all {len(samples)} samples are of images that {images.report} lists as '
            'shared with evaluation sets; nobody would be left to train on.'
        )
    if num_left_out:
        dataset.get_subset_(kept)
    print_log(
        f'{name}: {num_left_out} of {len(samples)} samples left out; of {num_listed} images that '
        f'{images.report} lists for training sets, {len(set(found.values()))} are in this one',
        logger='current',
    )
    return num_left_out
