"""Whether validation can tell anything: the evaluator's file, areas, crowds, categories."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

from vitpose_mm.files import file_sha256

from .coco_file import example, images_by_id
from .findings import NUM_EXAMPLES, Finding, severity_by_share

COCO_METRICS = ('CocoMetric', 'CocoWholeBodyMetric')
LEAST_AREA = 0.01  # of the box; people cover about half of theirs


def metrics_of(evaluator: object) -> dict[Optional[str], list[Mapping]]:
    """Configs of metrics by ``dataset_name``; of all data sets by None."""
    if isinstance(evaluator, (list, tuple)):
        return {None: [each for part in evaluator for each in metrics_of(part).get(None, [])]}
    if not isinstance(evaluator, Mapping):
        return {}
    metrics = evaluator.get('metrics')
    if metrics is None:
        return {None: [evaluator]}
    if isinstance(metrics, Mapping) and 'type' not in metrics:
        return {
            name: list(given) if isinstance(given, (list, tuple)) else [given]
            for name, given in metrics.items()
        }
    return {None: list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]}


def check_evaluation(
    metrics: Sequence[Mapping], content: Mapping, ann_file: str, has_detections: bool = False
) -> Iterator[Finding]:
    """Check a validation file against the metrics that will read it.

    Args:
        metrics: Configs of the data set's metrics.
        content: Of the data set's annotation file.
        ann_file: That file.
        has_detections: Whether boxes come from a ``bbox_file``.
    """
    for metric in metrics:
        if str(metric.get('type')).rpartition('.')[2] not in COCO_METRICS:
            continue
        other = metric.get('ann_file')
        if other and os.path.isfile(other) and not _same_file(other, ann_file):
            yield Finding(
                'fault',
                'evaluator-file',
                f'{metric["type"]} judges by {other}, but people come from {ann_file}, another '
                'file: whoever is in one of them only counts as not found.',
                'Name the same file in val_evaluator.ann_file, or none: then it takes that of the '
                'data set.',
            )
        yield from _check_entries(metric, content)
        if has_detections and not any(a.get('category_id') == 1 for a in content['annotations']):
            yield Finding(
                'fault',
                'category-not-1',
                'No annotation has category_id 1, but of a bbox_file only boxes of category 1 are '
                'taken, and what is found counts as of category 1.',
                'Number the category of people 1.',
            )
        return


def _check_entries(metric: Mapping, content: Mapping) -> Iterator[Finding]:
    annotations, images = content['annotations'], images_by_id(content)

    def told(kind: str, found: list[Mapping], what: str, advice: str) -> Iterator[Finding]:
        # areas that are odd in a few people only move them between sizes
        severity = severity_by_share(len(found), len(annotations), 0.1)
        if severity is not None:
            yield Finding(
                {'area-missing': 'fault', 'iscrowd-missing': 'warning'}.get(kind, severity),
                kind,
                f'{len(found)} of {len(annotations)} annotations have {what}',
                advice,
                count=len(found),
                examples=tuple(
                    example(each, images.get(each.get('image_id'))) for each in found[:NUM_EXAMPLES]
                ),
            )

    yield from told(
        'iscrowd-missing',
        [each for each in annotations if 'iscrowd' not in each],
        "no 'iscrowd': mmpose takes them for people, but pycocotools and others stop.",
        "Write 'iscrowd': 0.",
    )
    if not content.get('categories'):
        yield Finding(
            'fault',
            'categories-missing',
            "The file has no list 'categories', without which evaluation stops.",
            "Add 'categories': [{'id': 1, 'name': 'person', 'keypoints': [...]}].",
        )
    if not metric.get('use_area', True):
        return
    yield from told(
        'area-missing',
        [each for each in annotations if each.get('area') is None],
        "no 'area', without which CocoMetric(use_area=True) stops.",
        "Add 'area' in square px, or set use_area=False in the evaluator: it is then made of the "
        'box.',
    )
    yield from told(
        'area-too-small',
        [each for each in annotations if _has_too_small_area(each)],
        f"an 'area' of 0, or below {LEAST_AREA:.0%} of their box. OKS divides by it, so hardly any "
        'prediction will be near enough.',
        "Write 'area' in square px of the image, or set use_area=False in the evaluator.",
    )


def _has_too_small_area(annotation: Mapping) -> bool:
    area, box = annotation.get('area'), annotation.get('bbox')
    if not isinstance(area, (int, float)) or annotation.get('num_keypoints') == 0:
        return False
    if not isinstance(box, list) or len(box) != 4:
        return area <= 0
    try:
        return area <= 0 or area < LEAST_AREA * box[2] * box[3]
    except TypeError:
        return False


def _same_file(first: str, second: str) -> bool:
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    return os.path.getsize(first) == os.path.getsize(second) and (
        file_sha256(first) == file_sha256(second)
    )
