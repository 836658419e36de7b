"""Leeds Sports Pose and its extended training set, as released: ``joints.mat`` and images.

What the third value of a joint means differs, and the README of the first says it the wrong way
round ("visibility"). Readers in the wild (``genJSON`` of Convolutional Pose Machines among them)
turn it for LSP and not for LSP Extended, and so does this one:

- LSP, (3, 14, N): all joints are labelled, 1 is a hidden one, 0 a visible one.
- LSP Extended, (14, 3, N), and its versions of higher resolution: 1 is a labelled joint; 0 is one
  without a label, whose coordinates mean nothing.

SPIN takes all joints of both for labelled.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from .image_files import read_sizes
from .labelled import AREA_OF_BOX, LabelledSet, box_around

KEYPOINT_NAMES = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'head_top',
)
SKELETON = (  # pairs of numbers that count from 1, as in COCO
    *((1, 2), (2, 3), (3, 4), (4, 5), (5, 6)),
    *((7, 8), (8, 9), (9, 13), (13, 10), (10, 11), (11, 12)),
    *((13, 14), (9, 3), (10, 4)),
)
NUM_LSP, NUM_LSP_TRAIN = 2000, 1000  # the published halves: training, then test
_FILE_NAME = re.compile(r'im0*(\d+)\.(jpe?g|png|bmp|webp|tiff?)', re.IGNORECASE)


def joints_of(path: str | Path) -> np.ndarray:
    """The array of a ``joints.mat``: (3, 14, N) of LSP or (14, 3, N) of LSP Extended.

    Raises:
        ValueError: It is something else.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
    except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f'{path} cannot be read as a MATLAB file: {error}') from error
    joints = content.get('joints')
    shape = getattr(joints, 'shape', None)
    if shape is None or len(shape) != 3 or shape[:2] not in ((3, 14), (14, 3)):
        names = [name for name in content if not name.startswith('__')]
        raise ValueError(
            f"{path} must hold 'joints' of shape (3, 14, N) (LSP) or (14, 3, N) (LSP Extended), "
            f'got {"shape " + str(shape) if shape else "the variables " + ", ".join(names)}'
        )
    return joints


def read_lsp(
    path: str | Path, images: str | Path | None = None, split: str | None = None
) -> LabelledSet:
    """Read LSP or LSP Extended.

    Coordinates become 0-based. Boxes are those around the labelled joints, see
    :func:`~vitpose_mm.own_data.labelled.box_around`, areas 0.53 of the boxes.

    Args:
        path: ``joints.mat``.
        images: Folder of ``im0001.jpg`` or ``im00001.jpg`` and so on; by default ``images`` beside
            ``path``, or the folder of ``path``.
        split: 'train' or 'val', of LSP with all its 2000 images: the first 1000 or the others.
            LSP Extended knows no parts: all is read.

    Raises:
        ValueError: The file is something else, or none of its images is in the folder.
        ImageError: An image cannot be read.
    """
    path = Path(path)
    joints = joints_of(path)
    is_lsp = joints.shape[0] == 3
    joints = joints.transpose(2, 1, 0) if is_lsp else joints.transpose(2, 0, 1)  # (N, 14, 3)
    folder = Path(images) if images is not None else path.parent / 'images'
    if images is None and not folder.is_dir():
        folder = path.parent
    files = _numbered_images(folder)
    chosen = [number for number in range(1, len(joints) + 1) if number in files]
    if not chosen:
        raise ValueError(
            f'none of the {len(joints)} images of {path} (im{1:0{4 if is_lsp else 5}d}.jpg and so '
            f'on) is in {folder}: name their folder (--images)'
        )
    notes = []
    if len(chosen) < len(joints):
        notes.append(f'{len(joints) - len(chosen)} of {len(joints)} images are not in {folder}')
    has_val = is_lsp and len(joints) == NUM_LSP and chosen[0] <= NUM_LSP_TRAIN < chosen[-1]
    if has_val and split is not None:
        chosen = [n for n in chosen if (n <= NUM_LSP_TRAIN) == (split == 'train')]
        notes.append(f"{split}: the {len(chosen)} images of LSP's published half")

    entries, annotations, num_empty = [], [], 0
    for number, (width, height) in zip(
        chosen, read_sizes([os.path.join(folder, files[n]) for n in chosen])
    ):
        entries.append({'id': number, 'file_name': files[number], 'width': width, 'height': height})
        keypoints = _keypoints(joints[number - 1], is_lsp)
        box = box_around(keypoints, width, height)
        if box is None:
            num_empty += 1
            continue
        annotations.append(
            {
                'id': number,
                'image_id': number,
                'category_id': 1,
                'bbox': box,
                'keypoints': keypoints,
                'num_keypoints': sum(visible > 0 for visible in keypoints[2::3]),
                'area': round(AREA_OF_BOX * box[2] * box[3], 3),
                'iscrowd': 0,
            }
        )
    meaning = (
        'LSP: a third value of 1 is a hidden joint, 0 a visible one'
        if is_lsp
        else 'LSP Extended: a third value of 1 is a labelled joint, 0 one without a label'
    )
    notes += [
        meaning,
        "coordinates are counted from 0 in place of MATLAB's 1",
        f'{len(annotations)} boxes are those around the labelled joints, 1/8 of the longer side '
        'wider on each side, areas 0.53 of the boxes',
    ]
    if num_empty:
        notes.append(f'{num_empty} people with fewer than two labelled joints are left out')
    category = {
        'id': 1,
        'name': 'person',
        'keypoints': list(KEYPOINT_NAMES),
        'skeleton': [list(link) for link in SKELETON],
    }
    return LabelledSet(
        entries,
        annotations,
        category,
        None,
        notes,
        False,
        str(path),
        str(folder),
        has_val and split != 'val',
    )


def _numbered_images(folder: Path) -> dict[int, str]:
    if not folder.is_dir():
        raise ValueError(f'images must be a folder, got {str(folder)!r}')
    matches = (_FILE_NAME.fullmatch(name) for name in sorted(os.listdir(folder)))
    return {int(match[1]): match[0] for match in matches if match}


def _keypoints(joints: np.ndarray, is_lsp: bool) -> list[float]:
    """3K numbers of COCO from (14, 3) of ``joints.mat``."""
    keypoints = []
    for x, y, third in joints.tolist():
        if is_lsp:
            visible = 1 if third else 2
        else:
            visible = 2 if third else 0
        point = (round(x - 1, 3), round(y - 1, 3)) if visible else (0, 0)
        keypoints += [*point, visible]
    return keypoints
