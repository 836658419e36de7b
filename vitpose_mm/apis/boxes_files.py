"""Boxes that a detector finds, written for evaluation, and the images of annotation files."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from mmengine.logging import print_log

from vitpose_mm.datasets.loading import ImageError, box_problem
from vitpose_mm.files import written_whole

from .boxes import id_by_name, image_id_of
from .detector import Detector
from .estimation import Located
from .frames import Inputs, ReadAhead, in_chunks, kind_of
from .locating import Locator
from .outputs import JsonList
from .progress import ProgressLine

# Low, as average precision gains from doubtful boxes; what is below are hundreds in each image.
DEFAULT_THRESHOLD = 0.01
PERSON_CATEGORY = 1  # the only one that mmpose's data sets take from a file of boxes

ImagePath = Union[str, Path]


@dataclass(frozen=True)
class AnnotationFile:
    """What a COCO annotation file holds.

    Attributes:
        path: Where it is.
        ids_by_name: Ids of its images by ``file_name``, which may begin with folders.
        category_ids: Ids of its categories by name.
        annotations: Its annotations; empty for test sets.
    """

    path: str
    ids_by_name: dict[str, int]
    category_ids: dict[str, int] = field(default_factory=dict)
    annotations: list[dict] = field(default_factory=list)

    def image_id(self, path: ImagePath) -> Optional[int]:
        """Id of the image whose ``file_name`` a path ends with, None without."""
        return id_by_name(path, self.ids_by_name)

    def paths_in(self, folder: ImagePath) -> dict[str, int]:
        """Ids of all images by their path in a folder."""
        return {os.path.join(folder, name): number for name, number in self.ids_by_name.items()}


def read_annotation_file(path: ImagePath) -> AnnotationFile:
    """Read a COCO annotation file, or the list of images of a test set.

    Raises:
        ValueError: It cannot be read, has no images, or two of one id or ``file_name``.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'the annotation file {path} cannot be read: {error}') from error
    images = content.get('images') if isinstance(content, dict) else None
    if not images:
        raise ValueError(
            f"{path} has no images; wanted is an annotation file in COCO's format, a dict with "
            "'images', each with 'id' and 'file_name'"
        )
    try:
        ids_by_name = {image['file_name']: image['id'] for image in images}
        category_ids = {each['name']: each['id'] for each in content.get('categories') or ()}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: each image must have 'id' and 'file_name', each category 'id' and 'name': "
            f'{error!r}'
        ) from error
    if not len(images) == len(ids_by_name) == len(set(ids_by_name.values())):
        raise ValueError(f'{path}: some of its {len(images)} images have the same id or file_name')
    return AnnotationFile(str(path), ids_by_name, category_ids, content.get('annotations') or [])


@dataclass(frozen=True)
class WrittenBoxes:
    """What has become of some pictures.

    Attributes:
        num_images: How many were looked at.
        num_boxes: How many boxes are in the file.
        problems: Why others could not be read.
    """

    num_images: int
    num_boxes: int
    problems: list[str]


def write_boxes(
    images: Union[ImagePath, Sequence[ImagePath]],
    detector: Detector,
    out: ImagePath,
    annotations: Optional[AnnotationFile] = None,
    bbox_thr: float = DEFAULT_THRESHOLD,
    nms_thr: float = 1.0,
    num_readers: int = 1,
    show_progress: bool = False,
) -> WrittenBoxes:
    """Find boxes and write them in COCO's results format, as mmpose's ``bbox_file`` takes them.

    The file is a JSON list of dicts with ``image_id``, ``category_id``, ``bbox`` (left, top, width,
    height, image px) and ``score``, image by image, all boxes above the threshold; it is written
    as they come, and takes its name when all is done.

    Args:
        images: Pictures and folders of pictures; with ``annotations`` a single folder stands for
            exactly the images of these.
        detector: Finds the classes that it was told to. Boxes of one class get category 1, the
            only one that mmpose reads; those of several the ids of their names in ``annotations``.
        out: The file.
        annotations: Tells the ids of images. By default they are the digits at the end of the
            names' stems, as in COCO (000000000139.jpg: 139).
        bbox_thr: Only boxes with scores above this are written. The detector's own limits
            (``model.test_cfg``) come first.
        nms_thr: Greatest IoU of two boxes of an image, of whichever classes. With 1 there is only
            the detector's own suppression.
        num_readers: Pictures that are read at a time.
        show_progress: Whether to show frames, speed and time left.

    Raises:
        ValueError: Options do not fit, a picture has no id, or two have the same.
        ImageError: No picture can be read.
        OSError: The file cannot be written; one of its name is as it was, whatever the error.
    """
    locator = Locator(detector, bbox_thr=bbox_thr, nms_thr=nms_thr)
    category_ids = categories_of(detector, annotations)
    ids, missing = existing_images(image_ids_of(images, annotations))
    problems = [f'image {path} is missing.' for path in missing]
    num_boxes = 0
    if Path(out).is_dir():
        raise ValueError(f'{out} is a folder, wanted is the name of a file')
    if os.path.realpath(out) in map(os.path.realpath, ids):
        raise ValueError(f'{out} is one of the pictures and would be overwritten')
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as partial:
        boxes = JsonList(partial)
        frames = ReadAhead(Inputs(list(ids), num_readers) if ids else ())
        line = ProgressLine(len(ids), disable=not show_progress)
        try:
            for chunk in in_chunks(frames, locator.batch_size, False):
                for located in locator.locate(chunk):
                    frame = located.frame
                    if frame.error is not None:
                        problems.append(frame.error)
                        print_log(f'{frame.error} It is passed over.', 'current', logging.WARNING)
                    entries = entries_of(located, ids[frame.source.name], category_ids)
                    for entry in entries:
                        boxes.append(entry)
                    num_boxes += len(entries)
                    line.advance(frame.source, len(entries))
        finally:
            frames.close()
            line.close()
            boxes.close()
        num_images = len(ids) + len(missing) - len(problems)
        if num_images == 0:
            raise ImageError(
                f'none of {len(problems)} pictures could be read. The first: {problems[0]}'
            )
    return WrittenBoxes(num_images, num_boxes, problems)


def entries_of(located: Located, image_id: int, category_ids: Mapping[str, int]) -> list[dict]:
    """Boxes of an image in COCO's results format, without those that lie outside of it."""
    found = located.boxes
    entries = []
    for box, score, name in zip(found.xyxy.tolist(), found.scores.tolist(), found.classes or ()):
        if box_problem(box, located.frame.hw) is None:  # mmpose would refuse others
            left, top, right, bottom = box
            bbox = [left, top, right - left, bottom - top]
            category_id = category_ids[name]
            entries.append(dict(image_id=image_id, category_id=category_id, bbox=bbox, score=score))
    return entries


def categories_of(
    detector: Detector, annotations: Optional[AnnotationFile] = None
) -> dict[str, int]:
    """Category ids of the classes that a detector finds; see :func:`write_boxes`.

    Raises:
        ValueError: They are several, and the annotation file does not name them all.
    """
    names = [detector.class_names[label] for label in detector.labels]
    if len(names) == 1:
        return {names[0]: PERSON_CATEGORY}
    known = {} if annotations is None else annotations.category_ids
    unknown = [name for name in names if name not in known]
    if unknown:
        where = 'there is none' if annotations is None else f'{annotations.path} has {list(known)}'
        raise ValueError(
            f'boxes of several classes need an annotation file (--annotations) whose categories '
            f'have their names, to get their ids; no category is named {unknown}: {where}'
        )
    return {name: known[name] for name in names}


def image_ids_of(
    images: Union[ImagePath, Sequence[ImagePath]], annotations: Optional[AnnotationFile] = None
) -> dict[str, int]:
    """Ids of pictures by path; see :func:`write_boxes`.

    Raises:
        ValueError: A picture has no id, two have the same, or there are none.
    """
    images = [images] if isinstance(images, (str, Path)) else list(images)
    if annotations is not None and len(images) == 1 and os.path.isdir(images[0]):
        return annotations.paths_in(images[0])
    ids: dict[str, int] = {}
    paths: dict[int, str] = {}
    for path in pictures_of(images):
        number = image_id_of(path) if annotations is None else annotations.image_id(path)
        if number is None and not os.path.exists(path):
            raise ValueError(f'there is no picture or folder {path}')
        if number is None and annotations is not None:
            raise ValueError(f'{annotations.path} has no image {path}')
        if number is None:
            raise ValueError(
                f'which image_id {path} has cannot be told: its stem must end with digits '
                '(000000000139.jpg), or an annotation file (--annotations) must say'
            )
        if paths.setdefault(number, path) != path:
            raise ValueError(
                f'{paths[number]} and {path} have the same image_id {number}; an annotation file '
                'with unique file names (--annotations) tells them apart'
            )
        ids[path] = number
    if not ids:
        raise ValueError('there are no pictures: the list is empty')
    return ids


def pictures_of(images: Sequence[ImagePath]) -> Iterator[str]:
    """Paths of pictures, with those of folders by name.

    Raises:
        ValueError: A folder has no pictures, or a file is a video, which has no image ids.
    """
    for each in images:
        if kind_of(each) == 'video':
            raise ValueError(f'{each} is a video; wanted are pictures, which have image ids')
        if not os.path.isdir(each):
            yield str(each)
            continue
        found = sorted(str(file) for file in Path(each).iterdir() if kind_of(file) == 'image')
        if not found:
            raise ValueError(f'the folder {each} holds no pictures')
        yield from found


def existing_images(ids: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
    """Those of some pictures that are there, or may be at an address, and paths of the others."""
    there = {path: number for path, number in ids.items() if '://' in path or os.path.isfile(path)}
    return there, [path for path in ids if path not in there]


def require_weights(model: str, weights: Optional[str], option: str) -> None:
    """Raise a ``ValueError`` if a config would be run with random weights.

    Args:
        model: Path of a config, or a name that comes with weights.
        weights: Checkpoint.
        option: What names it.
    """
    if weights is None and os.path.isfile(model):
        raise ValueError(f'the config {model} says nothing of weights: {option} must name a file')
