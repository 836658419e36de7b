"""What the distiller asks of student and teacher, and its loss."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import nn

from vitpose_mm.models import HeatmapDistiller, TopdownViTPose

UDP = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
KEYPOINTS = dict(coco=17, aic=14)
CLASSES = dict(coco='CocoDataset', aic='AicDataset')
NORMAL = dict(
    type='StackedPoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
CLASSIC = dict(type='TopdownHeatmapSimpleHead', deconv_out_channels=(8, 8))


def single(width=32, count=17, **options) -> dict:
    return dict(
        type='TopdownViTPose',
        data_preprocessor=NORMAL,
        backbone=dict(
            type='ViT',
            arch=dict(embed_dim=width, depth=2, num_heads=4),
            img_size=(64, 48),
            **options,
        ),
        head=dict(CLASSIC, in_channels=width, out_channels=count, decoder=UDP),
    )


def several(width=32, names=('coco', 'aic'), experts=False, **head) -> dict:
    config = single(width, **(dict(experts=names) if experts else {}))
    config['head'] = dict(
        type='MultiDatasetHead',
        shared=dict(CLASSIC, in_channels=width, decoder=UDP),
        heads={n: dict(out_channels=KEYPOINTS[n], metainfo=CLASSES[n]) for n in names},
        order=list(names),
        **head,
    )
    return config


def with_head(config: dict, **changes) -> dict:
    return dict(config, head={**config['head'], **changes})


def randomised(config: dict, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = MODELS.build(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    for name, buffer in model.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return model


def distiller(student: dict, teacher: dict, folder, **options) -> HeatmapDistiller:
    """A student with random weights, and a trained teacher."""
    torch.save(dict(state_dict=randomised(teacher, 1).state_dict()), folder / 'teacher.pth')
    student = dict(
        student,
        type='HeatmapDistiller',
        teacher=teacher,
        teacher_checkpoint=str(folder / 'teacher.pth'),
        **options,
    )
    model = randomised(student, 2)
    trained = copy.deepcopy(model.state_dict())
    model.init_weights()
    model.load_state_dict(trained)
    return model.train()


def samples_of(names) -> list[PoseDataSample]:
    rng = np.random.default_rng(0)
    samples = []
    for name in names:
        count = KEYPOINTS[name]
        sample = PoseDataSample(metainfo=dict(dataset_name=name))
        visible = np.ones((1, count), np.float32)
        visible[0, 3:6] = 0
        sample.gt_instances = InstanceData(
            transformed_keypoints=rng.uniform(5, 40, (1, count, 2)).astype(np.float32),
            keypoints_visible=visible,
        )
        samples.append(sample)
    return samples


def mse(heatmaps, target, weights) -> torch.Tensor:
    weights = weights[:, :, None, None]
    return F.mse_loss(heatmaps * weights, target * weights)


@pytest.mark.parametrize('only_labelled', [False, True])
@pytest.mark.parametrize('width', [32, 16])
def test_loss_is_that_against_annotations_plus_that_against_heatmaps(
    only_labelled, width, tmp_path
):
    model = distiller(single(width), single(), tmp_path, only_labelled=only_labelled)
    images, samples = torch.randn(4, 3, 64, 48), samples_of(['coco'] * 4)
    losses = copy.deepcopy(model)(images, samples, mode='loss')
    student = randomised(single(width), 2).train()
    teacher = randomised(single(), 1).eval()
    with torch.no_grad():
        heatmaps, taught = student(images, None), teacher(images, None)
    target, weights = student.head.targets(samples, images.device)
    assert 0 < weights.mean() < 1
    torch.testing.assert_close(losses['loss_kpt'], mse(heatmaps, target, weights))
    wanted = mse(heatmaps, taught, weights if only_labelled else torch.ones(4, 17))
    torch.testing.assert_close(losses['loss_distillation'], wanted)
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_kpt'] + wanted)


def test_weight_and_kind_of_the_loss_are_configured(tmp_path):
    half = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5)
    images, samples = torch.randn(4, 3, 64, 48), samples_of(['coco'] * 4)
    whole, less = (
        distiller(single(16), single(), tmp_path, **options)(images, samples, mode='loss')
        for options in ({}, dict(loss_distillation=half))
    )
    torch.testing.assert_close(less['loss_distillation'], whole['loss_distillation'] / 2)
    assert torch.equal(less['loss_kpt'], whole['loss_kpt'])


@pytest.mark.parametrize('batch_norm', ['own', 'mixed'])
@pytest.mark.parametrize('kind', ['single', 'several', 'experts'])
def test_student_and_teacher_see_a_batch_once(kind, batch_norm, tmp_path):
    if kind == 'single':
        model = distiller(single(16), single(), tmp_path)
    else:
        options = dict(experts=kind == 'experts')
        student = several(16, **options, batch_norm=batch_norm)
        model = distiller(student, several(**options), tmp_path)
    calls = []
    for owner, part in ((model, 'student'), (model.teacher.model, 'teacher')):
        owner.backbone.register_forward_hook(lambda *_, part=part: calls.append(part))
    names = ['coco', 'aic', 'coco', 'aic'] if kind != 'single' else ['coco'] * 4
    losses = model(torch.randn(4, 3, 64, 48), samples_of(names), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert sorted(calls) == ['student', 'teacher']
    counts = [b for name, b in model.named_buffers() if name.endswith('num_batches_tracked')]
    assert counts and all(count == 1 for count in counts)
    taught = dict(model.teacher.model.named_buffers())
    assert all(b == 0 for name, b in taught.items() if name.endswith('num_batches_tracked'))
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.teacher.model.parameters())


@pytest.mark.parametrize('experts', [False, True])
def test_each_sample_is_compared_with_the_teachers_head_of_its_data_set(experts, tmp_path):
    # heads in another order, and one that the student does not have
    model = distiller(
        several(16, experts=experts), several(names=('aic', 'coco'), experts=experts), tmp_path
    )
    names = ['aic', 'coco', 'coco', 'aic', 'coco']
    images, samples = torch.randn(5, 3, 64, 48), samples_of(names)
    losses = model.eval()(images, samples, mode='loss')
    teacher, wanted = model.teacher.model, 0.0
    for image, sample, name in zip(images, samples, names):
        ids = teacher.expert_ids([sample])
        taught = teacher.head(teacher.extract_feat(image[None], ids), name)
        features = model.extract_feat(image[None], model.expert_ids([sample]))
        wanted = wanted + F.mse_loss(model.head(features, name), taught) / 5
    torch.testing.assert_close(losses['loss_distillation'], wanted)
    assert {'coco/distillation', 'aic/distillation'} <= losses.keys()


def test_a_student_of_one_data_set_learns_from_a_teacher_of_several(tmp_path):
    model = distiller(single(16, count=14), several(experts=True), tmp_path)
    images, samples = torch.randn(3, 3, 64, 48), samples_of(['aic'] * 3)
    losses = model.eval()(images, samples, mode='loss')
    teacher = model.teacher.model
    taught = teacher.head(teacher.extract_feat(images, torch.ones(3, dtype=torch.long)), 'aic')
    torch.testing.assert_close(losses['loss_distillation'], F.mse_loss(model(images, None), taught))


def test_a_data_set_that_the_teacher_reads_all_as_holds_for_a_single_head(tmp_path):
    chosen = dict(test_cfg=dict(dataset='coco'))
    images, samples = torch.randn(2, 3, 64, 48), samples_of(['aic', 'coco'])
    student = several(16)
    wanted, found = (
        distiller(student, dict(several(), **options), tmp_path).eval()(
            images, samples, mode='loss'
        )
        for options in ({}, chosen)
    )
    assert torch.equal(found['loss_distillation'], wanted['loss_distillation'])
    # people of one's own, with COCO's keypoints, under another name
    model = distiller(single(16), dict(several(experts=True), **chosen), tmp_path).eval()
    samples = samples_of(['coco'] * 2)
    for sample in samples:
        sample.set_metainfo(dict(dataset_name='own'))
    losses = model(images, samples, mode='loss')
    teacher = model.teacher.model
    taught = teacher.head(teacher.extract_feat(images, torch.zeros(2, dtype=torch.long)), 'coco')
    torch.testing.assert_close(losses['loss_distillation'], F.mse_loss(model(images, None), taught))


def test_extra_data_sets_are_taught_by_the_head_that_reads_them(tmp_path):
    datasets = dict(ochuman=dict(head='coco', metainfo='OCHumanDataset'))
    model = distiller(several(16, datasets=datasets), several(datasets=datasets), tmp_path)
    samples = samples_of(['coco', 'coco', 'aic'])
    images = torch.randn(3, 3, 64, 48)
    wanted = model.eval()(images, samples, mode='loss')
    samples[1].set_metainfo(dict(dataset_name='ochuman'))
    assert torch.equal(
        model(images, samples, mode='loss')['loss_distillation'], wanted['loss_distillation']
    )


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_the_teacher_has_its_own_precision(dtype, tmp_path):
    exact = distiller(single(16), single(), tmp_path)
    model = distiller(single(16), single(), tmp_path, teacher_dtype=dtype)
    kinds = {parameter.dtype for parameter in model.teacher.model.parameters()}
    assert kinds == {getattr(torch, dtype)}
    images, samples = torch.randn(4, 3, 64, 48), samples_of(['coco'] * 4)
    ours, theirs = (m.eval()(images, samples, mode='loss') for m in (exact, model))
    assert torch.equal(ours['loss_kpt'], theirs['loss_kpt'])
    found, wanted = theirs['loss_distillation'], ours['loss_distillation']
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0)


def test_mixed_precision_of_the_student_is_not_the_teachers(tmp_path):
    model = distiller(single(16), single(), tmp_path)
    images, samples = torch.randn(4, 3, 64, 48), samples_of(['coco'] * 4)
    wanted = model.teacher.features(images, samples)[0]
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(model.teacher.features(images, samples)[0], wanted)
        losses = model(images, samples, mode='loss')
    assert all(losses[name].isfinite() for name in ('loss_kpt', 'loss_distillation'))


def test_compiled(tmp_path, monkeypatch):
    """Teacher, and a student around it."""
    compile_, graphs = torch.compile, []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, 'compile', lambda f: compile_(f, backend=backend))
    plain = distiller(single(16), single(), tmp_path)
    model = distiller(single(16), single(), tmp_path, compile_teacher=True)
    images, samples = torch.randn(4, 3, 64, 48), samples_of(['coco'] * 4)
    wanted = plain.eval()(images, samples, mode='loss')['loss_distillation']
    found = model.eval()(images, samples, mode='loss')['loss_distillation']
    torch.testing.assert_close(found, wanted)
    assert graphs, 'the teacher was not compiled'
    torch._dynamo.reset()
    whole = compile_(plain, backend='aot_eager')
    found = whole(images, samples, mode='loss')['loss_distillation']
    torch.testing.assert_close(found, wanted)


def test_copies_share_the_teacher_and_state_dicts_lack_it(tmp_path):
    model = distiller(single(16), single(), tmp_path)
    assert copy.deepcopy(model).teacher is model.teacher
    plain = MODELS.build(single(16))
    assert model.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters())
    model.train()
    assert not model.teacher.model.training
    images = torch.randn(2, 3, 64, 48)
    assert torch.equal(model.eval()(images, None), plain.eval()(images, None))
    assert isinstance(model, TopdownViTPose)


def test_a_config_file_names_the_teacher(tmp_path):
    model = distiller(single(16), single(), tmp_path)
    Config(dict(model=single())).dump(tmp_path / 'teacher.py')
    student = dict(single(16), type='HeatmapDistiller', teacher=str(tmp_path / 'teacher.py'))
    other = MODELS.build(dict(student, teacher_checkpoint=str(tmp_path / 'teacher.pth')))
    other.init_weights()
    theirs = other.teacher.model.state_dict()
    assert all(torch.equal(t, theirs[n]) for n, t in model.teacher.model.state_dict().items())


def test_a_teacher_of_mmpose(tmp_path):
    codec = dict(UDP, input_size=(64, 64), heatmap_size=(16, 16))
    teacher = dict(
        type='TopdownPoseEstimator',
        data_preprocessor=NORMAL,
        backbone=dict(type='ResNet', depth=18),
        head=dict(
            type='HeatmapHead',
            in_channels=512,
            out_channels=17,
            deconv_out_channels=(8, 8, 8),
            deconv_kernel_sizes=(4, 4, 4),
            decoder=dict(codec, type='UDPHeatmap'),
        ),
    )
    student = single(16)
    student['backbone'].update(img_size=(64, 64))
    student['head'].update(decoder=codec)
    model = distiller(student, teacher, tmp_path)
    losses = model(torch.randn(4, 3, 64, 64), samples_of(['coco'] * 4), mode='loss')
    assert losses['loss_distillation'] > 0
    torch.save(dict(state_dict={'other': torch.zeros(1)}), tmp_path / 'teacher.pth')
    with pytest.raises(RuntimeError, match='missing keys in source state_dict'):
        model.init_weights()


SIMCC = with_head(single())
SIMCC['head'] = dict(
    type='SimCCHead',
    in_channels=32,
    out_channels=17,
    input_size=(48, 64),
    in_featuremap_size=(3, 4),
    deconv_out_channels=None,
    decoder=dict(type='SimCCLabel', input_size=(48, 64)),
)


@pytest.mark.parametrize(
    ('student', 'teacher', 'message'),
    [
        (
            several(),
            several(names=('coco',)),
            r"the student has a head for 'aic', the teacher for \['coco'\] only",
        ),
        (several(), single(), r"heads for \['coco', 'aic'\], the teacher a single head"),
        (single(), single(count=14), 'keypoints is 14 there and 17 here'),
        (
            single(),
            with_head(single(), decoder=dict(UDP, type='BatchedMSRAHeatmap')),
            'UDP is False there and True here',
        ),
        (single(), with_head(single(), decoder=dict(UDP, sigma=3)), 'sigma is 3 there and 2'),
        (
            several(),
            with_head(several(), shared=dict(CLASSIC, in_channels=32, decoder=dict(UDP, sigma=3))),
            "heatmaps of 'coco' must be of the student's kind, but sigma is 3 there",
        ),
        (
            single(),
            SIMCC,
            'must be a top-down estimator with heatmaps',
        ),
        (
            dict(single(), data_preprocessor=dict(type='StackedPoseDataPreprocessor')),
            dict(
                single(),
                data_preprocessor=dict(type='StackedPoseDataPreprocessor', bgr_to_rgb=True),
            ),
            "normalises by {'bgr_to_rgb': False, .*'bgr_to_rgb': True",
        ),
        (
            single(),
            dict(single(), data_preprocessor=dict(NORMAL, bgr_to_rgb=False)),
            "'bgr_to_rgb': True,.* the teacher was trained with .*'bgr_to_rgb': False",
        ),
        (
            dict(single(), data_preprocessor=dict(NORMAL, mean=[0.0, 0.0, 0.0])),
            single(),
            r"normalises by .*'mean': \[0.0",
        ),
    ],
)
def test_teachers_that_do_not_suit_are_refused(student, teacher, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        distiller(student, teacher, tmp_path)


def test_samples_without_a_teacher_are_refused(tmp_path):
    images = torch.randn(1, 3, 64, 48)
    model = distiller(single(count=14), several(names=('coco',)), tmp_path)
    with pytest.raises(
        ValueError, match=r"asked of the teacher: no head for dataset_name 'aic'.*\['coco'\]"
    ):
        model(images, samples_of(['aic']), mode='loss')
    model = distiller(single(count=14), several(names=('coco',), experts=True), tmp_path)
    with pytest.raises(ValueError, match=r"asked of the teacher: no expert for dataset_name 'aic'"):
        model(images, samples_of(['aic']), mode='loss')
    model = distiller(single(count=14), several(), tmp_path)
    samples = samples_of(['aic'])
    samples[0].set_metainfo(dict(dataset_name='coco'))
    with pytest.raises(ValueError, match='keypoints is 17 there and 14 here'):
        model(images, samples, mode='loss')


def test_heatmaps_of_another_size_are_refused(tmp_path):
    finer = single()
    finer['backbone'].update(ratio=2)
    model = distiller(single(), finer, tmp_path)
    with pytest.raises(ValueError, match=r'\(17, 32, 24\), the student.s \(17, 16, 12\)'):
        model(torch.randn(1, 3, 64, 48), samples_of(['coco']), mode='loss')


def test_a_student_without_its_teacher_says_so(tmp_path):
    options = dict(type='HeatmapDistiller', teacher=single(), teacher_checkpoint='gone.pth')
    model = MODELS.build(dict(single(), **options))
    with pytest.raises(ValueError, match=r'the teacher has no weights yet: call init_weights\(\)'):
        model(torch.zeros(1, 3, 64, 48), samples_of(['coco']), mode='loss')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        model.init_weights()
    model = MODELS.build(dict(single(), **{**options, 'teacher': 'gone.py'}))
    with pytest.raises(ValueError, match=r"model\.teacher: there is no config file 'gone\.py'"):
        model.init_weights()
    (tmp_path / 'empty.py').write_text('a = 1')
    model = MODELS.build(dict(single(), **{**options, 'teacher': str(tmp_path / 'empty.py')}))
    with pytest.raises(ValueError, match=r"the config '.*empty\.py' has no model"):
        model.init_weights()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(teacher_dtype='half'), "teacher_dtype must be one of .*, got 'half'"),
        (dict(compile_teacher='yes'), "compile_teacher must be True or False, got 'yes'"),
        (dict(only_labelled=1), 'only_labelled must be True or False, got 1'),
        (dict(teacher=None), 'teacher must be a config file or the config of a model, got None'),
        (dict(teacher_checkpoint=None), 'teacher_checkpoint must be a file, got None'),
    ],
)
def test_bad_options_are_named(options, message):
    given = dict(type='HeatmapDistiller', teacher=single(), teacher_checkpoint='a.pth')
    with pytest.raises(ValueError, match=message):
        MODELS.build({**single(), **given, **options})


def test_heads_of_mmpose_cannot_be_students():
    config = dict(single(), type='HeatmapDistiller', teacher=single(), teacher_checkpoint='a.pth')
    config['head'] = dict(config['head'], type='HeatmapHead', deconv_kernel_sizes=(4, 4))
    with pytest.raises(ValueError, match=r'needs a head of this package.* is HeatmapHead'):
        MODELS.build(config)
