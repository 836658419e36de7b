"""Annotation files that cannot be read, named before a runner is built or while it reads them."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import is_abs

from .data_check import DataError, empty_message

# What a runner builds, by what it is for.
LOOPS = {'train': ('train', 'val'), 'test': ('test',)}


def check_annotation_files(cfg: Config, mode: str) -> None:
    """Look at the annotation files of a config, without reading them, before anything is built.

    Args:
        mode: 'train' (training and validation) or 'test'; other data loaders are not looked at.

    Raises:
        DataError: Names the entry of the config and the file, which is missing or empty, or ends
            in .json and does not begin and end as such.
    """
    for loop in LOOPS[mode]:
        if cfg.get(f'{loop}_dataloader') is None:
            continue
        wrappers = ('dataset', 'datasets')
        for node, name, keys in (
            (cfg[f'{loop}_dataloader'], f'{loop}_dataloader', wrappers),
            (cfg.get(f'{loop}_evaluator'), f'{loop}_evaluator', ('metrics',)),
        ):
            for entry, path in annotation_files(node, name, keys):
                check_file(entry, path)


def annotation_files(node: object, name: str, keys: tuple) -> Iterator[tuple[str, str]]:
    """Entries and paths of the files that a part of a config names, joined as mmengine does."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from annotation_files(item, f'{name}[{index}]', keys)
    elif isinstance(node, dict):
        root, sources = node.get('data_root'), node.get('sources')
        named = {name: node}
        if isinstance(sources, (list, tuple)):  # of PretrainingImages
            named.update({f'{name}.sources[{i}]': source for i, source in enumerate(sources)})
        for entry, part in named.items():
            path = part.get('ann_file') if isinstance(part, dict) else None
            if path:
                path = os.path.join(root, path) if root and not is_abs(path) else path
                yield f'{entry}.ann_file', path
        if node.get('bbox_file'):
            yield f'{name}.bbox_file', node['bbox_file']  # which mmpose does not join
        for key in keys:
            part = node.get(key)
            # by labels in a MultiDataset, by names in a DatasetEvaluator
            if key != 'dataset' and isinstance(part, dict) and 'type' not in part:
                for label, item in part.items():
                    yield from annotation_files(item, f'{name}.{key}.{label}', keys)
            else:
                yield from annotation_files(part, f'{name}.{key}', keys)


def check_file(entry: str, path: str) -> None:
    if '://' in path:
        return
    if not os.path.isfile(path):
        raise DataError(f'{entry}: there is no file {path}.')
    size = os.path.getsize(path)
    if size == 0:
        raise DataError(f'{entry}: {path} is empty (0 bytes).')
    if not path.endswith('.json'):
        return
    with open(path, 'rb') as file:
        head = file.read(1024).lstrip()
        file.seek(max(size - 1024, 0))
        tail = file.read().rstrip()
    if head[:1] + tail[-1:] not in (b'{}', b'[]'):
        raise DataError(
            f'{entry}: {path} is no JSON, or cut off: it begins {head[:20]!r} and ends '
            f'{tail[-20:]!r}, where {{...}} or [...] is wanted.'
        )


def build_loops(runner: Runner, mode: str) -> None:
    """Build the loops that training or testing will use, and so read the annotations.

    Raises:
        DataError: Names the annotation file that cannot be read or holds nobody.
    """
    with annotation_errors():
        for loop in LOOPS[mode]:
            getattr(runner, f'{loop}_loop')  # builds it


@contextmanager
def annotation_errors() -> Iterator[None]:
    """Turn errors while annotations are read, which name no file, into one that does."""
    try:
        yield
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        reading = [
            frame.f_locals['self']
            for frame in frames
            # of other classes, such as metrics, it is certain only where JSON is the matter
            if frame.f_code.co_name == 'full_init' or isinstance(error, json.JSONDecodeError)
            if getattr(frame.f_locals.get('self'), 'ann_file', None)
        ]
        if not reading:
            raise
        reader = reading[-1]
        serializing = any(frame.f_code.co_name == '_serialize_data' for frame in frames)
        if serializing and not reader.data_list:
            raise DataError(empty_message(reader)) from error
        files = [reader.ann_file, getattr(reader, 'bbox_file', None)]
        # what COCO's and mmpose's readers call the annotation that they are at
        annotation = next((f.f_locals['ann'] for f in frames[::-1] if 'ann' in f.f_locals), None)
        where = f' at annotation {annotation.get("id")}' if isinstance(annotation, dict) else ''
        raise DataError(
            f'{type(reader).__name__} cannot read {" with ".join(filter(None, files))}{where}: '
            f'{type(error).__name__}: {error}'
        ) from error
