"""Annotations that cannot be used are named before the first step."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.runner.runner import _SlicedDataset
from mmpose.registry import DATASETS, KEYPOINT_CODECS
from tiny_training import CODEC, finish, start_tool

from vitpose_mm.engine import build_runner, check_annotation_files, data_check
from vitpose_mm.engine.data_check import CheckDataHook, check_dataset, leaves

NAN, INF = float('nan'), float('inf')


def change(coco, function) -> None:
    """Rewrite annotations.json after ``function`` has changed its content."""
    path = coco / 'annotations.json'
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def build(cfg: Config, **changes):
    return DATASETS.build({**cfg.train_dataloader.dataset, **changes})


@pytest.fixture
def logged(monkeypatch) -> list:
    messages = []
    monkeypatch.setattr(data_check, 'print_log', lambda message, **_: messages.append(message))
    return messages


# --- files ---

FILES = {
    'missing': (None, 'there is no file {path}'),
    'empty': ('', r'{path} is empty \(0 bytes\)'),
    'blank': (' \n', r"{path} is no JSON, or cut off: it begins b'' and ends b''"),
    'text': ('<html>404</html>', "{path} is no JSON, or cut off: it begins b'<html>404"),
    'cut off': ('{{"images": [{{"id": 1', r'{path} is no JSON, or cut off: .*\[...\] is wanted'),
}


@pytest.mark.parametrize('kind', FILES)
@pytest.mark.parametrize('mode', ['train', 'test'])
def test_files_are_named_with_their_entry(cfg, coco, kind, mode):
    content, message = FILES[kind]
    path = coco / 'annotations.json'
    path.unlink()
    if content is not None:
        path.write_text(content)
    entry = rf'^{mode}_dataloader\.dataset\.ann_file: '
    with pytest.raises(ValueError, match=entry + message.format(path=re.escape(str(path)))):
        build_runner(cfg, mode)


def test_every_place_of_a_file_is_looked_at(tmp_path):
    (tmp_path / 'there.json').write_text(' {}\n')
    there = str(tmp_path / 'there.json')
    first = dict(type='CocoDataset', ann_file=there)

    def refused(mode: str = 'train', **parts) -> str:
        cfg = dict(dict(train_dataloader=dict(dataset=first), val_dataloader=None), **parts)
        with pytest.raises(ValueError) as raised:
            check_annotation_files(Config(cfg), mode)
        return str(raised.value)

    second = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='sub/gone.json')
    combined = dict(type='CombinedDataset', datasets=[first, second])
    repeated = dict(type='RepeatDataset', dataset=combined)
    problem = f'there is no file {tmp_path}/sub/gone.json.'
    assert refused(train_dataloader=dict(dataset=repeated)) == (
        f'train_dataloader.dataset.dataset.datasets[1].ann_file: {problem}'
    )
    with_boxes = dict(first, data_root=str(tmp_path), bbox_file='boxes.json')
    # mmpose does not join the file of boxes with data_root
    assert refused(val_dataloader=dict(dataset=with_boxes)) == (
        'val_dataloader.dataset.bbox_file: there is no file boxes.json.'
    )
    gone = dict(type='CocoMetric', ann_file='gone.json')
    evaluators = {
        'val_evaluator': gone,
        'val_evaluator[1]': [dict(type='PCKAccuracy'), gone],
        'val_evaluator.metrics[0]': dict(type='MultiDatasetEvaluator', metrics=[gone]),
    }
    for entry, evaluator in evaluators.items():
        assert refused(val_dataloader=dict(dataset=first), val_evaluator=evaluator) == (
            f'{entry}.ann_file: there is no file gone.json.'
        )


def test_only_the_files_that_will_be_used_count(tmp_path):
    (tmp_path / 'there.json').write_text('[]')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(ann_file=str(tmp_path / 'there.json'))),
            val_dataloader=None,
            val_evaluator=dict(ann_file='gone.json'),
            test_dataloader=dict(dataset=dict(ann_file='s3://bucket/remote.json')),
            # only names of data sets are taken from here
            test_evaluator=dict(metrics=[], datasets=[dict(ann_file='gone.json')]),
        )
    )
    check_annotation_files(cfg, 'train')
    check_annotation_files(cfg, 'test')
    cfg.test_dataloader.dataset.ann_file = 'gone.json'
    check_annotation_files(cfg, 'train')
    with pytest.raises(ValueError, match=r'^test_dataloader\.dataset\.ann_file: there is no file'):
        check_annotation_files(cfg, 'test')


def test_a_test_set_that_is_missing_does_not_stop_training(cfg):
    cfg.test_dataloader.dataset.ann_file = 'gone.json'
    assert len(build_runner(cfg, 'train').train_dataloader.dataset) == 40


def test_damage_inside_of_a_file_is_named(cfg, coco):
    path = coco / 'annotations.json'
    path.write_text(path.read_text().replace('"bbox"', 'bbox', 1))
    with pytest.raises(
        ValueError, match=f'^CocoDataset cannot read {path}: JSONDecodeError: Expecting property'
    ):
        build_runner(cfg, 'train')


def test_damage_inside_of_a_file_of_a_metric_is_named(cfg, coco):
    path = coco / 'truth.json'
    path.write_text('{"images": [}')
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=str(path))
    with pytest.raises(ValueError, match=f'^CocoMetric cannot read {path}: JSONDecodeError'):
        build_runner(cfg, 'test')


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda annotation: annotation['keypoints'].pop(), '6: ValueError: cannot reshape'),
        (lambda annotation: annotation.pop('id'), "None: KeyError: 'id'"),
        (lambda annotation: annotation.pop('category_id'), "6: KeyError: 'category_id'"),
    ],
)
def test_an_annotation_that_cannot_be_parsed_is_named(cfg, coco, spoil, message):
    change(coco, lambda content: spoil(content['annotations'][5]))
    with pytest.raises(ValueError, match=f'cannot read .*annotations.json at annotation {message}'):
        build_runner(cfg, 'train')


def test_a_list_instead_of_cocos_tables_is_named(cfg, coco):
    (coco / 'annotations.json').write_text('[]')
    with pytest.raises(
        ValueError, match=r"cannot read .*annotations.json: AssertionError: .*format <class 'list'>"
    ):
        build_runner(cfg, 'train')


def test_other_errors_stay_what_they_are(cfg):
    cfg.train_dataloader.dataset.pipeline[0] = dict(type='LoadCheckedImage', on_error='?')
    with pytest.raises(ValueError, match=r"^on_error must be 'raise' or 'skip'"):
        build_runner(cfg, 'train')


# --- people ---

EMPTY = (
    r'annotations.json: CocoDataset found nobody to use in it\. People count that have a box of '
    'positive size .* at least one labelled keypoint'
)


def clear(content):
    content['annotations'].clear()


def unlabel(content):
    for annotation in content['annotations']:
        annotation['num_keypoints'] = 0


@pytest.mark.parametrize('empty', [clear, unlabel])
def test_a_file_without_people(cfg, coco, empty):
    change(coco, empty)
    with pytest.raises(ValueError, match=EMPTY):
        build_runner(cfg, 'train')
    # where mmengine does not stumble over it itself
    with pytest.raises(ValueError, match=EMPTY):
        check_dataset(build(cfg, serialize_data=False))


def set_keypoint(*values):
    def function(content):
        content['annotations'][5]['keypoints'][6:9] = values

    return function


def set_box(*values):
    def function(content):
        content['annotations'][5]['bbox'] = values

    return function


BAD = {
    'nan in a keypoint': (set_keypoint(NAN, 5, 2), r'keypoint 2 is \[nan, 5.0\], must be finite'),
    'inf in a keypoint': (set_keypoint(3, INF, 2), r'keypoint 2 is \[3.0, inf\], must be finite'),
    'nan as visibility': (set_keypoint(3, 5, NAN), 'visibilities must not be negative or NaN'),
    'negative visibility': (set_keypoint(3, 5, -1), r'negative or NaN, got \[1.0, 1.0, -1.0, 1.0'),
    'nan in a box': (set_box(NAN, 5, 9, 9), r'box .* \[nan, 5.0, nan, 14.0\] is not finite'),
}


@pytest.mark.parametrize('kind', BAD)
@pytest.mark.parametrize('serialize_data', [True, False])
def test_bad_annotations_are_listed(cfg, coco, kind, serialize_data):
    function, problem = BAD[kind]
    change(coco, function)
    with pytest.raises(
        ValueError,
        match='annotations.json: 1 of 40 people cannot be used; mend them or take them out.\n'
        rf'  annotation 6, {coco}/001.png: .*{problem}',
    ):
        check_dataset(build(cfg, serialize_data=serialize_data))


def test_boxes_without_area_among_detections_are_listed(cfg, coco):
    boxes = [dict(image_id=i, category_id=1, score=0.9, bbox=[5, 5, 9 - i, 9]) for i in range(10)]
    (coco / 'boxes.json').write_text(json.dumps(boxes))
    detected = build(cfg, bbox_file=str(coco / 'boxes.json'), test_mode=True)
    with pytest.raises(
        ValueError,
        match=r'1 of 10 people .*\n  annotation 9, .*: box .* \[5.0, 5.0, 5.0, 14.0\] has no area',
    ):
        check_dataset(detected)
    boxes = [dict(image_id=0, category_id=1, score=0.9, bbox=[96, 5, 9, 9])]
    (coco / 'boxes.json').write_text(json.dumps(boxes))
    outside = build(cfg, bbox_file=str(coco / 'boxes.json'), test_mode=True)
    with pytest.raises(ValueError, match=r'lies outside of the image of 96 x 96 px'):
        check_dataset(outside)


def test_boxes_without_area_among_annotations_are_left_out_by_mmpose(cfg, coco, logged):
    change(coco, set_box(5, 5, 0, 9))
    check_dataset(build(cfg))
    assert logged == [f'{coco}/annotations.json: 39 people in 10 images']


def test_a_long_list_is_cut(cfg, coco):
    def drop_a_keypoint(content):
        for annotation in content['annotations']:
            del annotation['keypoints'][-3:]

    change(coco, drop_a_keypoint)
    with pytest.raises(ValueError, match='40 of 40 people') as raised:
        check_dataset(build(cfg))
    lines = str(raised.value).splitlines()
    assert len(lines) == 1 + data_check.NUM_LISTED + 1
    assert '16 keypoints, where the meta information has 17' in lines[1]
    assert lines[-1] == '  and 35 more'


# --- the hook ---


def runner_for(dataset, out_channels: int = 17, val_dataset=None) -> SimpleNamespace:
    """What the hook asks of a runner."""
    evaluator = SimpleNamespace(metrics=[SimpleNamespace()])
    return SimpleNamespace(
        model=SimpleNamespace(head=SimpleNamespace(out_channels=out_channels), test_cfg={}),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=val_dataset and object(),
        val_dataloader=SimpleNamespace(dataset=val_dataset),
        val_evaluator=evaluator,
        test_dataloader=SimpleNamespace(dataset=dataset),
        test_evaluator=evaluator,
    )


def test_runs_with_the_hook(cfg, coco, logged):
    cfg.custom_hooks.append(dict(type='CheckDataHook'))
    build_runner(cfg, 'train').train()
    build_runner(cfg, 'test').test()
    assert logged == [f'{coco}/annotations.json: 40 people in 10 images'] * 2


def test_the_tool_ends_with_the_error(cfg, coco):
    change(coco, set_keypoint(NAN, 5, 2))
    cfg.custom_hooks.append(dict(type='CheckDataHook'))
    cfg.dump(coco / 'config.py')
    output = finish(start_tool('train.py', coco / 'config.py'), returncode=2)
    assert 'keypoint 2 is [nan, 5.0], must be finite' in output.rstrip().splitlines()[-1]


@pytest.mark.parametrize('moment', ['before_train', 'before_test'])
def test_another_number_of_keypoints_than_the_head(cfg, coco, moment):
    runner = runner_for(build(cfg), out_channels=21)
    with pytest.raises(
        ValueError,
        match=r'annotations.json: CocoDataset has 17 keypoints, but model.head.out_channels is 21.'
        ' They must be equal; .*KeypointConverter',
    ):
        getattr(CheckDataHook(), moment)(runner)


def test_models_without_a_single_head_and_converted_predictions_are_not_compared(cfg):
    runner = runner_for(build(cfg), out_channels=21)
    del runner.model.head.out_channels
    CheckDataHook().before_train(runner)
    runner = runner_for(build(cfg), out_channels=21)
    runner.test_evaluator.metrics[0].pred_converter = dict(num_keypoints=17)
    CheckDataHook().before_test(runner)
    runner = runner_for(build(cfg), out_channels=21)
    runner.model.test_cfg['output_keypoint_indices'] = list(range(17))
    CheckDataHook().before_test(runner)


def test_the_number_after_conversion_counts(cfg):
    convert = dict(type='KeypointConverter', num_keypoints=21, mapping=[(0, 0)])
    converted = build(cfg, pipeline=[convert])
    CheckDataHook().before_train(runner_for(converted, out_channels=21))
    with pytest.raises(ValueError, match=r'has 21 keypoints, but model.head.out_channels is 17'):
        CheckDataHook().before_train(runner_for(converted))


def test_crops_that_the_head_cannot_read(cfg):
    runner = runner_for(build(cfg))
    runner.model.head.decoder = KEYPOINT_CODECS.build(CODEC)
    CheckDataHook().before_train(runner)
    runner.model.head.decoder = KEYPOINT_CODECS.build(dict(CODEC, type='BatchedMSRAHeatmap'))
    message = (
        r'\(coco\): TopdownAffine crops to input_size \(48, 64\) with use_udp=True, but the codec '
        r'BatchedMSRAHeatmap of model.head needs input_size \(48, 64\) with use_udp=False'
    )
    with pytest.raises(ValueError, match=message):
        CheckDataHook().before_train(runner)


def test_crops_of_the_pipeline_around_data_sets(cfg):
    part = cfg.train_dataloader.dataset.to_dict()
    both = dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[{**part, 'pipeline': []}] * 2,
        pipeline=part['pipeline'],
    )
    runner = runner_for(DATASETS.build(both))
    runner.model.head.decoder = KEYPOINT_CODECS.build(CODEC)
    CheckDataHook().before_train(runner)
    runner.model.head.decoder = KEYPOINT_CODECS.build(dict(CODEC, type='BatchedMSRAHeatmap'))
    with pytest.raises(ValueError, match=r'TopdownAffine crops .* use_udp=True, but the codec'):
        CheckDataHook().before_train(runner)


def test_one_head_for_other_flip_pairs(cfg):
    part = cfg.train_dataloader.dataset.to_dict()
    pipeline = part.pop('pipeline')

    def several(**types):
        parts = {name: {**part, 'type': kind} for name, kind in types.items()}
        return DATASETS.build(dict(type='MultiDataset', pipeline=pipeline, datasets=parts))

    with pytest.raises(ValueError, match='one head cannot read data sets with different flip_ind'):
        CheckDataHook().before_train(runner_for(several(coco='CocoDataset', ap10k='AP10KDataset')))
    CheckDataHook().before_train(runner_for(several(coco='CocoDataset')))


def wrap(cfg, kind: str):
    if kind == 'ConcatDataset':
        return ConcatDataset([build(cfg), build(cfg)])
    if kind == 'RepeatDataset':
        return RepeatDataset(build(cfg), times=3)
    if kind == 'part':  # as num_batch_per_epoch makes it
        return _SlicedDataset(build(cfg), 8)
    parts = [cfg.train_dataloader.dataset.to_dict()] * 2
    metainfo = dict(from_file='configs/_base_/datasets/coco.py')
    return DATASETS.build(dict(type='CombinedDataset', metainfo=metainfo, datasets=parts))


@pytest.mark.parametrize(
    ('kind', 'count'),
    [('ConcatDataset', 2), ('RepeatDataset', 1), ('CombinedDataset', 2), ('part', 1)],
)
def test_wrapped_data_sets_are_checked(cfg, coco, logged, kind, count):
    CheckDataHook().before_train(runner_for(wrap(cfg, kind)))
    assert logged == [f'{coco}/annotations.json: 40 people in 10 images'] * count
    change(coco, set_keypoint(NAN, 5, 2))
    with pytest.raises(ValueError, match='annotation 6, '):
        CheckDataHook().before_train(runner_for(wrap(cfg, kind)))


def test_the_validation_set_is_checked_before_training_and_each_set_once(cfg, coco, logged):
    runner = runner_for(build(cfg), val_dataset=build(cfg, test_mode=True))
    hook = CheckDataHook()
    hook.before_train(runner)
    assert len(logged) == 2
    hook.before_val(runner)
    assert len(logged) == 2


def test_other_data_sets_are_left_alone(cfg, coco, logged):
    bottom_up = build(cfg, data_mode='bottomup')
    CheckDataHook().before_train(runner_for(bottom_up, out_channels=34))
    assert logged == [f'{coco}/annotations.json: 10 samples']
    CheckDataHook().before_train(runner_for(torch.utils.data.TensorDataset(torch.zeros(3))))
    CheckDataHook().before_train(runner_for([1, 2]))
    assert logged[1:] == ['TensorDataset: not checked', 'list: not checked']
    assert list(leaves([1, 2])) == []


def test_every_rank_raises_what_rank_0_found(cfg, monkeypatch):
    def from_rank_0(objects):
        objects[0] = 'found by rank 0'

    monkeypatch.setattr(data_check, 'is_main_process', lambda: False)
    monkeypatch.setattr(data_check, 'broadcast_object_list', from_rank_0)
    with pytest.raises(ValueError, match=r'^found by rank 0$'):
        CheckDataHook().before_train(runner_for(build(cfg)))


def test_no_rank_waits_in_vain_when_the_check_itself_fails(cfg, monkeypatch):
    sent = []
    monkeypatch.setattr(data_check, 'broadcast_object_list', sent.extend)
    monkeypatch.setattr(data_check, 'find_problem', lambda *_: 1 / 0)
    with pytest.raises(ValueError, match='ZeroDivisionError'):
        CheckDataHook().before_train(runner_for(build(cfg)))
    assert 'ZeroDivisionError' in sent[0]


# --- keypoints outside of the picture ---


def test_keypoints_outside_of_the_image_are_no_error(cfg, coco):
    change(coco, set_keypoint(-500, 5000, 2))
    check_dataset(build(cfg))


@pytest.mark.parametrize('kind', ['BatchedUDPHeatmap', 'BatchedMSRAHeatmap'])
def test_keypoints_outside_of_the_crop_are_cut_or_have_no_weight(kind):
    codec = KEYPOINT_CODECS.build(
        dict(type=kind, input_size=(48, 64), heatmap_size=(12, 16), sigma=2)
    )
    # input px; sigma is 8 of them: inside, within 3 sigma of the border, farther out, far out
    x = torch.tensor([20.0, -12.0, -40.0, 5000.0])
    keypoints = torch.stack([x, torch.full((4,), 32.0)], -1)[None]
    heatmaps, weights = codec.batch_encode(keypoints, torch.ones(1, 4))
    assert weights.tolist() == [[1, 1, 0, 0]]
    assert heatmaps.isfinite().all()
    inside, cut, outside, far_outside = heatmaps[0]
    assert inside.max() > 0.9
    assert 0 < cut.max() < 0.7
    assert cut.argmax(1).eq(0).all()  # falls off from the border
    assert not outside.any()
    assert not far_outside.any()
    assert np.isfinite(codec.encode(keypoints.numpy())['heatmaps']).all()


def test_keypoints_out_of_order_are_named(cfg, coco):
    """As in a config that mmengine wrote: 0, 1, 10, 11, ..."""
    metainfo = dict(
        dataset_name='own',
        keypoint_info={i: dict(name=f'point {i}') for i in sorted(range(17), key=str)},
        skeleton_info={},
        joint_weights=[1.0] * 17,
        sigmas=[0.05] * 17,
    )
    with pytest.raises(ValueError, match=r'come in the order \[0, 1, 10, 11, .*flip pairs'):
        check_dataset(build(cfg, metainfo=metainfo))
    ordered = dict(metainfo, keypoint_info=dict(sorted(metainfo['keypoint_info'].items())))
    check_dataset(build(cfg, metainfo=ordered))
