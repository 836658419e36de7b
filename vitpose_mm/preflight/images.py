"""Image files: whether they are there, can be read, and have the annotated size."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from vitpose_mm.datasets.loading import ImageError, read_image

from .findings import NUM_EXAMPLES, Finding, severity_by_share

NUM_THREADS = 4
MAX_FILES_LOOKED_THROUGH = 500_000


def missing_files(paths: Sequence[str]) -> list[str]:
    """Those that do not exist, by a listing of each folder: quick on network drives, too."""
    by_folder = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    missing = []
    for folder, inside in by_folder.items():
        try:
            # the same name in another case is a file on some systems
            names = set(os.listdir(folder or '.')) if len(inside) > 1 else set()
        except OSError:
            names = set()
        missing += [
            path
            for path in inside
            if os.path.basename(path) not in names and not os.path.isfile(path)
        ]
    return missing


def spread(items: Sequence, count: int) -> list:
    """At most ``count`` of the items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def check_files(paths: Sequence[str], data_root: Optional[str]) -> Iterator[Finding]:
    """Files that are missing, with the folder under ``data_root`` that has them, if one does.

    Args:
        paths: Of distinct images, as the data set will open them.
    """
    local = [path for path in paths if '://' not in path]
    missing = missing_files(local)
    if not missing:
        return
    advice = (
        "Compare data_root, data_prefix and the 'file_name' of images with where the files are."
    )
    found = _find_elsewhere(missing, data_root)
    if found:
        folder, count = found
        example = next(p for p in missing if os.path.basename(p) in os.listdir(folder))
        advice = (
            f'{count} of them have their name in {folder}: let data_root, data_prefix and '
            f"'file_name' lead there, not to {os.path.dirname(example) or '.'}."
        )
    yield Finding(
        'fault',
        'images-missing',
        f'{len(missing)} of {len(local)} images do not exist.',
        advice,
        count=len(missing),
        examples=tuple(missing[:NUM_EXAMPLES]),
    )


def _find_elsewhere(missing: Sequence[str], root: Optional[str]) -> Optional[tuple[str, int]]:
    """The folder below ``root`` that has most of the missing files' names, and how many."""
    if not root or not os.path.isdir(root):
        return None
    wanted, counts, seen = {os.path.basename(path) for path in missing}, Counter(), 0
    for folder, _, names in os.walk(root):
        counts[folder] = len(wanted.intersection(names))
        seen += len(names)
        if seen > MAX_FILES_LOOKED_THROUGH:
            break
    folder, count = counts.most_common(1)[0]
    return (folder, count) if count else None


def check_contents(
    paths: Sequence[str], sizes: Mapping[str, tuple[float, float]], num_images: int
) -> Iterator[Finding]:
    """Open some images as training does: damaged ones, and those of another size than annotated.

    Args:
        paths: Of distinct images that exist.
        sizes: Annotated width and height by path, px; images without are only read.
        num_images: How many to open, evenly spread.
    """
    chosen = spread([path for path in paths if '://' not in path], num_images)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        opened = dict(zip(chosen, pool.map(_size_or_problem, chosen)))
    unreadable = {path: result for path, result in opened.items() if isinstance(result, str)}
    if unreadable:
        yield Finding(
            'fault',
            'images-unreadable',
            f'{len(unreadable)} of {len(opened)} images opened cannot be read: '
            f'{next(iter(unreadable.values()))}',
            'Get the files again, or take them out; in training pipelines '
            "dict(type='LoadCheckedImage', on_error='skip') passes over them.",
            count=len(unreadable),
            examples=tuple(unreadable)[:NUM_EXAMPLES],
        )
    other, turned = [], []
    for path, real in opened.items():
        if path in unreadable or path not in sizes or tuple(sizes[path]) == real:
            continue
        (turned if tuple(sizes[path])[::-1] == real else other).append(path)
    num_read = len(opened) - len(unreadable)
    for kind, found, what, advice in (
        (
            'images-turned',
            turned,
            "have width and height exchanged against the file's 'width' and 'height'",
            'They have an EXIF orientation, which training applies and the annotation tool did '
            'not, or the other way round. Write the images again upright, and let the annotations '
            'fit them.',
        ),
        (
            'images-of-other-size',
            other,
            "are of another size than the file's 'width' and 'height'",
            'If they were resized, boxes and keypoints must be scaled likewise; else correct '
            "'width' and 'height', by which boxes are cut off.",
        ),
    ):
        severity = severity_by_share(len(found), num_read, fault_from=0.01)
        if severity is not None:
            yield Finding(
                severity,
                kind,
                f'{len(found)} of {num_read} images opened {what}.',
                advice,
                count=len(found),
                examples=tuple(_compared(p, sizes[p], opened[p]) for p in found[:NUM_EXAMPLES]),
            )


def _compared(path: str, annotated: tuple, real: tuple[int, int]) -> str:
    factor = ''
    if annotated[0] and annotated[1] and annotated != real[::-1]:
        x, y = real[0] / annotated[0], real[1] / annotated[1]
        factor = f', {x:.3g} times' if abs(x - y) < 0.01 * x else ''
    return f'{path} is {real[0]} x {real[1]}, annotated {annotated[0]} x {annotated[1]}{factor}'


def _size_or_problem(path: str) -> object:
    try:
        height, width = read_image(path).shape[:2]
    except ImageError as error:
        return str(error)
    return width, height
