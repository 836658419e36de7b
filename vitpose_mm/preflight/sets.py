"""All that can be told of one data set of a config from its files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Optional

from mmengine.dataset import BaseDataset
from mmpose.datasets.datasets import BaseCocoStyleDataset, CocoWholeBodyDataset
from mmpose.registry import DATASETS

from vitpose_mm.datasets.image_sets import image_folder
from vitpose_mm.datasets.multi_dataset import in_order
from vitpose_mm.engine.annotation_files import annotation_files, check_file
from vitpose_mm.engine.data_check import DataError

from .annotations import check_left_out, check_numbers, check_twins, check_visibilities, left_out
from .coco_file import check_structure, read_annotations, read_people
from .evaluation import check_evaluation
from .findings import Finding, has_faults
from .geometry import check_geometry, check_sizes
from .images import check_contents, check_files, missing_files
from .meta import check_metainfo, check_names, read_metainfo

PADDING = 1.25  # of mmpose's GetBBoxCenterScale


@dataclass
class SetReport:
    """What is known of a data set.

    Attributes:
        entry: Where in the config it is.
        side: 'train' or 'val'.
        config: Its config, without wrappers.
        where: How findings name it.
        findings: About it, without ``where``.
        dataset: Built, but without samples; None if that is impossible.
        images: Paths of images that exist and hold people.
        counts: Annotations by why they are left out; 'used' are those that are not.
    """

    entry: str
    side: str
    config: Mapping
    where: str
    findings: list[Finding] = field(default_factory=list)
    dataset: Optional[BaseDataset] = None
    images: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def dataset_name(self) -> Optional[str]:
        return None if self.dataset is None else self.dataset.metainfo.get('dataset_name')


@contextmanager
def raised_as_findings(findings: list[Finding], kind: str, advice: str) -> Iterator[None]:
    """Turn an error into a fault, unless a fault found before is its likely reason."""
    try:
        yield
    except Exception as error:  # of anyone's data sets and data
        if not has_faults(findings):
            name = '' if isinstance(error, DataError) else f'{type(error).__name__}: '
            findings.append(Finding('fault', kind, f'{name}{error}', advice))


def examine_set(
    entry: str,
    side: str,
    config: Mapping,
    codecs: Mapping[Optional[str], object],
    metrics: Mapping[Optional[str], Sequence[Mapping]],
    num_images: int,
) -> SetReport:
    """Check meta information, annotation file and images of a data set.

    Args:
        entry: Where in the config it is.
        side: 'train' or 'val'.
        config: The data set's.
        codecs: Of the model's heads by ``dataset_name``, or of the only one by None.
        metrics: Configs by ``dataset_name``, or of all by None; see ``metrics_of``.
        num_images: How many images to open.
    """
    report = SetReport(entry, side, config, f'{side}: {entry}')
    findings = report.findings
    with raised_as_findings(findings, 'metainfo', 'See configs/custom for complete metainfo.'):
        _check_metainfo(report)
    with raised_as_findings(findings, 'not-built', 'Correct this entry of the config.'):
        given = dict(config, pipeline=[], lazy_init=True)
        if given.get('metainfo'):
            given['metainfo'] = in_order(given['metainfo'])
        report.dataset = DATASETS.build(given)
    dataset = report.dataset
    if dataset is None or not getattr(dataset, 'ann_file', None):
        return report
    report.where = f'{side} data {report.dataset_name!r}, {dataset.ann_file}'
    for name, path in annotation_files(config, entry, ()):
        try:
            check_file(name, path)
        except DataError as error:
            advice = 'Compare data_root and file names with where the files are.'
            findings.append(Finding('fault', 'annotation-file', str(error), advice))
    if not has_faults(findings) and _reads_coco(dataset):
        with raised_as_findings(findings, 'cannot-be-checked', 'Look into the annotation file.'):
            _examine_coco(report, codecs, metrics, num_images)
    return report


def _check_metainfo(report: SetReport) -> None:
    kind = DATASETS.get(report.config['type'])
    metainfo = report.config.get('metainfo') or getattr(kind, 'METAINFO', None) or {}
    metainfo = read_metainfo(metainfo) if metainfo else None
    if metainfo is not None and issubclass(kind, BaseCocoStyleDataset):
        report.findings.extend(check_metainfo(metainfo))


def _reads_coco(dataset: BaseDataset) -> bool:
    kind = type(dataset)
    return isinstance(dataset, BaseCocoStyleDataset) and (
        kind._load_annotations is BaseCocoStyleDataset._load_annotations
    )


def _examine_coco(
    report: SetReport,
    codecs: Mapping[Optional[str], object],
    metrics: Mapping[Optional[str], Sequence[Mapping]],
    num_images: int,
) -> None:
    findings, dataset = report.findings, report.dataset
    content = read_annotations(dataset.ann_file)
    if isinstance(content, Finding):
        findings.append(content)
        return
    findings.extend(check_structure(content))
    if any(each.kind == 'missing-entries' for each in findings):
        return
    whole_body = isinstance(dataset, CocoWholeBodyDataset)
    reads_as_is = type(dataset).parse_data_info is BaseCocoStyleDataset.parse_data_info
    names = [dataset.metainfo['keypoint_id2name'][i] for i in range(_num_keypoints(dataset))]
    if whole_body or reads_as_is:
        findings.extend(check_numbers(content, len(names), whole_body))
    findings.extend(check_names(names, content.get('categories') or []))
    people = read_people(content, whole_body)
    detections = bool(report.config.get('bbox_file'))
    report.counts = {reason or 'used': len(them) for reason, them in left_out(content).items()}
    if not detections:
        findings.extend(check_left_out(content))
        geometry = check_geometry(people)
        findings.extend(geometry)
        if reads_as_is:
            findings.extend(check_visibilities(people, names))
        codec = codecs.get(report.dataset_name, codecs.get(None))
        if hasattr(codec, 'heatmap_size') and not has_faults(geometry):
            sizes = tuple(codec.input_size), tuple(codec.heatmap_size)
            findings.extend(check_sizes(people, *sizes, _padding(report.config)))
    findings.extend(check_twins(people))
    if report.side == 'val':
        own = metrics.get(report.dataset_name, metrics.get(None, ()))
        findings.extend(check_evaluation(own, content, dataset.ann_file, detections))
    folder = image_folder(dataset)
    images = content['images'] if detections else people.images
    sizes = {
        os.path.join(folder, str(image.get('file_name'))): (image.get('width'), image.get('height'))
        for image in images
    }
    found = list(check_files(list(sizes), dataset.data_root))
    missing = set(missing_files(list(sizes))) if found else set()
    report.images = [path for path in sizes if path not in missing]
    findings.extend(found)
    findings.extend(check_contents(report.images, sizes, num_images))


def _num_keypoints(dataset: BaseDataset) -> int:
    return dataset.metainfo['num_keypoints']


def _padding(config: Mapping) -> float:
    for transform in config.get('pipeline') or ():
        if 'BBoxCenterScale' in str(transform.get('type')):
            return transform.get('padding', PADDING)
    return PADDING
