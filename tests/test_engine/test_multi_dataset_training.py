"""Training on two data sets: several processes, resuming, and what is told at start."""

import copy
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine import load
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.visualization import PoseLocalVisualizer
from tiny_training import (
    CODEC,
    INPUT_WH,
    finish,
    make_coco,
    start_distributed,
    start_tool,
    tiny_config,
)

from vitpose_mm.checkpoints import CheckpointError, load_file
from vitpose_mm.engine import (
    DataError,
    build_runner,
    data_check,
    run_test,
    set_test_options,
    set_visualization,
)

PLAIN_CODEC = {**CODEC, 'type': 'BatchedMSRAHeatmap'}
NUM_CROWD = 8


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    """40 people of COCO's keypoints and 8 of CrowdPose's."""
    folder = tmp_path_factory.mktemp('data')
    for name, count, num_images in (('coco', 17, 10), ('crowdpose', 14, NUM_CROWD // 4)):
        (folder / name).mkdir()
        make_coco(folder / name, count, num_images)
    return folder


def multi_config(data_root: Path, batch_size: int, num_workers: int = 0, **changes) -> Config:
    """``tiny_config`` with a head and an expert for each of two data sets."""
    cfg = tiny_config(data_root, batch_size, num_workers)
    shared = {key: cfg.model.head[key] for key in ('type', 'in_channels')}
    cfg.model.backbone.experts = ['coco', 'crowdpose']
    cfg.model.head = {
        'type': 'MultiDatasetHead',
        'shared': shared,
        'heads': {
            'coco': {'out_channels': 17, 'decoder': CODEC, 'metainfo': 'CocoDataset'},
            'crowdpose': {
                'out_channels': 14,
                'decoder': PLAIN_CODEC,
                'metainfo': 'CrowdPoseDataset',
                'test_cfg': {'shift_heatmap': True},
            },
        },
    }
    codecs = {'coco': CODEC, 'crowdpose': PLAIN_CODEC}
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        part = loader.dataset
        pipeline = [
            {'type': 'TopdownAffineByCodec', 'codecs': codecs}
            if step.type == 'TopdownAffine'
            else step
            for step in part.pop('pipeline')
        ]
        loader.dataset = {
            'type': 'MultiDataset',
            'pipeline': pipeline,
            'datasets': {
                'coco': {**part, 'data_root': f'{data_root}/coco'},
                'crowdpose': {
                    **part,
                    'type': 'CrowdPoseDataset',
                    'data_root': f'{data_root}/crowdpose',
                },
            },
        }
    cfg.test_evaluator = {
        'type': 'DatasetEvaluator',
        'metrics': {
            'coco': {'type': 'CocoMetric'},
            'crowdpose': {'type': 'PCKAccuracy', 'thr': 0.5},
        },
    }
    cfg.custom_hooks.append({'type': 'CheckDataHook'})
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


@pytest.mark.parametrize('loss_weighting', ['samples', 'datasets'])
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, data_root, loss_weighting):
    changes = dict(train_cfg__max_epochs=1, model__head__loss_weighting=loss_weighting)
    for name, batch_size in (('one', 8), ('two', 4)):
        cfg = multi_config(data_root, batch_size, **changes)
        cfg.custom_hooks.append({'type': 'RecordHook'})
        cfg.dump(tmp_path / f'{name}.py')
    one = start_tool('train.py', tmp_path / 'one.py', '--work-dir', tmp_path / 'one')
    two = start_distributed('dist_train.sh', tmp_path / 'two.py', 2, '--work-dir', tmp_path / 'two')
    finish(one)
    finish(two)
    alone, rank_0, rank_1 = (
        load_file(tmp_path / name)
        for name in ('one/rank_0.pth', 'two/rank_0.pth', 'two/rank_1.pth')
    )
    assert len(alone['losses']) == 6
    assert rank_0['losses'] == rank_1['losses'] == pytest.approx(alone['losses'], abs=1e-5)
    pairs = list(zip(rank_0['datasets'], rank_1['datasets']))
    assert any(mine != theirs for mine, theirs in pairs), 'a process lacks what the other has'
    assert ['coco', 'crowdpose'] in alone['datasets']

    expected = load_file(tmp_path / 'one' / 'epoch_1.pth')['state_dict']
    found = load_file(tmp_path / 'two' / 'epoch_1.pth')['state_dict']
    assert expected.keys() == found.keys()
    assert any('experts.1' in name for name in found)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize('sampler', [dict(), dict(temperature=4.0)])
def test_resumed_equals_uninterrupted(tmp_path, data_root, sampler):
    def config() -> Config:
        cfg = multi_config(
            data_root,
            batch_size=8,
            num_workers=1,
            train_cfg__max_epochs=3,
            model__backbone__drop_path_rate=0.1,
        )
        cfg.train_dataloader.sampler = dict(type='MultiDatasetSampler', **sampler)
        return cfg

    config().dump(tmp_path / 'left_alone.py')
    killed_cfg = config()
    killed_cfg.custom_hooks.append({'type': 'KillHook', 'after': 8})  # of 6 in an epoch
    killed_cfg.dump(tmp_path / 'killed.py')
    left_alone, killed = (
        start_tool('train.py', tmp_path / f'{name}.py', '--work-dir', tmp_path / name)
        for name in ('left_alone', 'killed')
    )
    finish(killed, returncode=-signal.SIGKILL)
    shutil.copytree(tmp_path / 'killed', tmp_path / 'resumed')
    folder = tmp_path / 'resumed'
    log = finish(
        start_tool('train.py', tmp_path / 'left_alone.py', '--work-dir', folder, '--resume')
    )
    assert 'resumed epoch: 1, iter: 6' in log
    finish(left_alone)
    expected, found = (load_file(f / 'epoch_3.pth') for f in (tmp_path / 'left_alone', folder))
    for name, weight in expected['state_dict'].items():
        assert torch.equal(weight, found['state_dict'][name]), name
    for index, state in expected['optimizer']['state'].items():
        for name, value in state.items():
            assert torch.equal(value, found['optimizer']['state'][index][name])


def test_evaluation_of_both_in_one_run(tmp_path, data_root):
    cfg = multi_config(data_root, batch_size=8, work_dir=str(tmp_path))
    metrics = run_test(build_runner(cfg, 'test'))
    assert metrics['coco/people'] == 40
    assert metrics['crowdpose/people'] == NUM_CROWD
    assert 0 <= metrics['crowdpose/PCK'] <= 1
    assert 'coco/AP' in metrics


def test_predictions_of_all_are_written_and_drawn(tmp_path, data_root, monkeypatch):
    cfg = multi_config(data_root, batch_size=8, work_dir=str(tmp_path))
    checkpoint = tmp_path / 'weights.pth'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
    set_test_options(cfg, str(checkpoint), dump=str(tmp_path / 'all.pkl'))
    cfg.visualizer = {'type': 'DatasetPoseVisualizer'}
    cfg.default_hooks.visualization = {'type': 'PoseVisualizationHook'}
    set_visualization(cfg, show_dir=str(tmp_path / 'pictures'))
    drawn = []

    def draw(visualizer, name, image, sample, *_, **__):
        skeleton = max(map(max, visualizer.skeleton)) + 1
        drawn.append((sample.metainfo['dataset_name'], skeleton, len(visualizer.kpt_color)))

    monkeypatch.setattr(PoseLocalVisualizer, 'add_datasample', draw)
    run_test(build_runner(cfg, 'test'))
    counts = Counter(drawn)
    assert counts == {('coco', 17, 17): 40, ('crowdpose', 14, 14): NUM_CROWD}
    predictions = load(tmp_path / 'all.pkl')
    shapes = Counter(each['pred_instances']['keypoints'].shape for each in predictions)
    assert shapes == {(1, 17, 2): 40, (1, 14, 2): NUM_CROWD}


@pytest.mark.parametrize('loss_weighting', ['samples', 'datasets'])
def test_validation_loss_is_told_by_data_set(tmp_path, data_root, loss_weighting):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path), train_cfg__max_epochs=1)
    cfg.model.head.loss_weighting = loss_weighting
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    cfg.val_dataloader.dataset.pipeline[-1].pack_transformed = True
    cfg.val_cfg, cfg.val_evaluator = {}, cfg.test_evaluator
    cfg.custom_hooks.append({'type': 'ValidationLossHook'})
    runner = build_runner(cfg, 'train')
    runner.train()
    values = {
        name: runner.message_hub.get_scalar(f'val/{name}').current()
        for name in ('loss_kpt', 'coco/kpt', 'crowdpose/kpt')
    }
    shares = dict(samples=(40, NUM_CROWD), datasets=(1, 1))[loss_weighting]
    total = shares[0] * values['coco/kpt'] + shares[1] * values['crowdpose/kpt']
    assert values['loss_kpt'] == pytest.approx(total / sum(shares))
    assert values['coco/kpt'] != values['crowdpose/kpt']


def test_validation_loss_of_a_head_that_reads_two_data_sets(tmp_path, data_root):
    """Heads count alike, not their data sets."""
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path), train_cfg__max_epochs=1)
    cfg.model.head.update(
        loss_weighting='datasets',
        datasets={'ochuman': {'head': 'coco', 'metainfo': 'OCHumanDataset'}},
    )
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    dataset = cfg.val_dataloader.dataset
    dataset.pipeline[-1].pack_transformed = True
    for step in dataset.pipeline:
        if step.type == 'TopdownAffineByCodec':
            step.codecs.ochuman = CODEC
    dataset.datasets.ochuman = {**dataset.datasets.coco, 'type': 'OCHumanDataset'}
    cfg.val_cfg, cfg.val_evaluator = {}, copy.deepcopy(cfg.test_evaluator)
    cfg.val_evaluator.metrics.ochuman = {'type': 'CocoMetric'}
    cfg.custom_hooks.append({'type': 'ValidationLossHook'})
    runner = build_runner(cfg, 'train')
    runner.train()
    total, coco, crowd = (
        runner.message_hub.get_scalar(f'val/{name}').current()
        for name in ('loss_kpt', 'coco/kpt', 'crowdpose/kpt')
    )
    assert total == pytest.approx((coco + crowd) / 2)


def without_crowd(cfg):
    cfg.train_dataloader.dataset.datasets.pop('crowdpose')


def without_head(cfg):
    cfg.model.head.heads.pop('crowdpose')
    cfg.model.backbone.experts = ['coco']


def other_keypoints(cfg):
    cfg.model.head.heads.crowdpose.update(out_channels=15, metainfo=None)


def other_crop(cfg):
    cfg.train_dataloader.dataset.datasets.crowdpose.pipeline = [
        {'type': 'TopdownAffine', 'input_size': INPUT_WH, 'use_udp': True}
    ]


def other_size(cfg):
    cfg.train_dataloader.dataset.datasets.crowdpose.pipeline = [
        {'type': 'TopdownAffine', 'input_size': (96, 128)}
    ]


def other_flips(cfg):
    from mmpose.datasets import CrowdPoseDataset
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    metainfo = dict(Config.fromfile(_metainfo_file(CrowdPoseDataset.METAINFO)).dataset_info)
    for info in metainfo['keypoint_info'].values():
        info['swap'] = ''
    assert parse_pose_metainfo(metainfo)
    cfg.train_dataloader.dataset.datasets.crowdpose.metainfo = metainfo


def _metainfo_file(metainfo: dict) -> str:
    import mmpose

    return str(Path(mmpose.__file__).parent / '.mim' / metainfo['from_file'])


def combined(cfg):
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = {
        'type': 'CombinedDataset',
        'metainfo': {'from_file': 'configs/_base_/datasets/coco.py'},
        'datasets': [{**each, 'pipeline': []} for each in dataset.datasets.values()],
        'pipeline': dataset.pipeline,
    }


def first_batches_only(cfg):
    cfg.train_dataloader.num_batch_per_epoch = 1


def read_otherwise(cfg):
    """A further data set may have a codec of its own for evaluation, not for training."""
    heads = cfg.model.head.heads
    cfg.model.head.datasets = {'crowdpose': {'head': 'people', 'decoder': CODEC}}
    heads['people'] = {**heads.pop('crowdpose'), 'metainfo': None}
    cfg.model.backbone.experts = ['coco', 'people']
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'TopdownAffineByCodec':
            step.codecs.crowdpose = CODEC


def no_sample(cfg):
    cfg.train_dataloader.sampler = {
        'type': 'MultiDatasetSampler',
        'ratios': {'coco': 1000, 'crowdpose': 1},
    }


def empty(cfg):
    path = Path(cfg.train_dataloader.dataset.datasets.crowdpose.data_root, 'nobody.json')
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    cfg.train_dataloader.dataset.datasets.crowdpose.ann_file = 'nobody.json'


def no_file(cfg):
    cfg.train_dataloader.dataset.datasets.crowdpose.ann_file = 'missing.json'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without_crowd, r"heads for \['crowdpose'\], but train_dataloader has no data set for"),
        (without_head, r"data set 'crowdpose' has no head; model.head has heads for \['coco'\]"),
        (
            other_keypoints,
            'CrowdPoseDataset has 14 keypoints, but model.head.heads.crowdpose.out_channels is 15',
        ),
        (other_crop, r'\(crowdpose\): TopdownAffine crops .* use_udp=True, but .* use_udp=False'),
        (other_size, r'crops to input_size \(96, 128\) .* needs input_size \(48, 64\)'),
        (other_flips, r'\(crowdpose\): flip_indices of the data set are \[0, 1, 2,.*but those of'),
        (read_otherwise, r'TopdownAffineByCodec crops .* use_udp=True, but .* use_udp=False'),
        (combined, r'\(coco\): the pipeline of a CombinedDataset flips all its samples by its own'),
        (first_batches_only, r"num_batch_per_epoch would take the first of \{'coco': 40, 'crowd"),
        (no_sample, r"give no sample of \['crowdpose'\] in an epoch of 48"),
        (empty, 'crowdpose/nobody.json: CrowdPoseDataset found nobody to use in it'),
        (
            no_file,
            r'train_dataloader.dataset.datasets.crowdpose.ann_file: there is no file .*missing',
        ),
    ],
)
def test_what_does_not_fit_is_told_before_the_first_step(tmp_path, data_root, change, message):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path))
    change(cfg)
    steps = []
    with pytest.raises(DataError, match=message):
        runner = build_runner(cfg, 'train')
        runner.model.backbone.register_forward_hook(lambda *_: steps.append(1))
        runner.train()
    assert not steps


def test_evaluation_as_another_data_set_is_refused(tmp_path, data_root):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path))
    cfg.model.test_cfg.dataset = 'coco'
    message = r"test_cfg.dataset='coco' reads all .* also these of 'crowdpose'. It is for inference"
    with pytest.raises(DataError, match=message):
        build_runner(cfg, 'test').test()


def test_samples_that_would_count_twice_are_refused(tmp_path, data_root, monkeypatch):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path))
    cfg.test_dataloader.sampler.round_up = True
    run_test(build_runner(cfg, 'test'))
    monkeypatch.setattr(data_check, 'get_world_size', lambda: 5)  # of 48 people
    with pytest.raises(DataError, match='their sampler needs round_up=False'):
        build_runner(cfg, 'test').test()


def test_evaluation_without_metric_is_told_at_start(tmp_path, data_root):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path))
    cfg.test_evaluator.metrics.pop('crowdpose')
    with pytest.raises(ValueError, match=r"are \['coco', 'crowdpose'\], but there are metrics"):
        build_runner(cfg, 'test')


def test_experts_that_differ_from_the_checkpoints_are_told_at_start(tmp_path, data_root):
    cfg = multi_config(data_root, 8, work_dir=str(tmp_path), train_cfg__max_epochs=1)
    build_runner(cfg, 'train').train()
    other = multi_config(data_root, 8, work_dir=str(tmp_path / 'other'))
    other.load_from = str(tmp_path / 'epoch_1.pth')
    build_runner(other, 'train').load_or_resume()  # the same names are fine
    other.model.backbone.experts = ['coco', 'people']
    other.model.head.heads.crowdpose.metainfo = None
    other.model.head.heads['people'] = other.model.head.heads.pop('crowdpose')
    runner = build_runner(other, 'train')
    with pytest.raises(CheckpointError, match=r"\['coco', 'crowdpose'\], the model for .*people"):
        runner.load_or_resume()
