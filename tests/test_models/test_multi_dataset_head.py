"""A head per data set: routing, losses, batch norm, reading."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from vitpose_mm.models.heads import MultiDatasetHead, multi_dataset_head

UDP = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
PLAIN = dict(UDP, type='BatchedMSRAHeatmap')
KEYPOINTS = dict(coco=17, aic=14, mpii=16)
HEADS = dict(
    coco=dict(out_channels=17, decoder=UDP, metainfo='CocoDataset'),
    aic=dict(
        out_channels=14,
        decoder=PLAIN,
        metainfo='AicDataset',
        test_cfg=dict(shift_heatmap=True),
        type='TopdownHeatmapBilinearHead',
    ),
    mpii=dict(out_channels=16, decoder=UDP, type='TopdownHeatmapPixelShuffleHead'),
)
CLASSIC = dict(type='TopdownHeatmapSimpleHead', in_channels=8, deconv_out_channels=(4, 4))
OCHUMAN = dict(
    ochuman=dict(
        head='coco', metainfo='OCHumanDataset', decoder=PLAIN, test_cfg=dict(shift_heatmap=True)
    )
)
MIXED = ['coco', 'mpii', 'coco', 'aic', 'coco', 'mpii']


def build(heads=HEADS, shared=None, **options) -> MultiDatasetHead:
    torch.manual_seed(0)
    shared = {'in_channels': 8} if shared is None else shared
    classic = {key: value for key, value in CLASSIC.items() if key != 'in_channels'}
    heads = {name: {**({} if 'type' in head else classic), **head} for name, head in heads.items()}
    head = MODELS.build(dict(type='MultiDatasetHead', heads=heads, shared=shared, **options))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head


def samples_of(names: list[str], seed: int = 0) -> list[PoseDataSample]:
    rng = np.random.default_rng(seed)
    samples = []
    for name in names:
        count = KEYPOINTS.get(name, 17)
        keypoints = rng.uniform(4, 44, (1, count, 2)).astype(np.float32)
        sample = PoseDataSample(
            metainfo=dict(dataset_name=name, flip_indices=list(range(count))[::-1])
        )
        sample.gt_instances = InstanceData(
            transformed_keypoints=keypoints, keypoints_visible=np.ones((1, count), np.float32)
        )
        samples.append(sample)
    return samples


def features(count: int, seed: int = 0) -> tuple[torch.Tensor]:
    return (torch.randn(count, 8, 4, 3, generator=torch.Generator().manual_seed(seed)),)


def rows(names: list[str], name: str) -> list[int]:
    return [index for index, each in enumerate(names) if each == name]


def test_loss_is_that_of_each_sample_alike():
    """loss_kpt = sum over data sets of (share of samples) * (mean over its own samples)."""
    head, feats, samples = build().train(), features(6), samples_of(MIXED)
    losses = copy.deepcopy(head).loss(feats, samples)
    expected = 0
    for name in KEYPOINTS:
        own = rows(MIXED, name)
        alone = head.heads[name].loss((feats[0][own],), [samples[i] for i in own])
        torch.testing.assert_close(losses[f'{name}/kpt'], alone['loss_kpt'].detach())
        torch.testing.assert_close(losses[f'{name}/acc_pose'], alone['acc_pose'])
        expected = expected + len(own) / 6 * alone['loss_kpt']
    torch.testing.assert_close(losses['loss_kpt'], expected)
    assert [key for key in losses if 'loss' in key] == ['loss_kpt'], 'mmengine adds these up'


def test_loss_of_each_data_set_alike():
    options = dict(loss_weighting='datasets')
    head, feats = build(**options).train(), features(6)
    losses = head.loss(feats, samples_of(MIXED))
    means = [losses[f'{name}/kpt'] for name in KEYPOINTS]
    torch.testing.assert_close(losses['loss_kpt'].detach(), sum(means) / 3)
    # an absent one leaves its share empty
    losses = head.loss(features(4), samples_of(['coco', 'coco', 'coco', 'aic']))
    expected = (losses['coco/kpt'] + losses['aic/kpt']) / 3
    torch.testing.assert_close(losses['loss_kpt'].detach(), expected)


def test_loss_of_each_data_set_alike_outside_of_training():
    """There they may come one by one, and are averaged later."""
    head = build(loss_weighting='datasets').eval()
    losses = head.loss(features(2), samples_of(['coco', 'coco']))
    torch.testing.assert_close(losses['loss_kpt'].detach(), losses['coco/kpt'])


def test_a_further_data_set_is_read_like_that_of_its_head():
    own = dict(datasets=dict(x=dict(head='aic'), y=dict(head='aic', decoder=UDP)))
    routes = build(**own).routes
    assert routes['x'].decoder is routes['aic'].decoder
    assert routes['x'].test_cfg == dict(shift_heatmap=True)
    assert routes['y'].test_cfg == {}, 'with a codec of its own nothing is taken over'


def test_weight_of_a_head_is_its_loss_modules():
    weighted = copy.deepcopy(HEADS)
    weighted['aic']['loss'] = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=2.0)
    plain, twice = (
        build(heads).loss(features(6), samples_of(MIXED)) for heads in (HEADS, weighted)
    )
    torch.testing.assert_close(twice['aic/kpt'], 2 * plain['aic/kpt'])
    torch.testing.assert_close(twice['loss_kpt'] - plain['loss_kpt'], plain['aic/kpt'] / 6)


def statistics(head: MultiDatasetHead, names: list[str]) -> list[torch.Tensor]:
    """Running means of COCO's head after one batch, in which COCO's samples are the same."""
    head = copy.deepcopy(head).train()
    feats = features(6)[0]
    feats[rows(names, 'coco')] = features(3, seed=1)[0]
    head.loss((feats,), samples_of(names))
    return [tensor for name, tensor in head.heads['coco'].named_buffers() if 'running_mean' in name]


def test_batch_norm_sees_its_own_data_set_only():
    own, mixed = build(), build(batch_norm='mixed')
    others = ['coco', 'coco', 'aic', 'coco', 'aic', 'aic']
    alone = copy.deepcopy(own).train()
    alone.loss(features(3, seed=1), samples_of(['coco'] * 3))
    expected = [t for n, t in alone.heads['coco'].named_buffers() if 'running_mean' in n]
    assert len(expected) == 2
    for names in (MIXED, others):
        for found, wanted in zip(statistics(own, names), expected):
            assert torch.equal(found, wanted)
        for found, wanted in zip(statistics(mixed, names), expected):
            assert (found - wanted).abs().max() > 1e-4, 'as in the official code'


def test_mixed_batch_norm_still_learns_from_own_targets_only():
    """The official way: every head over the whole batch, errors of others' samples masked."""
    head, feats, samples = build(batch_norm='mixed').train(), features(6), samples_of(MIXED)
    losses = copy.deepcopy(head).loss(feats, samples)
    expected = 0
    for name in KEYPOINTS:
        own = rows(MIXED, name)
        heatmaps = head.heads[name](feats)
        targets, weights = head.heads[name].targets([samples[i] for i in own], heatmaps.device)
        masked = torch.zeros_like(heatmaps)
        masked[own] = (heatmaps[own] - targets) ** 2 * weights[..., None, None]
        expected = expected + masked.mean()
    torch.testing.assert_close(losses['loss_kpt'], expected)


@pytest.mark.parametrize('batch_norm', ['own', 'mixed'])
def test_absent_heads_have_zero_gradients_and_decay(batch_norm):
    head = build(batch_norm=batch_norm).train()
    before = {name: tensor.clone() for name, tensor in head.named_parameters()}
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.5)
    head.loss(features(3), samples_of(['coco'] * 3))['loss_kpt'].backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    for name in ('aic', 'mpii'):
        assert not any(p.grad.any() for p in head.heads[name].parameters())
    assert any(p.grad.any() for p in head.heads['coco'].parameters())
    optimizer.step()
    for name, tensor in head.named_parameters():
        if not name.startswith('heads.coco'):
            torch.testing.assert_close(tensor.detach(), before[name] * (1 - 0.1 * 0.5))
    # with momentum from an earlier step they move on
    head.loss(features(6), samples_of(MIXED))['loss_kpt'].backward()
    optimizer.step()
    optimizer.zero_grad()
    before = head.heads['aic'].final_layer.weight.detach().clone()
    head.loss(features(3), samples_of(['coco'] * 3))['loss_kpt'].backward()
    optimizer.step()
    moved = head.heads['aic'].final_layer.weight.detach() - before * (1 - 0.1 * 0.5)
    assert moved.abs().min() > 1e-4


def test_absent_synchronized_heads_take_part_where_others_have_samples(monkeypatch):
    """Processes with samples wait in SyncBatchNorm for those without."""
    head = build(heads=dict(coco=HEADS['coco'], aic=dict(HEADS['coco'], metainfo=None)))
    head = torch.nn.SyncBatchNorm.convert_sync_batchnorm(head).train()
    seen = []
    for name, each in head.heads.items():
        monkeypatch.setattr(
            each,
            'forward',
            lambda feats, name=name: (seen.append((name, len(feats[0]))), feats[0].sum() * 0)[1],
        )
        monkeypatch.setattr(each, 'loss', lambda *_, **__: dict(loss_kpt=torch.ones(())))

    def elsewhere(counts):
        counts += torch.tensor([2.0, 0.0])  # in alphabetical order

    monkeypatch.setattr(multi_dataset_head, 'all_reduce', elsewhere)
    monkeypatch.setattr(multi_dataset_head, 'get_world_size', lambda: 2)
    losses = head.loss(features(2), samples_of(['coco', 'coco']))
    assert seen == [('aic', 0)]
    # this process has two of four samples, and gradients are averaged over two processes
    assert losses['loss_kpt'].item() == pytest.approx(1.0)
    monkeypatch.setattr(multi_dataset_head, 'all_reduce', lambda counts: None)
    head.loss(features(2), samples_of(['coco', 'coco']))
    assert seen == [('aic', 0)], 'nobody has any'


@pytest.mark.parametrize('flip_test', [True, False])
def test_prediction_comes_back_in_order(flip_test):
    head = build(datasets=OCHUMAN).eval()
    names = ['mpii', 'coco', 'aic', 'ochuman', 'coco', 'aic']
    samples = samples_of(names)
    options = dict(flip_test=flip_test, output_heatmaps=True)
    feats = [features(6), features(6, seed=1)] if flip_test else features(6)
    predictions, fields = head.predict(feats, samples, options)
    for index, name in enumerate(names):
        one = [(each[0][index : index + 1],) for each in feats] if flip_test else None
        one = one or (feats[0][index : index + 1],)
        route = head.routes[name]
        shift = name in ('aic', 'ochuman')
        (expected,), (heatmaps,) = head.heads[route.head].predict(
            one, [samples[index]], dict(options, shift_heatmap=shift)
        )
        torch.testing.assert_close(fields[index].heatmaps, heatmaps.heatmaps)
        keypoints = expected.keypoints
        if name == 'ochuman':  # its own evaluation codec
            keypoints = route.decoder.batch_decode(heatmaps.heatmaps[None])[0][0]
            assert np.abs(keypoints - expected.keypoints).max() > 1e-3
        # of random heatmaps, some nearly flat
        np.testing.assert_allclose(predictions[index].keypoints, keypoints, atol=0.2)
        assert predictions[index].keypoints.shape == (1, KEYPOINTS.get(name, 17), 2)
    assert len(head.predict(feats, samples, dict(flip_test=flip_test))) == 6


def test_a_chosen_head_reads_every_sample():
    head = build().eval()
    samples, feats = samples_of(MIXED), [features(6), features(6, seed=1)]
    predictions = head.predict(feats, samples, dict(flip_test=True, dataset='aic'))
    as_aic = samples_of(['aic'] * 6)
    for sample in as_aic:
        sample.set_metainfo(dict(flip_indices=head.metainfo_of('aic')['flip_indices']))
    expected = head.predict(feats, as_aic, dict(flip_test=True))
    for sample, found, wanted in zip(samples, predictions, expected):
        assert sample.metainfo['dataset_name'] == 'aic'
        assert sample.metainfo['flip_indices'] == head.metainfo_of('aic')['flip_indices']
        np.testing.assert_array_equal(found.keypoints, wanted.keypoints)


def test_each_head_starts_as_a_head_alone():
    """The official TopdownHeatmapSimpleHead.init_weights: std 0.001, biases 0."""
    head = build(dict(coco=HEADS['coco'], aic=HEADS['aic']))
    head.init_weights()
    for name in ('coco', 'aic'):
        final = head.heads[name].final_layer
        assert final.weight.std().item() == pytest.approx(1e-3, rel=0.3)
        assert not final.bias.any()


def test_heatmaps_of_one_or_all_heads():
    head = build(datasets=OCHUMAN).eval()
    every = head(features(2))
    assert {name: each.shape[1] for name, each in every.items()} == KEYPOINTS
    assert torch.equal(head(features(2), 'aic'), every['aic'])
    assert torch.equal(head(features(2), 'ochuman'), every['coco'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(order=['coco', 'aic']), r"each of the heads \['coco', 'aic', 'mpii'\] once, got"),
        (dict(heads={}), 'heads must be configs by names of data sets'),
        (dict(loss_weighting='people'), "one of .*'samples', 'datasets'.*, got 'people'"),
        (dict(batch_norm='shared'), "one of .*'own', 'mixed'.*, got 'shared'"),
        (dict(datasets=dict(ochuman=dict(head='crowdpose'))), "'ochuman' must name one of"),
        (dict(datasets=dict(ochuman=dict(head='coco', codec=UDP))), "'ochuman' must name one of"),
        (dict(datasets=dict(aic=dict(head='coco'))), "'aic' has a head of its own"),
        (
            dict(datasets=dict(ochuman=dict(head='coco', test_cfg=dict(flip_test=True)))),
            r"'ochuman': its test_cfg may have shift_heatmap, got \{'flip_test': True\}",
        ),
        (
            dict(datasets=dict(x=dict(head='coco', decoder=dict(UDP, type='UDPHeatmap')))),
            'must be one of BatchedUDPHeatmap and BatchedMSRAHeatmap, got UDPHeatmap',
        ),
        (
            dict(heads=dict(coco=dict(HEADS['coco'], out_channels=16))),
            "'coco': its meta information has 17 keypoints, head 'coco' has out_channels 16",
        ),
        (
            dict(heads=dict(coco=dict(HEADS['coco'], metainfo='AP10KDataset'))),
            "'coco': its meta information is that of 'ap10k'",
        ),
        (
            dict(heads=dict(coco=dict(HEADS['coco'], metainfo='Coco'))),
            "a registered data set, got 'Coco'",
        ),
        (
            dict(
                heads=dict(
                    coco=HEADS['coco'],
                    aic=dict(HEADS['aic'], decoder=dict(PLAIN, input_size=(96, 128))),
                )
            ),
            r"one input_size, .*'aic': \(96, 128\), 'coco': \(48, 64\)",
        ),
    ],
)
def test_bad_configs_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


@pytest.mark.parametrize('heads', [{'a.b': dict(CLASSIC)}, ['coco'], {1: {}}, None])
def test_heads_that_are_no_configs_by_names(heads):
    with pytest.raises(ValueError, match='heads must be configs by names of data sets'):
        MultiDatasetHead(heads)


def test_order_survives_a_written_config(tmp_path):
    """mmengine sorts it; the optimizer's state goes by the order of the parameters."""
    names = list(HEADS)[::-1]
    for order in (None, names):
        config = dict(heads=HEADS, order=order)
        Config(config).dump(tmp_path / 'config.py')
        written = Config.fromfile(tmp_path / 'config.py')
        assert list(written.heads) == sorted(HEADS)
        for each in (config, written):
            head = build(each['heads'], order=each['order'])
            assert list(head.heads) == (order or sorted(HEADS))
            assert next(iter(head.routes)) == (order or sorted(HEADS))[0]


def test_samples_without_head_are_named():
    head = build()
    message = r"no head for dataset_name 'ap10k'; there are heads for \['aic', 'coco', 'mpii'\]"
    with pytest.raises(ValueError, match=message):
        head.loss(features(2), samples_of(['coco', 'ap10k']))
    with pytest.raises(ValueError, match=message):
        head.predict(features(2), samples_of(['coco', 'ap10k']))
    with pytest.raises(ValueError, match="'mpii' its head needs the meta information"):
        head.predict(features(1), samples_of(['coco']), dict(dataset='mpii'))
    with pytest.raises(ValueError, match='a sample has no dataset_name'):
        head.loss(features(1), [PoseDataSample()])
