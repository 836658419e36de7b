"""Data that cannot be trained or tested on, found before the first step and named."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import is_abs
from mmpose.registry import HOOKS

from vitpose_mm.datasets.loading import box_problem

from .parts import bare_model, transforms_of


class DataError(ValueError):
    """Annotations that cannot be trained or tested on."""


# What a runner builds, by what it is for.
LOOPS = {'train': ('train', 'val'), 'test': ('test',)}
NUM_LISTED = 5  # of the annotations that an error is about


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check every annotation of the runner's data sets before training, validation or testing.

    Each data set is scanned once, by rank 0: some seconds for COCO's 150 000 people. Training
    checks the validation set too, instead of letting hours pass before it is met. Scanned are
    top-down data sets of mmpose, also inside of ``ConcatDataset``, ``RepeatDataset`` and
    ``CombinedDataset``; of others only the number of samples is logged.

    Keypoints outside of the image are no error. They are learned like others where the crop
    reaches; near its border the Gaussian is cut, and farther out (3 sigma and a pixel) the keypoint
    has no weight. See ``vitpose_mm.codecs``.

    Raises:
        DataError: On every rank, listing annotations by id. A data set is empty; keypoints are of
            another number than ``flip_indices`` of the data set's meta information or
            ``model.head.out_channels`` (if there is one; ``KeypointConverter`` is allowed for);
            coordinates, visibilities or boxes are not finite; visibilities are negative; boxes
            have no area.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._checked = []

    def before_train(self, runner: Runner) -> None:
        self._check(runner.train_dataloader.dataset, head_keypoints(runner))
        if runner.val_loop is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        metrics = runner.val_evaluator.metrics
        self._check(runner.val_dataloader.dataset, head_keypoints(runner, metrics))

    def before_test(self, runner: Runner) -> None:
        metrics = runner.test_evaluator.metrics
        self._check(runner.test_dataloader.dataset, head_keypoints(runner, metrics))

    def _check(self, dataset: object, num_predicted: Optional[int]) -> None:
        if any(dataset is checked for checked in self._checked):
            return
        self._checked.append(dataset)
        problems = [None]
        if is_main_process():
            try:
                for leaf, num_converted in leaves(dataset):
                    check_dataset(leaf, num_converted, num_predicted)
            except Exception as error:  # whatever it is, the other ranks wait
                problems = [str(error) if type(error) is DataError else repr(error)]
        broadcast_object_list(problems)
        if problems[0] is not None:
            raise DataError(problems[0])


def head_keypoints(runner: Runner, metrics: tuple = ()) -> Optional[int]:
    """Number of keypoints that the model predicts; None if it cannot be told or need not agree.

    In evaluation it need not where metrics convert keypoints or the model selects some.
    """
    model = bare_model(runner)
    num_keypoints = getattr(getattr(model, 'head', None), 'out_channels', None)
    for metric in metrics:
        if getattr(metric, 'pred_converter', None) or getattr(metric, 'gt_converter', None):
            return None
    if metrics and 'output_keypoint_indices' in (getattr(model, 'test_cfg', None) or {}):
        return None
    return num_keypoints if isinstance(num_keypoints, int) else None


def leaves(
    dataset: object, num_converted: Optional[int] = None
) -> Iterator[tuple[BaseDataset, Optional[int]]]:
    """The data sets inside of wrappers, and how many keypoints a ``KeypointConverter`` makes."""
    # the last one counts, and the outer pipeline's is last
    for transform in reversed(transforms_of(dataset)):
        if num_converted is None:
            num_converted = getattr(transform, 'num_keypoints', None)
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from leaves(part, num_converted)
    elif hasattr(dataset, 'dataset'):
        yield from leaves(dataset.dataset, num_converted)
    elif isinstance(dataset, BaseDataset):
        yield dataset, num_converted
    elif hasattr(dataset, '_dataset'):  # mmengine's, for num_batch_per_epoch
        yield from leaves(dataset._dataset, num_converted)
    else:
        print_log(f'{type(dataset).__name__}: not checked', logger='current')


def check_dataset(
    dataset: BaseDataset, num_converted: Optional[int] = None, num_predicted: Optional[int] = None
) -> None:
    """Check one data set and log what it holds.

    Args:
        num_converted: Number of keypoints after the pipeline, if that changes it.
        num_predicted: Number of keypoints that the model predicts.

    Raises:
        DataError: See :class:`CheckDataHook`.
    """
    if len(dataset) == 0:
        raise DataError(empty_message(dataset))
    if getattr(dataset, 'data_mode', None) != 'topdown':
        print_log(f'{dataset.ann_file}: {len(dataset)} samples', logger='current')
        return
    num_keypoints = len(dataset.metainfo['flip_indices'])
    if num_predicted is not None and num_predicted != (num_converted or num_keypoints):
        raise DataError(
            f'{dataset.ann_file}: {type(dataset).__name__} has {num_converted or num_keypoints} '
            f'keypoints, but model.head.out_channels is {num_predicted}. They must be equal; '
            "another data set's keypoints need dict(type='KeypointConverter', ...) in the pipeline."
        )
    num_bad, listed, images = 0, [], set()
    for info in data_infos(dataset):
        images.add(info.get('img_id'))
        problem = find_problem(info, num_keypoints)
        if problem is not None:
            num_bad += 1
            if len(listed) < NUM_LISTED:
                listed.append(f'annotation {info.get("id")}, {info.get("img_path")}: {problem}')
    if num_bad:
        more = f'\n  and {num_bad - len(listed)} more' if num_bad > len(listed) else ''
        raise DataError(
            f'{dataset.ann_file}: {num_bad} of {len(dataset)} people cannot be used; mend them or '
            'take them out.\n  ' + '\n  '.join(listed) + more
        )
    print_log(
        f'{dataset.ann_file}: {len(dataset)} people in {len(images)} images', logger='current'
    )


def data_infos(dataset: BaseDataset) -> Iterator[dict]:
    """Annotations without what mmpose's ``get_data_info`` copies into each; not to be changed."""
    if not dataset.serialize_data:
        yield from dataset.data_list
        return
    for index in range(len(dataset)):
        yield BaseDataset.get_data_info(dataset, index)


def find_problem(info: dict, num_keypoints: int) -> Optional[str]:
    """What is wrong with an annotation of a top-down data set; None if nothing is."""
    for box in info['bbox'].tolist() if 'bbox' in info else ():
        problem = box_problem(box, info.get('img_shape'))
        if problem is not None:
            return f'box (left, top, right, bottom) {box} {problem}'
    if 'keypoints' not in info:
        return None
    keypoints, visible = info['keypoints'], info.get('keypoints_visible')
    if keypoints.shape[1] != num_keypoints:
        return f'{keypoints.shape[1]} keypoints, where the meta information has {num_keypoints}'
    if not np.isfinite(keypoints).all():
        bad = np.flatnonzero(~np.isfinite(keypoints[0]).all(-1))
        return f'keypoint {bad[0]} is {keypoints[0, bad[0]].tolist()}, must be finite'
    # false for NaN, too
    if visible is not None and not (visible >= 0).all():
        return f'visibilities must not be negative or NaN, got {visible[0].tolist()}'
    return None


def empty_message(dataset: BaseDataset) -> str:
    return (
        f'{dataset.ann_file}: {type(dataset).__name__} found nobody to use in it. People count '
        'that have a box of positive size within the image and at least one labelled keypoint '
        '(num_keypoints), and are not iscrowd; with bbox_file, boxes of category 1.'
    )


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
        path, root = node.get('ann_file'), node.get('data_root')
        if path:
            path = os.path.join(root, path) if root and not is_abs(path) else path
            yield f'{name}.ann_file', path
        if node.get('bbox_file'):
            yield f'{name}.bbox_file', node['bbox_file']  # which mmpose does not join
        for key in keys:
            yield from annotation_files(node.get(key), f'{name}.{key}', keys)


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
