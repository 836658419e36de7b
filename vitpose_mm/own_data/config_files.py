"""Config files for keypoints of one's own, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from .code import Name, assignment
from .recipe import Recipe

HERE = '{{ fileDirname }}'  # mmengine puts the config's folder in its place
PCK_THRESHOLD = 0.1  # of the box's longer side, about a fifth of the torso


@dataclass(frozen=True)
class Part:
    """One of the data sets of a config.

    Attributes:
        name: Its ``dataset_name``.
        num_keypoints: K.
        train: ``ann_file`` and ``data_prefix`` of mmpose's data sets, for training.
        val: The same for validation.
        metainfo: As data sets and heads have it; None for COCO's.
        head_start: Config of what the head begins with, None for random weights.
        use_area: Whether annotations have areas, as the metric needs them.
    """

    name: str
    num_keypoints: int
    train: dict
    val: dict
    metainfo: Optional[dict] = None
    head_start: Optional[dict] = None
    use_area: bool = True


def config_text(
    recipe: Recipe,
    part: Part,
    title: Sequence[str],
    start: Optional[dict] = None,
    start_head: Optional[dict] = None,
    beside: Optional[Part] = None,
    half_body: bool = False,
) -> str:
    """A complete config.

    Args:
        recipe: Model and schedule.
        part: The data set of one's own.
        title: Lines of the comment at the top.
        start: ``init_cfg`` and what else of the backbone says what it begins with; None for
            random weights.
        start_head: What heads need for theirs.
        beside: A further data set with a head of its own.
        half_body: Whether half bodies are among the augmentations.
    """
    parts = [part] if beside is None else [beside, part]
    sections = [
        ('', dict(_base_=['mmpose::_base_/default_runtime.py'], custom_imports=IMPORTS)),
        (f'schedule: {recipe.epochs} epochs of {recipe.steps_per_epoch} steps', recipe.schedule()),
        ('hooks', hooks(recipe, part)),
        ('model', model(recipe, parts, start, start_head or {})),
        ('data', data(recipe, parts, half_body)),
        ('evaluation', evaluation(parts)),
    ]
    text = ''.join(f'# {line}'.rstrip() + '\n' for line in title)
    for heading, values in sections:
        text += f'\n# --- {heading} ---\n' if heading else ''
        text += ''.join(assignment(name, value) for name, value in values.items())
    return text


IMPORTS = dict(imports=['vitpose_mm'], allow_failed_imports=False)


def hooks(recipe: Recipe, part: Part) -> dict[str, object]:
    checkpoint = dict(
        type='AtomicCheckpointHook',
        save_best=f'{part.name}/AP',
        rule='greater',
        max_keep_ckpts=1,
    )
    return dict(
        custom_hooks=recipe.hooks(),
        default_hooks=dict(checkpoint=checkpoint, logger=dict(interval=20)),
    )


def model(
    recipe: Recipe, parts: Sequence[Part], start: Optional[Mapping], start_head: Mapping
) -> dict[str, object]:
    """The codec and the model, with a head for each data set if there are several."""
    shared = {**recipe.head(), **start_head, 'decoder': Name('codec')}
    if len(parts) == 1:
        head = {**shared, **own_head(parts[0])}
    else:
        head = dict(
            type='MultiDatasetHead',
            shared=shared,
            heads={
                part.name: {**own_head(part), 'metainfo': part.metainfo or 'CocoDataset'}
                for part in parts
            },
            # the first reads pictures that do not say of which data set they are
            order=[part.name for part in reversed(parts)],
        )
    preprocessor = dict(
        type='StackedPoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    )
    return dict(
        codec=recipe.codec,
        model=dict(
            type='TopdownViTPose',
            data_preprocessor=preprocessor,
            backbone={**recipe.backbone(start is not None), **(start or {})},
            head=head,
            test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False),
        ),
    )


def own_head(part: Part) -> dict:
    """What a head has for itself."""
    start = {} if part.head_start is None else dict(init_cfg=part.head_start)
    return dict(out_channels=part.num_keypoints, **start)


def data(recipe: Recipe, parts: Sequence[Part], half_body: bool) -> dict[str, object]:
    """Pipelines and data loaders."""
    found = [dict(type='LoadCheckedImage'), dict(type='GetCheckedBBoxCenterScale')]
    cropped = [
        dict(type='TopdownAffine', input_size=Name("codec['input_size']"), use_udp=True),
        dict(type='PackPersonInputs', pack_transformed=True),
    ]
    loader = dict(num_workers=2, persistent_workers=True)
    sampler = dict(type='SeededSampler', shuffle=True)
    if len(parts) > 1:
        # shares by the square root of the number of people: the larger set does not drown the other
        sampler = dict(type='MultiDatasetSampler', temperature=2)
    return dict(
        dataset_type='CocoDataset',
        data_mode='topdown',
        train_pipeline=[
            dict(type='SeedAugmentation'),
            *found,
            *recipe.augmentation(half_body),
            *cropped,
        ],
        val_pipeline=[*found, *cropped],
        train_dataloader=dict(
            batch_size=recipe.batch_size,
            **loader,
            collate_fn=dict(type='stacked_collate'),
            sampler=sampler,
            dataset=dataset([(part, part.train) for part in parts], 'train_pipeline'),
        ),
        val_dataloader=dict(
            batch_size=32,
            **loader,
            drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
            dataset=dataset(
                [(part, {**part.val, 'test_mode': True}) for part in parts], 'val_pipeline'
            ),
        ),
        test_dataloader=Name('val_dataloader'),
    )


def dataset(parts: Sequence[tuple[Part, dict]], pipeline: str) -> dict:
    """Config of a data set, or of several."""
    configs = {}
    for part, files in parts:
        metainfo = {} if part.metainfo is None else dict(metainfo=part.metainfo)
        configs[part.name] = dict(type='CocoDataset', data_mode='topdown', **metainfo, **files)
    if len(configs) == 1:
        return {**next(iter(configs.values())), 'pipeline': Name(pipeline)}
    return dict(type='MultiDataset', datasets=configs, pipeline=Name(pipeline))


def evaluation(parts: Sequence[Part]) -> dict[str, object]:
    """AP as in COCO's protocol, and the share of keypoints that are near."""
    metrics = {}
    for part in parts:
        area = {} if part.use_area else dict(use_area=False)
        metrics[part.name] = [
            dict(type='CocoMetric', ann_file=part.val['ann_file'], **area),
            dict(type='PCKAccuracy', thr=PCK_THRESHOLD),
        ]
    evaluated = dict(
        val_evaluator=dict(type='DatasetEvaluator', metrics=metrics),
        test_evaluator=Name('val_evaluator'),
    )
    if len(parts) > 1:
        evaluated['visualizer'] = dict(type='DatasetPoseVisualizer')
    return evaluated
