"""Hashes of images, and which images of two collections are the same picture."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np

from .loading import ImageError, decode_image

MAX_DISTANCE = 4  # bits; what was measured is told in find_pairs
LARGEST_DISTANCE = 16  # from here on different photos come in crowds
# Half of the coefficients of a picture with a meaningful hash are larger. Below are ramps, edges
# and checkerboards (0 to 0.2) and fine noise (1.3); the flattest of 4087 photos, skiers in a
# snowstorm, has 5.5. JPEG of quality 50 changes a coefficient by 0.5, at most by 2.2.
LEAST_CONTRAST = 4.0

_BLOCK = 2**18  # pairs compared at once: 2 MiB stay in a processor's cache


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
    paths: Iterable[Union[str, Path]],
    num_workers: int = 1,
    on_progress: Optional[Callable[[int, int], object]] = None,
) -> tuple[dict[str, ImageHash], dict[str, str]]:
    """Hash many files in threads, each path once.

    Args:
        num_workers: Number of threads; reading, decoding and hashing run side by side in them.
        on_progress: Called from time to time with the numbers of images done and of all.

    Returns:
        Hashes by path, and by path what is wrong with those that cannot be read.

    Raises:
        ValueError: ``num_workers`` is below 1.
    """
    if num_workers < 1:
        raise ValueError(f'num_workers must be at least 1, got {num_workers}.')
    paths = list(dict.fromkeys(map(str, paths)))
    hashes, problems = {}, {}
    with ThreadPoolExecutor(num_workers) as pool:
        # in parts, so that an interruption need not wait for all
        for start in range(0, len(paths), 256):
            part = paths[start : start + 256]
            for path, result in zip(part, pool.map(_hash_or_problem, part)):
                (hashes if isinstance(result, ImageHash) else problems)[path] = result
            if on_progress is not None:
                on_progress(start + len(part), len(paths))
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
    found = close_pairs(
        np.array([first[i].perceptual for i in rows], np.uint64),
        np.array([second[j].perceptual for j in columns], np.uint64),
        max_distance,
    )
    for row, column, distance in zip(*(part.tolist() for part in found)):
        i, j = rows[row], columns[column]
        if first[i].sha256 != second[j].sha256:
            pairs.append(Pair(i, j, 'perceptual', distance))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def close_pairs(
    first: np.ndarray, second: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of 64-bit words that differ in few bits, by comparing each with each.

    Takes some MiB besides what comes out, and 2 s for 150 000 x 5000.

    Args:
        first: (N,) uint64.
        second: (M,) uint64.
        max_distance: Largest number of different bits.

    Returns:
        Indices into ``first``, into ``second``, and numbers of different bits, (P,) each.
    """
    found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.uint64))]
    for left in range(0, len(second), _BLOCK):
        columns = second[left : left + _BLOCK]
        num_rows = max(1, _BLOCK // len(columns))
        for top in range(0, len(first), num_rows):
            distances = count_bits(first[top : top + num_rows, None] ^ columns)  # (rows, columns)
            close = distances <= max_distance
            if close.any():
                i, j = np.nonzero(close)
                found.append((i + top, j + left, distances[i, j]))
    return tuple(np.concatenate(parts) for parts in zip(*found))


def count_bits(words: np.ndarray) -> np.ndarray:
    """Number of ones in each word of uint64, in its place (numpy 1.26 has no ``bitwise_count``).

    Sums within 2, 4 and 8 bits, then of all 8 bytes by a product (Warren, Hacker's Delight, 5-1).
    """
    shift = [np.uint64(bits) for bits in (1, 2, 4, 56)]
    mask = [np.uint64(byte * 0x0101010101010101) for byte in (0x55, 0x33, 0x0F, 0x01)]
    words -= (words >> shift[0]) & mask[0]
    high = (words >> shift[1]) & mask[1]
    words &= mask[1]
    words += high
    words += words >> shift[2]
    words &= mask[2]
    words *= mask[3]
    words >>= shift[3]
    return words
