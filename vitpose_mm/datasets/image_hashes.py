"""Hashes of images, and which images of two collections are the same picture."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np
from mmengine.logging import print_log

from .loading import ImageError, decode_image

MAX_DISTANCE = 4  # bits; what was measured is told in find_pairs
LARGEST_DISTANCE = 16  # from here on different photos come in crowds
# Half of the coefficients of a picture with a meaningful hash are larger. Below are ramps, edges
# and checkerboards (0 to 0.2) and fine noise (1.3); the flattest of 4087 photos, skiers in a
# snowstorm, has 5.5. JPEG of quality 50 changes a coefficient by 0.5, at most by 2.2.
LEAST_CONTRAST = 4.0

SECONDS_BETWEEN_LINES = 10
_PAIRS_AT_ONCE = 2**22  # OpenCV holds 8 bytes of each


@dataclass(frozen=True)
class ImageHash:
    """What an image is recognised by.

    Attributes:
        sha256: Of the file's bytes, in hexadecimal digits.
        perceptual: 64 bits, alike for pictures that look alike; None for pictures without contrast.
    """

    sha256: str
    perceptual: Optional[int]


@dataclass(frozen=True)
class Pair:
    """Two images that are the same picture.

    Attributes:
        first: Index into the first collection.
        second: Index into the second collection.
        found_by: 'bytes' (equal files) or 'perceptual'.
        distance: Bits in which the perceptual hashes differ; 0 for equal files.
    """

    first: int
    second: int
    found_by: str
    distance: int


def hash_image(path: Union[str, Path]) -> ImageHash:
    """Read an image file and hash it.

    Raises:
        ImageError: It cannot be read or decoded.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f'image {path} cannot be read: {error.strerror or error}.') from error
    image = decode_image(data, f'image {path}')
    return ImageHash(hashlib.sha256(data).hexdigest(), perceptual_hash(image))


def perceptual_hash(image: np.ndarray) -> Optional[int]:
    """64 bits that survive other encoding and size (pHash; Zauner 2010, section 3.2.1).

    The picture in grey is reduced to 32 x 32 px; each bit tells whether one of the 8 x 8 lowest
    frequencies of its cosine transform, those constant along an axis left out, is above their
    median.

    Args:
        image: (H, W, 3) uint8, BGR.

    Returns:
        None if nothing but noise would decide the bits: flat pictures, but also plain ramps, edges
        along an axis and checkerboards.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    frequencies = cv2.dct(small)[1:9, 1:9].ravel()  # (64,)
    if np.median(np.abs(frequencies)) < LEAST_CONTRAST:
        return None
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(bits).tobytes(), 'big')


def hash_images(
    paths: Iterable[Union[str, Path]], num_workers: int = 1
) -> tuple[dict[str, ImageHash], dict[str, str]]:
    """Hash many files in threads, each path once, and log every few seconds how far that is.

    Args:
        paths: Image files, repeated or not; they need not exist.
        num_workers: Number of threads; reading, decoding and hashing run side by side in them.

    Returns:
        Hashes by path, and by path what is wrong with those that cannot be read.

    Raises:
        ValueError: ``num_workers`` is below 1.
    """
    if num_workers < 1:
        raise ValueError(f'num_workers must be at least 1, got {num_workers}.')
    paths = list(dict.fromkeys(map(str, paths)))
    hashes, problems = {}, {}
    started = logged = time.monotonic()
    with ThreadPoolExecutor(num_workers) as pool:
        # in parts, so that an interruption need not wait for all
        for start in range(0, len(paths), 256):
            part = paths[start : start + 256]
            for path, result in zip(part, pool.map(_hash_or_problem, part)):
                (hashes if isinstance(result, ImageHash) else problems)[path] = result
            now, num_done = time.monotonic(), start + len(part)
            if now - logged >= SECONDS_BETWEEN_LINES:
                logged, left = now, (now - started) / num_done * (len(paths) - num_done)
                print_log(
                    f'{num_done} of {len(paths)} images hashed, {left / 60:.1f} minutes left',
                    logger='current',
                )
    return hashes, problems


def _hash_or_problem(path: str) -> Union[ImageHash, str]:
    try:
        return hash_image(path)
    except ImageError as error:
        return str(error)


def find_pairs(
    first: Sequence[ImageHash], second: Sequence[ImageHash], max_distance: int = MAX_DISTANCE
) -> list[Pair]:
    """All pairs of an image of one collection and one of the other that are the same picture.

    Same are equal bytes, or perceptual hashes that differ in at most ``max_distance`` bits. The
    default was chosen on 1987 photos of COCO and 2100 of LSP Extended. Of a photo and its own copy,
    within so many bits are:

    ======================  ======  ======  ======
    copy                    4 bits  6 bits  8 bits
    ======================  ======  ======  ======
    JPEG of quality 50      100 %   100 %   100 %
    JPEG of quality 20      99.9 %  100 %   100 %
    half the size           100 %   100 %   100 %
    a quarter, quality 75   99.9 %  100 %   100 %
    1 % cut off each side   95 %    99 %    100 %
    2.5 % cut off           37 %    67 %    88 %
    5 % cut off             3 %     11 %    25 %
    mirrored                0 %     0 %     0 %
    ======================  ======  ======  ======

    Of the 8.3 million pairs of different photos the nearest are 10 bits apart, but for one pair at
    2 bits that really is a picture held twice by LSP Extended. With one of each pair mirrored,
    which makes as many pairs of different photos again, one is 6 bits apart and another 8. So 4
    finds new encodings and sizes without error; 6 finds more crops and, in 150 000 x 5000 images,
    some tens of pairs that are none.

    Args:
        first: Hashes of the one collection.
        second: Hashes of the other, or the same.
        max_distance: Bits in which the perceptual hashes of one picture may differ.

    Returns:
        In the order of ``first``, then of ``second``.

    Raises:
        ValueError: ``max_distance`` is not in 0 to ``LARGEST_DISTANCE``.
    """
    if not 0 <= max_distance <= LARGEST_DISTANCE:
        raise ValueError(
            f'max_distance must be from 0 to {LARGEST_DISTANCE} bits, got {max_distance}; beyond, '
            'different photos are taken for the same.'
        )
    places = defaultdict(list)
    for j, image in enumerate(second):
        places[image.sha256].append(j)
    pairs = [Pair(i, j, 'bytes', 0) for i, image in enumerate(first) for j in places[image.sha256]]
    rows = [i for i, image in enumerate(first) if image.perceptual is not None]
    columns = [j for j, image in enumerate(second) if image.perceptual is not None]
    close = close_pairs(
        np.array([first[i].perceptual for i in rows], np.uint64),
        np.array([second[j].perceptual for j in columns], np.uint64),
        max_distance,
    )
    for row, column, distance in close:
        i, j = rows[row], columns[column]
        if first[i].sha256 != second[j].sha256:
            pairs.append(Pair(i, j, 'perceptual', distance))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def close_pairs(
    first: np.ndarray, second: np.ndarray, max_distance: int
) -> Iterator[tuple[int, int, int]]:
    """Pairs of 64-bit words that differ in few bits, by comparing each with each.

    Takes some 35 MiB besides what comes out, and some seconds for 150 000 x 5000.

    Args:
        first: (N,) uint64.
        second: (M,) uint64.
        max_distance: Largest number of different bits.

    Returns:
        Index into ``first``, index into ``second`` and number of different bits of each pair.
    """
    first, second = (words.view(np.uint8).reshape(-1, 8) for words in (first, second))
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    num_rows = max(1, _PAIRS_AT_ONCE // max(1, len(second)))
    for top in range(0, len(first), num_rows):
        # the radius is included, but must be above 0
        for matches in matcher.radiusMatch(first[top : top + num_rows], second, max_distance + 0.5):
            for match in matches:
                yield top + match.queryIdx, match.trainIdx, int(match.distance)
