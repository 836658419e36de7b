"""From labelled pictures to a config that trains on them."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from vitpose_mm.files import written_whole

from .code import assignment, is_name
from .config_files import HERE, Part, config_text
from .labelled import LabelledSet, split, to_coco
from .meta import infer_metainfo
from .reading import read_labelled
from .recipe import Recipe
from .starting import Start, keypoints_of, read_start

FEW_PEOPLE = 2000  # below, the recipe for small data is recommended
COCO = 'coco'
COCO_LAYOUTS = (  # annotation files and folders of images, mmpose's and that of configs/custom
    (
        'annotations/person_keypoints_train2017.json',
        'train2017',
        'annotations/person_keypoints_val2017.json',
        'val2017',
    ),
    ('person_keypoints_train.json', 'images', 'person_keypoints_val.json', 'images'),
)


@dataclass(frozen=True)
class Labels:
    """Where the labels are.

    Attributes:
        train: File or folder, see :func:`read_labelled`.
        images: Folder of its images.
        val: Labels for validation; by default a share of the images is taken from ``train``, or
            what the source itself sets apart.
        val_images: Their images.
        val_share: That share.
        category: Which of several categories.
        keypoint_names: For sources without names.
    """

    train: str
    images: Optional[str] = None
    val: Optional[str] = None
    val_images: Optional[str] = None
    val_share: float = 0.1
    category: Optional[str] = None
    keypoint_names: Optional[Sequence[str]] = None


@dataclass(frozen=True)
class Choices:
    """What is to be trained.

    Attributes:
        arch: Name of a size; by default that of the start, or 'small'.
        decoder: 'classic', 'simple' or 'minimal'; by default that of the start, or 'classic'.
        input_hw: Height and width of the input, px.
        epochs: Passes over the data.
        batch_size: People in a batch.
        small_data: Whether to train as suits a few hundred people, see :class:`Recipe`.
        start: Checkpoint to begin with, see :func:`read_start`; ``start_head`` and
            ``start_expert`` likewise.
        beside_coco: Folder of COCO, to be trained with a head of its own.
    """

    arch: Optional[str] = None
    decoder: Optional[str] = None
    input_hw: tuple[int, int] = (256, 192)
    epochs: int = 210
    batch_size: int = 64
    small_data: bool = False
    start: Optional[str] = None
    start_head: Optional[str] = None
    start_expert: Optional[str] = None
    beside_coco: Optional[str] = None


@dataclass(frozen=True)
class NewDataset:
    """What was written.

    Attributes:
        config: The config.
        files: All files.
        notes: What was found, mended, assumed and guessed, in words.
    """

    config: Path
    files: list[Path]
    notes: list[str]


def new_dataset(
    labels: Labels,
    choices: Choices = Choices(),
    name: Optional[str] = None,
    out: Optional[str] = None,
) -> NewDataset:
    """Write a config for keypoints of one's own, and what it needs.

    Args:
        labels: Where they are.
        choices: What is to be trained.
        name: The data set's ``dataset_name``; by default from the labels' file.
        out: Folder to write to; by default ``name``.

    Returns:
        ``<out>/<name>.py`` and the files beside it: ``<name>_keypoints.py`` with the meta
        information, and ``<name>_train.json`` and ``<name>_val.json`` where the labels cannot be
        used as they are.

    Raises:
        ValueError: Labels or choices cannot be used.
        FileExistsError: A file is there already.
        OSError: A file cannot be written.
    """
    name = name or default_name(labels.train)
    if not is_name(name) or name == COCO:
        raise ValueError(
            f'the name of the data set must be letters, digits and _, no word of Python and not '
            f'{COCO}, got {name!r}'
        )
    folder = Path(out or name).expanduser().absolute()
    if "'" in str(folder) or '\n' in str(folder):
        raise ValueError(f'the folder must have no quotes in its path, got {str(folder)!r}')
    train, val, notes = read_both(labels)
    metainfo, guessed = infer_metainfo(
        name,
        train.category['keypoints'],
        [(first - 1, second - 1) for first, second in train.category.get('skeleton', ())],
        train.flip_indices,
    )
    keypoint_names = list(train.category['keypoints'])
    start = begin(choices)
    num_people, beside = count_people(train), None
    if choices.beside_coco is not None:
        beside, num_beside = coco_part(choices.beside_coco, start)
        num_people += num_beside
    recipe = recipe_of(choices, start, num_people)
    notes += [*describe(train, val), *guessed, *describe_pairs(metainfo)]
    if beside is not None:
        notes.append(f'With {num_beside} people of COCO an epoch has {num_people} samples.')
    if start is not None and start.decoder is not None:
        notes.append(describe_head(start, keypoint_names))
    notes += advice(recipe, start, count_people(train))

    files: dict[Path, str] = {}
    own_files = {}
    for label, part in (('train', train), ('val', val)):
        is_new, own_files[label] = files_of(part, f'{name}_{label}.json')
        if is_new:
            files[folder / f'{name}_{label}.json'] = json.dumps(to_coco(part))
    keypoints_file = f'{name}_keypoints.py'
    files[folder / keypoints_file] = keypoints_text(metainfo)
    own = Part(
        name,
        len(keypoint_names),
        own_files['train'],
        own_files['val'],
        dict(from_file=f'{HERE}/{keypoints_file}'),
        start and start.head_start(keypoint_names),
    )
    types = [info['type'] for info in metainfo['keypoint_info'].values()]
    config = folder / f'{name}.py'
    files[config] = config_text(
        recipe,
        own,
        title_of(name, train, val, choices),
        start and start.backbone,
        start and start.head,
        beside,
        half_body=min(types.count('upper'), types.count('lower')) > 2,
    )
    write_all(files)
    return NewDataset(config, list(files), notes)


def default_name(path: str) -> str:
    """A name from that of a file or folder."""
    parts = Path(path).absolute().parts[::-1]
    usual = {'joints', 'data', 'annotations', 'labels', 'train', 'person_keypoints_train'}
    stems = [Path(part).stem for part in parts[:-1]]
    stem = next((stem for stem in stems if stem.lower() not in usual), 'keypoints')
    name = re.sub(r'\W+', '_', stem).strip('_').lower()
    return name if is_name(name) else f'set_{name}'


def parse_input_size(text: str) -> tuple[int, int]:
    """Height and width from '256x192'.

    Raises:
        ValueError: It is written otherwise.
    """
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if match is None:
        raise ValueError(f'the input size must be height x width, such as 256x192, got {text!r}')
    return int(match[1]), int(match[2])


def read_both(labels: Labels) -> tuple[LabelledSet, LabelledSet, list[str]]:
    """Labels to train on and to validate with, and what is to be said of them.

    Raises:
        ValueError: They cannot be read, or the two have other keypoints.
    """
    options = dict(category=labels.category, keypoint_names=labels.keypoint_names)
    train = read_labelled(labels.train, labels.images, split='train', **options)
    notes = list(train.notes)
    val = None
    if labels.val is not None:
        images = labels.val_images or labels.images
        val = read_labelled(labels.val, images, split='val', **options)
    elif train.has_val:
        val = read_labelled(labels.train, labels.images, split='val', **options)
    require_images(train, '--images')
    if val is None:
        train, val = split(train, labels.val_share)
        return train, val, notes
    require_images(val, '--val-images')
    notes += [f'validation: {note}' for note in val.notes]
    if list(train.category['keypoints']) != list(val.category['keypoints']):
        raise ValueError(
            f'{train.source} has the keypoints {train.category["keypoints"]}, {val.source} has '
            f'{val.category["keypoints"]}: they must be the same, in the same order'
        )
    return train, val, notes


def require_images(labelled: LabelledSet, option: str) -> None:
    """Raise a ``ValueError`` if none of the images is where it was looked for."""
    folder = labelled.images_folder
    names = [image['file_name'] for image in labelled.images]
    if folder is None or not any(os.path.isfile(os.path.join(folder, name)) for name in names):
        where = f'in {folder}' if folder else f'near {labelled.source}'
        raise ValueError(
            f'none of the {len(names)} images of {labelled.source} ({", ".join(names[:2])}, ...) '
            f'is {where}: name their folder ({option})'
        )


def begin(choices: Choices) -> Optional[Start]:
    """What the model begins with, None for random weights.

    Raises:
        ValueError: It contradicts other choices.
    """
    if choices.start is None:
        for option in ('start_head', 'start_expert'):
            if getattr(choices, option) is not None:
                raise ValueError(f'{option} {getattr(choices, option)!r} needs a start')
        return None
    start = read_start(choices.start, choices.start_head, choices.start_expert)
    for option, given in (('arch', start.arch), ('decoder', start.decoder)):
        if given is not None and getattr(choices, option) not in (None, given):
            raise ValueError(
                f'{option} must be {given!r}, as in {choices.start}, got '
                f'{getattr(choices, option)!r}'
            )
    return start


def recipe_of(choices: Choices, start: Optional[Start], num_people: int) -> Recipe:
    return Recipe(
        choices.arch or (start.arch if start else 'small'),
        choices.decoder or (start and start.decoder) or 'classic',
        choices.input_hw,
        choices.epochs,
        choices.batch_size,
        -(-num_people // max(1, choices.batch_size)),
        choices.small_data,
    )


def count_people(labelled: LabelledSet) -> int:
    """How many people mmpose's data sets take."""
    return sum(each['num_keypoints'] > 0 and not each['iscrowd'] for each in labelled.annotations)


def describe(train: LabelledSet, val: LabelledSet) -> list[str]:
    """What was found, in words.

    Raises:
        ValueError: There is nobody to train on, or to validate with.
    """
    for labelled, purpose in ((train, 'train on'), (val, 'validate with')):
        if not count_people(labelled):
            raise ValueError(f'{labelled.source} has nobody to {purpose}: no labelled keypoints')
    names = train.category['keypoints']
    return [
        f'{len(names)} keypoints: {", ".join(names)}.',
        *(
            f'{count_people(part)} people in {len(part.images)} images to {purpose}.'
            for part, purpose in ((train, 'train on'), (val, 'validate with'))
        ),
    ]


def describe_pairs(metainfo: dict) -> list[str]:
    """Which keypoints change places in mirrored pictures, in words."""
    pairs = [
        f'{info["name"]} - {info["swap"]}'
        for info in metainfo['keypoint_info'].values()
        if info['name'] < info['swap']
    ]
    return [f'Mirrored pictures exchange {", ".join(pairs)}.'] if pairs else []


def describe_head(start: Start, keypoint_names: Sequence[str]) -> str:
    """How many keypoints begin with those of the checkpoint, in words.

    Raises:
        ValueError: None does.
    """
    taken = start.head_start(keypoint_names)['keypoints']
    new = [name for name, number in zip(keypoint_names, taken) if number is None]
    if len(new) == len(taken):
        raise ValueError(
            f'no keypoint has a name of {start.checkpoint} ({", ".join(start.keypoint_names)}): '
            'begin with the backbone alone'
        )
    anew = f'; anew begin {", ".join(new)}' if new else ''
    return f'{len(taken) - len(new)} keypoints begin with those of the same name{anew}.'


def advice(recipe: Recipe, start: Optional[Start], num_people: int) -> list[str]:
    """What else is worth being said."""
    said = []
    if start is None:
        said.append(
            'The model begins with random weights, from which some thousand people teach it '
            'little: begin with a pre-trained backbone (--start FILE).'
        )
    if num_people < FEW_PEOPLE and not recipe.small_data:
        said.append(f'{num_people} people are few: --small-data has a schedule for them.')
    return said


def files_of(labelled: LabelledSet, file_name: str) -> tuple[bool, dict]:
    """Whether labels need a file of their own, and the files as data sets have them."""
    ann_file = os.path.abspath(labelled.source) if labelled.as_is else f'{HERE}/{file_name}'
    prefix = os.path.join(os.path.abspath(labelled.images_folder), '')
    return not labelled.as_is, dict(ann_file=ann_file, data_prefix=dict(img=prefix))


def keypoints_text(metainfo: dict) -> str:
    """A file with meta information, as mmpose's ``metainfo=dict(from_file=...)`` takes it."""
    return (
        '# Keypoints as mmpose describes them: `swap` names the one on the other side, `type` '
        'the half of\n# the body, `sigmas` say how exactly each can be labelled (for AP alone).\n'
        + assignment('dataset_info', metainfo)
    )


def coco_part(root: str, start: Optional[Start]) -> tuple[Part, int]:
    """COCO in one of the usual layouts, and how many people it has to train on.

    Raises:
        ValueError: Files are missing.
    """
    folder = os.path.abspath(os.path.expanduser(root))
    for layout in COCO_LAYOUTS:
        paths = [os.path.join(folder, each) for each in layout]
        if all(map(os.path.exists, paths)):
            break
    else:
        wanted = ' or '.join(', '.join(layout) for layout in COCO_LAYOUTS)
        raise ValueError(f'{root} must have {wanted}')
    train, train_images, val, val_images = paths
    _, names = keypoints_of(COCO)
    part = Part(
        COCO,
        len(names),
        dict(ann_file=train, data_prefix=dict(img=os.path.join(train_images, ''))),
        dict(ann_file=val, data_prefix=dict(img=os.path.join(val_images, ''))),
        None,
        start and start.head_start(names),
    )
    return part, count_people(read_labelled(train, train_images))


def title_of(name: str, train: LabelledSet, val: LabelledSet, choices: Choices) -> Iterable[str]:
    """The comment at the top of a config."""
    yield f'{name}: {len(train.category["keypoints"])} keypoints, made by vitpose-mm new-dataset.'
    for part, purpose in ((train, 'train on'), (val, 'validate with')):
        yield f'{count_people(part)} people in {len(part.images)} images to {purpose}.'
    if choices.small_data:
        yield 'The schedule is one for few people.'


def write_all(files: dict[Path, str]) -> None:
    """Write files that are not there yet, the last one last.

    Raises:
        FileExistsError: One is there.
        OSError: One cannot be written; those written before it are taken away.
    """
    there = [path for path in files if path.exists()]
    if there:
        raise FileExistsError(
            f'{there[0]} exists and is not overwritten: choose another name or folder'
        )
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as partial:
                Path(partial).write_text(text, encoding='utf-8')
            written.append(path)
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
