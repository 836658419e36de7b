"""The images of data sets: from annotation files, folders and configs."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Optional

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

from vitpose_mm.files import file_sha256

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


@dataclass(frozen=True)
class ImageSet:
    """The images of a data set.

    Attributes:
        name: Annotation file, or the folder where there is none.
        folder: Where the images are.
        images: Distinct paths within the folder; absolute where they are outside of it.
        annotations_sha256: Of the annotation file's bytes; None where there is none.
    """

    name: str
    folder: str
    images: tuple[str, ...]
    annotations_sha256: Optional[str] = None

    def path(self, image: str) -> str:
        """Path of the file of one of ``images``."""
        return os.path.join(self.folder, image)


def read_image_set(text: str) -> ImageSet:
    """Images named on a command line.

    Args:
        text: 'ANNOTATIONS:FOLDER', with a JSON file of COCO's format (all in its 'images') or
            MPII's (a list of people, each with 'image'); or a folder, for all images below it.

    Raises:
        ValueError: It is neither, something does not exist, is no JSON or holds no images.
    """
    if os.path.isdir(text):
        images = images_below(text)
        if not images:
            raise ValueError(f'{text}: no images in this folder ({", ".join(IMAGE_SUFFIXES)}).')
        return ImageSet(text, text, images)
    annotations, colon, folder = text.rpartition(':')
    if not colon or not annotations or not folder:
        raise ValueError(
            f'{text!r} must be ANNOTATIONS:FOLDER, such as '
            "'annotations/person_keypoints_val2017.json:val2017', or a folder that exists."
        )
    if not os.path.isfile(annotations):
        raise ValueError(f'{text}: there is no annotation file {annotations}.')
    if not os.path.isdir(folder):
        raise ValueError(f'{text}: there is no folder of images {folder}.')
    return ImageSet(annotations, folder, _annotated_images(annotations), file_sha256(annotations))


def images_below(folder: str) -> tuple[str, ...]:
    """Paths within a folder of the images below it, sorted; links to folders are not followed."""
    paths = (os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)
    return tuple(
        sorted(image_in(folder, path) for path in paths if path.lower().endswith(IMAGE_SUFFIXES))
    )


def _annotated_images(annotations: str) -> tuple[str, ...]:
    try:
        with open(annotations, encoding='utf-8') as file:
            content = json.load(file)
    except ValueError as error:
        raise ValueError(f'{annotations} is no JSON: {error}.') from error
    key, entries = 'image', content
    if isinstance(content, dict):
        key, entries = 'file_name', content.get('images')
    try:
        names = dict.fromkeys(PurePath(entry[key]).as_posix() for entry in entries)
    except (TypeError, KeyError):
        raise ValueError(
            f"{annotations} names no images; wanted is COCO's format ('images', each with "
            "'file_name') or MPII's (a list of people, each with 'image')."
        ) from None
    if not names:
        raise ValueError(f'{annotations} holds no images; its list of them is empty.')
    return tuple(names)


def image_sets_of_config(cfg: Config) -> tuple[list[ImageSet], list[ImageSet]]:
    """Images that a config trains on, and those that it is evaluated on (validation and test).

    Data sets are taken out of wrappers (``datasets``, a list or by names, and ``dataset``), whose
    own options, ``leave_out`` among them, play no part. They are built without their pipelines.

    Raises:
        ValueError: There is no training or no evaluation data, a part of them is no config, or a
            data set cannot be built.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpose')
    sides = []
    for loaders in (('train_dataloader',), ('val_dataloader', 'test_dataloader')):
        sets = []
        for name in loaders:
            for entry, leaf in data_set_configs(cfg.get(name) or {}, name):
                image_set = _build_image_set(entry, leaf)
                if image_set not in sets:
                    sets.append(image_set)
        if not sets:
            raise ValueError(f'the config names no data set in {" or ".join(loaders)}.')
        sides.append(sets)
    return sides[0], sides[1]


def data_set_configs(node: Mapping, name: str) -> Iterator[tuple[str, Mapping]]:
    """Entries and configs of the data sets within a data loader's config or a wrapper's."""
    if not isinstance(node, Mapping):
        raise ValueError(f'{name} must be a config, dict(...), got {node!r}.')
    parts = node.get('datasets')
    if parts:
        if isinstance(parts, (list, tuple)):
            parts = dict(enumerate(parts))
        if not isinstance(parts, Mapping):
            raise ValueError(f'{name}.datasets must be configs, a list or by names, got {parts!r}.')
        for key, part in parts.items():
            yield from data_set_configs(part, f'{name}.datasets[{key!r}]')
    elif node.get('dataset'):
        yield from data_set_configs(node['dataset'], f'{name}.dataset')
    elif 'type' in node:
        yield name, node


def _build_image_set(entry: str, config: Mapping) -> ImageSet:
    try:
        dataset = DATASETS.build({**config, 'pipeline': []})
        image_set = image_set_of(dataset)
    except Exception as error:  # of any kind: mmpose asserts, data sets are anyone's
        raise ValueError(
            f'{entry} (type {config["type"]}, ann_file {config.get("ann_file")!r}): its images '
            f'cannot be told: {error}'
        ) from error
    return image_set


def image_set_of(dataset: BaseDataset) -> ImageSet:
    """Images of a data set that is no wrapper.

    Raises:
        TypeError: It is no data set of mmengine's, or a wrapper.
        ValueError: It is empty, or its samples do not have one image each.
    """
    folder = image_folder(dataset)
    images = dict.fromkeys(image_in(folder, path) for path in sample_paths(dataset))
    if not images:
        raise ValueError(f'{dataset.ann_file} holds no samples.')
    is_file = bool(dataset.ann_file) and os.path.isfile(dataset.ann_file)
    sha256 = file_sha256(dataset.ann_file) if is_file else None
    return ImageSet(dataset.ann_file or folder, folder, tuple(images), sha256)


def image_folder(dataset: BaseDataset) -> str:
    """Folder of a data set's images, ``data_root`` included; '' if it names none."""
    prefix = dataset.data_prefix or {}
    return prefix.get('img') or prefix.get('img_path') or ''


def image_in(folder: str, path: str) -> str:
    """Path of an image within a folder, with /; the path itself, tidied, if it is not in there."""
    path, folder = os.path.normpath(path), os.path.join(os.path.normpath(folder), '')
    return PurePath(path[len(folder) :] if path.startswith(folder) else path).as_posix()


def sample_paths(dataset: BaseDataset) -> Iterator[str]:
    """The image of each sample, in the samples' order.

    Raises:
        TypeError: It is no data set of mmengine's, or a wrapper.
        ValueError: The ``img_path`` of a sample is not the path of one image.
    """
    if not isinstance(dataset, BaseDataset) or hasattr(dataset, 'datasets'):
        raise TypeError(
            f'{type(dataset).__name__} cannot be asked for its images; wanted is a data set '
            "derived from mmengine's BaseDataset, of a wrapper each of those inside."
        )
    for index in range(len(dataset)):  # len reads the annotations if that is still to be done
        # mmpose's own get_data_info copies meta information into each
        path = BaseDataset.get_data_info(dataset, index).get('img_path')
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f'sample {index} of {dataset.ann_file} should have the path of one image as '
                f'img_path, got {path!r}.'
            )
        yield str(path)
