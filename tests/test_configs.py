"""Every config loads and builds, and does one forward in its real shape (the largest: meta)."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    KEYPOINT_CODECS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
)

from vitpose_mm.analysis import complexity_report
from vitpose_mm.codecs import is_udp
from vitpose_mm.models.heads.multi_dataset_head import parse_metainfo

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ALL = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    if path.parent.name != '_base_'  # parts that all others choose from
)
POSE = [name for name in ALL if 'vitpose' in name or 'resnet' in name]
PRETRAINING = [name for name in ALL if 'mae_' in name]
DETECTION = [name for name in ALL if name not in POSE + PRETRAINING]
LARGE = (
    *('large', 'huge', 'giant', 'plus_base', 'base_classic-stride8', '384x384', '576x432'),
    *('base_minimal', 'resnet152'),
)
DECODERS = {
    'classic': 'TopdownHeatmapSimpleHead',
    'simple': 'TopdownHeatmapBilinearHead',
    'minimal': 'TopdownHeatmapPixelShuffleHead',
}

# Table 1 of the paper: layer decay, drop path; channels; parameters with the classic head (M)
RECIPE = {
    'small': (0.8, 0.1, 384, 24.3),
    'base': (0.75, 0.3, 768, 90.0),
    'large': (0.8, 0.5, 1024, 308.5),
    'huge': (0.8, 0.55, 1280, 637.2),
}


@pytest.mark.parametrize('name', POSE)
def test_pose_config_builds_and_runs(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    is_large = any(part in name for part in LARGE)
    device = 'meta' if is_large else 'cpu'
    with torch.device(device):
        model = MODELS.build(cfg.model).eval()
        width, height = cfg.codec.input_size
        inputs = torch.zeros(1, 3, height, width)
    rows, columns = cfg.codec.heatmap_size[::-1]
    heads = cfg.model.head.get('heads', {None: cfg.model.head})
    for head, part in heads.items():
        if head is not None:
            model.select_dataset(head)
        with torch.no_grad():
            heatmaps = model(inputs, None)
        assert heatmaps.shape == (1, part.out_channels, rows, columns)
    if cfg.model.backbone.type != 'ResNet':
        assert (height, width) == tuple(cfg.model.backbone.img_size)
    assert f'{height}x{width}' in name
    check_name(name, cfg)

    # what the runner builds
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        sources = loader.dataset.get('datasets', {None: loader.dataset})
        for source in sources.values():
            assert issubclass(DATASETS.get(source.type), BaseDataset)
            pipeline = source.get('pipeline', loader.dataset.pipeline)
            transforms = [TRANSFORMS.build(dict(transform)) for transform in pipeline]
            check_crop(cfg, model, source, transforms, (width, height))
            assert (pipeline[0].type == 'SeedAugmentation') == (loader is cfg.train_dataloader)
    assert DATA_SAMPLERS.get(cfg.train_dataloader.sampler.type)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        by_dataset = evaluator.get('metrics', {None: evaluator})
        for metric in by_dataset.values():
            for each in metric if isinstance(metric, list) else [metric]:
                assert METRICS.get(each.type)
    for hook in [*cfg.custom_hooks, cfg.default_hooks.checkpoint]:
        HOOKS.build(hook)
    KEYPOINT_CODECS.build(cfg.codec)
    assert OPTIM_WRAPPERS.get(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    assert f'{cfg.train_cfg.max_epochs}e' in name
    assert f'xb{cfg.train_dataloader.batch_size}-' in name


def check_name(name, cfg) -> None:
    """Names tell arch and decoder, where docs/write_model_zoo.py reads them."""
    backbone, head = cfg.model.backbone, cfg.model.head
    arch = f'resnet{backbone.depth}' if backbone.type == 'ResNet' else backbone.arch
    if isinstance(arch, str):
        (decoder,) = [d for d, kind in DECODERS.items() if kind == head.get('shared', head).type]
        assert f'{arch}_{decoder}' in name


def check_crop(cfg, model, source, transforms, input_wh) -> None:
    """A data set's crop is the one that the codec which will read it needs."""
    name = parse_metainfo(source.get('metainfo') or source.type)['dataset_name']
    (affine,) = [each for each in transforms if isinstance(each, TopdownAffine)]
    assert tuple(affine.input_size) == input_wh
    routes = getattr(model.head, 'routes', None)
    decoder = model.head.decoder if routes is None else routes[name].decoder
    use_udp = affine.uses_udp(name) if hasattr(affine, 'uses_udp') else affine.use_udp
    assert use_udp == is_udp(type(decoder))
    shifted = model.test_cfg if routes is None else {**model.test_cfg, **routes[name].test_cfg}
    assert shifted['shift_heatmap'] == (not use_udp), 'as in the official code'


ARCHS = ['small', 'base', 'large', 'huge']
JOINT = {
    'coco-aic': ['coco', 'aic'],
    'coco-aic-mpii': ['coco', 'aic', 'mpii'],
    'coco-aic-mpii-crowdpose': ['coco', 'aic', 'mpii', 'crowdpose'],
    'six-datasets': ['coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody'],
}


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('data', JOINT)
def test_recipe_of_joint_training(arch, data):
    """Table 1 of the paper for several data sets; ViTPose++ has experts as well."""
    plus = 'plus_' if data == 'six-datasets' else ''
    name = f'multi_dataset/vitpose_{plus}{arch}_classic_8xb128-210e_{data}-256x192.py'
    cfg = Config.fromfile(CONFIGS / name)
    alone = Config.fromfile(CONFIGS / f'body/vitpose_{arch}_classic_8xb64-210e_coco-256x192.py')
    names, head = JOINT[data], cfg.model.head
    assert head.order == list(head.heads) == list(cfg.train_dataloader.dataset.datasets) == names
    assert head.datasets == dict(ochuman=dict(head='coco', metainfo='OCHumanDataset'))
    evaluated = {*names, 'ochuman'}
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert set(loader.dataset.datasets) == evaluated
        assert all(each.test_mode for each in loader.dataset.datasets.values())
    assert set(cfg.val_evaluator.metrics) == set(cfg.test_evaluator.metrics) == evaluated
    assert cfg.model.backbone.get('experts', []) == (names if plus else [])
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper == dict(
        alone.optim_wrapper, optimizer=dict(alone.optim_wrapper.optimizer, lr=1e-3)
    )
    for key in ('arch', 'drop_path_rate'):
        assert cfg.model.backbone[key] == alone.model.backbone[key]
    assert head.shared == dict(
        type='TopdownHeatmapSimpleHead', in_channels=alone.model.head.in_channels
    )
    assert cfg.param_scheduler == alone.param_scheduler


@pytest.mark.parametrize('name', POSE)
def test_inferencers_choose_a_detector_of_the_right_kind(name):
    """mmpose goes by the module of ``dataset_type``."""
    folder = name.split('/')[0]
    kind = DATASETS.get(Config.fromfile(CONFIGS / name).dataset_type).__module__.split('.')[3]
    assert kind == (folder if folder in ('animal', 'hand', 'wholebody') else 'body')


SINGLE = {
    'body/*_aic': ('aic', 'AicDataset', 14, 'aic/AP'),
    'body/*_mpii': ('mpii', 'MpiiDataset', 16, 'mpii/PCK'),
    'body/*_crowdpose': ('crowdpose', 'CrowdPoseDataset', 14, 'crowdpose/AP'),
    'wholebody/*_coco-wholebody': (
        'coco_wholebody',
        'CocoWholeBodyDataset',
        133,
        'coco_wholebody/AP',
    ),
    'animal/*_ap10k': ('ap10k', 'AP10KDataset', 17, 'ap10k/AP'),
    'animal/*_apt36k': ('apt36k', 'APT36KDataset', 17, 'apt36k/AP'),
    'hand/*_interhand2d': ('interhand2d', 'InterHand2DSingleDataset', 21, 'interhand2d/AUC'),
}


@pytest.mark.parametrize('pattern', SINGLE)
def test_recipe_of_a_single_data_set(pattern):
    """All of one data set, and nothing left over from COCO, from which it inherits."""
    name, dataset_type, num_keypoints, save_best = SINGLE[pattern]
    (path,) = CONFIGS.glob(f'{pattern}-256x192.py')
    cfg = Config.fromfile(path)
    assert cfg.model.pretrained_dataset == (None if name == 'interhand2d' else name)
    assert cfg.model.head.out_channels == num_keypoints
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.type == dataset_type
    parts = {
        key: {k: v for k, v in cfg[f'{key}_dataloader'].dataset.items() if k != 'pipeline'}
        for key in ('train', 'val', 'test')
    }
    for key, declared in (('train', cfg.train_datasets), ('val', cfg.val_datasets)):
        assert parts[key] == {k: v for k, v in declared[name].items() if k != 'pipeline'}
    assert (parts['test'] == parts['val']) == (name not in ('ap10k', 'interhand2d'))
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator == dict(type='DatasetEvaluator', metrics={name: cfg.metrics[name]})
    assert cfg.default_hooks.checkpoint.save_best == save_best


def test_splits_of_the_six_data_sets():
    name = 'multi_dataset/vitpose_plus_base_classic_8xb128-210e_six-datasets-256x192.py'
    cfg = Config.fromfile(CONFIGS / name)
    val, test = (loader.dataset.datasets for loader in (cfg.val_dataloader, cfg.test_dataloader))
    differing = {name for name in val if val[name] != test[name]}
    assert differing == {'ap10k', 'ochuman'}
    assert test.ap10k.ann_file == 'annotations/ap10k-test-split1.json'
    assert test.ochuman.ann_file == 'annotations/ochuman_coco_format_test_range_0.00_1.00.json'
    alone = Config.fromfile(CONFIGS / 'body/vitpose_base_classic_8xb64-210e_ochuman-256x192.py')
    for loader, expected in ((alone.val_dataloader, val), (alone.test_dataloader, test)):
        own = {key: value for key, value in loader.dataset.items() if key != 'pipeline'}
        assert own == expected.ochuman


@pytest.mark.parametrize('variant', ['', '-udp'])
def test_training_pipelines_of_one_data_set_alone(variant):
    """As in the official configs: num_joints_half_body is 6 for CrowdPose, MPII has none."""
    name = f'multi_dataset/vitpose_plus_base_classic_8xb128-210e_six-datasets{variant}-256x192.py'
    cfg = Config.fromfile(CONFIGS / name)
    own = {
        name: {step.type: step for step in source.pipeline}
        for name, source in cfg.train_dataloader.dataset.datasets.items()
        if 'pipeline' in source
    }
    assert list(own) == ['mpii']
    assert 'ZeroBasedKeypoints' in own['mpii'] and 'RandomHalfBody' not in own['mpii']
    codec = own['mpii']['TopdownAffineByCodec'].codecs.ap10k.type
    assert codec == ('BatchedUDPHeatmap' if variant else 'BatchedMSRAHeatmap')
    crowdpose = {step.type: step for step in cfg.train_datasets.crowdpose.pipeline}
    assert crowdpose['RandomHalfBody'].min_total_keypoints == 7


@pytest.mark.parametrize('arch', RECIPE)
@pytest.mark.parametrize('decoder', DECODERS)
def test_recipe_of_the_paper(arch, decoder):
    from vitpose_mm.engine import layer_scales

    cfg = Config.fromfile(CONFIGS / f'body/vitpose_{arch}_{decoder}_8xb64-210e_coco-256x192.py')
    assert cfg.model.head.type == DECODERS[decoder]
    layer_decay, drop_path, channels, millions = RECIPE[arch]
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    if decoder == 'classic':
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.01)
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert model.backbone.blocks[-1].drop_path.drop_prob == pytest.approx(drop_path)
    assert model.head.in_channels == channels
    assert cfg.optim_wrapper.paramwise_cfg == dict(layer_decay_rate=layer_decay)
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1
    )
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0, norm_type=2)
    assert cfg.train_cfg.max_epochs == 210
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, warm_up.start_factor, warm_up.by_epoch) == (500, 0.001, False)
    assert (steps.milestones, steps.gamma) == ([170, 200], 0.1)
    assert cfg.auto_scale_lr.base_batch_size == 512
    scales = layer_scales(model, layer_decay)
    depth = len(model.backbone.blocks)
    assert scales[model.backbone.pos_embed] == pytest.approx(layer_decay ** (depth + 1))


PLAIN_BASE = 'body/vitpose_base_classic_8xb64-210e_coco-256x192.py'


@pytest.mark.parametrize('arch', RECIPE)
@pytest.mark.parametrize('decoder', ['simple', 'minimal'])
def test_decoders_differ_in_nothing_but_their_type(arch, decoder):
    classic, other = (
        Config.fromfile(CONFIGS / f'body/vitpose_{arch}_{name}_8xb64-210e_coco-256x192.py')
        for name in ('classic', decoder)
    )
    other.model.head.type = classic.model.head.type
    assert other.to_dict() == classic.to_dict()


@pytest.mark.parametrize('depth, batch_size', [(50, 64), (152, 32)])
@pytest.mark.parametrize('decoder', ['classic', 'simple'])
def test_contrast_of_table_2(depth, batch_size, decoder):
    """mmpose's ResNet with mmpose's recipe for it, and the decoders from 1/32 of the input."""
    recipe = f'8xb{batch_size}-210e_coco-256x192.py'
    cfg = Config.fromfile(CONFIGS / f'body/resnet{depth}_{decoder}_{recipe}')
    theirs = get_config(f'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res{depth}_{recipe}')
    assert cfg.optim_wrapper == theirs.optim_wrapper == dict(optimizer=dict(type='Adam', lr=5e-4))
    for key in ('param_scheduler', 'train_cfg', 'auto_scale_lr'):
        assert cfg[key] == theirs[key], key
    assert cfg.train_dataloader.batch_size == theirs.train_dataloader.batch_size == batch_size
    assert cfg.codec == dict(theirs.codec, type='BatchedMSRAHeatmap')
    assert cfg.model.head.decoder == cfg.codec
    for key in ('backbone', 'test_cfg'):
        assert cfg.model[key] == theirs.model[key], key
    assert cfg.model.head.type == DECODERS[decoder]
    with torch.device('meta'):
        head, their_head = (MODELS.build(each.model).head for each in (cfg, theirs))
    shapes, their_shapes = (
        {name: weight.shape for name, weight in each.state_dict().items()}
        for each in (head, their_head)
    )
    if decoder == 'classic':
        assert shapes == their_shapes, 'checkpoints of mmpose fit'
    else:
        assert head.upsample == 8
        assert shapes == {'final_layer.weight': (17, 2048, 3, 3), 'final_layer.bias': (17,)}
    # the data of ViTPose, but for the crop of another codec
    plain = Config.fromfile(CONFIGS / PLAIN_BASE)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        ours, wanted = cfg[loader].to_dict(), plain[loader].to_dict()
        wanted['batch_size'] = ours['batch_size']
        for step in wanted['dataset']['pipeline']:
            if step['type'] == 'TopdownAffine':
                step['use_udp'] = False
        assert ours == wanted, loader


@pytest.mark.parametrize(
    'input_hw, sigma, kernel',
    [
        ((224, 224), 2, 11),
        ((256, 256), 2, 11),
        ((384, 288), 3, 17),
        ((384, 384), 3, 17),
        ((576, 432), 4.5, 25),
    ],
)
def test_resolutions_of_table_4(input_hw, sigma, kernel):
    """One codec for targets, crops and decoding, and nothing else but the size is different."""
    height, width = input_hw
    base = Config.fromfile(CONFIGS / PLAIN_BASE)
    cfg = Config.fromfile(CONFIGS / PLAIN_BASE.replace('256x192', f'{height}x{width}'))
    codec = KEYPOINT_CODECS.build(cfg.model.head.decoder)
    assert cfg.codec == cfg.model.head.decoder
    assert tuple(codec.input_size) == (width, height)
    assert tuple(codec.heatmap_size) == (width // 4, height // 4)
    assert (codec.sigma, codec.blur_kernel_size) == (sigma, kernel)
    sizes = dict(input_size=(width, height), heatmap_size=(width // 4, height // 4))
    for part in (cfg, base):
        part.codec.update(sizes, sigma=2, blur_kernel_size=11)
        part.model.head.decoder.update(part.codec)
        part.model.backbone.img_size = input_hw
        for loader in (part.train_dataloader, part.val_dataloader, part.test_dataloader):
            for step in loader.dataset.pipeline:
                if 'input_size' in step:
                    step.input_size = sizes['input_size']
    for key in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[key] == base[key], key


TABLE_5 = {
    '': ('full', None, 76.59),
    '-fp16': ('full', None, 76.59),
    '-window': ('window', (8, 8), 66.31),
    '-shift': ('shift', (8, 8), 66.31),
    '-pool': ('pool', (8, 8), 66.39),
    '-shift-pool': ('shift+pool', (8, 8), 66.39),
    '-vitdet': (('window', 'window', 'full'), (8, 8), 69.94),
    '-shift-pool-16x12': ('shift+pool', (16, 12), 68.46),
}


@pytest.mark.parametrize('row', TABLE_5)
def test_attention_of_table_5(row):
    """With the paper's multiply-adds of the backbone, tables of relative positions excluded."""
    attention, window_hw, giga = TABLE_5[row]
    cfg = Config.fromfile(
        CONFIGS / PLAIN_BASE.replace('base_classic', f'base_classic-stride8{row}')
    )
    assert cfg.model.backbone.ratio == 2
    assert cfg.model.backbone.get('attention', 'full') == attention
    assert cfg.model.backbone.get('window_hw') == window_hw
    assert cfg.optim_wrapper.get('type', 'OptimWrapper') == (
        'AmpOptimWrapper' if row == '-fp16' else 'OptimWrapper'
    )
    with_tables = cfg.model.backbone.get('relative_positions', False)
    assert with_tables == (attention != 'full')
    cfg.model.backbone.relative_positions = False
    macs = complexity_report(cfg)['backbone']['macs']
    assert macs / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize('part', ['attn', 'ffn'])
def test_frozen_parts_of_table_6(part):
    cfg = Config.fromfile(
        CONFIGS / PLAIN_BASE.replace('base_classic', f'base_classic-frozen-{part}')
    )
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model).backbone
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    modules = dict(attn=('norm1', 'attn'), ffn=('norm2', 'mlp'))[part]
    expected = {
        name for name, _ in backbone.named_parameters() if set(name.split('.')) & set(modules)
    }
    if part == 'ffn':  # as the official code has it
        expected |= {'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    assert frozen == expected


def test_recipe_of_the_example_for_own_data(monkeypatch):
    monkeypatch.setenv('DATA_ROOT', '/people')
    name = 'custom/vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py'
    cfg = Config.fromfile(CONFIGS / name)
    assert cfg.train_dataloader.dataset.data_root == '/people/'
    assert cfg.val_dataloader.dataset.data_root == '/people/'
    assert cfg.val_evaluator.ann_file == '/people/person_keypoints_val.json'
    assert cfg.val_dataloader.dataset.bbox_file is None
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (64, 10)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.8
    assert cfg.model.backbone.drop_path_rate == 0.1
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, steps.milestones) == (70, [7, 9])
    assert cfg.model.test_cfg.flip_test


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_config_builds_and_runs(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        height, width = cfg.model.backbone.img_size
        losses = model(torch.zeros(2, 3, height, width), mode='loss')
    assert losses['loss_pixels'].shape == ()
    num_patches = model.backbone.grid_hw[0] * model.backbone.grid_hw[1]
    assert model.num_visible == num_patches // 4
    assert f'-{height}x{width}' in name
    loader = cfg.train_dataloader
    assert DATASETS.get(loader.dataset.type) and DATA_SAMPLERS.get(loader.sampler.type)
    transforms = [TRANSFORMS.build(dict(transform)) for transform in loader.dataset.pipeline]
    (crop,) = [t for t in transforms if type(t).__name__ == 'RandomResizedBoxCrop']
    assert tuple(crop.input_size) == tuple(cfg.input_size) == (width, height)
    for hook in [*cfg.custom_hooks, cfg.default_hooks.checkpoint]:
        HOOKS.build(hook)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin
    assert cosine.begin + cosine.T_max == cfg.train_cfg.max_epochs
    assert f'{cfg.train_cfg.max_epochs}e' in name and f'xb{loader.batch_size}-' in name
    assert cfg.val_cfg is None and cfg.test_cfg is None


@pytest.mark.parametrize('arch', ARCHS)
def test_recipe_of_mae(arch):
    """Table 8 of arXiv 2111.06377; its main_pretrain.py; Table 3 of ViTPose."""
    size = '224x168' if arch == 'huge' else '256x192'
    path = CONFIGS / f'pretrain/mae_{arch}_8xb512-1600e_coco-aic-crops-{size}.py'
    cfg = Config.fromfile(path)
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=1.5e-4 * 4096 / 256, betas=(0.9, 0.95), weight_decay=0.05
    )
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size == 4096
    assert cfg.param_scheduler[0].end == 40
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert (model.mask_ratio, model.norm_pix_loss) == (0.75, True)
    assert (model.decoder.embed.out_features, len(model.decoder.blocks)) == (512, 8)
    assert model.decoder.blocks[0].attn.num_heads == 16
    assert model.backbone.grid_hw == (16, 12), 'that of pose training'
    assert model.backbone.patch_embed.patch_size == (14 if arch == 'huge' else 16)
    assert model.backbone.cls_token is not None
    coco, aic = cfg.train_dataloader.dataset.sources
    assert 'coco' in coco.ann_file and 'aic' in aic.ann_file


def test_data_of_table_3():
    def sources(name: str) -> list:
        path = CONFIGS / f'pretrain/mae_base_8xb512-1600e_{name}-256x192.py'
        return Config.fromfile(path).train_dataloader.dataset.sources

    both = sources('coco-aic-crops')
    assert sources('coco-crops') == both[:1]
    assert sources('coco-aic-images') == [dict(img_dir=each.img_dir) for each in both]


TABLE_8 = {'-token': (True, False), '-heatmap': (False, True), '-token-heatmap': (True, True)}


@pytest.mark.parametrize('row', TABLE_8)
def test_distillation_of_table_8(row):
    """ViTPose-B of Table 1, and what distillation adds; files that one config writes."""
    by_token, by_heatmap = TABLE_8[row]
    folder = CONFIGS / 'distillation'
    cfg = Config.fromfile(
        CONFIGS / PLAIN_BASE.replace('body/', 'distillation/').replace('classic', f'classic{row}')
    )
    plain = Config.fromfile(CONFIGS / PLAIN_BASE)
    teacher = 'vitpose_large_classic_8xb64-210e_coco-256x192'
    (fit_path,) = folder.glob('vitpose_large_classic-fit-token_*.py')
    fit = Config.fromfile(fit_path)
    assert fit.load_from == f'work_dirs/{teacher}/epoch_210.pth'
    assert fit.custom_hooks[-1] == dict(type='TokenDistillationHook', step='fit')
    if by_token:
        hook = cfg.custom_hooks.pop()
        assert hook == dict(
            type='TokenDistillationHook',
            step='transfer',
            tokens=f'work_dirs/{fit_path.stem}/knowledge_tokens.pth',
        )
        with torch.device('meta'):
            tokens = MODELS.build(fit.model).backbone.knowledge_tokens
        assert cfg.model.backbone.pop('num_knowledge_tokens') == tokens.shape[1]
        assert cfg.model.backbone.pop('knowledge_dim') == tokens.shape[2]
    if by_heatmap:
        assert Path(cfg.model.teacher).resolve() == CONFIGS / f'body/{teacher}.py'
        cfg.model.teacher = Config.fromfile(cfg.model.teacher).model
        cfg.model.teacher.backbone.arch = dict(embed_dim=1024, depth=1, num_heads=16)
        MODELS.build(cfg.model).build_teacher()
        cfg.model.pop('teacher')
        assert cfg.model.pop('teacher_checkpoint') == fit.load_from
        assert cfg.model.pop('teacher_dtype') == 'bfloat16'
        assert cfg.model.pop('type') == 'HeatmapDistiller'
        plain.model.pop('type')
    for key in ('model', 'custom_hooks', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        assert cfg[key] == plain[key], key


@pytest.mark.parametrize('name', DETECTION)
def test_detection_config_builds(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope('mmdet')
    model = DETECTORS.build(cfg.model)
    assert model.bbox_head.num_classes == 1
    assert cfg.train_dataloader.dataset.metainfo.classes == ('person',)
