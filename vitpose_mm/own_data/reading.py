"""Labelled pictures of any kind known, told apart by content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .coco_style import read_coco_style
from .labelled import LabelledSet
from .lsp import read_lsp
from .yolo import find_yaml, read_yolo

KINDS = {
    'coco': "a JSON file in COCO's format, or a folder that holds such, as exported by CVAT ('COCO "
    "Keypoints 1.0'), Label Studio or Roboflow ('COCO')",
    'lsp': "LSP's joints.mat, or the folder that holds it",
    'yolo': 'a data.yaml of YOLO-pose, or the folder that holds it, or images/ and labels/',
}
LSP_FILE = 'joints.mat'
_PARTS = {'train': r'train', 'val': r'val(id(ation)?)?'}


def kind_of(path: str | Path) -> str:
    """'coco', 'lsp' or 'yolo'.

    Raises:
        ValueError: It is none of them; the message names what is.
    """
    path = Path(path)
    problem = 'it is of no kind known'
    if path.is_dir():
        if (path / LSP_FILE).is_file():
            return 'lsp'
        if find_yaml(path) is not None or (
            (path / 'images').is_dir() and (path / 'labels').is_dir()
        ):
            return 'yolo'
        if annotation_files(path):
            return 'coco'
        problem = 'the folder holds nothing of a kind known'
    elif not path.is_file():
        problem = 'there is no such file or folder'
    elif path.suffix.lower() in ('.yaml', '.yml'):
        return 'yolo'
    else:
        with open(path, 'rb') as file:
            start = file.read(512).lstrip(b'\xef\xbb\xbf \t\r\n')
        if start.startswith(b'MATLAB') or path.suffix.lower() == '.mat':
            return 'lsp'
        if start[:1] in (b'{', b'['):
            return 'coco'
        if start.startswith(b'PK'):
            problem = 'it is an archive: unpack it'
        elif start.startswith(b'<'):
            problem = "it is XML: export it again in COCO's format"
    raise ValueError(f'{path}: {problem}; known are {"; ".join(KINDS.values())}')


def read_labelled(
    path: str | Path,
    images: str | Path | None = None,
    category: str | None = None,
    split: str | None = None,
    keypoint_names: Sequence[str] | None = None,
) -> LabelledSet:
    """Read labelled pictures.

    Args:
        path: See ``KINDS``.
        images: Folder of the images, where they are not where the source says, or usually has
            them.
        category: Of several categories, or classes, with keypoints, the one to read.
        split: 'train' or 'val', of a source that tells them apart; others are read whole.
        keypoint_names: For sources without names, or in place of them.

    Raises:
        ValueError: It is of no kind known, or cannot be read; see the readers.
        ImageError: An image that is needed cannot be read.
    """
    if split not in (None, 'train', 'val'):
        raise ValueError(f"split must be 'train', 'val' or None, got {split!r}")
    kind = kind_of(path)
    if kind == 'lsp':
        file = Path(path) / LSP_FILE if Path(path).is_dir() else path
        labelled = read_lsp(file, images, split)
        if keypoint_names is not None and list(keypoint_names) != labelled.category['keypoints']:
            raise ValueError(f"LSP's keypoints have names: {labelled.category['keypoints']}")
        return labelled
    if kind == 'yolo':
        return read_yolo(path, images, category, split, keypoint_names)
    if not Path(path).is_dir():
        return read_coco_style(path, images, category, keypoint_names)
    file, has_val = _annotation_file(Path(path), split)
    labelled = read_coco_style(file, images, category, keypoint_names)
    return replace(labelled, has_val=has_val and split != 'val')


def annotation_files(folder: Path) -> list[Path]:
    """JSON files that may hold COCO's annotations of keypoints, where exports have them."""
    places = [folder, *(folder / name for name in ('annotations', 'train', 'valid', 'val'))]
    found = [file for place in places for file in sorted(place.glob('*.json'))]
    # COCO's, and datumaro's, other files are of the same pictures
    with_keypoints = [file for file in found if 'keypoints' in file.name]
    return with_keypoints or found


def _annotation_file(folder: Path, split: str | None) -> tuple[Path, bool]:
    """The file to read, and whether there is one for validation beside it."""
    files = annotation_files(folder)
    if len(files) == 1:
        return files[0], False

    def of(part: str) -> list[Path]:
        pattern = rf'(^|[^a-z]){_PARTS[part]}([^a-z]|$)'
        return [f for f in files if re.search(pattern, str(f.relative_to(folder)).lower())]

    parts = {part: of(part) for part in _PARTS}
    if split is not None and len(parts[split]) == 1:
        return parts[split][0], len(parts['val']) == 1
    raise ValueError(
        f'{folder} has several files of annotations: name one of '
        f'{", ".join(str(file.relative_to(folder)) for file in files)}'
    )
