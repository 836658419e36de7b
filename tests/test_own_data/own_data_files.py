"""Small labelled data sets as tools write them."""

import json
from pathlib import Path

import cv2
import numpy as np

from vitpose_mm.own_data import LabelledSet, read_coco_style

NAMES = ['nose', 'left_hip', 'right_hip']
KEYPOINTS = [30, 10, 2, 40, 42, 2, 20, 42, 1]  # of a person in a picture of 80 x 60 px


def write_image(path: Path, width: int = 80, height: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def person(number: int = 1, **changes) -> dict:
    """A complete annotation, with changes; what is changed to ... is left out."""
    annotation = dict(
        id=number,
        image_id=number,
        category_id=1,
        bbox=[10, 5, 40, 50],
        keypoints=list(KEYPOINTS),
        num_keypoints=3,
        area=1234.5,
        iscrowd=0,
    )
    annotation.update(changes)
    return {key: value for key, value in annotation.items() if value is not ...}


def coco_content(*annotations: dict, count: int = 2, **changes) -> dict:
    """COCO's content for ``count`` pictures, by default with a person in each."""
    content = dict(
        images=[
            dict(id=number, file_name=f'{number}.png', width=80, height=60)
            for number in range(1, count + 1)
        ],
        annotations=list(annotations) or [person(number) for number in range(1, count + 1)],
        categories=[dict(id=1, name='person', keypoints=NAMES, skeleton=[[1, 2], [2, 3]])],
    )
    content.update(changes)
    return content


def write_coco(folder: Path, content: dict, name: str = 'labels.json', images: str = '') -> Path:
    """Write a file and its pictures; ``images`` is their folder within ``folder``, '' for none."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    if images:
        for image in content['images']:
            write_image(folder / images / image['file_name'])
    return path


def read(folder: Path, content: dict, **options) -> LabelledSet:
    """What is read of a file with this content."""
    return read_coco_style(write_coco(folder, content), **options)
