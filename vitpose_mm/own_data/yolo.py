"""Labels of YOLO-pose, as Ultralytics reads them: ``data.yaml``, images, and a text file for each.

A line of ``labels/a.txt`` is an object: class, centre x and y, width and height of its box, and x
and y of each keypoint, with or without visibility; lengths are shares of the image's width or
height. The text file of an image is found by its path: the last folder ``images`` becomes
``labels``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .image_files import read_sizes
from .labelled import AREA_OF_BOX, LabelledSet, box_around, check_names, no_names_message

# keys of data.yaml, and folders within images/, of each part
PARTS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
NUM_COCO = 17
COCO_NAMES = (
    *('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder'),
    *('left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip'),
    *('left_knee', 'right_knee', 'left_ankle', 'right_ankle'),
)
MAX_SHARE = 2  # beyond it, lengths are no shares of the image; a little over 1 is out of the image


def find_yaml(folder: Path) -> Path | None:
    """The one description of a data set in a folder, by its keys."""
    found = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in ('.yaml', '.yml')]
    found = [p for p in found if _describes_data(load_yaml(p))]
    if len(found) > 1:
        raise ValueError(f'{folder} has several: {", ".join(p.name for p in found)}; name one')
    return found[0] if found else None


def load_yaml(path: Path) -> dict:
    """The content of a YAML file, empty if it is not a dict."""
    import yaml

    try:
        with open(path, encoding='utf-8') as file:
            content = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML: {error}') from error
    return content if isinstance(content, dict) else {}


def _describes_data(content: dict) -> bool:
    return 'kpt_shape' in content or (
        'names' in content and bool(content.keys() & {'train', 'val'})
    )


def read_yolo(
    path: str | Path,
    images: str | Path | None = None,
    category: str | None = None,
    split: str | None = None,
    keypoint_names: Sequence[str] | None = None,
) -> LabelledSet:
    """Read a data set of YOLO-pose.

    Lengths become px. (0, 0), or what is negative, is not labelled where there is no visibility.
    Classes are joined into one category. Areas are 0.53 of the boxes.

    Args:
        path: ``data.yaml``, or a folder with one, or with ``images`` and ``labels``.
        images: Folder of images to read, in place of those that ``path`` names.
        category: Name of the only class to read.
        split: 'train', 'val' or 'test'; all of the first two by default, and where ``path`` does
            not tell parts apart.
        keypoint_names: In place of ``kpt_names`` in the file; 17 without names are taken for
            COCO's.

    Raises:
        ValueError: It is something else, or a line cannot be one of the format.
        ImageError: An image cannot be read.
    """
    path = Path(path)
    yaml_path = find_yaml(path) if path.is_dir() else path
    content = load_yaml(yaml_path) if yaml_path is not None else {}
    root = path if path.is_dir() else path.parent
    notes: list[str] = []
    if images is not None:
        parts = {'': [Path(images)]}
        if not Path(images).is_dir():
            raise ValueError(f'images must be a folder, got {str(images)!r}')
    else:
        root, parts = _parts(content, root, yaml_path)
    if split is not None and '' not in parts and split not in parts:
        raise ValueError(f'{path} has no images for {split!r}, only for {", ".join(parts)}')
    chosen = [split] if split in parts else [part for part in parts if part != 'test']
    places = [place for part in chosen for place in parts[part]]
    files = list(dict.fromkeys(file for place in places for file in _image_files(place, root)))
    if not files:
        raise ValueError(f'{path}: no images in {", ".join(map(str, places))}')

    rows, num_missing = [], 0
    for file in files:
        label_file = label_path(file)
        num_missing += not label_file.is_file()
        rows.append(_rows(label_file) if label_file.is_file() else [])
    if not any(rows):
        raise ValueError(
            f'{path}: none of the {len(files)} images has labels; those of {files[0]} would be in '
            f'{label_path(files[0])}'
        )
    if num_missing:
        notes.append(
            f'{num_missing} of {len(files)} images have no file of labels: nothing in them'
        )
    class_names = _class_names(content)
    wanted = _wanted_class(class_names, category, path)
    used = Counter(int(row[0]) for of_file in rows for row in of_file)
    if wanted is not None:
        used = Counter({wanted: used[wanted]})
    names = _keypoint_names(content, rows, sorted(used), keypoint_names, path, notes)
    dimensions = _dimensions(content, rows, len(names), path)

    folder = Path(os.path.abspath(images or root))
    if any(folder not in file.parents for file in files):
        folder = Path(os.path.commonpath([file.parent for file in files]))
    entries, annotations, mended = [], [], Counter()
    for number, (file, size, of_file) in enumerate(
        zip(files, read_sizes([str(file) for file in files]), rows), start=1
    ):
        name = file.relative_to(folder).as_posix()
        entries.append({'id': number, 'file_name': name, 'width': size[0], 'height': size[1]})
        for row in of_file:
            if int(row[0]) in used:
                annotation = _annotation(row, len(names), dimensions, size, mended)
                annotations.append({'id': len(annotations) + 1, 'image_id': number, **annotation})
    notes += [f'{count} {what}' for what, count in mended.items()]
    if len(used) > 1:
        notes.append(f'{len(used)} classes are joined into one')
    notes.append('lengths are in px in place of shares of the image; areas are 0.53 of the boxes')
    name = class_names.get(next(iter(used)), 'object') if len(used) == 1 else 'object'
    return LabelledSet(
        entries,
        annotations,
        {'id': 1, 'name': name, 'keypoints': names, 'skeleton': []},
        _flip_indices(content, path),
        notes,
        False,
        str(path),
        str(folder),
        'val' in parts and 'val' not in chosen,
    )


def label_path(image: Path) -> Path:
    """Where the labels of an image are."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == 'images':
            parts[position] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _parts(
    content: dict, folder: Path, yaml_path: Path | None
) -> tuple[Path, dict[str, list[Path]]]:
    """The root of the data set, and where the images of each part are, by 'train', 'val', 'test'.

    '' stands for all images of a folder that does not tell parts apart.
    """
    root = _root(content, folder)
    stated = {
        part: content[key] for part, keys in PARTS.items() for key in keys if content.get(key)
    }
    if not stated:
        images = folder / 'images'
        if not images.is_dir():
            raise ValueError(
                f'{yaml_path or folder} names no images for train or val, and there is no folder '
                f'{images}'
            )
        found = {
            part: [images / k for k in keys if (images / k).is_dir()]
            for part, keys in PARTS.items()
        }
        found = {part: places for part, places in found.items() if places}
        return folder, found or {'': [images]}
    parts = {}
    for part, value in stated.items():
        values = value if isinstance(value, list) else [value]
        parts[part] = [_place(str(v), root, folder, f'{yaml_path}: {part}') for v in values]
    return root, parts


def _root(content: dict, folder: Path) -> Path:
    """``path`` of data.yaml: from its folder, or from the current one as Ultralytics would."""
    stated = content.get('path')
    candidates = [folder / str(stated), Path(str(stated))] if stated else []
    return next((c for c in candidates if c.is_dir()), folder)


def _place(value: str, root: Path, folder: Path, entry: str) -> Path:
    # Roboflow writes '../train/images' for what is in the folder of data.yaml
    shorter = value[3:] if value.startswith('../') else value
    candidates = [base / text for text in (value, shorter) for base in (root, folder)]
    found = next((c for c in candidates if c.exists()), None)
    if found is None:
        raise ValueError(f'{entry} is {value!r}, and there is no {candidates[0]}')
    return found


def _image_files(place: Path, root: Path) -> list[Path]:
    """Absolute paths of the images of a folder, or of those that a text file lists."""
    from vitpose_mm.datasets.image_sets import images_below

    if place.is_dir():
        return [Path(os.path.abspath(place / name)) for name in images_below(str(place))]
    if place.suffix.lower() != '.txt':
        return [Path(os.path.abspath(place))]
    lines = [line.strip() for line in place.read_text(encoding='utf-8').splitlines()]
    files = []
    for line in filter(None, lines):
        candidates = (place.parent / line, root / line, Path(line))
        found = next((c for c in candidates if c.is_file()), None)
        if found is None:
            raise ValueError(f'{place} lists {line!r}, and there is no {candidates[0]}')
        files.append(Path(os.path.abspath(found)))
    return files


def _rows(path: Path) -> list[list[float]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), start=1):
        try:
            row = [float(text) for text in line.split()]
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {error}') from error
        if row and (len(row) < 5 or not row[0].is_integer() or row[0] < 0):
            raise ValueError(
                f'{path}, line {number}: {line[:60]!r}; wanted are class, box and keypoints'
            )
        # true for NaN, too
        beyond = next((value for value in row[1:] if not abs(value) <= MAX_SHARE), None)
        if row and beyond is None and min(row[3:5]) < 0:
            beyond = min(row[3:5])
        if beyond is not None:
            raise ValueError(
                f'{path}, line {number}: {beyond:g} is no share of the width or height of the '
                'image; lengths must not be in px'
            )
        if row:
            rows.append(row)
    return rows


def _flip_indices(content: dict, path: Path) -> list[int] | None:
    stated = content.get('flip_idx')
    if stated is not None and not isinstance(stated, list):
        raise ValueError(f'{path}: flip_idx must be a list of numbers, got {stated!r}')
    return stated or None


def _class_names(content: dict) -> dict[int, str]:
    names = content.get('names') or {}
    items = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(number): str(name) for number, name in items}


def _wanted_class(class_names: dict[int, str], category: str | None, path: Path) -> int | None:
    if category is None:
        return None
    for number, name in class_names.items():
        if category in (name, str(number)):
            return number
    raise ValueError(f'{path}: no class {category!r}; there are: {", ".join(class_names.values())}')


def _keypoint_names(
    content: dict,
    rows: list,
    classes: list[int],
    given: Sequence[str] | None,
    path: Path,
    notes: list[str],
) -> list[str]:
    shape = content.get('kpt_shape')
    if shape is not None and not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(number) is int for number in shape)
        and shape[0] > 0
        and shape[1] in (2, 3)
    ):
        raise ValueError(f'{path}: kpt_shape must be [K, 2] or [K, 3], got {shape}')
    columns = max(len(row) for of_file in rows for row in of_file) - 5
    if given is not None:
        possible = [shape[0]] if shape else [columns // p for p in (3, 2) if columns % p == 0]
        count = len(given) if len(given) in possible else (possible or [0])[0]
        return check_names(given, count, path)
    stated = content.get('kpt_names')
    if stated and not isinstance(stated, (list, dict)):
        raise ValueError(f'{path}: kpt_names must be names, or names by class, got {stated!r}')
    if stated:
        by_class = stated if isinstance(stated, dict) else dict(enumerate(stated))
        if isinstance(stated, list) and all(isinstance(name, str) for name in stated):
            by_class = dict.fromkeys(classes, stated)
        lists = {tuple(map(str, by_class[c])) for c in classes if by_class.get(c)}
        if len(lists) > 1:
            raise ValueError(
                f'{path}: classes {classes} have keypoints of different names: name the one to '
                f'read (--category, in Python category); {stated}'
            )
        if lists:
            names = lists.pop()
            return check_names(names, shape[0] if shape else len(names), path)
    count = shape[0] if shape else None
    if count is None and columns in (2 * NUM_COCO, 3 * NUM_COCO):
        count = NUM_COCO
    if count == NUM_COCO:
        notes.append("the 17 keypoints have no names: taken for COCO's, nose to right_ankle")
        return list(COCO_NAMES)
    if count is None:
        counts = [str(columns // p) for p in (3, 2) if columns > 0 and columns % p == 0]
        count = ' or '.join(counts) or 'no'
    raise ValueError(no_names_message(path, count))


def _dimensions(content: dict, rows: list, count: int, path: Path) -> int:
    """Numbers of a keypoint: 2 or 3."""
    lengths = sorted({len(row) - 5 for of_file in rows for row in of_file} - {0})
    stated = content.get('kpt_shape')
    possible = [stated[1]] if stated else [2, 3]
    for dimensions in possible:
        if lengths == [count * dimensions]:
            return dimensions
    wanted = ' or '.join(str(5 + count * dimensions) for dimensions in possible)
    raise ValueError(
        f'{path}: lines of labels have {", ".join(str(5 + n) for n in lengths) or 5} numbers; '
        f'{count} keypoints call for {wanted}'
    )


def _annotation(
    row: list[float], count: int, dimensions: int, size: tuple[int, int], mended: Counter
) -> dict:
    width, height = size
    if len(row) == 5:
        mended['objects have no keypoints: kept with none labelled'] += 1
    keypoints: list[float] = []
    for index in range(count):
        point = row[5 + index * dimensions : 5 + (index + 1) * dimensions]
        x, y = point[:2] or (0, 0)
        if len(point) == 3:
            visible = int(point[2]) if point[2].is_integer() else point[2]
        else:
            visible = 0 if x < 0 or y < 0 or (x, y) == (0, 0) else 2
        keypoints += [round(x * width, 3), round(y * height, 3), visible] if visible else [0, 0, 0]
    centre_x, centre_y, box_width, box_height = row[1:5]
    box = [
        round((centre_x - box_width / 2) * width, 3),
        round((centre_y - box_height / 2) * height, 3),
        round(box_width * width, 3),
        round(box_height * height, 3),
    ]
    if 0 in box[2:]:
        derived = box_around(keypoints, width, height)
        if derived is not None:
            box = derived
            mended['boxes have no area: that around the keypoints, 1/8 wider on each side'] += 1
    return {
        'category_id': 1,
        'bbox': box,
        'keypoints': keypoints,
        'num_keypoints': sum(visible > 0 for visible in keypoints[2::3]),
        'area': round(AREA_OF_BOX * abs(box[2] * box[3]), 3),
        'iscrowd': 0,
    }
