"""Labels in COCO's format, also as CVAT, Label Studio, Roboflow and other tools write it.

What these leave out or write in another way is put right where that needs no guess about
coordinates; :func:`read_coco_style` says what. Known are, among others:

- CVAT ("COCO Keypoints 1.0", written by datumaro): a category for each label of the task, those
  without a skeleton with empty ``keypoints``; width and height of 0 where it does not know them;
  boxes that are no wider than the keypoints where skeletons are not grouped with rectangles.
- Label Studio: ids from 0; the keypoints' category is the last one, ``default``, with an empty
  skeleton; boxes as narrow, all zeros without keypoints; no area; ``images\\<hash>-a.jpg``.
- Roboflow: ids from 0; a first category of the project's name, without keypoints.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .image_files import find_folder, name_within, read_sizes
from .labelled import LabelledSet, no_names_message
from .mending import NUMBER, completed, id_key, remarks, with_flat_keypoints, with_visibility

NUM_LISTED = 5


def read_coco_style(
    path: str | Path,
    images: str | Path | None = None,
    category: str | None = None,
    keypoint_names: Sequence[str] | None = None,
) -> LabelledSet:
    """Read a file in COCO's format.

    Put right, with a note: keypoints as nested lists, as null or without visibility; visibility
    as true and false; ``num_keypoints``, ``bbox``, ``area``, ``iscrowd`` or ids that are missing
    or of no use; widths, heights and file names by the files of images; skeletons that count from
    0. Annotations of other categories are left out, categories with the same keypoints joined.
    Coordinates stay as they are, also where they cannot be right.

    Args:
        images: Folder of the images; by default looked for around ``path``. Needed only for what
            files alone can tell.
        category: Name of the category to read, where several have keypoints.
        keypoint_names: In place of those in the file.

    Raises:
        ValueError: The file is no such, lacks what cannot be found out, or several of its
            categories have keypoints of other names.
        ImageError: An image that is needed cannot be read.
    """
    path = Path(path)
    content = load_coco(path)
    chosen, notes = _choose_categories(content, category, keypoint_names is not None, path)
    annotations = _annotations_of(content, chosen, notes)
    mended: Counter = Counter()
    annotations = [with_flat_keypoints(annotation, mended) for annotation in annotations]
    names = _keypoint_names(chosen, annotations, keypoint_names, path)
    annotations = [with_visibility(a, len(names), mended) for a in annotations]

    entries, image_ids = _images(content['images'], notes, path)
    folder = _find_images(path, images, entries, notes)
    _add_sizes(entries, folder, notes, path)
    annotations = _with_ids(annotations, image_ids, notes)
    sizes = {entry['id']: (entry['width'], entry['height']) for entry in entries}
    annotations = [completed(a, sizes[a['image_id']], mended) for a in annotations]
    notes += [template.format(n=count) for template, count in mended.items()]
    notes += remarks(annotations)
    skeleton, skeleton_notes = _skeleton(chosen[0].get('skeleton'), names)
    notes += skeleton_notes
    as_is = (
        len(content.get('categories') or ()) == 1
        and chosen[0].get('id') == 1
        and entries == content['images']
        and annotations == content['annotations']
    )
    kept = {'supercategory': chosen[0]['supercategory']} if 'supercategory' in chosen[0] else {}
    name = str(chosen[0].get('name', 'object')) if len(chosen) == 1 else 'object'
    joined = {**kept, 'id': 1, 'name': name, 'keypoints': names, 'skeleton': skeleton}
    return LabelledSet(entries, annotations, joined, None, notes, as_is, str(path), folder)


def load_coco(path: Path) -> dict:
    """The content of a file that has COCO's lists of images and annotations.

    Raises:
        ValueError: It has not.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:
            content = json.load(file)
    except ValueError as error:
        raise ValueError(f'{path} is no JSON: {error}') from error
    lists = ('images', 'annotations')
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) and all(isinstance(item, dict) for item in content[key])
        for key in lists
    ):
        found = 'a list' if isinstance(content, list) else f'the keys {list(content)[:NUM_LISTED]}'
        raise ValueError(
            f"{path} must be in COCO's format, with lists of images, annotations and categories, "
            f'got {found}; lists are results of a model, or the own format of a tool, which '
            'exports COCO, too'
        )
    if not content['images'] or not content['annotations']:
        empty = next(key for key in lists if not content[key])
        raise ValueError(f'{path}: the list of {empty} is empty')
    return content


def _choose_categories(
    content: dict, wanted: str | None, named: bool, path: Path
) -> tuple[list[dict], list[str]]:
    """The categories to be read as one, and notes."""
    categories = [c for c in content.get('categories') or () if isinstance(c, dict)]
    with_keypoints = Counter(
        id_key(annotation.get('category_id'))
        for annotation in content['annotations']
        if annotation.get('keypoints')
    )
    if not with_keypoints:
        raise ValueError(
            f'{path}: none of its {len(content["annotations"])} annotations has keypoints'
        )
    known = {id_key(c.get('id')) for c in categories}
    candidates = [c for c in categories if with_keypoints[id_key(c.get('id'))]]
    if len(categories) <= 1:  # whatever annotations say, there is nothing to choose from
        candidates, known = categories or [{}], set(with_keypoints)
    unknown = set(with_keypoints) - known
    if unknown:
        raise ValueError(
            f'{path}: annotations with keypoints have the category_id '
            f'{sorted(map(str, unknown))[:NUM_LISTED]}, which no category has'
        )
    if wanted is not None and categories:
        found = [c for c in candidates if wanted in (str(c.get('name')), str(c.get('id')))]
        if not found:
            raise ValueError(_no_category(path, wanted, candidates))
        candidates = found[:1]
    lists = {tuple(map(str, c.get('keypoints') or ())) for c in candidates}
    if len(lists) > 1 and not named:
        listed = '; '.join(
            f'{c.get("name")}: {len(c.get("keypoints") or ())} keypoints '
            f'({", ".join(map(str, c.get("keypoints") or ())) or "without names"})'
            for c in candidates
        )
        raise ValueError(
            f'{path}: {len(candidates)} categories have different keypoints: name the one to read '
            f'(--category, in Python category); {listed}'
        )
    notes = []
    if len(candidates) > 1:
        notes.append(f'{len(candidates)} categories with the same keypoints are joined into one')
    return candidates, notes


def _no_category(path: Path, wanted: str, categories: list[dict]) -> str:
    names = ', '.join(str(c.get('name')) for c in categories)
    return f'{path}: no category {wanted!r} with keypoints; there are: {names}'


def _annotations_of(content: dict, chosen: list[dict], notes: list[str]) -> list[dict]:
    if len(content.get('categories') or ()) <= 1:
        return content['annotations']
    ids = {id_key(c.get('id')) for c in chosen}
    found = [a for a in content['annotations'] if id_key(a.get('category_id')) in ids]
    if len(found) < len(content['annotations']):
        notes.append(
            f'{len(content["annotations"]) - len(found)} annotations of other categories are left '
            'out'
        )
    return found


def _keypoint_names(
    chosen: list[dict], annotations: list[dict], given: Sequence[str] | None, path: Path
) -> list[str]:
    lengths = sorted({len(a['keypoints']) for a in annotations} - {0})
    stated = [str(name) for name in chosen[0].get('keypoints') or ()]
    if not stated and given is None:
        per_keypoint = next((p for p in (3, 2) if all(n % p == 0 for n in lengths)), None)
        if per_keypoint is None:
            raise ValueError(f'{path}: annotations have keypoints of {lengths} numbers')
        counts = ' or '.join(str(n // per_keypoint) for n in lengths)
        raise ValueError(no_names_message(path, counts))
    names = stated if given is None else list(given)
    wrong = [n for n in lengths if n not in (3 * len(names), 2 * len(names))]
    if wrong:
        first = next(a for a in annotations if len(a['keypoints']) == wrong[0])
        raise ValueError(
            f'{path}: annotation {first.get("id")} has {wrong[0]} numbers in its keypoints, and '
            f'{len(names)} keypoints are named, which call for {3 * len(names)} (x, y and '
            f'visibility) or {2 * len(names)}; give other names (--keypoints, in Python '
            'keypoint_names) if these are not those of the annotations'
        )
    return names


def _images(
    images: list[dict], notes: list[str], path: Path
) -> tuple[list[dict], dict[object, int]]:
    """Images with whole numbers as ids, and these by those of the file."""
    keys = [id_key(image.get('id')) for image in images]
    if None in keys:
        raise ValueError(f'{path}: image {images[keys.index(None)]} has no id')
    repeated = [key for key, times in Counter(keys).items() if times > 1]
    if repeated:
        raise ValueError(
            f'{path}: {len(repeated)} ids are of several images, such as {repeated[0]}'
        )
    for image in images:
        if not isinstance(image.get('file_name'), str) or not image['file_name']:
            raise ValueError(f'{path}: image {image.get("id")} has no file_name')
    if all(isinstance(key, int) for key in keys):
        ids = dict(zip(keys, keys))
        if any(not isinstance(image['id'], int) for image in images):
            notes.append('ids of images are not written as whole numbers: turned into such')
    else:
        ids = {key: number for number, key in enumerate(keys, start=1)}
        notes.append(f'ids of images such as {keys[0]!r} are no numbers: counted from 1')
    return [{**image, 'id': ids[key]} for image, key in zip(images, keys)], ids


def _find_images(
    path: Path, images: str | Path | None, entries: list[dict], notes: list[str]
) -> str | None:
    """The folder of images; the entries get names as they are in it."""
    names = [entry['file_name'] for entry in entries]
    if images is not None:
        folder = str(images)
        if not Path(folder).is_dir():
            raise ValueError(f'images must be a folder, got {folder!r}')
    else:
        folder = find_folder(path, names)
        if folder is None:
            notes.append(f'none of the {len(names)} images was found near {path}')
            return None
    found = [name_within(folder, name) for name in names]
    missing = [name for name, within in zip(names, found) if within is None]
    if missing:
        notes.append(f'{len(missing)} of {len(names)} images are not in {folder}: {missing[0]!r}')
    owners: dict[str, str] = {}
    changed = [(a, b) for a, b in zip(names, found) if b is not None and a != b]
    for name, within in zip(names, found):
        if within is not None and owners.setdefault(within, name) != name:
            raise ValueError(
                f'{path}: {owners[within]!r} and {name!r} would both be {within!r} in {folder}; '
                'give a folder of images that has their folders'
            )
    for entry, within in zip(entries, found):
        entry['file_name'] = within or entry['file_name']
    if changed:
        notes.append(
            f'{len(changed)} file names are adapted to what is in {folder}, such as '
            f'{changed[0][0]!r} to {changed[0][1]!r}'
        )
    return folder


def _add_sizes(entries: list[dict], folder: str | None, notes: list[str], path: Path) -> None:
    def known(value: object) -> bool:
        return isinstance(value, NUMBER) and value > 0

    unsized = [e for e in entries if not (known(e.get('width')) and known(e.get('height')))]
    if not unsized:
        return
    if folder is None:
        raise ValueError(
            f'{path}: {len(unsized)} images have no width and height, such as '
            f'{unsized[0]["file_name"]!r}, and no file of theirs was found: name their folder '
            '(--images, in Python images)'
        )
    sizes = read_sizes([str(Path(folder) / entry['file_name']) for entry in unsized])
    for entry, (width, height) in zip(unsized, sizes):
        entry.update(width=width, height=height)
    notes.append(f'{len(unsized)} images have no width and height: taken from the files')


def _with_ids(
    annotations: list[dict], image_ids: dict[object, int], notes: list[str]
) -> list[dict]:
    """Annotations of known images, with ids of their own above 0, and category 1."""
    kept = [a for a in annotations if id_key(a.get('image_id')) in image_ids]
    if len(kept) < len(annotations):
        notes.append(f'{len(annotations) - len(kept)} annotations of unknown images are left out')
    keys = [id_key(annotation.get('id')) for annotation in kept]
    # pycocotools takes an id of 0 for "no match"
    usable = all(isinstance(key, int) and key > 0 for key in keys) and len(set(keys)) == len(keys)
    if not usable:
        notes.append('ids of annotations are missing, repeated, 0 or no numbers: counted from 1')
        keys = list(range(1, len(kept) + 1))
    return [
        {**a, 'id': key, 'image_id': image_ids[id_key(a['image_id'])], 'category_id': 1}
        for a, key in zip(kept, keys)
    ]


def _skeleton(skeleton: object, names: list[str]) -> tuple[list[list[int]], list[str]]:
    """Pairs that count from 1, and notes."""
    if not skeleton:
        return [], []
    numbers = {name: number for number, name in enumerate(names, start=1)}
    pairs = [link for link in skeleton if isinstance(link, list) and len(link) == 2]
    links = [[numbers.get(end, id_key(end)) for end in pair] for pair in pairs]
    ends = [end for link in links for end in link]
    if len(pairs) < len(skeleton) or not all(isinstance(end, int) for end in ends):
        return [], ['the skeleton is no list of pairs of numbers: left out']
    if min(ends) == 0 and max(ends) < len(names):
        return [[a + 1, b + 1] for a, b in links], ['the skeleton counts from 0: turned to 1']
    if min(ends) < 1 or max(ends) > len(names):
        return [], [
            f'the skeleton has links up to {max(ends)}, and there are {len(names)} keypoints: left '
            'out'
        ]
    return links, []
