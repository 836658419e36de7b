"""COCO annotation files as they are, before any data set reads them."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Optional, Union

import numpy as np

from .findings import NUM_EXAMPLES, Finding, severity_by_share

# What mmpose's BaseCocoStyleDataset and pycocotools cannot do without.
IMAGE_ENTRIES = ('id', 'file_name', 'width', 'height')
ANNOTATION_ENTRIES = ('id', 'image_id', 'category_id')
# of COCO-WholeBody, in the order in which mmpose joins them
WHOLE_BODY_PARTS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')


def read_annotations(path: str) -> Union[dict, Finding]:
    """Read a file of COCO's format; what stands against it comes back instead."""
    advice = "Export it again in COCO's format: {'images': [...], 'annotations': [...], ...}."
    try:
        with open(path, encoding='utf-8-sig') as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        message = f'{path} cannot be read: {error}.'
        return Finding('fault', 'unreadable-annotations', message, advice)
    for key in ('images', 'annotations'):
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            what = sorted(content) if isinstance(content, dict) else type(content).__name__
            message = f"{path} is not in COCO's format: it has no list {key!r}, but {what}."
            return Finding('fault', 'not-coco', message, advice)
        if not found:
            message = f'{path}: its list {key!r} is empty.'
            return Finding('fault', 'not-coco', message, advice)
    return content


@dataclass(frozen=True)
class People:
    """Annotations that have a box and keypoints, as arrays: N people, K keypoints, image px.

    Crowds, and annotations whose image is not in the file, are not among them.

    Attributes:
        annotations: Of each its dict, N.
        images: Of each the dict of its image, N.
        boxes: (N, 4) left, top, width, height as the format wants it; NaN for what is no number.
        keypoints: (N, K, 3) x, y, visibility.
        sizes: (N, 2) annotated width and height of the image.
    """

    annotations: Sequence[Mapping]
    images: Sequence[Mapping]
    boxes: np.ndarray
    keypoints: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def labelled(self) -> np.ndarray:
        """(N, K) which keypoints have a visibility above 0."""
        return self.keypoints[..., 2] > 0

    def __getitem__(self, chosen: np.ndarray) -> 'People':
        indices = np.flatnonzero(chosen)
        return People(
            [self.annotations[i] for i in indices],
            [self.images[i] for i in indices],
            self.boxes[indices],
            self.keypoints[indices],
            self.sizes[indices],
        )

    def examples(self, chosen: np.ndarray) -> tuple[str, ...]:
        """The first of those for which ``chosen`` (N,) is true."""
        indices = np.flatnonzero(chosen)[:NUM_EXAMPLES]
        return tuple(example(self.annotations[i], self.images[i]) for i in indices)


def example(annotation: Mapping, image: Optional[Mapping] = None) -> str:
    """How an annotation is called."""
    name = f' ({image.get("file_name")})' if image else ''
    return f'annotation {annotation.get("id")}{name}'


def images_by_id(content: Mapping) -> dict[object, dict]:
    return {image['id']: image for image in content['images'] if _hashable_id(image, 'id')}


def _hashable_id(entry: Mapping, key: str) -> bool:
    return isinstance(entry.get(key), (int, str))


def keypoints_of(annotation: Mapping, whole_body: bool = False) -> Optional[list]:
    """The flat list x, y, visibility, ... of an annotation; None if it has none."""
    parts = [annotation.get(part) for part in (WHOLE_BODY_PARTS if whole_body else ('keypoints',))]
    if not all(isinstance(part, list) for part in parts):
        return None
    return [value for part in parts for value in part] if whole_body else parts[0]


def read_people(content: Mapping, whole_body: bool = False) -> People:
    """The people of a file, those with the most frequent number of keypoints."""
    images = images_by_id(content)
    found = []
    for annotation in content['annotations']:
        keypoints = keypoints_of(annotation, whole_body)
        box = annotation.get('bbox')
        image = images.get(annotation['image_id']) if _hashable_id(annotation, 'image_id') else None
        if image is None or annotation.get('iscrowd') or not keypoints or len(keypoints) % 3:
            continue
        if isinstance(box, list) and len(box) == 4:
            found.append((annotation, image, box, keypoints))
    lengths = Counter(len(entry[3]) for entry in found)
    length = lengths.most_common(1)[0][0] if lengths else 0
    found = [entry for entry in found if len(entry[3]) == length]
    columns = list(zip(*found)) or [(), (), (), ()]
    sizes = [(image.get('width'), image.get('height')) for image in columns[1]]
    return People(
        columns[0],
        columns[1],
        numbers(columns[2], 4),
        numbers(columns[3], length).reshape(len(found), length // 3, 3),
        numbers(sizes, 2),
    )


def numbers(rows: Sequence[Sequence], length: int) -> np.ndarray:
    """Rows (N, length) as float64, with NaN for whatever is no number."""
    try:
        return np.array(rows, dtype=np.float64).reshape(len(rows), length)
    except (TypeError, ValueError):
        cleaned = [[v if isinstance(v, Real) else math.nan for v in row] for row in rows]
        return np.array(cleaned, dtype=np.float64).reshape(len(rows), length)


def check_structure(content: Mapping) -> Iterator[Finding]:
    """Entries that are missing, ids given twice, images and categories that are not in the file."""
    for key, wanted in (('images', IMAGE_ENTRIES), ('annotations', ANNOTATION_ENTRIES)):
        entries = content[key]
        missing = {
            entry: sum(each.get(entry) is None for each in entries)
            for entry in wanted
            if any(each.get(entry) is None for each in entries)
        }
        if missing:
            what = ', '.join(f'{name!r} in {n} of {len(entries)}' for name, n in missing.items())
            first = next(each for each in entries if any(each.get(e) is None for e in missing))
            yield Finding(
                'fault',
                'missing-entries',
                f'{key} lack entries without which the file cannot be read: {what}.',
                f'Every entry of {key!r} needs {", ".join(map(repr, wanted))}.',
                count=max(missing.values()),
                examples=(f'{key[:-1]} {first.get("id", first.get("file_name"))}',),
            )
        yield from _check_ids(key, entries)
    yield from _check_references(content)


def _check_ids(key: str, entries: Sequence[Mapping]) -> Iterator[Finding]:
    ids = [each['id'] for each in entries if each.get('id') is not None]
    odd = [each for each in ids if not isinstance(each, int) or isinstance(each, bool)]
    if odd:
        yield Finding(
            'fault',
            'ids-not-numbers',
            f'{len(odd)} ids of {key} are no whole numbers, which mmpose and pycocotools need.',
            "Number them; 'image_id' of annotations must be the same numbers.",
            count=len(odd),
            examples=tuple(repr(each) for each in odd[:NUM_EXAMPLES]),
        )
        return
    twice = [each for each, count in Counter(ids).items() if count > 1]
    if twice:
        yield Finding(
            'fault',
            f'{key[:-1]}-ids-twice',
            f'{len(twice)} ids are given to several {key}; only the last {key[:-1]} of each is '
            'seen, in the place of the others.',
            f"Give every entry of {key!r} an id of its own (and to annotations its 'image_id').",
            count=len(twice),
            examples=tuple(f'id {each}' for each in twice[:NUM_EXAMPLES]),
        )


def _check_references(content: Mapping) -> Iterator[Finding]:
    annotations, images = content['annotations'], images_by_id(content)
    known = [each for each in annotations if _hashable_id(each, 'image_id')]
    lost = [each for each in known if each['image_id'] not in images]
    if lost:
        texts = {str(each) for each in images}
        hint = ''
        if all(str(each['image_id']) in texts for each in lost):
            hint = ' One of them is text and the other a number.'
        yield Finding(
            severity_by_share(len(lost), len(annotations), fault_from=0.01),
            'images-not-in-file',
            f'{len(lost)} of {len(annotations)} annotations are of images that the list '
            "'images' does not have: nobody will see them.",
            "Let 'image_id' of annotations be the 'id' of an image in the same file." + hint,
            count=len(lost),
            examples=tuple(
                f'{example(a)}: image_id {a["image_id"]!r}' for a in lost[:NUM_EXAMPLES]
            ),
        )
    categories = content.get('categories')
    if not isinstance(categories, list) or not categories:
        return
    by_id = {each.get('id'): each for each in categories if isinstance(each, dict)}
    counts = Counter(a['category_id'] for a in annotations if _hashable_id(a, 'category_id'))
    strange = {number: count for number, count in counts.items() if number not in by_id}
    if strange:
        yield Finding(
            'fault',
            'unknown-category',
            f'{sum(strange.values())} annotations have a category_id that the list '
            f"'categories' does not have: {sorted(strange, key=str)[:5]}, it has "
            f'{sorted(by_id, key=str)[:5]}. Evaluation ignores them, so AP is 0 or -1.',
            "Let 'category_id' be the 'id' of one of 'categories'.",
            count=sum(strange.values()),
        )
    lists = {tuple(by_id[number].get('keypoints') or ()) for number in counts if number in by_id}
    if len(lists) > 1:
        what = ', '.join(f'{by_id[n].get("name")} {c}' for n, c in counts.items() if n in by_id)
        yield Finding(
            'warning',
            'several-categories',
            f'Annotations are of {len(counts)} categories ({what}) with different keypoints in '
            "the file's list; training takes all that have a box and keypoints as the same kind.",
            'Take out the categories that are not meant, or give each its own file and head.',
            count=len(counts),
        )
