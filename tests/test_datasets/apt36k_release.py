"""A small release in the format that APT-36K is published in."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import cv2
import numpy as np

AUTHORS_FOLDER = 'D:\\Animal_pose\\AP-36k-patr1'
CLIPS = {
    '29wolf/v5c1': 2,
    '29wolf/v2c1': 2,
    '29wolf/v10c2': 2,
    '3cat/v1c1': 1,
    '6pig/v1c1': 2,
}
"""Frames of each clip; for train: 29wolf/v2c1, 6pig/v1c1, for val: 29wolf/v10c2, 3cat/v1c1."""


def ap10k_sources(folder: Path) -> list[tuple[Path, list[dict]]]:
    """The real images of AP-10K in ``folder`` with their annotations, as sources."""
    content = json.loads((folder / 'test_ap10k.json').read_text())
    return [
        (
            folder / image['file_name'],
            [item for item in content['annotations'] if item['image_id'] == image['id']],
        )
        for image in content['images']
    ]


def noise_sources() -> list[tuple[np.ndarray, list[dict]]]:
    """Two images of 120 x 90 px, with one animal and with two."""
    rng = np.random.default_rng(0)
    sources = []
    for num_animals in (1, 2):
        animals = []
        for index in range(num_animals):
            left, top = 10.0 + 40 * index, 15.0
            keypoints = np.full((17, 3), 2.0)
            keypoints[:, :2] = rng.uniform((left, top), (left + 30, top + 50), (17, 2)).round(1)
            keypoints[0] = 0  # not labelled
            keypoints[1, 2] = 1  # hidden
            animals.append(
                {'bbox': [left, top, 30.0, 50.0], 'keypoints': keypoints.ravel().tolist()}
            )
        sources.append((rng.integers(0, 255, (90, 120, 3), dtype=np.uint8), animals))
    return sources


def make_release(
    folder: Path,
    clips: Mapping[str, int] = CLIPS,
    sources: Optional[Sequence[tuple]] = None,
) -> Path:
    """Write ``apt36k_annotations.json`` and ``AP-36k-patr1/species/clip/frameN.jpg``.

    Args:
        clips: Number of frames of each ``species/clip``.
        sources: Images, as files or arrays (H, W, 3), each with dicts of ``bbox`` and
            ``keypoints``. The frames take them in turn, across all clips.

    Returns:
        The annotation file. Images are below ``folder / 'AP-36k-patr1'``.
    """
    sources = noise_sources() if sources is None else sources
    images, annotations, species_ids = [], [], {}
    for video_id, (clip, num_frames) in enumerate(clips.items(), start=1):
        species, name = clip.split('/')
        species_id = species_ids.setdefault(species, len(species_ids) + 1)
        clip_folder = folder / 'AP-36k-patr1' / clip
        clip_folder.mkdir(parents=True)
        for frame in range(1, num_frames + 1):
            picture, animals = sources[len(images) % len(sources)]
            path = clip_folder / f'frame{frame}.jpg'
            if isinstance(picture, np.ndarray):
                cv2.imwrite(str(path), picture)
            else:
                shutil.copy(picture, path)
                picture = cv2.imread(str(path))
            height, width = picture.shape[:2]
            images.append(
                {
                    'id': len(images) + 1,
                    'file_name': '\\'.join((AUTHORS_FOLDER, species, name, path.name)),
                    'width': width,
                    'height': height,
                    'video_id': video_id,
                }
            )
            for track_id, animal in enumerate(animals):
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': len(images),
                        'video_id': video_id,
                        'track_id': track_id,
                        'category_id': species_id,
                        'is_crowd': 0,
                        'bbox': animal['bbox'],
                        'keypoints': animal['keypoints'],
                        'num_keypoints': sum(visible > 0 for visible in animal['keypoints'][2::3]),
                    }
                )
    release = {
        'info': {'description': 'APT-36K'},
        'license': [],
        'images': images,
        'annotations': annotations,
        'categories': [
            {'id': number, 'name': species.lstrip('0123456789')}
            for species, number in species_ids.items()
        ],
    }
    file = folder / 'apt36k_annotations.json'
    file.write_text(json.dumps(release))
    return file
