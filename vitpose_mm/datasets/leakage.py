"""Images that training and evaluation share: finding them, and training without them."""

import json
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Optional, Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from vitpose_mm.files import written_whole

from .image_hashes import MAX_DISTANCE, find_pairs, hash_images
from .image_sets import ImageSet, file_sha256, image_folder, image_in, sample_paths

REPORT_FORMAT = 'vitpose_mm leakage audit 1'
NUM_LISTED = 5  # of the names that an error is about
SECONDS_BETWEEN_LINES = 10


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
        max_distance: Bits in which perceptual hashes may differ.
        num_workers: Number of threads that hash.

    Returns:
        A report for JSON, with 'format', 'options', 'sets' (of 'train' and 'evaluation'), 'counts'
        (of images for each pair of sets), 'shared' (pairs of images) and 'unreadable'.

    Raises:
        ValueError: A side has no set, no image of a set can be read, or an option is out of range.
    """
    sides = {'train': list(train), 'evaluation': list(evaluation)}
    for side, sets in sides.items():
        if not sets:
            raise ValueError(f'{side}: at least one set of images is needed, got none.')
    find_pairs([], [], max_distance)  # an error now, not after hours
    every_path = [path for sets in sides.values() for _, _, path in _image_paths(sets)]
    hashes, problems = hash_images(every_path, num_workers, _Progress())

    unreadable = [
        {'side': side, 'set': index, 'image': image, 'problem': problems[path]}
        for side, sets in sides.items()
        for index, image, path in _image_paths(sets)
        if path in problems
    ]
    lost = Counter((image['side'], image['set']) for image in unreadable)
    for image in unreadable:
        place = image['side'], image['set']
        _check_some_readable(sides[place[0]][place[1]], lost[place], image['problem'])

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
        'counts': _count(shared, len(sides['train']), len(sides['evaluation'])),
        'shared': shared,
        'unreadable': unreadable,
    }


def _image_paths(sets: Sequence[ImageSet]) -> Iterator[tuple[int, str, str]]:
    """Index of the set, name and absolute path of each image."""
    for index, image_set in enumerate(sets):
        for image in image_set.images:
            yield index, image, os.path.abspath(image_set.path(image))


def _check_some_readable(image_set: ImageSet, num_unreadable: int, problem: str) -> None:
    if num_unreadable == len(image_set.images):
        raise ValueError(
            f'{image_set.name}: none of its {num_unreadable} images can be read; compare the '
            f'folder {image_set.folder!r} with where they are. One of the problems: {problem}'
        )


class _Progress:
    """Logs how far hashing is, every few seconds."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, num_done: int, num_images: int) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        seconds_left = (now - self._started) / num_done * (num_images - num_done)
        print_log(
            f'{num_done} of {num_images} images hashed, {seconds_left / 60:.1f} minutes left',
            logger='current',
        )


def _end(sets: Sequence[ImageSet], index: int, image: str, sha256: str) -> dict:
    return {'set': index, 'image': image, 'file': sets[index].path(image), 'sha256': sha256}


def _count(shared: Sequence[dict], num_train: int, num_evaluation: int) -> list[dict]:
    """Numbers of images for each training and evaluation set."""
    found = defaultdict(set)
    for entry in shared:
        train, evaluation = entry['train'], entry['evaluation']
        sets = train['set'], evaluation['set']
        found[(*sets, entry['found_by'])].add(train['image'])
        found[(*sets, 'evaluation')].add(evaluation['image'])
    return [
        {
            'train': i,
            'evaluation': j,
            'train_images_by_bytes': len(found[i, j, 'bytes']),
            # without those that are also there as they are
            'train_images_by_perceptual_hash': len(
                found[i, j, 'perceptual'] - found[i, j, 'bytes']
            ),
            'evaluation_images': len(found[i, j, 'evaluation']),
        }
        for i in range(num_train)
        for j in range(num_evaluation)
    ]


def count_rows(report: Mapping) -> list[tuple]:
    """A table of a report's counts: the head, then a row for each training and evaluation set."""
    train, evaluation = report['sets']['train'], report['sets']['evaluation']
    head = 'training set', 'evaluation set', 'by bytes', 'by perceptual hash', 'evaluation images'
    return [
        head,
        *(
            (
                train[count['train']]['name'],
                evaluation[count['evaluation']]['name'],
                count['train_images_by_bytes'],
                count['train_images_by_perceptual_hash'],
                f'{count["evaluation_images"]} of {evaluation[count["evaluation"]]["num_images"]}',
            )
            for count in report['counts']
        ),
    ]


def write_report(report: Mapping, path: Union[str, Path]) -> None:
    """Write a report of :func:`audit`, whole or not at all.

    Raises:
        OSError: It could not be written; an old file of this name is as it was.
    """
    with written_whole(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        json.dump(report, file, indent=1)
        file.write('\n')


@dataclass(frozen=True)
class LeftOutImages:
    """Images of training sets that a report found in evaluation sets.

    Attributes:
        report: Path of the report.
        audited: Names of the training sets by the sha256 of their annotation files.
        unnamed: Training sets without an annotation file.
        contents: By file name (without folders): sha256 of the images called so.
        expected: By sha256 of the annotation file: sha256 of its images by path in their folder.
    """

    report: str
    audited: dict[str, str] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()
    contents: dict[str, set[str]] = field(default_factory=dict)
    expected: dict[str, dict[str, str]] = field(default_factory=dict)


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
    contents, expected = defaultdict(set), defaultdict(dict)
    try:
        sets = report['sets']['train']
        for entry in report['shared']:
            image, sha256 = entry['train']['image'], entry['train']['sha256']
            contents[PurePath(image).name].add(sha256)
            annotations_sha256 = sets[entry['train']['set']]['annotations_sha256']
            if annotations_sha256 is not None:
                expected[annotations_sha256][image] = sha256
        named = {s['annotations_sha256']: s['name'] for s in sets}
        unnamed = tuple(s['name'] for s in sets if s['annotations_sha256'] is None)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f'the leakage report {file} is damaged: {error!r} among its sets or shared images. '
            'Write it again with tools/audit_leakage.py.'
        ) from error
    named.pop(None, None)
    return LeftOutImages(str(file), named, unnamed, dict(contents), dict(expected))


def leave_out(dataset: BaseDataset, images: LeftOutImages) -> int:
    """Take samples whose image a report lists out of a training set, in place.

    A sample goes if a listed image has the same file name and the file that the sample reads has
    the same bytes as that image had in the audit. So the data may have moved, with another
    ``data_root``, folder or annotation file over the same images, and a different picture of the
    same name is never left out. Only files whose names are listed are read. Files that were renamed
    are not recognised.

    Which data sets were audited follows from the bytes of their annotation files. A line in the log
    says how many samples go, and warns if the report lists images of this data set but none is in
    it.

    Returns:
        How many samples went.

    Raises:
        TypeError: The data set is none of mmengine's, or a wrapper, whose parts are to be given.
        ValueError: The report does not tell of this data set: its annotation file is none of those
            audited (only logged where a folder without annotations was audited), or a listed image
            has other bytes by now; or nobody would be left over. The data set is then as it was.
    """
    name = dataset.ann_file if isinstance(dataset, BaseDataset) else type(dataset).__name__
    samples = list(sample_paths(dataset))
    expected = images.expected.get(_check_audited(dataset, images), {})
    folder, verdicts, num_listed, changed = image_folder(dataset), {}, 0, []
    for path in dict.fromkeys(path for paths in samples for path in paths):
        contents = images.contents.get(PurePath(path).name)
        if contents is None:
            continue
        try:
            sha256 = file_sha256(path)
        except OSError as error:
            # nothing can be learned from it either
            message = f'{path}, listed in {images.report}, cannot be read: {error.strerror}'
            print_log(message, logger='current', level=logging.WARNING)
            continue
        image = image_in(folder, path)
        num_listed += image in expected
        if expected.get(image, sha256) != sha256:
            changed.append(path)
        verdicts[path] = sha256 in contents
    if changed:
        raise ValueError(
            f'{name}: {len(changed)} images have other contents than when {images.report} was '
            f'written, such as {", ".join(changed[:NUM_LISTED])}; run tools/audit_leakage.py again.'
        )
    kept = [i for i, paths in enumerate(samples) if not any(map(verdicts.get, paths))]
    num_left_out, num_images = len(samples) - len(kept), sum(verdicts.values())
    if num_left_out and not kept:
        raise ValueError(
            f'{name}: all {len(samples)} samples are of images that {images.report} lists as '
            'shared with evaluation sets; nobody would be left to train on.'
        )
    if num_left_out:
        dataset.get_subset_(kept)
    message = (
        f'{name}: {num_left_out} of {len(samples)} samples left out (images: {num_images}), as '
        f'{images.report} demands'
    )
    if expected and not num_listed:
        message += f'; none of the {len(expected)} images listed of this set is in it'
    print_log(
        message,
        logger='current',
        level=logging.WARNING if expected and not num_listed else logging.INFO,
    )
    return num_left_out


def _check_audited(dataset: BaseDataset, images: LeftOutImages) -> Optional[str]:
    """Sha256 of the annotation file, which must be one of those audited."""
    name = dataset.ann_file
    sha256 = file_sha256(name) if name and os.path.isfile(name) else None
    if sha256 in images.audited:
        return sha256
    audited = ', '.join((*images.audited.values(), *images.unnamed))
    problem = (
        f'{type(dataset).__name__} with annotations {name!r} is none of the training sets that '
        f'{images.report} was written for ({audited}), going by the contents of annotation files'
    )
    if not images.unnamed:
        raise ValueError(f'{problem}. Run tools/audit_leakage.py with it.')
    print_log(f'{problem}; it may be unaudited', logger='current', level=logging.WARNING)
    return sha256
