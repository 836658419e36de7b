"""Trainings with knowledge tokens and teachers."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from mmpose.registry import MODELS
from tiny_training import (
    CODEC,
    finish,
    make_coco,
    start_distributed,
    start_tool,
    tiny_config,
)

from vitpose_mm.checkpoints import CheckpointError, load_file
from vitpose_mm.engine import TokenDistillationHook, build_runner, read_knowledge_tokens
from vitpose_mm.models import TopdownViTPose

TOKENS = 'backbone.knowledge_tokens'
CLASSIC = dict(
    type='TopdownHeatmapSimpleHead', deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4)
)


def config(folder: Path, width: int = 32, **changes) -> Config:
    """``tiny_config`` with the classic decoder, which has batch norms, and one epoch of 5 steps."""
    cfg = tiny_config(folder, batch_size=8, **changes)
    cfg.model.backbone.arch.embed_dim = cfg.model.head.in_channels = width
    cfg.model.head.update(CLASSIC)
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = []
    return cfg


def add_tokens(cfg: Config, count: int = 2, dim: Optional[int] = None, **hook) -> Config:
    cfg.model.backbone.update(num_knowledge_tokens=count, knowledge_dim=dim)
    cfg.custom_hooks.append(dict(type='TokenDistillationHook', **hook))
    return cfg


def train(cfg: Config, work_dir: Path) -> dict:
    """Train, and return the weights of the checkpoint."""
    cfg.work_dir = str(work_dir)
    build_runner(cfg).train()
    return load_file(str(work_dir / 'epoch_1.pth'))['state_dict']


def distil(cfg: Config, teacher: Path, **options) -> Config:
    """Let a config's model learn from the teacher that a working folder holds."""
    cfg.model.update(
        type='HeatmapDistiller',
        teacher=Config.fromfile(teacher / 'teacher.py').model.to_dict(),
        teacher_checkpoint=str(teacher / 'epoch_1.pth'),
        **options,
    )
    return cfg


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data')
    make_coco(folder)
    return folder


@pytest.fixture(scope='module')
def teacher(data, tmp_path_factory) -> Path:
    """The working folder of a teacher's training."""
    folder = tmp_path_factory.mktemp('teacher')
    cfg = config(data)
    cfg.dump(folder / 'teacher.py')
    train(cfg, folder)
    return folder


@pytest.fixture(scope='module')
def tokens(data, teacher, tmp_path_factory) -> str:
    """The file of the tokens that were fitted to it."""
    folder = tmp_path_factory.mktemp('fit')
    train(fit_config(data, teacher), folder)
    return str(folder / 'knowledge_tokens.pth')


def fit_config(data: Path, teacher: Path, **backbone) -> Config:
    cfg = add_tokens(config(data), step='fit')
    cfg.load_from = str(teacher / 'epoch_1.pth')
    cfg.optim_wrapper.optimizer.lr = 0.01
    cfg.model.backbone.update(drop_path_rate=0.5, **backbone)
    return cfg


EMA = dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1)
BACKBONES = {
    'plain': dict(),
    'recomputed': dict(activation_checkpointing=True),
    'selectively recomputed': dict(activation_checkpointing='selective'),
    'windows': dict(attention='shift+pool', window_hw=(2, 2)),
    'class token': dict(class_token='keep'),
    'experts': dict(experts=['coco']),
}


@pytest.mark.parametrize('backbone', BACKBONES)
def test_fitting_changes_exactly_the_tokens(backbone, data, teacher, tmp_path):
    cfg = fit_config(data, teacher, **BACKBONES[backbone])
    if backbone in ('class token', 'experts'):  # of which the teacher has none
        cfg.load_from = str(tmp_path / 'teacher' / 'epoch_1.pth')
        own = config(data)
        own.model.backbone.update(BACKBONES[backbone])
        train(own, tmp_path / 'teacher')
    if backbone == 'plain':
        cfg.custom_hooks.append(EMA)
    torch.manual_seed(0)
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)
    begin = runner.model.backbone.knowledge_tokens.detach().clone()
    forwards = []
    for block in runner.model.backbone.blocks:
        block.register_forward_pre_hook(lambda *_: forwards.append(1))
    runner.train()
    num_blocks, num_steps = 2, 5
    recomputes = 'recomputed' in backbone
    assert len(forwards) == num_blocks * num_steps * (2 if recomputes else 1)
    after = load_file(str(tmp_path / 'epoch_1.pth'))['state_dict']
    before = load_file(cfg.load_from)['state_dict']
    assert after.keys() - before.keys() == {TOKENS}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert (after[TOKENS] - begin).abs().min() > 1e-4
    fitted = read_knowledge_tokens(str(tmp_path / 'knowledge_tokens.pth'))
    assert torch.equal(fitted, runner.model.backbone.knowledge_tokens)
    # checkpoints of the training serve as well
    assert torch.equal(read_knowledge_tokens(str(tmp_path / 'epoch_1.pth')), after[TOKENS])
    assert set(runner.optim_wrapper.optimizer.state) == {runner.model.backbone.knowledge_tokens}


def test_fitted_tokens_lower_the_loss_of_the_teacher(data, teacher, tokens):
    """On the images that they were fitted to, and by gradients: other tokens do worse."""
    cfg = fit_config(data, teacher)
    model = MODELS.build(cfg.model)
    model.load_state_dict(load_file(cfg.load_from)['state_dict'])
    model.eval()
    cfg.train_dataloader.dataset.pipeline[3:6] = []  # no augmentation
    cfg.work_dir = str(Path(tokens).parent)
    loader = build_runner(cfg).build_dataloader(cfg.train_dataloader, seed=0)
    losses = []
    for values in (torch.zeros(1, 2, 32), read_knowledge_tokens(tokens)):
        model.backbone.knowledge_tokens.data.copy_(values)
        with torch.no_grad():
            batches = [model.data_preprocessor(batch) for batch in loader]
            losses.append(sum(model(**b, mode='loss')['loss_kpt'].item() for b in batches))
    assert losses[1] < losses[0]


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('width', [32, 16])
def test_a_student_keeps_the_tokens_and_needs_nothing_else(
    backbone, width, data, teacher, tokens, tmp_path
):
    dim = 32 if width == 16 else None
    cfg = add_tokens(config(data, width), dim=dim, step='transfer', tokens=tokens)
    cfg.model.backbone.update(BACKBONES[backbone])
    cfg = distil(cfg, teacher)
    cfg.custom_hooks.append(EMA)
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)
    runner.model.init_weights()  # a second time it changes nothing
    begin = copy.deepcopy(runner.model.state_dict())
    runner.train()
    content = load_file(str(tmp_path / 'epoch_1.pth'))
    student = content['state_dict']
    for weights in (student, content['ema_state_dict']):
        name = next(name for name in weights if name.endswith(TOKENS))
        assert torch.equal(weights[name], read_knowledge_tokens(tokens))
    trained = [name for name, p in runner.model.named_parameters() if p.requires_grad]
    assert set(dict(runner.model.named_parameters())) - set(trained) == {TOKENS}
    assert not [name for name in trained if torch.equal(student[name], begin[name])]
    assert ('backbone.knowledge_proj.weight' in trained) == (dim is not None)

    # the checkpoint is that of a plain student
    plain = dict(cfg.model, type='TopdownViTPose')
    for key in ('teacher', 'teacher_checkpoint'):
        plain.pop(key)
    alone = MODELS.build(plain).eval()
    assert student.keys() == alone.state_dict().keys()
    alone.load_state_dict(student)
    images = torch.randn(2, 3, 64, 48)
    model = runner.model.eval()
    # the runner evaluates, and saves as state_dict, the average
    model.load_state_dict(student)
    with torch.no_grad():
        routing = (torch.zeros(2, dtype=torch.int64),) if backbone == 'experts' else ()
        features = model.extract_feat(images, *routing)
        assert torch.equal(alone.head(alone.extract_feat(images, *routing)), model.head(features))
        alone.backbone.knowledge_tokens.data.zero_()
        assert (alone.extract_feat(images, *routing)[0] - features[0]).abs().max() > 1e-3


def test_the_teacher_stays_as_it_is_and_out_of_the_student(data, teacher, tmp_path):
    cfg = distil(config(data), teacher)
    cfg.custom_hooks.append(EMA)
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)
    runner.train()
    model = runner.model
    assert not model.teacher.model.training
    trained = load_file(str(teacher / 'epoch_1.pth'))['state_dict']
    for name, tensor in model.teacher.model.state_dict().items():
        assert torch.equal(tensor, trained[name]), name
    inside = {id(parameter) for parameter in model.parameters()}
    assert not inside & {id(parameter) for parameter in model.teacher.model.parameters()}
    (ema,) = [hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook']
    assert ema.ema_model.module.teacher is None  # copied before there was one
    assert copy.deepcopy(model).teacher is model.teacher
    state = load_file(str(tmp_path / 'epoch_1.pth'))['state_dict']
    assert state.keys() == trained.keys()


@pytest.mark.parametrize('kind', ['fit', 'student'])
def test_two_processes_do_as_one(kind, data, teacher, tokens, tmp_path):
    """... with a batch of the same size; drop path is drawn by each, and is off here."""
    if kind == 'fit':
        cfg = fit_config(data, teacher)
    else:
        cfg = add_tokens(config(data, 16), dim=32, step='transfer', tokens=tokens)
        cfg = distil(cfg, teacher)
        # batch norms would see other batches
        cfg.model.head = dict(type='TopdownHeatmapBilinearHead', in_channels=16, out_channels=17)
        cfg.model.head.decoder = config(data).model.head.decoder
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.dump(tmp_path / 'one.py')
    cfg.train_dataloader.batch_size = 4
    cfg.dump(tmp_path / 'two.py')
    one = start_tool('train.py', tmp_path / 'one.py', '--work-dir', tmp_path / 'one')
    two = start_distributed('dist_train.sh', tmp_path / 'two.py', 2, '--work-dir', tmp_path / 'two')
    finish(one), finish(two)
    ones, twos = (
        load_file(str(tmp_path / name / 'epoch_1.pth'))['state_dict'] for name in ('one', 'two')
    )
    assert ones.keys() == twos.keys()
    for name in ones:
        torch.testing.assert_close(twos[name], ones[name], rtol=1e-3, atol=2e-5, msg=name)
    start = load_file(str(teacher / 'epoch_1.pth'))['state_dict'] if kind == 'fit' else {}
    assert all(torch.equal(twos[name], tensor) for name, tensor in start.items())


def test_resumed_equals_uninterrupted(data, teacher, tokens, tmp_path):
    def student(max_epochs: int, name: str) -> Config:
        cfg = add_tokens(config(data, 16), dim=32, step='transfer', tokens=tokens)
        cfg.train_cfg.max_epochs = max_epochs
        cfg.work_dir = str(tmp_path / name)
        return distil(cfg, teacher)

    whole = build_runner(student(2, 'whole'))
    whole.train()
    build_runner(student(1, 'resumed')).train()
    cfg = student(2, 'resumed')
    cfg.load_from, cfg.resume = str(tmp_path / 'resumed/epoch_1.pth'), True
    resumed = build_runner(cfg)
    resumed.train()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


@pytest.mark.parametrize('loss_weighting', ['samples', 'datasets'])
def test_tokens_are_fitted_to_the_loss_of_several_data_sets_as_in_training(
    loss_weighting, monkeypatch
):
    """The head counts over processes, here over another one that has three of 'aic'."""
    head = dict(in_channels=16, decoder=CODEC, **CLASSIC)
    model = MODELS.build(
        dict(
            type='TopdownViTPose',
            backbone=dict(
                type='ViT',
                arch=dict(embed_dim=16, depth=1, num_heads=2),
                img_size=(64, 48),
                num_knowledge_tokens=1,
            ),
            head=dict(
                type='MultiDatasetHead',
                shared=head,
                heads=dict(coco=dict(out_channels=17), aic=dict(out_channels=14)),
                loss_weighting=loss_weighting,
            ),
        )
    ).train()
    seen = []
    monkeypatch.setattr(
        'vitpose_mm.models.heads.multi_dataset_head.all_reduce', lambda x: seen.append(x)
    )
    wanted = model.head._weights(dict(aic=0, coco=2), torch.device('cpu'))[0]
    TokenDistillationHook('fit').before_train_iter(SimpleNamespace(model=model), 0)
    found = model.head._weights(dict(aic=0, coco=2), torch.device('cpu'))[0]
    assert len(seen) == 2 and found == wanted
    modules = {name for name, module in model.named_modules() if module.training}
    assert modules == {'head'}


def test_a_resumed_student_needs_no_file(data, tokens, tmp_path):
    copied = tmp_path / 'tokens.pth'
    copied.write_bytes(Path(tokens).read_bytes())
    cfg = add_tokens(config(data), step='transfer', tokens=str(copied))
    train(cfg, tmp_path / 'work')
    copied.unlink()
    cfg = add_tokens(config(data), step='transfer', tokens=str(copied))
    cfg.train_cfg.max_epochs = 2
    cfg.load_from, cfg.resume = str(tmp_path / 'work/epoch_1.pth'), True
    cfg.work_dir = str(tmp_path / 'work')
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 10
    assert torch.equal(runner.model.backbone.knowledge_tokens, read_knowledge_tokens(tokens))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(count=1),
            r'has 2 knowledge tokens of 32 channels, the student takes 1 of 32: set .*=',
        ),
        (dict(width=16), r'student takes 2 of 16: .*num_knowledge_tokens=2 and knowledge_dim=32'),
        (dict(dim=24), r'student takes 2 of 24'),
    ],
)
def test_tokens_that_do_not_fit_are_refused(changes, message, data, tokens, tmp_path):
    cfg = config(data, changes.pop('width', 32))
    cfg = add_tokens(cfg, **changes, step='transfer', tokens=tokens)
    cfg.work_dir = str(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        build_runner(cfg).train()


def test_what_cannot_be_fitted_is_refused(data, teacher, tmp_path):
    cfg = fit_config(data, teacher)
    cfg.work_dir = str(tmp_path)
    for resume in (False, True):  # there is nothing to resume from
        cfg.load_from, cfg.resume = None, resume
        with pytest.raises(ValueError, match='nothing was loaded: set load_from to its checkpoint'):
            build_runner(cfg).train()
    cfg = fit_config(data, teacher, knowledge_dim=16)
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match=r'drop model\.backbone.knowledge_dim, got 16 for 32'):
        build_runner(cfg).train()
    cfg = config(data)
    cfg.work_dir = str(tmp_path)
    cfg.custom_hooks.append(dict(type='TokenDistillationHook', step='fit'))
    with pytest.raises(ValueError, match='num_knowledge_tokens=1; ViT of TopdownViTPose has none'):
        build_runner(cfg).train()


def test_sharded_models_are_refused(data, teacher, tmp_path, monkeypatch):
    cfg = fit_config(data, teacher)
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)

    class Sharded(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    monkeypatch.setitem(MODEL_WRAPPERS.module_dict, 'Sharded', Sharded)
    runner.model = Sharded(runner.model)
    with pytest.raises(ValueError, match='freezes parameters, of which Sharded knows only when'):
        TokenDistillationHook('fit').before_run(runner)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(step='learn'), "step must be one of .*, got 'learn'"),
        (dict(step='transfer'), "which needs it.*got None for step 'transfer'"),
        (dict(step='fit', tokens='a.pth'), "got 'a.pth' for step 'fit'"),
        (
            dict(step='transfer', tokens='a.pth', out_file='b'),
            "out_file is for step 'fit', got 'b'",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TokenDistillationHook(**options)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(state_dict=dict(other=torch.zeros(2))), 'it has none'),
        (dict(a=dict()), 'it has none'),
        (
            {
                'a.knowledge_tokens': torch.zeros(1, 1, 4),
                'b.knowledge_tokens': torch.zeros(1, 1, 4),
            },
            'it has several',
        ),
        (dict(knowledge_tokens=torch.zeros(2, 4)), r'got torch.float32 \(2, 4\)'),
        (dict(knowledge_tokens=torch.zeros(1, 2, 4) / 0), 'must be finite numbers'),
        (dict(knowledge_tokens=torch.zeros(1, 2, 4, dtype=torch.int64)), 'got torch.int64'),
    ],
)
def test_files_without_tokens_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / 'tokens.pth')
    with pytest.raises(CheckpointError, match=f'tokens.pth.*{message}'):
        read_knowledge_tokens(str(tmp_path / 'tokens.pth'))


def test_a_teacher_is_not_needed_to_be_tested(data, teacher, tmp_path):
    cfg = distil(config(data), teacher)
    cfg.model.teacher_checkpoint = 'gone.pth'
    model = MODELS.build(cfg.model).eval()
    assert isinstance(model, TopdownViTPose) and model.teacher is None
    assert model(torch.zeros(1, 3, 64, 48), None).shape == (1, 17, 16, 12)
