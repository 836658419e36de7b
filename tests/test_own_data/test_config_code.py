"""Python of config files made from values."""

import pytest

from vitpose_mm.own_data.code import LINE_LENGTH, Name, assignment, code
from vitpose_mm.own_data.recipe import DECODERS, REGULARISATION, Recipe

VALUES = [
    1,
    -2.5e-4,
    'a "quoted" word',
    None,
    True,
    (),
    [],
    {},
    (1,),
    (1, 2),
    [dict(type='A', b=(1, 2)), dict(type='B')],
    {0: dict(name='nose', swap=''), 1: dict(name='left_eye', swap='right_eye')},
    {'not an identifier': 1},
    {'class': 1},
    dict(long=['x' * 30] * 5, nested=dict(deeper=dict(deepest=['y' * 40, 'z' * 40]))),
    ['w' * 97],
]


@pytest.mark.parametrize('value', VALUES)
def test_code_gives_the_value_back(value):
    names: dict = {}
    exec(assignment('value', value), names)  # what configs are for
    assert names['value'] == value


def test_lines_are_short_and_names_stay():
    value = dict(codec=Name('codec'), size=Name("codec['input_size']"), many=list(range(60)))
    text = assignment('model', value)
    assert max(map(len, text.splitlines())) <= LINE_LENGTH
    names = dict(codec=dict(input_size=(1, 2)))
    exec(text, names)
    assert names['model']['codec'] is names['codec'] and names['model']['size'] == (1, 2)
    assert code(dict(a=1, b='c')) == "dict(a=1, b='c')"


def recipe(**options) -> Recipe:
    usual = dict(arch='small', decoder='classic', input_hw=(256, 192), epochs=210)
    return Recipe(**{**usual, 'batch_size': 64, 'steps_per_epoch': 100, **options})


def test_the_usual_recipe_is_the_papers():
    """Table 1: milestones of 210 epochs, warm-up, AdamW; sigma 2 at 256 px."""
    usual = recipe()
    warm_up, falling = usual.schedule()['param_scheduler']
    assert (warm_up['end'], warm_up['start_factor'], warm_up['by_epoch']) == (500, 0.001, False)
    assert (falling['milestones'], falling['gamma']) == ([170, 200], 0.1)
    wrapper = usual.schedule()['optim_wrapper']
    assert wrapper['optimizer'] == dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1)
    assert usual.codec == dict(
        type='BatchedUDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2
    )
    assert 'frozen_stages' not in usual.backbone(pretrained=True)
    assert all(hook['type'] != 'EMAHook' for hook in usual.hooks())
    assert recipe(input_hw=(384, 288)).codec['sigma'] == 3
    assert recipe(input_hw=(384, 288)).codec['blur_kernel_size'] == 17


@pytest.mark.parametrize('batch_size, rate', [(64, 5e-4), (16, 2.5e-4), (256, 1e-3)])
def test_learning_rate_goes_with_the_root_of_the_batch(batch_size, rate):
    assert recipe(batch_size=batch_size).learning_rate == rate


def test_warm_up_is_shorter_than_training():
    """mmengine's warm-up of one step would last for ever."""
    (falling,) = recipe(epochs=2, steps_per_epoch=10).schedule()['param_scheduler']
    assert falling['type'] == 'MultiStepLR'
    warm_up, _ = recipe(epochs=2, steps_per_epoch=20).schedule()['param_scheduler']
    assert warm_up['end'] == 2


@pytest.mark.parametrize('epochs, expected', [(1, []), (5, [4]), (10, [8, 9]), (30, [24, 28])])
def test_the_rate_falls_before_the_end(epochs, expected):
    milestones = recipe(epochs=epochs).schedule()['param_scheduler'][-1]['milestones']
    assert milestones == expected


def test_nothing_random_is_frozen():
    small = recipe(small_data=True)
    assert small.backbone(pretrained=True)['frozen_stages'] == 0
    assert 'frozen_stages' not in small.backbone(pretrained=False)


@pytest.mark.parametrize('arch', REGULARISATION)
@pytest.mark.parametrize('decoder', DECODERS)
def test_heads_fit_their_backbones(arch, decoder):
    from vitpose_mm.architectures import ARCHITECTURES

    head = recipe(arch=arch, decoder=decoder).head()
    assert head['type'] == DECODERS[decoder]
    assert head['in_channels'] == ARCHITECTURES[arch]['embed_dim']


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arch='giant'), "arch must be one of tiny, .*, got 'giant'"),
        (dict(decoder='fast'), "decoder must be one of classic, .*, got 'fast'"),
        (dict(input_hw=(250, 192)), 'multiples of 16 .*, got 250x192'),
        (dict(input_hw=(16, 16)), 'multiples of 16 from 32, got 16x16'),
        (dict(epochs=0), 'epochs must be at least 1, got 0'),
        (dict(batch_size=-1), 'batch_size must be at least 1, got -1'),
    ],
)
def test_bad_choices_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        recipe(**options)
