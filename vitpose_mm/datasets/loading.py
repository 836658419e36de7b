"""Images and boxes that a model can use, or an error that says which they are and what is wrong."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, Optional, Union

import cv2
import numpy as np
from mmengine import fileio
from mmengine.logging import print_log
from mmpose.datasets.transforms import GetBBoxCenterScale, LoadImage
from mmpose.registry import TRANSFORMS
from mmpose.structures.bbox import bbox_cs2xyxy

JPEG, PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'  # what files of these formats begin with
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9

# More unreadable samples than this in a row are no accident, but a wrong path or a lost disk.
MAX_SKIPPED = 100


class ImageError(ValueError):
    """An image that cannot be read or used."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a whole image file with OpenCV, to the same pixels as ``mmcv.imfrombytes``.

    An EXIF orientation is applied. Grey images get three equal channels. Transparency is dropped:
    what shows is the colour that the file holds under it. Of 16 bits the upper 8 are kept (value //
    256; TIFF may round up), so images that use only the lower 12 of their 16 bits come out dark.

    OpenCV 4 fills what is missing of a truncated JPEG with grey and says nothing. Here such a file
    is an error. Damage inside of a JPEG whose end is in place is not found.

    Args:
        data: Content of the file.
        name: What errors call it.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ImageError: The file is empty, no image, cut off, damaged or too large for OpenCV.
    """
    if not data:
        raise ImageError(f'{name} is empty (0 bytes), not an image.')
    if _is_cut_off(data):
        raise ImageError(
            f'{name} is cut off: {_describe(data)}, without the end that its format demands. '
            'Get the file again.'
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(
            f'{name} is refused by OpenCV: {_describe(data)} ({error.err.strip()}). At most 2**30 '
            'pixels are allowed, or what the environment variable OPENCV_IO_MAX_IMAGE_PIXELS says.'
        ) from error
    if image is None:
        raise ImageError(
            f'{name} cannot be decoded: {_describe(data)}. It is damaged, or of a format that '
            'OpenCV does not read (it reads JPEG, PNG, WebP, BMP, TIFF and others).'
        )
    return image


def read_image(
    path: Union[str, Path], name: Optional[str] = None, backend_args: Optional[dict] = None
) -> np.ndarray:
    """Read and decode an image file, or an address that mmengine's file backends know.

    Args:
        path: Where it is.
        name: What errors call it, by default by its path.
        backend_args: See mmengine's ``fileio``; for local files not needed.

    Returns:
        (H, W, 3) uint8, BGR; see :func:`decode_image`.

    Raises:
        ImageError: It cannot be read or decoded.
    """
    name = name or f'image {path}'
    try:
        if backend_args is None and '://' not in str(path):
            with open(path, 'rb') as file:
                data = file.read()
        else:
            data = fileio.get(path, backend_args=backend_args)
    except OSError as error:
        raise ImageError(f'{name} cannot be read: {error.strerror or error}.') from error
    return decode_image(data, name)


def to_bgr8(image: np.ndarray, name: str) -> np.ndarray:
    """Bring an array to (H, W, 3) uint8 BGR, as :func:`decode_image` would have read it.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16; channels are blue, green,
            red, transparency. Returned as it is if nothing has to be done.
        name: What errors call it.

    Raises:
        ImageError: Anything else, such as values of [0, 1] in floating point.
    """
    shape, dtype = getattr(image, 'shape', None), getattr(image, 'dtype', None)
    fits = isinstance(image, np.ndarray) and dtype in (np.uint8, np.uint16) and image.size > 0
    if not fits or not (image.ndim == 2 or (image.ndim == 3 and shape[2] in (1, 3, 4))):
        found = f'{dtype} of shape {shape}' if isinstance(image, np.ndarray) else type(image)
        raise ImageError(
            f'{name} must be an array (H, W, 3) in the order blue, green, red, or grey (H, W) or '
            f'(H, W, 1), or with transparency (H, W, 4), not empty, of type uint8 (0 to 255) or '
            f'uint16, got {found}.'
        )
    if dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image if shape[2] == 3 else np.ascontiguousarray(image[..., :3])


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImage):
    """mmpose's ``LoadImage``, same keys, that refuses what cannot be read or is cut off.

    See :func:`decode_image` for files and :func:`to_bgr8` for arrays in ``results['img']``.

    ``on_error='skip'`` is for training, in the pipeline of the data set itself: the nearest
    readable sample before it takes the place of one that cannot be read, with one line in the log
    for each file and worker process. Which it is depends on the data set and the index alone, so
    that runs stay reproducible; augmentation goes on with the random numbers of the sample
    replaced. Transforms before this one have no effect on the substitute: there should be none but
    ``SeedAugmentation``. The paths of the images passed over are in ``results['skipped_images']``,
    a tuple that only substitutes have: ``PackPersonInputs`` packs it, ``SkippedImagesHook`` counts.

    Args:
        on_error: 'raise', or 'skip' in training pipelines of mmpose's data sets.
        backend_args: See ``LoadImage``; for local files not needed.

    Raises:
        ImageError: The image cannot be used, or with 'skip' none of ``MAX_SKIPPED`` in a row.
        ValueError: 'skip' with a data set in test mode, from which nobody may be left out, or in
            the pipeline of a ``CombinedDataset``, which knows no sample by its index alone.
    """

    def __init__(self, on_error: str = 'raise', *, backend_args: Optional[dict] = None) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
        super().__init__(backend_args=backend_args)
        self.on_error = on_error
        self._warned = set()

    def transform(self, results: dict) -> dict:
        dataset = results.get('dataset')
        if self.on_error == 'skip' and getattr(dataset, 'test_mode', False):
            raise ValueError(
                "LoadCheckedImage(on_error='skip') is for training; a data set with "
                "test_mode=True needs on_error='raise', or results would silently lack people "
                f'(ann_file {getattr(dataset, "ann_file", None)}).'
            )
        if self.on_error == 'skip' and hasattr(dataset, 'datasets'):
            raise ValueError(
                "LoadCheckedImage(on_error='skip') belongs into the pipelines of the data sets "
                f'in a {type(dataset).__name__}, not into its own.'
            )
        try:
            image = self._load(results)
        except ImageError as error:
            if self.on_error == 'raise' or dataset is None:
                raise
            results, image = self._load_substitute(results, error)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _load(self, results: dict) -> np.ndarray:
        if 'img' in results:
            path = results.setdefault('img_path', None)
            return to_bgr8(results['img'], path or 'the image')
        path = str(results['img_path'])
        name = f'image {path}' + (f' (annotation {results["id"]})' if 'id' in results else '')
        return read_image(path, name, self.backend_args)

    def _load_substitute(self, results: dict, error: ImageError) -> tuple[dict, np.ndarray]:
        dataset, index = results['dataset'], results['sample_idx']
        skipped = {}  # in this order
        for step in range(1, min(MAX_SKIPPED, len(dataset))):
            self._warn(results, error)
            skipped[str(results['img_path'])] = None
            # a SampleIndex stays one, with the seed of the sample that is replaced
            results = dataset.get_data_info((index - step) % len(dataset))
            results.update(dataset=dataset, skipped_images=tuple(skipped))
            try:
                return results, self._load(results)
            except ImageError as next_error:
                error = next_error
        raise ImageError(
            f'no image could be read of {min(MAX_SKIPPED, len(dataset))} samples in a row, back '
            f'from sample {int(index)} of {dataset.ann_file}; compare data_root and data_prefix '
            f'with where the files are. The last one: {error}'
        )

    def _warn(self, results: dict, error: ImageError) -> None:
        if results['img_path'] in self._warned:
            return
        self._warned.add(results['img_path'])
        print_log(
            f'{error} Other samples take the place of those in this image.',
            logger='current',
            level=logging.ERROR,  # other ranks than 0 keep warnings to themselves
        )

    def __repr__(self) -> str:
        return f'LoadCheckedImage(on_error={self.on_error!r}, backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class GetCheckedBBoxCenterScale(GetBBoxCenterScale):
    """mmpose's ``GetBBoxCenterScale``, same numbers, that refuses boxes in which nobody can be.

    Boxes may extend beyond the image, but not lie outside of it altogether, as far as its
    ``img_shape`` is known: let ``LoadCheckedImage`` come first.

    Raises:
        ValueError: A box is not (left, top, right, bottom), holds NaN or infinity, has no width or
            height, or lies outside of the image.
    """

    def transform(self, results: dict) -> dict:
        if 'bbox_center' in results and 'bbox_scale' in results:
            boxes = bbox_cs2xyxy(results['bbox_center'], results['bbox_scale'])
        else:
            boxes = results['bbox']
        if boxes.shape[-1:] != (4,):
            refuse_box(results, boxes.tolist(), f'has shape {boxes.shape} instead of (N, 4)')
        for box in boxes.reshape(-1, 4).tolist():
            problem = box_problem(box, results.get('img_shape'))
            if problem is not None:
                refuse_box(results, box, problem)
        return super().transform(results)


def refuse_box(results: dict, box: list, problem: str) -> NoReturn:
    """Raise a ``ValueError`` that says in which image and annotation a box has which problem."""
    name = results.get('img_path') or 'the image given'
    if 'id' in results:
        name += f', annotation {results["id"]}'
    raise ValueError(
        f'box {box} in {name} {problem}; wanted are finite (left, top, right, bottom) in image '
        'px with left < right and top < bottom, at least partly within the image.'
    )


def box_problem(box: Sequence[float], image_hw: Optional[tuple[int, int]]) -> Optional[str]:
    """Why nobody can be in a box (left, top, right, bottom), image px; None if somebody can.

    Args:
        image_hw: Height and width of the image, px, if they are known.
    """
    left, top, right, bottom = box
    # false for NaN, too
    if not (0 < right - left < math.inf and 0 < bottom - top < math.inf):
        return 'has no area' if all(map(math.isfinite, box)) else 'is not finite'
    height, width = image_hw or (math.inf, math.inf)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return f'lies outside of the image of {width} x {height} px'
    return None


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; what comes behind the end does not matter."""
    if data.startswith(JPEG):
        scans = [start for marker, start in _jpeg_segments(data) if marker == START_OF_SCAN]
        # Thumbnails in the segments before have ends of their own.
        return not scans or data.rfind(bytes((0xFF, END_OF_IMAGE)), scans[0]) < 0
    return data.startswith(PNG) and data.rfind(b'IEND') < 0


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and start of the content of each segment of a JPEG, up to the first scan.

    Like libjpeg, passes over whatever stands between segments.
    """
    position = data.find(b'\xff', 2)
    while 0 <= position < len(data) - 3:
        marker = data[position + 1]
        if marker == END_OF_IMAGE:
            return
        if marker == 0xFF:  # filling
            position += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # without content
            position += 2
        else:
            yield marker, position + 4
            if marker == START_OF_SCAN:
                return
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], 'big'))
        position = data.find(b'\xff', position)


def _describe(data: bytes) -> str:
    """Format and size in px, as far as they can be told, and size in bytes."""
    if data.startswith(JPEG):
        wh = None
        for marker, start in _jpeg_segments(data):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
                wh = data[start + 3 : start + 5], data[start + 1 : start + 3]
        kind = 'JPEG'
    elif data.startswith(PNG):
        kind, wh = 'PNG', (data[16:20], data[20:24])
    else:
        return f'{len(data)} bytes, beginning {data[:12]!r}'
    if wh is None or not wh[-1]:
        return f'a {kind} of {len(data)} bytes'
    width, height = (int.from_bytes(side, 'big') for side in wh)
    return f'a {kind} of {width} x {height} px, {len(data)} bytes'
