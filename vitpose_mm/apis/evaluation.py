"""Average precision of a pose model with detected or annotated boxes, read in full batches."""

import copy
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from mmengine.config import Config
from mmengine.dataset import Compose
from mmpose.datasets import CocoDataset
from mmpose.datasets.transforms import GetBBoxCenterScale, TopdownAffine
from mmpose.evaluation import CocoMetric
from mmpose.structures import PoseDataSample

from vitpose_mm.datasets.loading import ImageError
from vitpose_mm.engine.annotation_files import annotation_errors
from vitpose_mm.evaluation import KeypointReport
from vitpose_mm.evaluation.configs import OWN_OPTIONS, coco_metric_of
from vitpose_mm.files import written_whole

from .boxes import BoxesFile, read_results
from .boxes_files import DEFAULT_THRESHOLD, PERSON_CATEGORY, AnnotationFile, existing_images
from .crops import CropGeometry
from .inferencer import ViTPoseInferencer


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        metrics: By mmpose's names (``coco/AP``), in [0, 1], -1 where the annotations have nobody of
            the kind; empty without annotations.
        num_images: Images of the annotation file.
        num_people: Boxes whose keypoints were read.
        problems: Why images could not be read; their people count as not found.
    """

    metrics: dict[str, float]
    num_images: int
    num_people: int
    problems: list[str]

    def report(self) -> dict[str, object]:
        """Metrics and counts, for files and people."""
        return dict(
            **self.metrics,
            images=self.num_images,
            people=self.num_people,
            unreadable_images=len(self.problems),
        )


def evaluate(
    inferencer: ViTPoseInferencer,
    annotations: AnnotationFile,
    images: Union[str, Path],
    boxes_file: Optional[str] = None,
    gt_boxes: bool = False,
    bbox_thr: Optional[float] = None,
    nms_thr: float = 1.0,
    metric_options: Optional[dict] = None,
    results: Optional[str] = None,
    report: Optional[str] = None,
) -> Evaluation:
    """Read the people of an annotation file's images, and compare them with its annotations.

    The metric is mmpose's ``CocoMetric``, or what is derived from it, as the config's
    ``test_evaluator`` has it for the data set, else with mmpose's defaults: scores of boxes times
    the mean of the keypoints' above 0.2 (``bbox_keypoint``), then OKS-NMS at 0.9, the evaluation of
    arXiv 2204.12484. The numbers are those of ``tools/test.py``.

    Args:
        inferencer: A model with the head of one data set. Its detector finds the people where
            neither ``boxes_file`` nor ``gt_boxes`` are given.
        annotations: Images and annotations. Without annotations, as of test sets, only ``results``
            are written.
        images: Folder of the images.
        boxes_file: Boxes in COCO's results format; as by mmpose those of category 1 are taken.
        gt_boxes: Whether to take the boxes of those annotations that mmpose's data sets take.
        bbox_thr: Only boxes with scores above this are taken; by default all of a file, and of a
            detector those above ``DEFAULT_THRESHOLD``.
        nms_thr: Greatest IoU of two boxes of the detector.
        metric_options: Arguments of the metric in place of the config's: ``nms_mode``, ``nms_thr``,
            ``score_mode``, ``keypoint_score_thr``, ``use_area``, ``iou_type`` and so on.
        results: ``<results>.keypoints.json`` is written, whole or not at all, in COCO's results
            format as its server takes it.
        report: Folder for a ``KeypointReport``, in a folder named as the data set.

    Raises:
        ValueError: Options, files or the model do not fit, or there is nobody to evaluate.
        ImageError: No image can be read.
        OSError: Results cannot be written.
    """
    metainfo = require_one_head(inferencer)
    if boxes_file is not None and gt_boxes:
        raise ValueError(f'give only one of boxes_file (got {boxes_file}) and gt_boxes=True')
    if gt_boxes and bbox_thr is not None:
        raise ValueError(f'annotated boxes have no scores for bbox_thr, got {bbox_thr!r}')
    if (gt_boxes or boxes_file is not None) and nms_thr != 1:
        raise ValueError(
            f'nms_thr is for boxes of a detector, others are taken as they are; got {nms_thr!r}'
        )
    if not os.path.isdir(images):
        raise ValueError(f'there is no folder {images} of images')
    if not annotations.annotations and report is not None:
        raise ValueError(f'{annotations.path} has no annotations to report on ({report})')
    if not annotations.annotations and results is None:
        raise ValueError(
            f'{annotations.path} has no annotations to compare with: say where results are to be '
            'written (--results), as for a test set'
        )
    if results is not None:
        Path(results).parent.mkdir(parents=True, exist_ok=True)
    partial = None if results is None else f'{results}.partial'
    metric = build_metric(inferencer.cfg, metainfo, annotations, metric_options, partial)
    require_comparable(annotations, metric)
    metrics = [metric]
    if report is not None:
        options = {**(metric_options or {}), 'out_dir': report, 'boxes_are_annotated': gt_boxes}
        metrics.append(build_report(inferencer.cfg, metainfo, annotations, options))

    if gt_boxes:
        people = annotated_people(annotations, images)
    elif boxes_file is not None:
        people = people_of_file(annotations, images, boxes_file, bbox_thr)
    else:
        people = people_to_find(annotations, images, bbox_thr, nms_thr)
    there, missing = existing_images(people.image_ids)
    problems = [f'image {path} is missing.' for path in missing]
    if not there:
        raise ImageError(f'none of {len(missing)} images is in {images}. The first: {problems[0]}')

    geometry = geometry_of(inferencer.pipeline)
    num_people = 0
    for result in inferencer(list(there), return_datasamples=True, **people.options):
        if 'error' in result:
            problems.append(result['error'])
        (sample,) = result['predictions']
        path, number = sample.img_path, len(sample.pred_instances)
        labels = people.labels.get(path)
        if labels is None:
            following = range(num_people, num_people + number)
            labels = [(each, people.category) for each in following]
        samples = list(person_samples(sample, there[path], labels, geometry))
        for each in metrics:
            each.process([], samples)
        num_people += number
    if not num_people:
        raise ValueError(
            f'nobody was found in {len(there)} images ({people.options}): there is nothing to '
            'evaluate'
        )
    writing = nullcontext()
    if results is not None:
        writing = written_whole(f'{results}.keypoints.json', partial=f'{partial}.keypoints.json')
    with writing:
        values = metric.evaluate(size=len(metric.results))
    for each in metrics[1:]:
        each.evaluate(size=len(each.results))
    values = {name: float(value) for name, value in values.items()}
    return Evaluation(values, len(annotations.ids_by_name), num_people, problems)


def require_one_head(inferencer: ViTPoseInferencer) -> dict:
    """Meta information of the data set as which a model reads.

    Raises:
        ValueError: The model is not top-down, or reads as several data sets.
    """
    if inferencer.cfg.data_mode != 'topdown':
        raise ValueError(
            f"only top-down models are evaluated here, this one's data_mode is "
            f'{inferencer.cfg.data_mode!r}; tools/test.py evaluates others'
        )
    names = [metainfo['dataset_name'] for metainfo in inferencer.metainfos]
    if len(names) != 1:
        raise ValueError(f'one data set at a time is evaluated, got the heads of {names}')
    return inferencer.metainfos[0]


def build_metric(
    cfg: Config,
    metainfo: dict,
    annotations: AnnotationFile,
    options: Optional[dict] = None,
    outfile_prefix: Optional[str] = None,
) -> CocoMetric:
    """The metric of a config for a data set.

    Args:
        cfg: The config; its ``test_evaluator`` may hold metrics in any way that mmengine, mmpose
            and ``DatasetEvaluator`` know.
        metainfo: Meta information of the data set.
        annotations: What to compare with; without annotations results are only formatted.
        options: Arguments in place of the config's.
        outfile_prefix: Where results go; None for nowhere.
    """
    kind, given = metric_of(cfg, metainfo['dataset_name'])
    metric = kind(
        ann_file=annotations.path,
        format_only=not annotations.annotations,
        outfile_prefix=outfile_prefix,
        **{**given, **(options or {})},
    )
    metric.dataset_meta = copy.deepcopy(metainfo)  # converters write into it
    return metric


def build_report(
    cfg: Config, metainfo: dict, annotations: AnnotationFile, options: dict
) -> KeypointReport:
    """The ``KeypointReport`` that takes people as :func:`build_metric`'s metric does."""
    _, given = metric_of(cfg, metainfo['dataset_name'])
    metric = KeypointReport(ann_file=annotations.path, **{**given, **options})
    metric.dataset_meta = copy.deepcopy(metainfo)
    return metric


def metric_of(cfg: Config, dataset_name: str) -> tuple[type[CocoMetric], dict]:
    """The class of a config's metric for a data set, and those of its options that are kept."""
    given = configs_of_metrics(cfg.get('test_evaluator') or (), dataset_name)
    found = ((coco_metric_of(config), config) for config in given)
    kind, config = next((each for each in found if each[0] is not None), (CocoMetric, {}))
    return kind, {key: config[key] for key in config if key not in ('type', *OWN_OPTIONS)}


def configs_of_metrics(node: object, dataset_name: str) -> Iterator[Mapping]:
    """Configs of metrics for a data set in (a part of) ``test_evaluator``."""
    if not isinstance(node, Mapping):
        for each in node:
            yield from configs_of_metrics(each, dataset_name)
    elif 'metrics' in node:
        yield from configs_of_metrics(node['metrics'], dataset_name)
    elif 'type' in node:
        yield node
    else:
        yield from configs_of_metrics(node.get(dataset_name, ()), dataset_name)


def require_comparable(annotations: AnnotationFile, metric: CocoMetric) -> None:
    """Raise a ``ValueError`` unless annotations have what a metric wants of them."""
    if annotations.annotations and not annotations.category_ids:
        raise ValueError(f"{annotations.path} has no 'categories', which the evaluation needs")
    # others keep keypoints in several entries, or convert them
    is_plain = type(metric) is CocoMetric and not (metric.pred_converter or metric.gt_converter)
    num_keypoints = metric.dataset_meta['num_keypoints']
    for annotation in annotations.annotations:
        found = len(annotation.get('keypoints', ()))
        if is_plain and found and found != 3 * num_keypoints:
            name = metric.dataset_meta['dataset_name']
            raise ValueError(
                f'{annotations.path}, annotation {annotation.get("id")}: {found} numbers in '
                f'keypoints, where {num_keypoints} keypoints of the data set {name!r}, as which '
                f'the model reads, make {3 * num_keypoints}'
            )
        if metric.use_area and 'area' not in annotation:
            raise ValueError(
                f"{annotations.path}, annotation {annotation.get('id')} has no 'area'; without "
                "areas the metric needs use_area=False (in the config's test_evaluator)"
            )


@dataclass(frozen=True)
class People:
    """Who is to be read, and how that is told to the inferencer.

    Attributes:
        image_ids: Ids of the images to read, by path.
        options: Of the inferencer's call.
        category: Category id of the people.
        labels: Ids and category ids of people by path of their image, in the order of their boxes,
            where they have some already.
    """

    image_ids: dict[str, int]
    options: dict[str, object]
    category: int = PERSON_CATEGORY
    labels: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def annotated_people(annotations: AnnotationFile, images: Union[str, Path]) -> People:
    """Those annotated whom mmpose's top-down data sets take.

    Raises:
        ValueError: There are none.
    """
    prefix = dict(img=str(images))
    with annotation_errors():
        dataset = CocoDataset(
            annotations.path, data_prefix=prefix, test_mode=True, serialize_data=False
        )
    boxes, labels = defaultdict(list), defaultdict(list)
    for info in dataset.data_list:
        boxes[info['img_path']].append(info['bbox'][0])
        labels[info['img_path']].append((info['id'], int(info['category_id'])))
    if not boxes:
        raise ValueError(
            f'{annotations.path} has no annotated boxes to take: none of its '
            f'{len(annotations.annotations)} annotations has a box within the image and labelled '
            'keypoints'
        )
    ids = {path: each for path, each in annotations.paths_in(images).items() if path in boxes}
    return People(ids, dict(bboxes=dict(boxes), bbox_format='xyxy'), labels=dict(labels))


def people_of_file(
    annotations: AnnotationFile,
    images: Union[str, Path],
    boxes_file: str,
    bbox_thr: Optional[float] = None,
) -> People:
    """Those whose boxes are in a file; see :func:`evaluate`.

    Raises:
        ValueError: There are none, or those annotated are of several categories.
    """
    threshold = -math.inf if bbox_thr is None else bbox_thr
    ids = annotations.paths_in(images)
    boxes = BoxesFile(boxes_file, (PERSON_CATEGORY,), threshold, ids)
    ids = {path: number for path, number in ids.items() if len(boxes.of(path))}
    if not ids:
        raise ValueError(why_no_boxes(boxes_file, annotations, threshold))
    return People(ids, dict(boxes_file=boxes), only_category(annotations))


def people_to_find(
    annotations: AnnotationFile,
    images: Union[str, Path],
    bbox_thr: Optional[float] = None,
    nms_thr: float = 1.0,
) -> People:
    """Those whom the inferencer's detector will find; see :func:`evaluate`."""
    options = dict(bbox_thr=DEFAULT_THRESHOLD if bbox_thr is None else bbox_thr, nms_thr=nms_thr)
    return People(annotations.paths_in(images), options, only_category(annotations))


def only_category(annotations: AnnotationFile) -> int:
    """The category of the people that are found.

    Raises:
        ValueError: Those annotated are of several.
    """
    used = {annotation['category_id'] for annotation in annotations.annotations}
    if len(used) > 1:
        raise ValueError(
            f'{annotations.path} has annotations of the categories {sorted(used)}; with detected '
            'boxes one can be evaluated, several with annotated boxes (--gt-boxes)'
        )
    return used.pop() if used else PERSON_CATEGORY


def why_no_boxes(path: str, annotations: AnnotationFile, threshold: float) -> str:
    """Why a file has no boxes for the images of an annotation file."""
    ids = {row['image_id'] for row in read_results(path)}
    if not ids:
        return f'{path} holds no boxes'
    if ids.isdisjoint(annotations.ids_by_name.values()):
        return (
            f'{path} is of other images: it has boxes of {len(ids)} images, such as image_id '
            f'{min(ids)}, but none of those of {annotations.path}'
        )
    return (
        f'{path} has boxes of images of {annotations.path}, but none of category_id '
        f'{PERSON_CATEGORY} with a score above {threshold}'
    )


def geometry_of(pipeline: Compose) -> Optional[CropGeometry]:
    """Where a pipeline places crops, None for one without boxes."""
    placing = [step for step in pipeline.transforms if isinstance(step, GetBBoxCenterScale)]
    cropping = [step for step in pipeline.transforms if isinstance(step, TopdownAffine)]
    if not placing or not cropping:
        return None
    return CropGeometry(tuple(cropping[0].input_size), placing[0].padding)


def person_samples(
    sample: PoseDataSample,
    image_id: int,
    labels: Sequence[tuple[int, int]],
    geometry: Optional[CropGeometry] = None,
) -> Iterator[dict]:
    """The people of an image, as mmpose's metrics take them from a top-down model.

    Args:
        sample: N people, as the inferencer gives them.
        image_id: Id of the image.
        labels: N ids, each only once in an evaluation, with category ids.
        geometry: Where crops were; the metric takes their areas for those of the people, without
            them those of the keypoints' extent.
    """
    people = sample.pred_instances.numpy()
    sizes = None if geometry is None else geometry.place(people.bboxes)[1]  # (N, 2)
    for row in range(len(people)):
        own = slice(row, row + 1)
        number, category = labels[row]
        yield dict(
            id=number,
            img_id=image_id,
            category_id=category,
            pred_instances={
                name: people[name][own]
                for name in ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores')
            },
            gt_instances={} if sizes is None else dict(bbox_scales=sizes[own]),
        )
