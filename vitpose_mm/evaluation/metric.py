"""The report as a metric of mmpose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from mmpose.evaluation import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from .analysis import PCK_THRESHOLDS, analyse
from .errors import KINDS, RULES
from .report import write_report
from .similarities import ImagePeople

BOX_SHARE = 0.53  # of a box's area, where the person's is unknown, as in xtcocotools
WHOLE_BODY = ('foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')  # after 'keypoints'


@METRICS.register_module()
class KeypointReport(CocoMetric):
    """AP, AR, similarity, PCK and kinds of error of each keypoint.

    People are read, ranked and suppressed as by ``CocoMetric``, whose options it has, and the AP of
    all keypoints is that of ``CocoMetric``. It may stand beside any other metric. See
    :func:`~vitpose_mm.evaluation.analysis.analyse` for the figures. Returned are
    ``AP/<keypoint>``, ``AP/all``, ``errors/<kind>``, shares of the keypoints of people found, and
    ``found``, the share of people; more is written.

    Args:
        ann_file: Annotations in COCO's form; by default the file of the data set.
        from_samples: Whether to take people from the samples instead, whose boxes must be the
            annotated ones: for data sets whose file has another form. Areas are shares of boxes.
        out_dir: Where ``<dataset_name>/report.txt``, ``.json`` and ``.png`` are written, None for
            nowhere.
        pck_thresholds: Thresholds of PCK, in longer sides of people's boxes.
        rule: What inversions and swaps are, 'own' or 'nearest', see
            :func:`~vitpose_mm.evaluation.errors.kinds_of_error`.
        offset: Added to what was read, px: 1 for MPII, whose annotations count from 1.
        boxes_are_annotated: Whether samples were read from annotated boxes and have the ids of
            their annotations; by default that is so where they hold annotated keypoints.
        options: Of ``CocoMetric``, such as ``use_area``, ``iou_type``, ``nms_mode`` and ``prefix``.

    Raises:
        ValueError: Options do not fit each other, or, on evaluation, the people cannot be compared.
    """

    default_prefix = 'report'

    def __init__(
        self,
        ann_file: Optional[str] = None,
        from_samples: bool = False,
        out_dir: Optional[str] = None,
        pck_thresholds: Sequence[float] = PCK_THRESHOLDS,
        rule: str = 'own',
        offset: float = 0.0,
        boxes_are_annotated: Optional[bool] = None,
        **options: object,
    ) -> None:
        if from_samples and ann_file is not None:
            raise ValueError(f'give only one of ann_file (got {ann_file}) and from_samples=True')
        if options.get('format_only'):
            raise ValueError('format_only=True leaves nothing to report on: give annotations')
        if options.get('gt_converter') is not None:
            raise ValueError('gt_converter leaves keypoints without names, and is not supported')
        if rule not in RULES:
            raise ValueError(f'rule must be one of {RULES}, got {rule!r}')
        self.from_samples = from_samples
        super().__init__(ann_file=ann_file, **options)
        self.out_dir = out_dir
        self.pck_thresholds = tuple(pck_thresholds)
        self.rule = rule
        self.offset = offset
        self.boxes_are_annotated = boxes_are_annotated

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Meta information of the data set; ``CocoMetric`` looks for its annotation file here."""
        if self.from_samples:
            self._dataset_meta = dataset_meta
        else:
            CocoMetric.dataset_meta.fset(self, dataset_meta)

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Take people as ``CocoMetric`` does, and whether their boxes are annotated."""
        for sample in data_samples:
            annotations = []
            if self.coco is None:
                if not self.from_samples:
                    name = self.dataset_meta['dataset_name']
                    raise ValueError(
                        f'no annotation file is known for the data set {name!r}: give ann_file, or '
                        'from_samples=True where samples hold the annotated people'
                    )
                annotations = sample_annotations(sample)
            super().process(data_batch, [{**sample, 'raw_ann_info': annotations}])
            pred, _ = self.results[-1]
            pred['keypoints'] = pred['keypoints'] + self.offset
            pred['is_annotated'] = self.boxes_are_annotated
            if self.boxes_are_annotated is None:
                pred['is_annotated'] = holds_annotations(sample)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See the class."""
        if self.from_samples:
            self.coco = coco_of([gt for _, gt in results])
        self._own = {}
        if self.pred_converter is None:
            self._own = {
                pred['id']: (pred['keypoints'][0], np.ravel(pred.get('bbox', np.nan)))
                for pred, _ in results
                if pred['is_annotated'] and np.ndim(pred['id']) == 0 and len(pred['keypoints'])
            }
        try:
            return super().compute_metrics(results)
        finally:
            if self.from_samples:
                self.coco = None

    def results2json(self, keypoints: dict[int, list], outfile_prefix: str) -> None:
        """Keep the people that are left after suppression, whom ``CocoMetric`` writes here."""
        self._instances = keypoints

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list[tuple[str, float]]:
        meta = self.dataset_meta
        names = [meta['keypoint_id2name'][index] for index in range(meta['num_keypoints'])]
        report = analyse(
            self._images(),
            names,
            meta['sigmas'],
            meta['flip_indices'],
            self.pck_thresholds,
            self.rule,
        )
        report = {'data set': meta['dataset_name'], **report}
        report['definitions']['PCK and OKS'] = 'own boxes' if self._own else 'matches'
        if self.out_dir is not None:
            write_report(report, Path(self.out_dir) / meta['dataset_name'])
        rows = {'all': report['all'], **report['keypoints']}
        return [
            *((f'AP/{name}', row['AP']) for name, row in rows.items()),
            *((f'errors/{kind}', report['all'][kind]) for kind in KINDS),
            ('found', report['all']['found']),
        ]

    def _images(self) -> list[ImagePeople]:
        ids = sorted(self.coco.getImgIds())
        unknown = set(self._instances) - set(ids)
        if unknown:
            raise ValueError(f'people of images without annotations, such as {min(unknown)!r}')
        if not set(self._own) <= set(self.coco.anns):
            self._own = {}
        return [
            self._people(image_id, self.coco.imgToAnns[image_id], self._instances.get(image_id, []))
            for image_id in ids
        ]

    def _people(
        self, image_id: int, annotations: Sequence[dict], instances: Sequence[dict]
    ) -> ImagePeople:
        num_keypoints = self.dataset_meta['num_keypoints']
        triples = [annotated_keypoints(each, num_keypoints) for each in annotations]
        triples = np.array(triples, np.float64).reshape(-1, num_keypoints, 3)
        boxes = np.array([each['bbox'] for each in annotations], np.float64).reshape(-1, 4)
        labelled = triples[..., 2] > 0
        nobody = ~labelled.any(1)
        if self.iou_type == 'keypoints_crowd':  # counts the visible ones
            nobody = np.array([each['num_keypoints'] == 0 for each in annotations], bool)
        crowd = np.array([bool(each.get('iscrowd', 0)) for each in annotations], bool)
        # as xtcocotools
        instances = [each for each in instances if (each['keypoints'][:, 2] > 0).any()]
        reads = np.array([each['keypoints'] for each in instances], np.float64)
        own, sides = None, boxes[:, 2:].max(1)
        if self._own:
            none = (np.full((num_keypoints, 2), np.nan), np.array([np.nan]))
            found = [self._own.get(each['id'], none) for each in annotations]
            own = np.array([read for read, _ in found]).reshape(-1, num_keypoints, 2)
            own_sides = np.array([box[-2:].max() for _, box in found])
            sides = np.where(np.isnan(own_sides), sides, own_sides)
        return ImagePeople(
            image_id,
            triples[..., :2],
            labelled,
            boxes,
            np.array([self._area(each) for each in annotations], np.float64),
            nobody | crowd,
            crowd,
            np.array([each['category_id'] for each in annotations], int),
            reads.reshape(-1, num_keypoints, 3)[..., :2],
            np.array([each['score'] for each in instances], np.float64),
            np.array([detection_area(each) for each in instances], np.float64),
            np.array([np.ravel(each['category_id'])[0] for each in instances], int),
            own,
            sides,
        )

    def _area(self, annotation: dict) -> float:
        if self.use_area and not self.from_samples:
            if 'area' not in annotation:
                raise ValueError(
                    f"annotation {annotation['id']} has no 'area'; without areas the report needs "
                    'use_area=False'
                )
            return annotation['area']
        return annotation['bbox'][2] * annotation['bbox'][3] * BOX_SHARE


def annotated_keypoints(annotation: dict, num_keypoints: int) -> list[float]:
    """x, y (image px) and visibility of K keypoints, those of a whole body put together.

    Raises:
        ValueError: There are more or fewer.
    """
    values = list(annotation.get('keypoints', ()))
    for part in WHOLE_BODY if 'foot_kpts' in annotation else ():
        values += annotation[part]
    if len(values) != 3 * num_keypoints:
        raise ValueError(
            f'annotation {annotation["id"]} has {len(values)} numbers of keypoints, where '
            f'{num_keypoints} keypoints make {3 * num_keypoints}'
        )
    return values


def detection_area(instance: dict) -> float:
    """Area of a detection, px^2, as COCO takes it: of its box, else of its keypoints' extent."""
    if 'bbox' in instance:
        sides = np.asarray(instance['bbox'], np.float64)[2:]
    else:
        sides = np.ptp(np.asarray(instance['keypoints'], np.float64)[:, :2], axis=0)
    return sides[0] * sides[1]


def holds_annotations(sample: dict) -> bool:
    """Whether a sample is of annotated people, and not of detected boxes."""
    # with these mmpose gives visible keypoints at the origin
    return bool(np.any(sample.get('gt_instances', {}).get('keypoints', 0)))


def sample_annotations(sample: dict) -> list[dict]:
    """The annotated people of a sample, in COCO's form.

    Raises:
        ValueError: It holds none.
    """
    if not holds_annotations(sample):
        raise ValueError(
            f'sample {sample.get("id")!r} holds no annotated people, as with detected boxes: give '
            'ann_file'
        )
    people = sample['gt_instances']
    visible = np.asarray(people['keypoints_visible'])
    visible = visible[..., 0] if visible.ndim == 3 else visible
    starts, ends = np.split(np.asarray(people['bboxes'], np.float64), 2, axis=1)
    triples = np.concatenate([people['keypoints'], 2 * (visible[..., None] > 0)], axis=-1)
    categories = np.ravel(sample.get('category_id', 1))
    return [
        dict(
            id=number,
            image_id=sample['img_id'],
            category_id=int(categories[min(row, len(categories) - 1)]),
            bbox=np.concatenate([starts[row], ends[row] - starts[row]]).tolist(),
            keypoints=triples[row].ravel().tolist(),
            num_keypoints=int((visible[row] > 0).sum()),
            iscrowd=0,
        )
        for row, number in enumerate(np.ravel(sample['id']).tolist())
    ]


def coco_of(gts: Sequence[dict]) -> COCO:
    """COCO's index of the people of samples, each once."""
    annotations = {each['id']: each for gt in gts for each in gt['raw_ann_info']}
    images = {gt['img_id']: dict(id=gt['img_id']) for gt in gts}
    coco = COCO()
    coco.dataset = dict(images=list(images.values()), annotations=list(annotations.values()))
    coco.createIndex()
    return coco
