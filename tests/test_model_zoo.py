"""docs/model_zoo.md lists every config, is up to date, and its links lead somewhere."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'model_zoo.md'
GROUPS = ROOT / 'docs' / 'model_zoo.yml'
RESNET = 'body/resnet50_classic_8xb64-210e_coco-256x192'


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'docs')
    import write_model_zoo

    return write_model_zoo


@pytest.fixture
def quick_writer(writer, monkeypatch):
    """The writer, counting all as they were counted for the page."""
    counts = writer.read_counts(PAGE.read_text())
    monkeypatch.setattr(writer, 'CHECKED', 1)
    monkeypatch.setattr(writer, 'count', lambda path: counts[f'{path.parent.name}/{path.stem}'])
    return writer


@pytest.fixture
def configs(tmp_path):
    """A copy of the configs that may be changed."""
    return shutil.copytree(ROOT / 'configs', tmp_path / 'configs')


def rows(page: str) -> dict[str, dict[str, str]]:
    """Cells by config and column."""
    header, found = [], {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
        if cells and cells[0] == 'config':
            header = cells
        elif cells and not cells[0].startswith('---'):
            (config,) = re.findall(r'\(\.\./configs/(.+)\.py\)$', cells[0])
            assert config not in found
            found[config] = dict(zip(header, cells))
    return found


def test_page_is_up_to_date(writer, capsys):
    """Of the models, a few are counted."""
    assert writer.main(['--check']) == 0, capsys.readouterr().err


def test_every_config_has_one_row():
    configs = {
        str(path.relative_to(ROOT / 'configs').with_suffix(''))
        for path in (ROOT / 'configs').rglob('*.py')
        if path.parent.name != '_base_'
    }
    found = rows(PAGE.read_text())
    assert set(found) == configs
    for config, row in found.items():
        is_pose = Path(config).name.startswith(('vitpose', 'resnet'))
        for column in ('parameters, M', 'multiply-adds, G'):
            assert re.fullmatch(r'\d+\.\d+' if is_pose else '', row[column]), config
        assert row['published'] and row['measured here']


def heading_anchors(path: Path) -> set[str]:
    """Of GitHub's rules what the headings of this project need."""
    seen, found = Counter(), set()
    prose = re.sub(r'(?ms)^```.*?^```', '', path.read_text())
    for heading in re.findall(r'(?m)^#+ (.+)$', prose):
        kept = ''.join(c for c in heading.lower() if c.isalnum() or c in ' -_')
        name = kept.replace(' ', '-')
        found.add(name if seen[name] == 0 else f'{name}-{seen[name]}')
        seen[name] += 1
    return found


def broken_links(page: str) -> list[str]:
    """Links of a page in docs/ that lead to no file or no heading."""
    broken = []
    for target in set(re.findall(r'\]\(([^)]+)\)', page)):
        if target.startswith('https://'):
            continue
        name, _, anchor = target.partition('#')
        path = ROOT / 'docs' / name
        if not path.exists() or (anchor and anchor not in heading_anchors(path)):
            broken.append(target)
    return sorted(broken)


def test_links_lead_somewhere():
    assert broken_links(PAGE.read_text()) == []
    damaged = '[a](../configs/no.py) [b](weights.md#vitpose-official-2) [c](weights.md#mmpose)'
    assert broken_links(damaged) == ['../configs/no.py', 'weights.md#vitpose-official-2']


@pytest.mark.parametrize(
    'config, column, text',
    [
        ('body/vitpose_base_classic_8xb64-210e_coco-256x192', 'published', 'COCO 75.8 AP, 81.1 AR'),
        ('body/vitpose_base_minimal_8xb64-210e_coco-256x192', 'published', 'none known'),
        (RESNET, 'published', '71.8 AP<br>(Table 2)'),
        (RESNET, 'parameters, M', '34.0'),
        (RESNET, 'multiply-adds, G', '5.426'),
        (
            'multi_dataset/vitpose_plus_large_classic_8xb128-210e_six-datasets-256x192',
            'weights',
            '[vitpose-plus-large](weights.md#vitpose-official-1)',
        ),
        (
            'body/vitpose_base_classic_8xb64-210e_mpii-256x192',
            'published',
            'of weights trained on COCO, AI Challenger, MPII, CrowdPose:<br>MPII val 93.4 PCKh',
        ),
        (
            'custom/vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96',
            'measured here',
            '26.1 AP with full attention, 10.9 AP in windows',
        ),
        ('body/vitpose_base_classic_8xb64-210e_coco-384x288', 'measured here', 'not measured here'),
    ],
)
def test_cells(config, column, text):
    assert text in rows(PAGE.read_text())[config][column]


def test_no_figure_stands_in_two_places(writer):
    """Where the index has the figure of a very training, the groups do not repeat it."""
    configs = writer.list_configs(ROOT / 'configs')
    models = writer.add_links(writer.read_index(ROOT / 'model-index.yml'), configs)
    for group in writer.read_groups(GROUPS, configs):
        for config in group.published:
            known = [
                model['Name']
                for model in writer.models_of(config, group, models)
                if model['Page'] == writer.OFFICIAL and model['Results']
            ]
            assert known == []


def test_check_finds_a_new_config(quick_writer, configs, capsys):
    name = 'vitpose_base_classic_8xb64-210e_coco-512x384'
    (configs / f'body/{name}.py').write_text("_base_ = ['./elsewhere.py']\n")
    page = PAGE.read_text()
    assert quick_writer.main(['--check', '--configs', str(configs)]) == 1
    error = capsys.readouterr().err
    assert 'out of date' in error and f'+ | [{name}]' in error
    assert PAGE.read_text() == page


@pytest.mark.parametrize(
    'old, new',
    [('(Table 2)', '(Table 3)'), ('26.1 AP', '62.1 AP'), ('75.8 AP', '85.7 AP'), ('34.0', '43.0')],
)
def test_check_finds_a_changed_page(quick_writer, tmp_path, old, new):
    """Whatever is compared; of the counts those that are counted."""
    page = tmp_path / 'model_zoo.md'
    page.write_text(PAGE.read_text())
    assert quick_writer.main(['--check', '--output', str(page)]) == 0
    page.write_text(page.read_text().replace(old, new))
    assert quick_writer.main(['--check', '--output', str(page)]) == 1
    assert quick_writer.main(['--output', str(page)]) == 0
    assert page.read_text() == PAGE.read_text()
    assert list(tmp_path.iterdir()) == [page]


def test_a_config_is_counted(writer):
    assert writer.count(ROOT / f'configs/{RESNET}.py') == ('34.0', '5.426')


def changed(path: Path, tmp_path: Path, change) -> str:
    content = yaml.safe_load(path.read_text())
    change(content)
    copy = tmp_path / path.name
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(copy)


def group_of(content: dict, title: str) -> dict:
    (group,) = [group for group in content['Groups'] if group['Title'].startswith(title)]
    return group


def drop_group(content):
    content['Groups'].remove(group_of(content, 'ResNets'))


def overlap(content):
    group_of(content, 'ResNets')['Configs'] = 'body/.*'


def figure_of_another_group(content):
    group_of(content, 'ResNets')['Published']['body/resnet18'] = {'AP': 70.0}


def figures_without_source(content):
    del group_of(content, 'ResNets')['Source']


def unknown_key(content):
    group_of(content, 'ResNets')['Colour'] = 'red'


def no_such_result(content):
    (measured, *_) = next(iter(group_of(content, 'Data')['Measured'].values()))
    measured['Figures']['AP'] = ['arms', 'no such arm', 'AP']


def no_such_model(content):
    group_of(content, 'ResNets')['Index'] = {RESNET: ['no-such-model']}


@pytest.mark.parametrize(
    'change, message',
    [
        (drop_group, f"each config must be in one group.*{RESNET}': 0"),
        (overlap, 'each config must be in one group.*: 2'),
        (figure_of_another_group, r"has entries for \['body/resnet18'\]"),
        (figures_without_source, 'need a Source'),
        (unknown_key, 'Colour.*not be shown'),
        (no_such_result, "holds no .*'no such arm'"),
        (no_such_model, 'no-such-model'),
    ],
)
def test_unusable_groups(quick_writer, tmp_path, change, message):
    groups = changed(GROUPS, tmp_path, change)
    with pytest.raises(ValueError, match=message):
        quick_writer.main(['--check', '--groups', groups])


def test_index_that_names_a_config_that_does_not_exist(quick_writer, tmp_path):
    def change(index):
        index['Models'][0]['Config'] = 'configs/body/no_such_config.py'

    index = changed(ROOT / 'model-index.yml', tmp_path, change)
    with pytest.raises(ValueError, match=r'names configs/body/no_such_config\.py'):
        quick_writer.main(['--check', '--index', index])


def test_name_that_is_not_made_as_others(writer):
    with pytest.raises(ValueError, match='its name must be'):
        writer.parse_name('body/my_config')
    assert writer.parse_name(
        'custom/vitpose_plus_tiny_classic-a-8x8_1xb14-12e_new-data-128x96'
    ) == {
        'arch': 'plus tiny, a-8x8',
        'decoder': 'classic',
        'data': 'new-data',
        'input': '128x96',
    }
