"""A picture of training samples beside their targets."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import cv2
import numpy as np

from vitpose_mm.files import written_whole

from .meta import sides_of
from .samples import Sample

SUFFIXES = ('.jpg', '.jpeg', '.png')
# blue, green, red
COLORS = {'left': (60, 200, 60), 'right': (50, 110, 255), None: (255, 170, 60)}
OUTLINE, PAPER, INK = (20, 20, 20), (255, 255, 255), (30, 30, 30)
TILE_HEIGHT = 256  # px; crops are enlarged or reduced to it
CAPTION_HEIGHT, GAP, FONT = 22, 6, cv2.FONT_HERSHEY_SIMPLEX
LEGEND = (('left', 'left'), ('right', 'right'), (None, 'neither'))


def draw_picture(samples: Sequence[Sample]) -> np.ndarray:
    """A grid of samples: each crop with its keypoints, and beside it its targets.

    Args:
        samples: At least one.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: There is no sample.
    """
    if not samples:
        raise ValueError('a picture needs at least one sample, got none')
    tiles = [draw_tile(sample) for sample in samples]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    shape = (rows * (height + GAP) + CAPTION_HEIGHT, columns * (width + GAP), 3)
    canvas = np.full(shape, PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    x, y = GAP, shape[0] - 7
    for key, name in LEGEND:
        cv2.circle(canvas, (x + 5, y - 4), 5, COLORS[key], -1, cv2.LINE_AA)
        x = _write(canvas, name, (x + 14, y)) + 16
    _write(canvas, 'filled: has a target; ring: labelled, but no target here', (x, y))
    return canvas


def draw_tile(sample: Sample) -> np.ndarray:
    """The crop with its keypoints, the maximum of its heatmaps over it in grey, and a caption."""
    scale = TILE_HEIGHT / sample.image.shape[0]
    size = round(sample.image.shape[1] * scale), TILE_HEIGHT
    crop = cv2.resize(sample.image, size, interpolation=cv2.INTER_LINEAR)
    warmth = cv2.resize(sample.heatmaps.max(0), size, interpolation=cv2.INTER_NEAREST)
    warmth = cv2.applyColorMap((warmth.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    targets = cv2.addWeighted(grey, 0.35, warmth, 0.9, 0)
    _draw_pose(crop, sample, scale)
    caption = np.full((CAPTION_HEIGHT, 2 * size[0], 3), PAPER, np.uint8)
    text = sample.caption
    while len(text) > 1 and cv2.getTextSize(text, FONT, 0.45, 1)[0][0] > 2 * size[0] - 6:
        text = text[:-1]
    _write(caption, text, (3, 15))
    return np.concatenate([np.concatenate([crop, targets], 1), caption])


def _draw_pose(image: np.ndarray, sample: Sample, scale: float) -> None:
    names = sample.metainfo.get('keypoint_id2name', {})
    sides = sides_of([names.get(index, str(index)) for index in range(len(sample.keypoints))])
    labelled = (sample.visible > 0) & np.isfinite(sample.keypoints).all(1)
    # pixel centres, within what OpenCV can draw
    places = np.nan_to_num((sample.keypoints + 0.5) * scale).clip(-1e4, 1e4).round().astype(int)
    for first, second in sample.metainfo.get('skeleton_links', ()):
        if max(first, second) < len(places) and labelled[first] and labelled[second]:
            color = COLORS[sides[first] if sides[first] == sides[second] else None]
            for drawn, thickness in ((OUTLINE, 3), (color, 1)):
                ends = tuple(places[first].tolist()), tuple(places[second].tolist())
                cv2.line(image, *ends, drawn, thickness, cv2.LINE_AA)
    for index in np.flatnonzero(labelled):
        center = tuple(places[index].tolist())
        filled = -1 if sample.weights[index] > 0 else 2
        cv2.circle(image, center, 5, OUTLINE, filled, cv2.LINE_AA)
        cv2.circle(image, center, 4, COLORS[sides[index]], filled, cv2.LINE_AA)


def _write(image: np.ndarray, text: str, place: tuple[int, int]) -> int:
    """Write into an image; returns where the text ends, px."""
    cv2.putText(image, text, place, FONT, 0.45, INK, 1, cv2.LINE_AA)
    return place[0] + cv2.getTextSize(text, FONT, 0.45, 1)[0][0]


def require_picture_name(path: Union[str, Path]) -> None:
    """Raise a ``ValueError`` if a file name does not end as pictures do."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f'the picture must end in one of {", ".join(SUFFIXES)}, got {path}')


def write_picture(picture: np.ndarray, path: Union[str, Path]) -> None:
    """Write a picture, whole or not at all; folders are made.

    Raises:
        ValueError: Its name does not end as pictures do.
        OSError: It could not be written.
    """
    require_picture_name(path)
    encoded = cv2.imencode(Path(path).suffix, picture)[1]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        Path(partial).write_bytes(encoded.tobytes())
