"""Data that cannot be trained or tested on, found before the first step and named."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpose.datasets import CombinedDataset
from mmpose.registry import HOOKS
from torch.utils.data import DataLoader

from vitpose_mm.codecs import BatchedHeatmapCodec, is_udp
from vitpose_mm.datasets.loading import box_problem

from .parts import bare_model, transforms_of


class DataError(ValueError):
    """Annotations that cannot be trained or tested on."""


NUM_LISTED = 5  # of the annotations that an error is about


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check every annotation of the runner's data sets before training, validation or testing.

    Each data set is scanned once, by rank 0: some seconds for COCO's 150 000 people. Training
    checks the validation set too, instead of letting hours pass before it is met. Scanned are
    top-down data sets of mmpose, also inside of ``ConcatDataset``, ``RepeatDataset`` and
    ``CombinedDataset``; of others only the number of samples is logged.

    Crops must be those that the head's codec needs. With a ``MultiDatasetHead`` each data set must
    have its head, with its number of keypoints and flip pairs; in training each head must have a
    data set, too. Data sets that share a single head must have the same flip pairs, and
    ``CombinedDataset``, whose pipeline flips all samples by its own pairs, is for a single head.

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
        self._check(runner, runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        require_each_once(runner.val_dataloader)
        self._check(runner, runner.val_dataloader.dataset, runner.val_evaluator.metrics)

    def before_test(self, runner: Runner) -> None:
        require_each_once(runner.test_dataloader)
        self._check(runner, runner.test_dataloader.dataset, runner.test_evaluator.metrics)

    def _check(self, runner: Runner, dataset: object, metrics: Sequence[BaseMetric] = ()) -> None:
        if any(dataset is checked for checked in self._checked):
            return
        self._checked.append(dataset)
        problems = [None]
        if is_main_process():
            try:
                check_all(runner, dataset, metrics)
            except Exception as error:  # whatever it is, the other ranks wait
                problems = [str(error) if type(error) is DataError else repr(error)]
        broadcast_object_list(problems)
        if problems[0] is not None:
            raise DataError(problems[0])


def check_all(runner: Runner, dataset: object, metrics: Sequence[BaseMetric] = ()) -> None:
    """Check the data sets inside of wrappers against the model.

    Args:
        dataset: The runner's, for training or evaluation.
        metrics: Those of the evaluation; none in training.

    Raises:
        DataError: See :class:`CheckDataHook`.
    """
    model = bare_model(runner)
    head, test_cfg = getattr(model, 'head', None), getattr(model, 'test_cfg', None) or {}
    # keypoints need not agree where metrics convert them or the model selects some
    converts = any(
        getattr(metric, 'pred_converter', None) or getattr(metric, 'gt_converter', None)
        for metric in metrics
    ) or (metrics and 'output_keypoint_indices' in test_cfg)
    routes, used = getattr(head, 'routes', None), set()
    inner = getattr(dataset, '_dataset', None)
    if hasattr(inner, 'lengths'):  # a MultiDataset
        raise DataError(
            f'num_batch_per_epoch would take the first of {inner.lengths()} samples only; '
            "sampler=dict(type='MultiDatasetSampler', temperature=1, epoch_size=...) draws from all"
        )
    chosen = test_cfg.get('dataset') if metrics else None
    files_by_flips: dict[tuple, str] = {}
    for leaf, transforms, is_combined in leaves(dataset):
        num_converted = num_keypoints_after(transforms)
        num_predicted, entry = getattr(head, 'out_channels', None), 'model.head.out_channels'
        if routes is not None:
            name = leaf.metainfo['dataset_name']
            if is_combined:
                raise DataError(
                    f'{leaf.ann_file} ({name}): the pipeline of a CombinedDataset flips all its '
                    'samples by its own flip pairs, not by those of each head; a MultiDataset '
                    'keeps them apart'
                )
            if chosen not in (None, name):
                raise DataError(
                    f'{leaf.ann_file}: model.test_cfg.dataset={chosen!r} reads all pictures as of '
                    f'that data set, also these of {name!r}. It is for inference; to be evaluated '
                    'by the head of another, a data set goes to model.head.datasets.'
                )
            if name not in routes:
                raise DataError(
                    f'{leaf.ann_file}: data set {name!r} has no head; model.head has heads for '
                    f'{list(routes)}. Add it to model.head.heads, or to model.head.datasets to '
                    'have one of these read it.'
                )
            # targets are always drawn by the codec of the head itself
            check_route(leaf, transforms, routes[name if metrics else routes[name].head])
            used.add(routes[name].head)
            num_predicted = routes[name].num_keypoints
            entry = f'model.head.heads.{routes[name].head}.out_channels'
        else:
            check_crop(leaf, transforms, getattr(head, 'decoder', None), 'model.head')
            if num_converted is None and not converts:
                flips = tuple(leaf.metainfo.get('flip_indices', ()))
                files_by_flips.setdefault(flips, leaf.ann_file)
        known = isinstance(num_predicted, int) and not converts
        check_dataset(leaf, num_converted, num_predicted if known else None, entry)
    if len(files_by_flips) > 1:
        raise DataError(
            f'one head cannot read data sets with different flip_indices, got {files_by_flips}: '
            'give each its own in a MultiDatasetHead, or convert keypoints in the pipelines '
            "(dict(type='KeypointConverter', ...))"
        )
    idle = routes is not None and {route.head for route in routes.values()} - used
    if idle and not metrics:
        raise DataError(
            f'model.head has heads for {sorted(idle)}, but train_dataloader has no data set for '
            'them: add these data sets, or take out the heads (and their experts)'
        )


def require_each_once(dataloader: DataLoader) -> None:
    """Raise a ``DataError`` if processes would be given samples of several data sets twice.

    mmengine drops what its samplers add to make processes even, but it knows no data sets.
    """
    dataset = dataloader.dataset
    is_uneven = hasattr(dataset, 'lengths') and len(dataset) % get_world_size()
    if is_uneven and getattr(dataloader.sampler, 'round_up', False):
        raise DataError(
            'several data sets are evaluated in several processes: their sampler needs '
            "round_up=False (sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)), "
            'or some people would count twice'
        )


def check_route(dataset: BaseDataset, transforms: Sequence[object], route: object) -> None:
    """Check a data set against the ``Route`` that its samples take.

    Raises:
        DataError: They are cropped otherwise than the codec needs, or flip other pairs.
    """
    check_crop(dataset, transforms, route.decoder, f'head {route.head!r}')
    pairs, expected = dataset.metainfo['flip_indices'], (route.metainfo or {}).get('flip_indices')
    if expected is not None and list(pairs) != list(expected):
        raise DataError(
            f'{dataset.ann_file} ({dataset.metainfo["dataset_name"]}): flip_indices of the data '
            f'set are {pairs}, but those of metainfo in the model are {expected}'
        )


def check_crop(
    dataset: BaseDataset, transforms: Sequence[object], codec: object, owner: str
) -> None:
    """Raise a ``DataError`` if a data set's crops are not those that a codec of ours needs."""
    if not isinstance(codec, BatchedHeatmapCodec):
        return
    name = dataset.metainfo.get('dataset_name')
    needed = tuple(codec.input_size), is_udp(type(codec))
    for transform in transforms:
        if not hasattr(transform, 'use_udp'):
            continue
        is_routed = hasattr(transform, 'uses_udp')
        use_udp = transform.uses_udp(name) if is_routed else transform.use_udp
        crop = tuple(transform.input_size), use_udp
        if crop != needed:
            raise DataError(
                f'{dataset.ann_file} ({name}): {type(transform).__name__} crops to input_size '
                f'{crop[0]} with use_udp={crop[1]}, but the codec {type(codec).__name__} of '
                f'{owner} needs input_size {needed[0]} with use_udp={needed[1]}'
            )


class Leaf(NamedTuple):
    """A data set inside of wrappers, and what its samples go through, the wrappers' included."""

    dataset: BaseDataset
    transforms: Sequence[object]
    is_combined: bool


def leaves(
    dataset: object, outer: Sequence[object] = (), is_combined: bool = False
) -> Iterator[Leaf]:
    """The data sets inside of wrappers.

    Args:
        outer: Transforms that follow those of the data set itself.
        is_combined: Whether a ``CombinedDataset`` with transforms of its own is around it.
    """
    transforms = [*transforms_of(dataset), *outer]
    if hasattr(dataset, 'datasets'):
        is_combined = is_combined or (isinstance(dataset, CombinedDataset) and bool(transforms))
        for part in dataset.datasets:
            yield from leaves(part, transforms, is_combined)
    elif hasattr(dataset, 'dataset'):
        yield from leaves(dataset.dataset, transforms, is_combined)
    elif isinstance(dataset, BaseDataset):
        yield Leaf(dataset, transforms, is_combined)
    elif hasattr(dataset, '_dataset'):  # mmengine's, for num_batch_per_epoch
        yield from leaves(dataset._dataset, transforms, is_combined)
    else:
        print_log(f'{type(dataset).__name__}: not checked', logger='current')


def num_keypoints_after(transforms: Sequence[object]) -> Optional[int]:
    """How many keypoints the last ``KeypointConverter`` makes, None if there is none."""
    numbers = [each.num_keypoints for each in transforms if hasattr(each, 'num_keypoints')]
    return numbers[-1] if numbers else None


def check_dataset(
    dataset: BaseDataset,
    num_converted: Optional[int] = None,
    num_predicted: Optional[int] = None,
    entry: str = 'model.head.out_channels',
) -> None:
    """Check one data set and log what it holds.

    Args:
        num_converted: Number of keypoints after the pipeline, if that changes it.
        num_predicted: Number of keypoints that the model predicts.
        entry: What says so in the config.

    Raises:
        DataError: See :class:`CheckDataHook`.
    """
    if len(dataset) == 0:
        raise DataError(empty_message(dataset))
    if getattr(dataset, 'data_mode', None) != 'topdown':
        print_log(f'{dataset.ann_file}: {len(dataset)} samples', logger='current')
        return
    num_keypoints = len(dataset.metainfo['flip_indices'])
    numbers = list(dataset.metainfo.get('keypoint_id2name', ()))
    if numbers != sorted(numbers):
        raise DataError(
            f'{dataset.ann_file}: the keypoints of its meta information come in the order '
            f'{numbers}, by which flip pairs are mixed up. mmengine writes configs like this: put '
            'keypoint_info in the order of its numbers again, or the data set into a MultiDataset.'
        )
    if num_predicted is not None and num_predicted != (num_converted or num_keypoints):
        raise DataError(
            f'{dataset.ann_file}: {type(dataset).__name__} has {num_converted or num_keypoints} '
            f'keypoints, but {entry} is {num_predicted}. They must be equal; '
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
