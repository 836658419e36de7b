"""The whole pre-flight check of a config."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Optional

from mmengine.config import Config
from mmpose.registry import DATASETS
from torch import nn

from vitpose_mm.analysis.models import build_model, config_scope
from vitpose_mm.datasets.image_sets import data_set_configs
from vitpose_mm.engine.annotation_files import annotation_errors
from vitpose_mm.engine.data_check import Leaf, check_all, data_infos, find_problem, leaves
from vitpose_mm.models import MultiDatasetHead

from .evaluation import metrics_of
from .findings import NUM_EXAMPLES, Finding, has_faults, located
from .model import build_on_meta, check_heatmaps, check_weights
from .overlap import check_overlap
from .samples import Draw, Sample, check_samples, draw_samples
from .schedule import batches_of, check_schedule
from .sets import SetReport, examine_set, raised_as_findings

NUM_IMAGES = 300  # opened of each data set
NUM_STATISTICS = 128  # samples augmented of each data set
OVERLAP_SECONDS = 20.0
CORRECT = 'Correct this in the config.'


@dataclass
class Report:
    """What the pre-flight check found.

    Attributes:
        findings: Of all parts, in their order.
        samples: Of all training sets in turn, for the picture.
        counts: By data set, annotations by why they are left out in training.
        notes: How far the look went.
    """

    findings: list[Finding] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_config(cfg: Config, num_gpus: int = 1, **options: object) -> list[Finding]:
    """Everything that would keep a config from training, see :func:`examine`."""
    return examine(cfg, num_gpus, **options).findings


def examine(
    cfg: Config,
    num_gpus: int = 1,
    num_samples: int = 16,
    seed: int = 0,
    num_images: int = NUM_IMAGES,
    overlap_seconds: float = OVERLAP_SECONDS,
) -> Report:
    """Check data sets, model, schedule and samples of a config; errors become findings.

    What a fault explains is not told again: samples are judged only where files are in order.

    Args:
        cfg: As for training; it is not changed.
        num_gpus: Number of processes that training will have.
        num_samples: How many samples to keep for the picture.
        seed: Of samples and their augmentation.
        num_images: How many images of each data set to open.
        overlap_seconds: How long to look for pictures in training and validation alike.

    Raises:
        ValueError: The config is not one of mmpose; a number is below 1, or the seconds are
            negative.
    """
    if cfg.get('default_scope', 'mmpose') != 'mmpose':
        raise ValueError(
            f"only configs of pose models (default_scope='mmpose') can be checked, got "
            f'{cfg.default_scope!r}'
        )
    for name, value in dict(
        num_gpus=num_gpus, num_samples=num_samples, num_images=num_images
    ).items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    if overlap_seconds < 0 or seed < 0:
        raise ValueError(
            f'overlap_seconds and seed must not be negative, got {overlap_seconds} and {seed}'
        )
    report = Report()
    cfg = deepcopy(cfg)
    with config_scope(cfg):
        model, model_findings = _examine_model(cfg)
        sets = [
            examine_set(*part, num_images)
            for side in ('train', 'val')
            for part in _parts(cfg, side, model, report.findings)
        ]
        train = [each for each in sets if each.side == 'train']
        dataset = _examine_built(cfg, 'train', model, train, model_findings)
        _examine_built(
            cfg, 'val', model, [each for each in sets if each.side == 'val'], model_findings
        )
        if dataset is not None:
            head = getattr(model, 'head', None)
            draws = _draw(
                dataset, head, train, model_findings, max(num_samples, NUM_STATISTICS), seed
            )
            report.samples = _in_turn([draw.samples for draw in draws], num_samples)
    # where nobody is left, that is told
    num_people = (None if dataset is None else len(dataset)) or None
    if dataset is None and train and all(each.counts for each in train):
        num_people = sum(each.counts.get('used', 0) for each in train) or None
    with raised_as_findings(model_findings, 'weights', CORRECT):
        model_findings.extend(check_weights(cfg, num_people))
    schedule: list[Finding] = []
    with raised_as_findings(schedule, 'schedule', CORRECT):
        schedule.extend(check_schedule(cfg, batches_of(cfg, num_people, num_gpus)))
    shared: list[Finding] = []
    with raised_as_findings(shared, 'overlap', 'See above.'):
        images = {
            side: list(
                dict.fromkeys(path for each in sets if each.side == side for path in each.images)
            )
            for side in ('train', 'val')
        }
        if images['train'] and images['val']:
            overlap = check_overlap(images['train'], images['val'], overlap_seconds)
            shared.extend(overlap.findings)
            report.notes.append(overlap.note)
    for each in sets:
        report.findings.extend(located(each.findings, each.where))
        if each.counts:
            report.counts[each.where] = each.counts
    report.findings.extend(located(shared, 'training and validation data'))
    report.findings.extend(located(model_findings, 'model'))
    report.findings.extend(located(schedule, 'schedule'))
    return report


def _parts(
    cfg: Config, side: str, model: Optional[nn.Module], findings: list[Finding]
) -> list[tuple]:
    """Arguments of ``examine_set`` for each data set of a side."""
    loader = cfg.get(f'{side}_dataloader')
    if loader is None:
        if side == 'train':
            findings.append(
                Finding('fault', 'no-data', 'There is no train_dataloader.', CORRECT, 'config')
            )
        return []
    head = getattr(model, 'head', None)
    codecs = {None: getattr(head, 'decoder', None)}
    if isinstance(head, MultiDatasetHead):
        codecs = {name: route.decoder for name, route in head.routes.items()}
    metrics = metrics_of(cfg.get('val_evaluator'))
    try:
        found = list(data_set_configs(loader, f'{side}_dataloader'))
    except ValueError as error:
        findings.append(Finding('fault', 'no-data', str(error), CORRECT, 'config'))
        return []
    return [(entry, side, config, codecs, metrics) for entry, config in found]


def _examine_model(cfg: Config) -> tuple[Optional[nn.Module], list[Finding]]:
    findings: list[Finding] = []
    model = None
    if cfg.get('model') is None:
        return None, [Finding('fault', 'no-model', 'There is no model.', CORRECT)]
    with raised_as_findings(findings, 'model-not-built', CORRECT):
        try:
            model = build_on_meta(cfg)
            found = list(check_heatmaps(model))
        except NotImplementedError:  # an operation that needs numbers
            model = build_model(cfg)
            found = list(check_heatmaps(model))
        findings.extend(found)
    return model, findings


def _examine_built(
    cfg: Config,
    side: str,
    model: Optional[nn.Module],
    sets: Sequence[SetReport],
    model_findings: list[Finding],
) -> Optional[object]:
    """Build a side as training will and check it against the model; None if that is impossible."""
    loader = cfg.get(f'{side}_dataloader')
    if not sets or loader is None:
        return None
    # what the files have told explains why it cannot be built
    found = [finding for each in sets for finding in each.findings]
    num_before, dataset = len(found), None
    with raised_as_findings(found, 'not-built', CORRECT), annotation_errors():
        dataset = DATASETS.build(loader.dataset)
    (sets[0].findings if len(sets) == 1 else model_findings).extend(found[num_before:])
    if dataset is None:
        return None
    all_leaves = list(leaves(dataset))
    usable = all(_leave_out_bad(leaf, sets) for leaf in all_leaves)
    if model is not None and usable:
        metrics = [
            SimpleNamespace(
                pred_converter=metric.get('pred_converter'), gt_converter=metric.get('gt_converter')
            )
            for of_dataset in metrics_of(
                cfg.get('val_evaluator') if side == 'val' else None
            ).values()
            for metric in of_dataset
        ]
        # a heatmap of another size says nothing of the data
        mine: list[Finding] = []
        with raised_as_findings(mine, 'data-and-model', CORRECT):
            check_all(SimpleNamespace(model=model), dataset, metrics)
        model_findings.extend(each for each in mine if each not in model_findings)
    return dataset


def _leave_out_bad(leaf: Leaf, sets: Sequence[SetReport]) -> bool:
    """Tell of people that cannot be used and take them out; whether anybody is left."""
    dataset = leaf.dataset
    if getattr(dataset, 'data_mode', None) != 'topdown' or 'flip_indices' not in dataset.metainfo:
        return len(dataset) > 0
    num_keypoints, problems = len(dataset.metainfo['flip_indices']), {}
    for index, info in enumerate(data_infos(dataset)):
        problem = find_problem(info, num_keypoints)
        if problem is not None:
            problems[index] = f'annotation {info.get("id")}: {problem}'
    if not problems:
        return len(dataset) > 0
    findings = _of_leaf(leaf, sets).findings
    if not has_faults(findings):
        findings.append(
            Finding(
                'fault',
                'unusable-people',
                f'{len(problems)} of {len(dataset)} people cannot be used.',
                'Mend them or take them out.',
                count=len(problems),
                examples=tuple(problems.values())[:NUM_EXAMPLES],
            )
        )
    if len(problems) == len(dataset) or leaf.is_combined:
        return False
    dataset.get_subset_([i for i in range(len(dataset)) if i not in problems])
    return True


def _of_leaf(leaf: Leaf, sets: Sequence[SetReport]) -> SetReport:
    name = leaf.dataset.metainfo.get('dataset_name')
    for each in sets:
        if each.dataset_name == name and each.dataset.ann_file == leaf.dataset.ann_file:
            return each
    return sets[0]


def _draw(
    dataset: object,
    head: Optional[nn.Module],
    sets: Sequence[SetReport],
    model_findings: Sequence[Finding],
    count: int,
    seed: int,
) -> list[Draw]:
    draws = []
    if not hasattr(head, 'targets') and not isinstance(head, MultiDatasetHead):
        return draws
    found = list(leaves(dataset))
    if any(leaf.is_combined for leaf in found):
        # its samples are made by the wrapper
        found = [Leaf(dataset, list(dataset.pipeline.transforms), True)]
    for leaf in found:
        if not len(leaf.dataset):
            continue
        draw = draw_samples(leaf, head, count, seed)
        draws.append(draw)
        findings = _of_leaf(leaf, sets).findings
        if not has_faults([*findings, *model_findings]):
            findings.extend(check_samples(draw))
    return draws


def _in_turn(groups: Sequence[Sequence[Sample]], count: int) -> list[Sample]:
    """The first of each group, then the second of each, and so on."""
    longest = max(map(len, groups), default=0)
    mixed = [group[i] for i in range(longest) for group in groups if i < len(group)]
    return mixed[:count]


def report_of(report: Report, config: str, picture: Optional[str]) -> Mapping:
    """The report for a JSON file."""
    return {
        'config': config,
        'faults': sum(each.severity == 'fault' for each in report.findings),
        'warnings': sum(each.severity == 'warning' for each in report.findings),
        'findings': [{**vars(each), 'examples': list(each.examples)} for each in report.findings],
        'annotations': report.counts,
        'notes': report.notes,
        'picture': picture,
    }
