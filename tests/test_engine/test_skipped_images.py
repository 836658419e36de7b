"""Images that training passes over are counted and named, and too many of them end it."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from tiny_training import INPUT_WH, NUM_IMAGES, make_coco
from torch import nn

from vitpose_mm.engine import DataError, SkippedImagesHook, skipped_images
from vitpose_mm.engine.skipped_images import listed

SKIP = [dict(type='SeedAugmentation'), dict(type='LoadCheckedImage', on_error='skip')]
PRETRAINING = [
    *SKIP,
    dict(type='RandomResizedBoxCrop', input_size=INPUT_WH),
    dict(type='PackPersonInputs'),
]
POSE = [
    *SKIP,
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=INPUT_WH),
    dict(type='PackPersonInputs', meta_keys=('id',)),
]
RUNS = count()  # mmengine keeps what it logged by the name of the run


class Brightness(BaseModel):
    """Learns the mean of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: torch.Tensor, data_samples=None, mode: str = 'loss') -> dict:
        return dict(loss=(inputs.float().mean() / 255 - self.mean).square())


@pytest.fixture
def people(tmp_path) -> Path:
    """Folder of ten images 000.png to 009.png, four people in each, and annotations.json."""
    make_coco(tmp_path)
    return tmp_path


@pytest.fixture
def logged(monkeypatch) -> list[str]:
    messages = []
    monkeypatch.setattr(skipped_images, 'print_log', lambda text, **_: messages.append(text))
    return messages


def damage(people: Path, *numbers: int) -> list[str]:
    paths = [people / f'{number:03d}.png' for number in numbers]
    for path in paths:
        path.write_bytes(path.read_bytes()[:1000])
    return [str(path) for path in paths]


def crops(people: Path) -> dict:
    source = dict(ann_file='annotations.json', img_dir='')
    return dict(
        type='PretrainingImages', data_root=str(people), sources=[source], pipeline=PRETRAINING
    )


def poses(people: Path) -> dict:
    return dict(
        type='CocoDataset',
        data_root=str(people),
        ann_file='annotations.json',
        data_prefix=dict(img=''),
        pipeline=POSE,
    )


def build(
    dataset: dict,
    hook: Optional[dict] = None,
    num_workers: int = 0,
    train_cfg: Optional[dict] = None,
    **loader,
) -> Runner:
    work_dir = dataset.get('data_root') or dataset['work_dir']
    return Runner(
        model=Brightness(),
        work_dir=str(Path(work_dir) / 'work'),
        train_dataloader=dict(
            batch_size=8,
            num_workers=num_workers,
            collate_fn=dict(type='stacked_collate'),
            sampler=dict(type='SeededSampler', shuffle=True),
            dataset={key: value for key, value in dataset.items() if key != 'work_dir'},
            **loader,
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_scope='mmpose',
        default_hooks=dict(checkpoint=None),
        custom_hooks=[dict(type='SeedIterationHook'), dict(type='SkippedImagesHook', **hook or {})],
        randomness=dict(seed=7),
        log_level='ERROR',
        experiment_name=f'test_skipped_images_{next(RUNS)}',
    )


def hook_of(runner: Runner) -> SkippedImagesHook:
    return next(hook for hook in runner.hooks if isinstance(hook, SkippedImagesHook))


def counts_of(runner: Runner) -> Optional[list[int]]:
    """What the message hub was told, one after the other; None for nothing."""
    buffer = runner.message_hub.log_scalars.get('train/skipped_images')
    return None if buffer is None else buffer.data[0].tolist()


def test_nothing_is_said_where_nothing_was_skipped(people, logged):
    runner = build(crops(people))
    runner.train()
    assert runner.epoch == 2
    assert logged == []
    assert counts_of(runner) is None
    assert hook_of(runner)._num_files is None  # no pass over the annotations


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.parametrize('kind', [crops, poses])
def test_skipped_images_are_counted_and_named(people, logged, kind, num_workers):
    paths = damage(people, 3, 4, 8)
    runner = build(kind(people), dict(max_share=0.3), num_workers)
    runner.train()
    assert runner.epoch == 2
    assert hook_of(runner).skipped == set(paths)
    line = (
        f'3 of {NUM_IMAGES} training images could not be read since the start: {", ".join(paths)}'
    )
    assert logged == [line] * 2
    counts = counts_of(runner)
    assert counts[-1] == 3
    assert counts == sorted(set(counts))


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.parametrize('kind', [crops, poses])
def test_too_many_are_an_error(people, kind, num_workers):
    paths = damage(people, 3, 4, 8)
    runner = build(kind(people), dict(max_share=0.29), num_workers)
    with pytest.raises(DataError) as raised:
        runner.train()
    assert str(raised.value).startswith(
        '3 of 10 training images (30.00%) cannot be read, more than '
        f'SkippedImagesHook(max_share=0.29) tolerates: {", ".join(paths)}. '
    )
    assert 'raise max_share' in str(raised.value)
    assert runner.epoch == 0


def test_one_is_always_tolerated_two_are_not(people, logged):
    damage(people, 0)
    build(crops(people), dict(max_share=0)).train()
    assert [line[:7] for line in logged] == ['1 of 10'] * 2
    damage(people, 1)
    with pytest.raises(DataError, match=r'^2 of 10 .*\(20.00%\).*max_share=0\.01\)'):
        build(crops(people)).train()


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'MultiDataset', 'RepeatDataset'])
def test_files_inside_of_wrappers_count_once(people, logged, wrapper, tmp_path_factory):
    other = tmp_path_factory.mktemp('other')
    make_coco(other, num_images=6)
    damage(people, 2)
    damage(other, 2)
    if wrapper == 'MultiDataset':
        parts = dict(a=crops(people), b=crops(other), c=poses(people))
        dataset, total = dict(type=wrapper, datasets=parts), NUM_IMAGES + 6
    elif wrapper == 'ConcatDataset':
        parts = [crops(people), crops(other), crops(people)]
        dataset, total = dict(type=wrapper, datasets=parts), NUM_IMAGES + 6
    else:
        dataset, total = dict(type=wrapper, dataset=crops(people), times=3), NUM_IMAGES
    number = 2 if total > NUM_IMAGES else 1
    runner = build(dict(dataset, work_dir=people), dict(max_share=2 / 16))
    runner.train()
    assert [line.split(' training')[0] for line in logged] == [f'{number} of {total}'] * 2


def test_some_batches_of_an_epoch(people, logged):
    damage(people, *range(0, NUM_IMAGES, 2))
    runner = build(crops(people), dict(max_share=0.5), num_batch_per_epoch=1)
    runner.train()
    assert all(' of 10 training images' in line for line in logged)
    assert len(logged) == 2


def test_training_by_iterations(people, logged):
    damage(people, 3)
    runner = build(crops(people), train_cfg=dict(by_epoch=False, max_iters=10))
    runner.train()
    assert [line[:7] for line in logged] == ['1 of 10']
    damage(people, 4)
    with pytest.raises(DataError, match=r'^2 of 10 .*\(20.00%\)'):
        build(crops(people), train_cfg=dict(by_epoch=False, max_iters=10)).train()


# --- several processes ---


class Hub:
    def __init__(self) -> None:
        self.told = []

    def update_scalar(self, name: str, value: int) -> None:
        self.told.append((name, value))


def met(hook: SkippedImagesHook, runner: SimpleNamespace, *paths: str) -> None:
    samples = [dict(skipped_images=paths), {}] if paths else [{}]
    hook.after_train_iter(runner, 0, dict(inputs=None, data_samples=samples), {})


@pytest.fixture
def runner(people) -> SimpleNamespace:
    """What the hook asks of a runner."""
    dataset = build(crops(people)).train_dataloader.dataset
    return SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset), message_hub=Hub())


def test_what_other_processes_met_is_added_at_the_end_of_an_epoch(runner, logged, monkeypatch):
    hook = SkippedImagesHook(max_share=0.3)
    met(hook, runner, 'a.png')
    met(hook, runner)
    monkeypatch.setattr(
        skipped_images, 'all_gather_object', lambda own: [own, set(), {'c.png', 'a.png'}]
    )
    hook.after_train_epoch(runner)
    assert logged == ['2 of 10 training images could not be read since the start: a.png, c.png']
    met(hook, runner, 'c.png', 'b.png')
    assert runner.message_hub.told == [('train/skipped_images', number) for number in (1, 2, 3)]
    monkeypatch.setattr(skipped_images, 'all_gather_object', lambda own: [own, {'d.png'}])
    with pytest.raises(DataError, match=r'^4 of 10 .*: a.png, b.png, c.png, d.png\.'):
        hook.after_train_epoch(runner)


def test_a_process_that_met_nothing_reports_the_others(runner, logged, monkeypatch):
    monkeypatch.setattr(skipped_images, 'all_gather_object', lambda own: [own, {'c.png'}])
    hook = SkippedImagesHook()
    met(hook, runner)
    hook.after_train_epoch(runner)
    assert logged == ['1 of 10 training images could not be read since the start: c.png']


# --- messages and arguments ---


def test_long_lists_are_cut():
    paths = [f'{number}.png' for number in range(8)]
    assert listed(set(paths[:5])) == '0.png, 1.png, 2.png, 3.png, 4.png'
    assert listed(set(paths)) == '0.png, 1.png, 2.png, 3.png, 4.png and 3 more'


@pytest.mark.parametrize('max_share', [-0.1, 1.1, float('nan'), '0.1', None, True])
def test_bad_shares(max_share):
    with pytest.raises(
        ValueError,
        match=rf'max_share must be a share .* number from 0 to 1, got {max_share!r}',
    ):
        SkippedImagesHook(max_share=max_share)


@pytest.mark.parametrize('max_share', [0, 1, 0.5])
def test_good_shares(max_share):
    assert SkippedImagesHook(max_share).max_share == max_share
