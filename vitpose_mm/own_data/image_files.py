"""Files of images: where they are, what they are called there, and their sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

NUM_TRIED = 50  # names by which a folder is recognised
_HASH_PREFIX = re.compile(r'^[0-9a-f]{8}-')  # that Label Studio puts before uploaded files' names


def read_sizes(paths: Sequence[str]) -> list[tuple[int, int]]:
    """Width and height of images in px, EXIF orientations applied.

    Raises:
        ImageError: One cannot be read.
    """
    from vitpose_mm.datasets.loading import read_image

    def size(path: str) -> tuple[int, int]:
        height, width = read_image(path).shape[:2]
        return width, height

    with ThreadPoolExecutor() as pool:
        return list(pool.map(size, paths))


def name_candidates(name: str) -> Iterator[str]:
    """What a ``file_name`` may be called within a folder of images, the likeliest first.

    Windows' separators, quoting of URLs (``a%20b.jpg``), addresses and leading folders, queries
    (Label Studio's ``/data/local-files/?d=folder/a.jpg``) and the eight digits that Label Studio
    puts before the names of uploads are taken off, one after the other.
    """
    yield name
    plain = name.replace('\\', '/')
    for text in dict.fromkeys((plain, unquote(plain))):
        before, mark, query = text.partition('?')
        if mark:
            text = query.partition('d=')[2] or before
        parts = [part for part in text.partition('://')[2].split('/') if part] or [
            part for part in text.split('/') if part not in ('', '.')
        ]
        for start in range(len(parts)):
            yield '/'.join(parts[start:])
        if parts and _HASH_PREFIX.match(parts[-1]):
            yield parts[-1][9:]


def name_within(folder: str, name: str) -> str | None:
    """The first of :func:`name_candidates` that is a file in a folder."""
    for candidate in name_candidates(name):
        # an absolute path is not relative to anything, though joining works
        if not os.path.isabs(candidate) and os.path.isfile(os.path.join(folder, candidate)):
            return candidate
    return None


def find_folder(annotations: Path, names: Sequence[str]) -> str | None:
    """The folder that holds the images of an annotation file, looked for where it usually is.

    Beside the file, in ``images`` beside it, one folder up, and in folders there that are named
    like the last part of the file's name (``person_keypoints_train2017.json``: ``train2017``).
    """
    here, above = annotations.parent, annotations.parent.parent
    subset = annotations.stem.rpartition('_')[2]
    candidates = (
        here,
        here / 'images',
        here / subset,
        here / 'images' / subset,
        above,
        above / 'images',
        above / subset,
        above / 'images' / subset,
    )
    tried = names[:: max(1, len(names) // NUM_TRIED)]

    def num_found(folder: Path) -> tuple[int, int]:
        if not folder.is_dir():
            return 0, 0
        exact = sum(os.path.isfile(os.path.join(folder, name)) for name in tried)
        # absolute names are found from anywhere
        exact *= not any(os.path.isabs(name) for name in tried)
        return exact, sum(name_within(str(folder), name) is not None for name in tried)

    best = max(candidates, key=num_found)  # the first of equals
    if num_found(best)[1]:
        return str(best)
    if all(os.path.isabs(name) and os.path.isfile(name) for name in names):
        return os.path.commonpath([os.path.dirname(name) for name in names])
    return None
