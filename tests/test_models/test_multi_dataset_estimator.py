"""One routing key, the samples' dataset_name, through experts, heads and flip test."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import Pose2DInferencer, inference_topdown, init_model
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from vitpose_mm.models.heads.multi_dataset_head import parse_metainfo

UDP = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
PLAIN = dict(UDP, type='BatchedMSRAHeatmap')
KEYPOINTS = dict(coco=17, aic=14, mpii=16, ap10k=17, apt36k=17, coco_wholebody=133)
CLASSES = dict(
    coco='CocoDataset',
    aic='AicDataset',
    mpii='MpiiDataset',
    ap10k='AP10KDataset',
    apt36k='APT36KDataset',
    coco_wholebody='CocoWholeBodyDataset',
)
CODECS = {name: UDP if name in ('coco', 'mpii') else PLAIN for name in KEYPOINTS}


def model_config(experts=tuple(KEYPOINTS), **options) -> dict:
    heads = {
        name: dict(out_channels=count, decoder=CODECS[name], metainfo=CLASSES[name])
        for name, count in KEYPOINTS.items()
    }
    return dict(
        type='TopdownViTPose',
        data_preprocessor=dict(type='StackedPoseDataPreprocessor'),
        backbone=dict(
            type='ViT',
            arch=dict(embed_dim=32, depth=3, num_heads=4),
            img_size=(64, 48),
            experts=experts,
        ),
        head=dict(
            type='MultiDatasetHead',
            shared=dict(
                type='TopdownHeatmapSimpleHead', in_channels=32, deconv_out_channels=(16, 16)
            ),
            heads=heads,
            order=list(KEYPOINTS),
            datasets=dict(ochuman=dict(head='coco', metainfo='OCHumanDataset')),
        ),
        **options,
    )


def samples_of(names: list[str]) -> list[PoseDataSample]:
    samples = []
    for name in names:
        count = KEYPOINTS.get(name, 17)
        sample = PoseDataSample(
            metainfo=dict(
                dataset_name=name,
                flip_indices=list(range(count)),
                input_center=np.array([24.0, 32.0]),
                input_scale=np.array([48.0, 64.0]),
                input_size=(48, 64),
            )
        )
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        samples.append(sample)
    return samples


@pytest.fixture
def recorded(reference_dir, load_reference):
    """The official model of six experts and heads, and what it was given."""
    case = load_reference('official_moe')
    cfg = Config(dict(model=model_config(), default_scope='mmpose'))
    model = init_model(cfg, str(reference_dir / 'official_moe.pth'), device='cpu')
    names = [list(KEYPOINTS)[index] for index in case['dataset_idx']]
    return model, case, torch.from_numpy(case['inputs']), names


def test_every_head_on_every_sample_routed_by_its_expert(recorded):
    model, case, inputs, names = recorded
    assert sorted(set(names)) == sorted(KEYPOINTS)
    with torch.no_grad():
        ids = model.expert_ids(samples_of(names))
        assert ids.tolist() == case['dataset_idx'].tolist()
        features = model.extract_feat(inputs, ids)
        np.testing.assert_allclose(features[0], case['features'], atol=1e-5)
        heatmaps = model.head(features)
    assert list(heatmaps) == list(KEYPOINTS)
    for index, name in enumerate(KEYPOINTS):
        np.testing.assert_allclose(heatmaps[name], case[f'heatmaps_{index}'], atol=1e-5)


def test_prediction_of_a_mixed_batch(recorded):
    """Each sample by its own expert and head, in the batch's order."""
    model, case, inputs, names = recorded
    model.test_cfg.update(output_heatmaps=True, flip_test=False)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.no_grad():
        results = model(inputs[order], samples_of([names[i] for i in order]), mode='predict')
    for index, sample in zip(order, results):
        expected = case[f'heatmaps_{case["dataset_idx"][index]}'][index]
        np.testing.assert_allclose(sample.pred_fields.heatmaps, expected, atol=1e-5)
        assert sample.pred_instances.keypoints.shape == (1, KEYPOINTS[names[index]], 2)


def test_merged_equals_routed(recorded, reference_dir):
    _, case, inputs, names = recorded
    for index, (name, count) in enumerate(KEYPOINTS.items()):
        config = model_config(experts=(), pretrained_dataset=name)
        config['head'] = dict(config['head']['shared'], out_channels=count, decoder=CODECS[name])
        cfg = Config(dict(model=config, default_scope='mmpose'))
        merged = init_model(cfg, str(reference_dir / 'official_moe.pth'), device='cpu')
        assert not any('experts' in key for key in merged.state_dict())
        own = [i for i, each in enumerate(names) if each == name]
        with torch.no_grad():
            heatmaps = merged(inputs[own], None)
        np.testing.assert_allclose(heatmaps, case[f'heatmaps_{index}'][own], atol=1e-5)


def test_flip_test_goes_through_the_same_expert(recorded):
    model, _, inputs, names = recorded
    model.test_cfg.update(flip_test=True, output_heatmaps=True)
    with torch.no_grad():
        results = model(inputs, samples_of(names), mode='predict')
        for index, name in enumerate(names):
            image = inputs[index : index + 1]
            ids = torch.tensor([list(KEYPOINTS).index(name)])
            straight, flipped = (
                model.head(model.backbone(each, ids), name) for each in (image, image.flip(-1))
            )
            expected = (straight + flipped.flip(-1)) / 2
            found = results[index].pred_fields.heatmaps
            torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=0)


def test_all_read_as_one_data_set(recorded):
    """By test_cfg.dataset, by samples that are of it, without samples, and by model.metainfo."""
    model, _, inputs, names = recorded
    model.test_cfg.update(output_heatmaps=True, flip_test=False)
    with torch.no_grad():
        expected = model(inputs, samples_of(['ap10k'] * len(names)), mode='predict')
        model.select_dataset('ap10k')
        results = model(inputs, samples_of(names), mode='predict')
        without_samples = model(inputs, None)
    assert model.dataset_meta['dataset_name'] == 'ap10k'
    for index, (found, wanted) in enumerate(zip(results, expected)):
        assert found.metainfo['dataset_name'] == 'ap10k'
        heatmaps = wanted.pred_fields.heatmaps
        torch.testing.assert_close(found.pred_fields.heatmaps, heatmaps, atol=1e-6, rtol=0)
        torch.testing.assert_close(without_samples[index], heatmaps, atol=1e-6, rtol=0)
    model.select_dataset(None)
    assert model.dataset_meta['dataset_name'] == 'coco'
    model.metainfo = model.head.metainfo_of('ap10k')  # as by model.metainfo in the config
    with torch.no_grad():
        results = model(inputs, samples_of(names), mode='predict')
    for found, wanted in zip(results, expected):
        heatmaps = wanted.pred_fields.heatmaps
        torch.testing.assert_close(found.pred_fields.heatmaps, heatmaps, atol=1e-6, rtol=0)


def test_a_further_data_set_goes_through_the_experts_of_its_head(recorded):
    model, _, _, _ = recorded
    assert model.expert_ids(samples_of(['ochuman', 'mpii', 'coco'])).tolist() == [0, 2, 0]


@pytest.mark.parametrize('name', ['coco', 'ap10k'])
def test_pictures_are_cropped_as_the_chosen_head_needs(tmp_path, name):
    """mmpose's inference_topdown: UDP's crop and plain ones differ by half a pixel."""
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='GetCheckedBBoxCenterScale'),
        dict(type='TopdownAffineByCodec', codecs=CODECS),
        dict(type='PackPersonInputs'),
    ]
    cfg = Config(
        dict(
            default_scope='mmpose',
            model=model_config(test_cfg=dict(flip_test=True, dataset=name)),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    model = init_model(cfg, device='cpu')
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args))
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    box = np.array([[10.0, 10.0, 60.0, 80.0]])
    (sample,) = inference_topdown(model, picture, box)
    assert sample.metainfo['dataset_name'] == name
    assert [args[1].item() for args in seen] == [list(KEYPOINTS).index(name)] * 2
    single = [
        dict(step, use_udp=name == 'coco', input_size=(48, 64), type='TopdownAffine')
        if step['type'] == 'TopdownAffineByCodec'
        else step
        for step in pipeline
    ]
    cfg.test_dataloader.dataset.pipeline = [
        {key: value for key, value in step.items() if key != 'codecs'} for step in single
    ]
    inference_topdown(model, picture, box)
    assert torch.equal(seen[0][0], seen[2][0])
    assert seen[0][0].std() > 10


def test_inferencer_reads_as_the_first_or_the_chosen_data_set(tmp_path):
    """With a config of several data sets, and weights that say nothing of data."""
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='GetCheckedBBoxCenterScale'),
        dict(type='TopdownAffineByCodec', codecs=CODECS),
        dict(type='PackPersonInputs'),
    ]
    dataset = dict(type='MultiDataset', datasets={}, pipeline=pipeline)
    cfg = Config(
        dict(
            default_scope='mmpose',
            custom_imports=dict(imports=['vitpose_mm'], allow_failed_imports=False),
            model=model_config(test_cfg=dict(flip_test=True)),
            train_dataloader=dict(dataset=dataset),
            test_dataloader=dict(dataset=dataset),
            visualizer=dict(type='DatasetPoseVisualizer'),
            dataset_type='CocoDataset',
            data_mode='topdown',
        )
    )
    cfg.dump(tmp_path / 'config.py')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    inferencer = Pose2DInferencer(
        str(tmp_path / 'config.py'),
        str(tmp_path / 'weights.pth'),
        device='cpu',
        det_model='whole_image',
    )
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    for name, count in (('coco', 17), ('coco_wholebody', 133), ('aic', 14)):
        inferencer.model.select_dataset(None if name == 'coco' else name)
        folder = tmp_path / name
        (result,) = inferencer(picture, return_vis=True, vis_out_dir=str(folder))
        assert result['visualization'][0].shape == (90, 80, 3)
        assert len(list(folder.iterdir())) == 1
        assert len(result['predictions'][0][0]['keypoints']) == count
        assert inferencer.model.dataset_meta['dataset_name'] == name


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(experts=('coco', 'aic')),
            r"experts are \['coco', 'aic'\], but the data sets .* each expert needs a head",
        ),
        (dict(experts=(*KEYPOINTS, 'crowdpose')), 'each expert needs a head'),
        (
            dict(test_cfg=dict(dataset='crowdpose')),
            "no head for dataset_name 'crowdpose'; there are heads for",
        ),
    ],
)
def test_bad_configs_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(model_config(**changes))


def test_what_cannot_be_routed_is_named():
    model = MODELS.build(model_config()).eval()
    with pytest.raises(ValueError, match=r"no expert for dataset_name 'crowdpose'; there are"):
        model(torch.zeros(1, 3, 64, 48), samples_of(['crowdpose']), mode='predict')
    with pytest.raises(ValueError, match=r'whose to use: set model.test_cfg.dataset to one of'):
        model(torch.zeros(1, 3, 64, 48), None)
    config = model_config(experts=())
    config['head'] = dict(config['head']['shared'], out_channels=17)
    with pytest.raises(ValueError, match="a single head reads all pictures alike, got 'coco'"):
        MODELS.build(config).select_dataset('coco')


def test_experts_without_heads_for_each():
    """One head behind experts: the samples' names are those of the experts."""
    config = model_config(experts=('coco', 'aic'))
    config['head'] = dict(config['head']['shared'], out_channels=17)
    model = MODELS.build(config)
    assert model.expert_ids(samples_of(['aic', 'coco'])).tolist() == [1, 0]


def test_models_of_one_config_choose_each_for_itself():
    cfg = Config(dict(model=model_config(test_cfg=dict(flip_test=True)), default_scope='mmpose'))
    person, animal = (init_model(cfg, device='cpu') for _ in range(2))
    animal.select_dataset('ap10k')
    assert person.test_cfg.get('dataset') is None
    assert 'dataset' not in cfg.model.test_cfg


def test_the_first_of_order_reads_where_only_the_checkpoint_knows_its_keypoints():
    """The checkpoint's meta information begins with another data set, as these are sorted."""
    config = model_config()
    for head in config['head']['heads'].values():
        del head['metainfo']
    model = MODELS.build(config)
    sources = {name: parse_metainfo(CLASSES[name]) for name in sorted(CLASSES)}
    model.dataset_meta = dict(sources['aic'], sources=sources)
    assert model.dataset_meta['dataset_name'] == 'coco'
    assert set(model.dataset_meta['sources']) >= set(sources)


def test_a_single_head_is_of_its_own_data_set_also_after_joint_training(tmp_path):
    """The checkpoint's meta information begins with another data set."""
    sources = {name: parse_metainfo(CLASSES[name]) for name in ('aic', 'ap10k', 'coco')}
    joint = MODELS.build(model_config())
    checkpoint = dict(
        state_dict=joint.state_dict(),
        meta=dict(dataset_meta=dict(sources['aic'], sources=sources)),
    )
    torch.save(checkpoint, tmp_path / 'joint.pth')
    config = model_config(experts=(), pretrained_dataset='ap10k', test_cfg=dict(flip_test=True))
    config['head'] = dict(config['head']['shared'], out_channels=17, decoder=PLAIN)
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='GetCheckedBBoxCenterScale'),
        dict(type='TopdownAffineByCodec', codecs=CODECS),
        dict(type='PackPersonInputs'),
    ]
    test_dataloader = dict(dataset=dict(pipeline=pipeline))
    cfg = Config(dict(model=config, default_scope='mmpose', test_dataloader=test_dataloader))
    model = init_model(cfg, str(tmp_path / 'joint.pth'), device='cpu')
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    (sample,) = inference_topdown(model, picture)
    assert sample.metainfo['dataset_name'] == 'ap10k'
    assert sample.metainfo['flip_indices'] == sources['ap10k']['flip_indices']
