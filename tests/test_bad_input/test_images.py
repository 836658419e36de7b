"""Images that cannot be read are named; those of other kinds than 8-bit colour are converted."""

import io
import struct
import zlib
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.apis import inference_topdown, init_model
from mmpose.datasets.transforms import LoadImage
from PIL import Image

from vitpose_mm.datasets import ImageError, LoadCheckedImage, loading
from vitpose_mm.datasets.loading import decode_image, to_bgr8

EXIF_ORIENTATION, TURN_CLOCKWISE = 0x112, 6


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def encode(pixels: np.ndarray, kind: str, mode: str = '', **options) -> bytes:
    """A file of RGB or RGBA or grey pixels, by Pillow."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURN_CLOCKWISE
    return exif


def jpeg_with_thumbnail() -> bytes:
    """A JPEG in whose header stands another one, with an end of its own."""
    whole = encode(noise(64, 48, 3), 'JPEG')
    thumbnail = b'Thumb\0' + encode(noise(8, 8, 3), 'JPEG')
    return whole[:2] + b'\xff\xe5' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail + whole[2:]


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size with nothing in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', b'') + chunk(b'IEND', b'')


JPEG_FILE, PNG_FILE = encode(noise(64, 48, 3), 'JPEG'), encode(noise(64, 48, 3), 'PNG')
GOOD = {
    'jpeg': JPEG_FILE,
    'progressive jpeg': encode(noise(64, 48, 3), 'JPEG', progressive=True),
    'cmyk jpeg': encode(noise(64, 48, 3), 'JPEG', 'CMYK'),
    'grey jpeg': encode(noise(64, 48, 3), 'JPEG', 'L'),
    'turned jpeg': encode(noise(64, 48, 3), 'JPEG', exif=turned()),
    'jpeg with a thumbnail': jpeg_with_thumbnail(),
    'jpeg with filling': JPEG_FILE[:2] + b'\xff\xff\xff' + JPEG_FILE[2:],
    'jpeg with something behind': JPEG_FILE + b'behind' * 1000,
    'png': PNG_FILE,
    'png with something behind': PNG_FILE + b'behind' * 1000,
    'palette png': encode(noise(64, 48, 3), 'PNG', 'P'),
    'grey png with transparency': encode(noise(64, 48, 4), 'PNG', 'LA'),
    'webp': encode(noise(64, 48, 3), 'WEBP'),
    'bmp': encode(noise(64, 48, 3), 'BMP'),
}


@pytest.mark.parametrize('kind', GOOD)
def test_same_pixels_as_mmcv(kind):
    assert np.array_equal(decode_image(GOOD[kind], kind), mmcv.imfrombytes(GOOD[kind]))


def test_no_real_image_is_refused_and_pixels_are_mmcvs(real_data_dir):
    paths = sorted(real_data_dir.rglob('*.jpg'))
    assert len(paths) > 10
    for index, path in enumerate(paths):
        data = path.read_bytes()
        assert not loading._is_cut_off(data), path
        if index % 50 == 0:
            assert np.array_equal(decode_image(data, str(path)), mmcv.imfrombytes(data))


def test_grey_becomes_three_equal_channels():
    grey = noise(64, 48)
    image = decode_image(encode(grey, 'PNG'), 'grey')
    assert image.shape == (64, 48, 3)
    assert (image == grey[..., None]).all()


def test_transparency_is_dropped():
    rgba = noise(64, 48, 4)
    assert np.array_equal(decode_image(encode(rgba, 'PNG'), 'rgba'), rgba[..., 2::-1])


@pytest.mark.parametrize('shape', [(64, 48), (64, 48, 3)])
def test_sixteen_bits_keep_the_upper_eight(shape):
    pixels = noise(*shape, dtype=np.uint16)
    image = decode_image(cv2.imencode('.png', pixels)[1].tobytes(), '16 bits')
    assert image.dtype == np.uint8
    assert (image == (pixels // 256).reshape(64, 48, -1)).all()


def test_sixteen_bits_of_tiff_are_within_one():
    pixels = noise(64, 48, 3, dtype=np.uint16)
    image = decode_image(cv2.imencode('.tiff', pixels)[1].tobytes(), '16 bits')
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - pixels // 256).max() <= 1


def test_orientation_is_applied():
    image = decode_image(encode(noise(64, 48, 3), 'PNG', exif=turned()), 'turned')
    assert np.array_equal(image, np.rot90(noise(64, 48, 3)[..., ::-1], -1))


BAD = {
    'empty': (b'', r'^picture is empty \(0 bytes\), not an image'),
    'text': (b'<html>404</html>', r"cannot be decoded: 16 bytes, beginning b'<html>404.*JPEG, PNG"),
    'jpeg without its second half': (
        JPEG_FILE[: len(JPEG_FILE) // 2],
        r'^picture is cut off: a JPEG of 48 x 64 px, \d+ bytes.* Get the file again',
    ),
    'jpeg without its end': (JPEG_FILE[:-2], 'is cut off: a JPEG of 48 x 64 px'),
    'jpeg without pixels': (JPEG_FILE[:100], 'is cut off: a JPEG of 100 bytes'),
    'jpeg cut behind its thumbnail': (jpeg_with_thumbnail()[:-2], 'is cut off: a JPEG of 48 x 64'),
    'png without its second half': (
        PNG_FILE[: len(PNG_FILE) // 2],
        r'is cut off: a PNG of 48 x 64 px, \d+ bytes',
    ),
    'png with damage': (
        PNG_FILE[:60] + b'\0' * 60 + PNG_FILE[120:],
        'cannot be decoded: a PNG of 48 x 64 px.* damaged',
    ),
    'webp without its second half': (
        GOOD['webp'][: len(GOOD['webp']) // 2],
        "cannot be decoded: .* beginning b'RIFF.* damaged",
    ),
    'enormous png': (
        png_header(100_000, 100_000),
        r'refused by OpenCV: a PNG of 100000 x 100000 px.* OPENCV_IO_MAX_IMAGE_PIXELS',
    ),
}


@pytest.mark.parametrize('kind', BAD)
def test_bad_files_are_named(kind):
    data, message = BAD[kind]
    with pytest.raises(ImageError, match=message) as raised:
        decode_image(data, 'picture')
    assert str(raised.value).startswith('picture ')


def test_no_jpeg_can_be_cut_anywhere_unnoticed():
    data = encode(noise(16, 16, 3), 'JPEG')
    for length in range(len(data)):
        with pytest.raises(ImageError):
            decode_image(data[:length], 'picture')


@pytest.mark.parametrize('shape', [(64, 48), (64, 48, 1), (64, 48, 3), (64, 48, 4)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_arrays_get_the_answer_of_files(shape, dtype):
    pixels = noise(*shape, dtype=dtype)
    from_file = decode_image(cv2.imencode('.png', pixels)[1].tobytes(), 'file')
    assert np.array_equal(to_bgr8(pixels, 'array'), from_file)


def test_arrays_that_fit_are_not_copied():
    pixels = noise(64, 48, 3)
    assert to_bgr8(pixels, 'array') is pixels


@pytest.mark.parametrize(
    ('array', 'found'),
    [
        (np.zeros((64, 48, 3)), r'float64 of shape \(64, 48, 3\)'),
        (np.zeros((64, 48, 3), np.int64), 'int64'),
        (np.zeros((64, 48, 3), bool), 'bool'),
        (np.zeros((0, 48, 3), np.uint8), r'uint8 of shape \(0, 48, 3\)'),
        (np.zeros((3, 64, 48), np.uint8), r'uint8 of shape \(3, 64, 48\)'),
        (np.zeros((1, 64, 48, 3), np.uint8), r'uint8 of shape \(1, 64, 48, 3\)'),
        (np.zeros(48, np.uint8), r'uint8 of shape \(48,\)'),
        (None, 'NoneType'),
        ([[0]], 'list'),
    ],
)
def test_other_arrays_are_refused(array, found):
    with pytest.raises(ImageError, match=rf'frame must be an array \(H, W, 3\).* got .*{found}'):
        to_bgr8(array, 'frame')


@pytest.mark.parametrize('source', ['file', 'array'])
def test_same_keys_as_load_image(coco, source):
    path = str(coco / '000.png')
    results = dict(img_path=path) if source == 'file' else dict(img=cv2.imread(path))
    ours, theirs = LoadCheckedImage()(dict(results)), LoadImage()(dict(results))
    assert np.array_equal(ours.pop('img'), theirs.pop('img'))
    assert ours == theirs


def test_files_of_other_stores_are_read(coco, monkeypatch):
    path = str(coco / '000.png')
    local = LoadCheckedImage(backend_args={'backend': 'local'})
    assert np.array_equal(local(dict(img_path=path))['img'], cv2.imread(path))
    asked = []
    data = (coco / '000.png').read_bytes()
    monkeypatch.setattr(loading.fileio, 'get', lambda name, **_: asked.append(name) or data)
    remote = LoadCheckedImage()(dict(img_path='s3://people/000.png'))
    assert asked == ['s3://people/000.png']
    assert np.array_equal(remote['img'], cv2.imread(path))


@pytest.mark.parametrize(
    ('name', 'message'),
    [('nowhere.png', 'No such file or directory'), ('', 'Is a directory')],
)
def test_unreadable_paths_are_named_with_the_annotation(coco, name, message):
    with pytest.raises(
        ImageError, match=rf'^image {coco}/{name} \(annotation 7\) cannot be read: {message}'
    ):
        LoadCheckedImage()(dict(img_path=f'{coco}/{name}', id=7))


def test_unknown_choice():
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        LoadCheckedImage(on_error='ignore')


# --- the inference API ---


@pytest.fixture
def model(cfg):
    return init_model(cfg, device='cpu')


@pytest.mark.parametrize('kind', ['empty', 'text', 'jpeg without its end', 'enormous png'])
def test_inference_names_a_bad_file(model, coco, kind):
    path = coco / 'photo.jpg'
    path.write_bytes(BAD[kind][0])
    with pytest.raises(ImageError, match=rf'^image {path} '):
        inference_topdown(model, str(path), [[5, 5, 40, 60]])


def test_inference_answers_for_every_kind_of_image(model, coco):
    grey = noise(64, 48)
    colour = np.repeat(grey[..., None], 3, -1)
    path = coco / 'grey.png'
    path.write_bytes(encode(grey, 'PNG'))
    images = {
        'colour': colour,
        'grey': grey,
        'grey file': str(path),
        'transparency': np.concatenate([colour, noise(64, 48, 1)], -1),
        '16 bits': grey.astype(np.uint16) * 256,
    }
    keypoints = {
        name: inference_topdown(model, image, [[5, 5, 40, 60]])[0].pred_instances.keypoints
        for name, image in images.items()
    }
    for name, found in keypoints.items():
        assert np.array_equal(found, keypoints['colour']), name
    with pytest.raises(ImageError, match=r'the image must be .* got float64'):
        inference_topdown(model, colour / 255, [[5, 5, 40, 60]])


# --- in the middle of an epoch ---


def damage(coco, *numbers: int) -> None:
    for number in numbers:
        path = coco / f'{number:03d}.png'
        path.write_bytes(path.read_bytes()[:1000])


def epoch(cfg, on_error: str, num_workers: int) -> list:
    """All samples of a training epoch, in order of their images."""
    cfg.train_dataloader.update(num_workers=num_workers, persistent_workers=False)
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_dataloader.dataset.pipeline[1].on_error = on_error
    init_default_scope('mmpose')
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=3)
    return [
        (sample, image)
        for batch in loader
        for sample, image in zip(batch['data_samples'], batch['inputs'])
    ]


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_bad_image_stops_the_epoch_by_name(cfg, coco, num_workers):
    damage(coco, 3)
    with pytest.raises(
        ImageError, match=rf'image {coco}/003.png \(annotation 13\) is cut off: a PNG of 96 x 96'
    ):
        epoch(cfg, 'raise', num_workers)


def test_bad_images_are_replaced_whatever_the_number_of_workers(cfg, coco, monkeypatch):
    damage(coco, 0, 3, 4)
    warnings = []
    monkeypatch.setattr(loading, 'print_log', lambda message, **_: warnings.append(message))
    samples = epoch(cfg, 'skip', 0)
    assert len(samples) == 40
    # four people per image; before the first comes the last
    wanted = np.repeat([9, 1, 2, 2, 2, 5, 6, 7, 8, 9], 4)
    assert [int(sample.img_path[-7:-4]) for sample, _ in samples] == wanted.tolist()
    assert [sample.id for sample, _ in samples[8:20]] == [9, 10, 11, 12] + [12] * 8
    # augmented each in its own way, though the person is the same
    assert len({image.numpy().tobytes() for _, image in samples[12:20]}) == 8

    assert len(warnings) == 3
    for number, warning in zip((0, 3, 4), warnings):
        assert f'image {coco}/{number:03d}.png' in warning
        assert 'Other samples take the place' in warning

    in_a_worker = epoch(cfg, 'skip', 1)
    for (_, expected), (_, found) in zip(samples, in_a_worker):
        assert expected.equal(found)


def test_replacing_ends_where_nothing_can_be_read(cfg, coco):
    damage(coco, *range(10))
    with pytest.raises(
        ImageError,
        match=r'no image could be read of 40 samples in a row, .*annotations.json.*data_prefix.*The'
        ' last one: image .*000.png',
    ):
        epoch(cfg, 'skip', 0)


def test_replacing_gives_up_in_good_time(cfg, coco, monkeypatch):
    monkeypatch.setattr(loading, 'MAX_SKIPPED', 5)
    damage(coco, 1, 2)
    with pytest.raises(ImageError, match='of 5 samples in a row, back from sample 8 '):
        epoch(cfg, 'skip', 0)


def test_an_evaluation_leaves_nobody_out(cfg):
    cfg.test_dataloader.dataset.pipeline[0].on_error = 'skip'
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=3)
    with pytest.raises(ValueError, match=r"is for training; .* needs on_error='raise'"):
        next(iter(loader))


def test_without_a_data_set_there_is_no_substitute():
    with pytest.raises(ImageError, match=r'image nowhere.jpg cannot be read'):
        LoadCheckedImage(on_error='skip')(dict(img_path='nowhere.jpg'))


def test_joined_data_sets_have_no_sample_before():
    results = dict(img_path='nowhere.jpg', dataset=SimpleNamespace(datasets=[]))
    with pytest.raises(ValueError, match='belongs into the pipelines of the data sets in a Simple'):
        LoadCheckedImage(on_error='skip')(results)
