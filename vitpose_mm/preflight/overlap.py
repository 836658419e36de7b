"""Images that are trained on and validated on."""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vitpose_mm.datasets.image_hashes import ImageHash, find_pairs, hash_images
from vitpose_mm.files import file_sha256

from .findings import NUM_EXAMPLES, Finding, severity_by_share

FAULT_FROM = 0.01  # of the validation images
IMAGES_AT_ONCE = 128
NUM_THREADS = 2
BEGINNING = 2**16  # bytes
COMPARED = 'Training and validation images compared by name and bytes'
ADVICE = (
    'Take them out of training: the figures tell how well these are remembered. '
    'tools/audit_leakage.py lists all, and MultiDataset(leave_out=...) trains without them.'
)


@dataclass(frozen=True)
class Overlap:
    """What training and validation share.

    Attributes:
        findings: One, or none.
        note: How far the look went.
    """

    findings: list[Finding]
    note: str


def check_overlap(train: Sequence[str], val: Sequence[str], seconds: float) -> Overlap:
    """Validation images that are trained on: as the same file, equal bytes, or the same picture.

    Args:
        train: Paths of images that exist, each once.
        val: Likewise.
        seconds: How long to look for pictures in other encodings and sizes. Files of equal bytes
            are found whatever it is.
    """
    by_path = {os.path.realpath(path): path for path in train}
    same = {path: by_path.get(os.path.realpath(path)) for path in val}
    same = {path: other for path, other in same.items() if other is not None}
    if same:
        return Overlap([_finding('the same file', same, len(val))], COMPARED)
    same = equal_files(train, val)
    if same:
        return Overlap([_finding('a file of the same content', same, len(val))], COMPARED)
    started = time.monotonic()
    val_hashes = _hashes(val, started + seconds / 2)
    train_hashes = _hashes(train, started + seconds)
    first, second = list(train_hashes), list(val_hashes)
    pairs = find_pairs([train_hashes[p] for p in first], [val_hashes[p] for p in second])
    same = {second[pair.second]: first[pair.first] for pair in pairs}
    note = COMPARED
    if len(first) < len(train) or len(second) < len(val):
        note = (
            f'{COMPARED}; by their look {len(first)} of {len(train)} with {len(second)} of '
            f'{len(val)} in {seconds:g} s (--overlap-seconds)'
        )
    if not same:
        return Overlap([], note)
    return Overlap([_finding('the same picture by its look', same, len(second))], note)


def equal_files(first: Sequence[str], second: Sequence[str]) -> dict[str, str]:
    """Of files in ``second`` one in ``first`` that has the same bytes, where there is one."""
    by_size = defaultdict(list)
    for path in first:
        by_size[os.path.getsize(path)].append(path)
    same = {}
    beginnings: dict[str, bytes] = {}  # which rule out nearly all files of one size
    for path in second:
        for other in by_size.get(os.path.getsize(path), ()):
            for each in (path, other):
                if each not in beginnings:
                    with open(each, 'rb') as file:
                        beginnings[each] = hashlib.sha256(file.read(BEGINNING)).digest()
            if beginnings[path] == beginnings[other] and file_sha256(path) == file_sha256(other):
                same[path] = other
                break
    return same


def _finding(what: str, same: dict[str, str], total: int) -> Finding:
    return Finding(
        severity_by_share(len(same), total, FAULT_FROM),
        'same-images',
        f'{len(same)} of {total} validation images are trained on, {what} being in both.',
        ADVICE,
        count=len(same),
        examples=tuple(f'{a} = {b}' for a, b in list(same.items())[:NUM_EXAMPLES]),
    )


def _hashes(paths: Sequence[str], deadline: float) -> dict[str, ImageHash]:
    """Hashes of as many images as the time allows, spread over all wherever it ends."""
    found = {}
    stride = max(1, len(paths) // IMAGES_AT_ONCE)
    for start in range(stride):
        if time.monotonic() > deadline:
            break
        found.update(hash_images(paths[start::stride], NUM_THREADS)[0])
    return found
