"""Pictures for pre-training without labels: person crops, whole images, and parts cut out of them.

pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage', on_error='skip'),
    dict(type='RandomResizedBoxCrop', input_size=(192, 256)),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(type='PackPersonInputs'),
]
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional, Union

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log
from mmengine.utils import is_abs
from mmpose.datasets.transforms import PackPoseInputs
from mmpose.registry import DATASETS, TRANSFORMS

from .image_sets import IMAGE_SUFFIXES, images_below
from .loading import box_problem, refuse_box

NUM_TRIES = 10  # torchvision's, before it takes the central crop


@DATASETS.register_module()
class PretrainingImages(BaseDataset):
    """Pictures for self-supervised pre-training, from any number of sources, one after the other.

    A source is one of

    - ``dict(ann_file=..., img_dir=...)``: crops of the annotated boxes of a file of COCO's format,
      in its order, of all its categories; keypoints are not needed. Boxes are clipped to the image.
      Left out, and counted in the log, are boxes that are ``iscrowd``, not finite, without area,
      outside of the image, or with less than ``min_side`` px within it;
    - ``dict(ann_file=..., img_dir=..., whole_images=True)``: each image of such a file once;
    - ``dict(img_dir=...)``: each image below a folder, in the order of the paths. Links to folders
      within it are not followed.

    Samples hold ``img_path``; ``bbox`` (1, 4) float32, (left, top, right, bottom) in image px, for
    crops alone; ``id`` of the annotation and ``img_id`` of the image, where there are such.

    A box of less than 16 px is brought to 256x192 at hardly more than one source pixel per patch,
    so that a hidden patch holds nothing that its neighbours do not tell.

    Args:
        sources: As above, at least one.
        data_root: Where relative ``ann_file`` and ``img_dir`` start from.
        min_side: Least width and height of a box within its image, px.
        pipeline: See the module.
        metainfo, indices, serialize_data, test_mode, lazy_init: mmengine's.

    Attributes:
        ann_file: What messages call the data set: the sources' files and folders.

    Raises:
        ValueError: Names the source. It is none of these, a file or folder does not exist, a file
            is not of COCO's format or lacks what is needed, or nothing is left of a source.
    """

    METAINFO = dict(dataset_name='pretraining_images')

    def __init__(
        self,
        sources: Sequence[dict],
        data_root: Optional[str] = None,
        min_side: float = 16,
        pipeline: Sequence[Union[dict, object]] = (),
        metainfo: Optional[dict] = None,
        indices: Optional[Union[int, Sequence[int]]] = None,
        serialize_data: bool = True,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        if not isinstance(sources, (list, tuple)) or not sources:
            raise ValueError(f'sources must be a list of dicts, at least one, got {sources!r}.')
        is_number = isinstance(min_side, (int, float)) and not isinstance(min_side, bool)
        if not is_number or not 0 <= min_side < math.inf:
            raise ValueError(f'min_side must be a number of px, at least 0, got {min_side!r}.')
        self.sources = [
            parse_source(source, f'sources[{index}]', data_root)
            for index, source in enumerate(sources)
        ]
        self.min_side = min_side
        names = dict.fromkeys(source.ann_file or source.img_dir for source in self.sources)
        super().__init__(
            ann_file=', '.join(names),
            metainfo=metainfo,
            data_prefix=dict(img=''),
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict]:
        """Samples of all sources."""
        samples = []
        for source in self.sources:
            found, left_out = source_samples(source, self.min_side)
            name = f'{source.name} ({source.ann_file or source.img_dir})'
            counts = ', '.join(f'{number} {reason}' for reason, number in left_out.items())
            if not found:
                raise ValueError(f'{name} has nothing to use: {counts or "it is empty"}.')
            kind = 'crops' if 'bbox' in found[0] else 'whole images'
            message = f'{name}: {len(found)} {kind}'
            if left_out:
                message += f', {sum(left_out.values())} boxes left out ({counts})'
            print_log(message, logger='current')
            samples += found
        return samples

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        return {**info, 'dataset_name': self._metainfo['dataset_name']}

    @force_full_init
    def prepare_data(self, idx: int) -> Any:
        # what takes the place of an image that cannot be read comes out of the data set
        return self.pipeline({**self.get_data_info(idx), 'dataset': self})


class Source(NamedTuple):
    """Where pictures come from; paths with ``data_root``."""

    name: str
    img_dir: str
    ann_file: Optional[str] = None
    whole_images: bool = False


def parse_source(source: dict, name: str, data_root: Optional[str] = None) -> Source:
    """Check the config of a source and put ``data_root`` before its paths.

    Args:
        source: See :class:`PretrainingImages`.
        name: What errors call it.

    Raises:
        ValueError: It has other keys, or values of other types.
    """
    wanted = 'dict(img_dir=...) or dict(ann_file=..., img_dir=..., whole_images=False or True)'
    if not isinstance(source, dict):
        raise ValueError(f'{name} must be {wanted}, got {source!r}.')
    unknown = sorted(set(source) - {'ann_file', 'img_dir', 'whole_images'})
    if unknown:
        raise ValueError(f'{name} has unknown keys {unknown}; it must be {wanted}.')
    paths = {key: source[key] for key in ('img_dir', 'ann_file') if key in source}
    if 'img_dir' not in paths:
        raise ValueError(f'{name} lacks img_dir, got {dict(source)}; it must be {wanted}.')
    for key, path in paths.items():
        if not isinstance(path, str) or not (path or key == 'img_dir'):
            raise ValueError(f'{name}.{key} must be a path, got {path!r}.')
        if data_root and not is_abs(path):
            paths[key] = os.path.join(data_root, path)
    whole_images = source.get('whole_images', False)
    if not isinstance(whole_images, bool):
        raise ValueError(f'{name}.whole_images must be True or False, got {whole_images!r}.')
    if 'whole_images' in source and 'ann_file' not in source:
        raise ValueError(
            f'{name}.whole_images is for sources with an ann_file; images of a plain folder '
            f'({paths["img_dir"]}) are always whole.'
        )
    return Source(name, whole_images=whole_images, **paths)


def source_samples(source: Source, min_side: float) -> tuple[list[dict], Counter]:
    """Samples of a source, and how many boxes were left out by reason.

    Raises:
        ValueError: See :class:`PretrainingImages`; of the errors that it lists all but unknown keys
            and a source of which nothing is left.
    """
    name, folder = source.name, source.img_dir
    if '://' not in folder and not os.path.isdir(folder or os.curdir):
        raise ValueError(f'{name}.img_dir: there is no folder {folder}.')
    if source.ann_file is None:
        images = images_below(folder or os.curdir)
        if not images:
            raise ValueError(
                f'{name}.img_dir: no images in the folder {folder} or below it '
                f'({", ".join(IMAGE_SUFFIXES)}).'
            )
        return [dict(img_path=os.path.join(folder, image)) for image in images], Counter()
    name = f'{name}.ann_file: {source.ann_file}'
    images, annotations = read_tables(source.ann_file, name, with_boxes=not source.whole_images)
    if source.whole_images:
        return [
            dict(img_path=os.path.join(folder, image['file_name']), img_id=image['id'])
            for image in images.values()
        ], Counter()
    samples, left_out = [], Counter()
    for annotation, box, reason in checked_boxes(images, annotations, name, min_side):
        if reason is not None:
            left_out[reason] += 1
            continue
        image = images[annotation['image_id']]
        sample = dict(img_path=os.path.join(folder, image['file_name']), img_id=image['id'])
        if 'id' in annotation:
            sample['id'] = annotation['id']
        samples.append(dict(sample, bbox=np.array([box], dtype=np.float32)))
    return samples, left_out


def read_tables(path: str, name: str, with_boxes: bool) -> tuple[dict[Any, dict], list[dict]]:
    """The images of a file of COCO's format by id, and its annotations.

    Args:
        name: What errors call it.
        with_boxes: Whether images need a width and height, and annotations are needed at all.

    Raises:
        ValueError: The file cannot be read or is no JSON, lacks a table or an entry of an image, or
            has two images of one id.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except OSError as error:
        raise ValueError(f'{name} cannot be read: {error.strerror}.') from error
    except ValueError as error:
        raise ValueError(f'{name} is no JSON: {error}.') from error
    for table in ('images', 'annotations') if with_boxes else ('images',):
        entries = content.get(table) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise ValueError(
                f"{name} is not of COCO's format: wanted is a dict with {table!r}, a list of dicts."
            )
    kinds = dict(id=(int, str), file_name=str)
    if with_boxes:
        kinds.update(width=(int, float), height=(int, float))
    images = {}
    for image in content['images']:
        bad = [key for key, kind in kinds.items() if not isinstance(image.get(key), kind)]
        if bad:
            raise ValueError(f'{name}: image {image} has no usable {", ".join(bad)}.')
        if image['id'] in images:
            raise ValueError(f'{name}: two images have the id {image["id"]!r}.')
        images[image['id']] = image
    return images, content['annotations'] if with_boxes else []


def checked_boxes(
    images: dict[Any, dict], annotations: Sequence[dict], name: str, min_side: float
) -> Iterator[tuple[dict, Sequence[float], Optional[str]]]:
    """Each annotation, its box clipped to the image, and why it is left out; None if it is not.

    Boxes are (left, top, right, bottom), image px.

    Raises:
        ValueError: An annotation has no box of four numbers, or an image that there is not.
    """
    for annotation in annotations:
        where = f'{name}: annotation {annotation.get("id")}'
        image, box = images.get(annotation.get('image_id')), annotation.get('bbox')
        if image is None:
            raise ValueError(
                f'{where} is of image {annotation.get("image_id")!r}, which the file does not list.'
            )
        is_box = isinstance(box, list) and len(box) == 4
        if not is_box or not all(isinstance(value, (int, float)) for value in box):
            raise ValueError(
                f'{where}: bbox must be [left, top, width, height] in px, got {box!r}.'
            )
        width, height = image['width'], image['height']
        box = box[0], box[1], box[0] + box[2], box[1] + box[3]
        clipped = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
        reason = None
        if annotation.get('iscrowd'):
            reason = 'crowd'
        elif not all(map(math.isfinite, box)):
            reason = 'not finite'
        elif box[0] >= box[2] or box[1] >= box[3]:
            reason = 'without area'
        elif box_problem(box, (height, width)) is not None:
            reason = 'outside of the image'
        elif min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < min_side:
            reason = f'below {min_side} px'
        yield annotation, clipped, reason


@TRANSFORMS.register_module()
class RandomResizedBoxCrop(BaseTransform):
    """Cut a random part out of a person's box and resize it, as MAE does with whole images.

    The region to cut from is the sample's ``bbox`` brought to the aspect of the input, enlarged by
    ``padding`` and clipped to the image: the crop of pose training as far as the image reaches. It
    is the whole image where there is no ``bbox``. The part covers a share of ``scale`` of the
    region, with a ``ratio`` of width to height, relative to that of the input, that is drawn
    log-uniformly; 1 is without distortion. As in torchvision a part that does not fit is drawn
    again, and after ten times the largest central one within ``ratio`` is taken.

    All is drawn from numpy's global generator, which ``SeedAugmentation`` seeds. With
    ``scale=(1, 1), ratio=(1, 1)``, for validation, nothing is drawn: it is the largest central part
    without distortion.

    Shrinks by area, enlarges bicubically. Sets ``img`` (height, width, 3) uint8 and its
    ``img_shape``, and ``input_size`` (width, height), ``input_center`` (x, y) and ``input_scale``
    (width, height) of the part in image px, as ``TopdownAffine`` does. Boxes and keypoints, no
    longer those of the picture, are taken out. A flip belongs behind: there it is cheaper, and
    mmpose's turns boxes to a pixel beside their place.

    Args:
        input_size: Width and height, px.
        scale: Least and greatest share of the region's area.
        ratio: Least and greatest ratio.
        padding: What sides of boxes are multiplied by, at least 1.

    Raises:
        ValueError: A sample has several boxes, or one that lies outside of its image, has no area
            or is not finite.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        padding: float = 1.25,
    ) -> None:
        sides = tuple(input_size) if isinstance(input_size, (list, tuple)) else ()
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f'input_size must be (width, height) in px, got {input_size!r}.')
        self.input_size = sides
        self.scale = checked_range('scale', scale, 1)
        self.ratio = checked_range('ratio', ratio, math.inf)
        if not isinstance(padding, (int, float)) or not 1 <= padding < math.inf:
            raise ValueError(f'padding must be a number of at least 1, got {padding!r}.')
        self.padding = padding

    def transform(self, results: dict) -> dict:
        image = results['img']
        region = 0, 0, image.shape[1], image.shape[0]
        if 'bbox' in results:
            region = self._region(results, image.shape[:2])
        region_wh = region[2] - region[0], region[3] - region[1]
        aspect = self.input_size[0] / self.input_size[1]
        ratio = self.ratio[0] * aspect, self.ratio[1] * aspect
        if self.scale == (1, 1):
            left, top, width, height = central_crop(region_wh, ratio)
        else:
            left, top, width, height = random_crop(region_wh, self.scale, ratio, np.random)
        left, top = left + region[0], top + region[1]
        shrinks = width * height > self.input_size[0] * self.input_size[1]
        results['img'] = cv2.resize(
            image[top : top + height, left : left + width],
            self.input_size,
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
        for key in (*PackPoseInputs.instance_mapping_table, 'bbox_center', 'bbox_rotation'):
            results.pop(key, None)
        results['img_shape'] = self.input_size[::-1]
        results['input_size'] = self.input_size
        results['input_center'] = np.array([left + width / 2, top + height / 2], dtype=np.float32)
        results['input_scale'] = np.array([width, height], dtype=np.float32)
        return results

    def _region(self, results: dict, image_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        boxes = results['bbox'].reshape(-1, 4).tolist()
        if len(boxes) != 1:
            raise ValueError(
                f'{type(self).__name__} cuts out of one box per sample, got {len(boxes)} boxes in '
                f'{results.get("img_path") or "the image given"}.'
            )
        problem = box_problem(boxes[0], image_hw)
        if problem is not None:
            refuse_box(results, boxes[0], problem)
        return enlarged_box(boxes[0], self.input_size, self.padding, image_hw)

    def __repr__(self) -> str:
        return (
            f'RandomResizedBoxCrop(input_size={self.input_size}, scale={self.scale}, '
            f'ratio={self.ratio}, padding={self.padding})'
        )


def checked_range(name: str, value: Sequence[float], greatest: float) -> tuple[float, float]:
    """A pair as a tuple, or a ``ValueError`` if it is none with 0 < least <= last <= greatest."""
    pair = tuple(value) if isinstance(value, (list, tuple)) else ()
    is_pair = len(pair) == 2 and all(isinstance(each, (int, float)) for each in pair)
    if not is_pair or not 0 < pair[0] <= pair[1] <= greatest or pair[1] == math.inf:
        limit = f', at most {greatest}' if greatest < math.inf else ''
        raise ValueError(
            f'{name} must be (least, greatest), positive and in this order{limit}, got {value!r}.'
        )
    return pair


def enlarged_box(
    box: Sequence[float], input_wh: tuple[int, int], padding: float, image_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """What pose training sees of a person, as far as the image reaches, in whole px.

    Args:
        box: (left, top, right, bottom), image px, at least partly within the image.
        input_wh: Its aspect is what the box is widened or heightened to, around its centre.
        padding: By which both sides are multiplied then.

    Returns:
        (left, top, right, bottom), rounded outwards, image px.
    """
    left, top, right, bottom = box
    width, height, aspect = right - left, bottom - top, input_wh[0] / input_wh[1]
    width, height = max(width, height * aspect) * padding, max(height, width / aspect) * padding
    x, y = (left + right) / 2, (top + bottom) / 2
    return (
        max(math.floor(x - width / 2), 0),
        max(math.floor(y - height / 2), 0),
        min(math.ceil(x + width / 2), image_hw[1]),
        min(math.ceil(y + height / 2), image_hw[0]),
    )


def random_crop(
    region_wh: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.RandomState,
) -> tuple[int, int, int, int]:
    """A random part of a region, drawn as torchvision's ``RandomResizedCrop`` draws it.

    Args:
        region_wh: Width and height of the region, px.
        scale: Least and greatest share of its area, drawn uniformly.
        ratio: Least and greatest width divided by height, drawn log-uniformly.
        generator: ``numpy.random`` itself, or a generator of its kind.

    Returns:
        (left, top, width, height) within the region, px; the central crop if ten do not fit.
    """
    region_width, region_height = region_wh
    for _ in range(NUM_TRIES):
        area = region_width * region_height * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= region_width and 0 < height <= region_height:
            left = generator.randint(region_width - width + 1)
            top = generator.randint(region_height - height + 1)
            return left, top, width, height
    return central_crop(region_wh, ratio)


def central_crop(
    region_wh: tuple[int, int], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """The largest part of a region in its middle whose width divided by height is within ``ratio``.

    Returns:
        (left, top, width, height) within the region, px; at least a pixel.
    """
    region_width, region_height = region_wh
    width = max(min(region_width, round(region_height * ratio[1])), 1)
    height = max(min(region_height, round(region_width / ratio[0])), 1)
    return (region_width - width) // 2, (region_height - height) // 2, width, height
