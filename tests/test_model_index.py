"""What model-index.yml says of public weights is complete, consistent, and readable by mim."""

import copy
import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from mim.commands import search
from mmengine.config import Config
from modelindex.load_model_index import load

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / 'model-index.yml'

ARCHS = {'tiny', 'small', 'base', 'large', 'huge', 'giant'}
DECODERS = {'classic', 'simple', 'none'}
SOURCES = {'official', 'mmpose', 'huggingface', 'mae', 'timm', 'unknown'}
KEYPOINTS = {
    'coco': 17,
    'coco_25': 25,
    'coco_wholebody': 133,
    'aic': 14,
    'mpii': 16,
    'crowdpose': 14,
    'ap10k': 17,
    'apt36k': 17,
}
# As the official evaluation configs of each data set have it: `use_udp`, `shift_heatmap`.
CODECS = {
    'coco': ('udp', False),
    'mpii': ('udp', False),
    'aic': ('msra', True),
    'crowdpose': ('msra', True),
    'ap10k': ('msra', True),
    'apt36k': ('msra', True),
    'coco_wholebody': ('msra', True),
    'coco_25': ('unknown', 'unknown'),
}
DATA_SETS = {
    *('COCO', 'AI Challenger', 'MPII', 'CrowdPose', 'AP-10K', 'APT-36K', 'COCO-WholeBody'),
    *('Human-Art', 'CMU feet', 'ImageNet-1k', 'unknown'),
}
PLUS_HEADS = ['coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody']


def load_writer():
    """The module docs/write_weights.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location('write_weights', ROOT / 'docs/write_weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = load_writer()
FAMILIES = WRITER.read_index(INDEX)
ENTRIES = [entry for entries in FAMILIES.values() for entry in entries]
BY_NAME = {entry['Name']: entry for entry in ENTRIES}
each_entry = pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'])


@pytest.fixture
def index():
    return yaml.safe_load(INDEX.read_text())


def written(path, index):
    path.write_text(yaml.safe_dump(index, sort_keys=False))
    return path


def test_names_are_unique_and_can_be_asked_for():
    assert len(BY_NAME) == len(ENTRIES) == 92
    assert [name for name in BY_NAME if name != name.lower()] == []  # mim lowers what users type


def test_every_config_of_the_paper_has_its_official_weights():
    """Tables 5 and 6, whose configs have a hyphen after the decoder, were published without.

    So was the minimal decoder.
    """
    configs = [
        config
        for config in sorted((ROOT / 'configs' / 'body').glob('vitpose_*_coco-256x192.py'))
        if re.match(r'vitpose_[a-z]+_(classic|simple)_', config.name)
    ]
    assert len(configs) == 8
    for config in configs:
        entry = BY_NAME[config.stem]
        assert entry['Config'] == f'configs/body/{config.name}'
        assert entry['Source'] == 'official'


@each_entry
def test_values_are_allowed(entry):
    assert entry['Arch'] in ARCHS
    assert entry['Decoder'] in DECODERS
    assert entry['Source'] in SOURCES
    assert set(entry['Training Data']) <= DATA_SETS
    assert entry['Training Data']
    assert entry['Experts'] in (0, 6)
    assert re.fullmatch(r'\d+x\d+|unknown', entry['Input Size'])
    assert entry['Licence'].strip()
    assert entry['File Name'].strip()
    assert entry['Page'].startswith('https://')
    assert entry['Weights'].startswith('https://')


@each_entry
def test_heads_have_the_keypoints_and_codec_of_their_data_set(entry):
    heads = entry.get('Heads', {})
    assert (heads == {}) == (entry['Decoder'] == 'none')
    for name, head in heads.items():
        assert head == {
            'Keypoints': KEYPOINTS[name],
            'Codec': CODECS[name][0],
            'Shift Heatmap': CODECS[name][1],
        }


@each_entry
def test_config_is_of_the_same_model(entry):
    if entry['Config'] is None:
        return
    plus = 'plus_' if entry['Experts'] else ''
    model = f'vitpose_{plus}{entry["Arch"]}_{entry["Decoder"]}_'
    assert Path(entry['Config']).name.startswith(model)
    model = Config.fromfile(ROOT / entry['Config']).model
    assert list(entry['Heads']) == model.head.get('order', [model.get('pretrained_dataset')])
    assert entry['Experts'] == len(model.backbone.get('experts', []))


@each_entry
def test_sums_are_sums(entry):
    assert entry['SHA256'] == 'unknown' or re.fullmatch('[0-9a-f]{64}', entry['SHA256'])
    if 'SHA256 Prefix' in entry:
        assert re.fullmatch('[0-9a-f]{8}', entry['SHA256 Prefix'])
        assert f'-{entry["SHA256 Prefix"]}' in entry['File Name']
        assert entry['SHA256'] == 'unknown'  # else the prefix says nothing more
    if entry['Weights'].startswith('https://download.openmmlab.com/mmpose/v1/body'):
        assert entry['Weights'].endswith(f'/{entry["File Name"]}')
        assert 'SHA256 Prefix' in entry


def test_known_sums_and_links_belong_to_one_file_each():
    sums = [entry['SHA256'] for entry in ENTRIES if entry['SHA256'] != 'unknown']
    assert len(set(sums)) == len(sums) == 4
    links = [entry['Weights'] for entry in ENTRIES]
    assert len(set(links)) == len(links)


@each_entry
def test_figures_are_percentages(entry):
    for result in entry['Results']:
        assert result['Metrics'].keys() <= {'AP', 'AR', 'AP (H)', 'PCKh'}
        assert all(25 < value < 100 for value in result['Metrics'].values())


@pytest.mark.parametrize(
    'name, metrics',
    [
        ('vitpose_small_classic_8xb64-210e_coco-256x192', {'AP': 73.8, 'AR': 79.2}),
        ('vitpose_huge_simple_8xb64-210e_coco-256x192', {'AP': 78.9, 'AR': 84.0}),
        ('vitpose-base_coco-aic-mpii', {'AP': 77.1, 'AR': 82.2}),
        ('vitpose-plus-large', {'AP': 78.6, 'AR': 84.1}),
        ('vitpose-huge_coco-aic-mpii-crowdpose_crowdpose', {'AP': 76.3, 'AP (H)': 65.6}),
        ('mmpose_td-hm_vitpose-base_8xb64-210e_coco-256x192', {'AP': 75.7, 'AR': 81.0}),
    ],
)
def test_first_figures_are_the_published_ones(name, metrics):
    assert BY_NAME[name]['Results'][0]['Metrics'] == metrics


def test_small_ar_that_is_an_ap_is_left_out():
    assert BY_NAME['vitpose-plus-small']['Results'][0]['Metrics'] == {'AP': 75.8}


def test_experts_and_heads_of_vitpose_plus():
    assert len(FAMILIES['ViTPose++']) == 4
    for entry in FAMILIES['ViTPose++']:
        assert (entry['Experts'], list(entry['Heads'])) == (6, PLUS_HEADS)
    converted = [entry for entry in FAMILIES['HuggingFace'] if entry['Experts']]
    assert len(converted) == 4
    for entry in converted:
        assert list(entry['Heads']) == ['coco']
    for entry in FAMILIES['easy_ViTPose']:
        assert (entry['Experts'], len(entry['Heads'])) == (0, 1)


@each_entry
def test_wholebody_and_mae_show_in_the_licence(entry):
    if 'COCO-WholeBody' in entry['Training Data']:
        assert 'non-commercial' in entry['Licence']
    starts_from_mae = entry['Decoder'] != 'none' or 'mae' in entry['Name']
    if starts_from_mae and entry['Arch'] in ('base', 'large', 'huge'):
        assert 'CC-BY-NC-4.0' in entry['Licence']


def test_mim_reads_the_index():
    loaded = load(str(INDEX))
    assert loaded.check(silent=True) == []
    assert len(loaded.models) == len(ENTRIES)


def test_mim_searches_the_index(monkeypatch):
    monkeypatch.setattr(search, 'load_metadata', lambda *_: load(str(INDEX)))
    name = 'vitpose_base_classic_8xb64-210e_coco-256x192'
    found = search.get_model_info('vitpose_mm', configs=[name], to_dict=True)[name]
    assert found['coco/ap'] == 75.8
    assert found['config'] == f'configs/body/{name}.py'
    assert found['weight'] == BY_NAME[name]['Weights']
    assert found['heads']['coco']['Keypoints'] == 17
    assert found['source'] == 'official'  # what the collection states
    plus = search.get_model_info('vitpose_mm', models=['ViTPose++'], shown_fields=['experts'])
    assert plus['experts'].to_dict() == {entry['Name']: 6 for entry in FAMILIES['ViTPose++']}
    with_feet = search.get_model_info('vitpose_mm', training_datasets=['coco,cmu feet'])
    assert len(with_feet) == 4


def test_page_is_up_to_date():
    assert WRITER.main(['--check']) == 0, 'run python docs/write_weights.py'


def test_page_names_every_file_and_how_to_compare():
    page = (ROOT / 'docs' / 'weights.md').read_text()
    for entry in ENTRIES:
        assert page.count(f'| {entry["Name"]} |') == 1
        assert f']({entry["Weights"]})' in page
    assert 'tools/inspect_checkpoint.py FILE' in page
    assert 'None of them was measured here' in page
    prose = [line for line in page.splitlines() if not line.startswith('|')]
    assert max(map(len, prose)) <= 120
    tables = [line for line in page.splitlines() if line.startswith('|')]
    assert [line for line in tables if not line.endswith('|')] == []


def test_check_finds_a_page_that_is_out_of_date(tmp_path, capsys):
    page = tmp_path / 'weights.md'
    assert WRITER.main(['--check', '--output', str(page)]) == 1
    assert not page.exists()
    assert 'out of date' in capsys.readouterr().err
    assert WRITER.main(['--output', str(page)]) == 0
    assert WRITER.main(['--check', '--output', str(page)]) == 0
    page.write_text(page.read_text().replace('75.8', '85.7'))
    assert WRITER.main(['--check', '--output', str(page)]) == 1
    assert list(tmp_path.iterdir()) == [page]


def break_collection(index):
    index['Models'][0]['In Collection'] = 'Elsewhere'


def break_heading(index):
    index['Collections'].append({**copy.deepcopy(index['Collections'][0]), 'Name': 'Elsewhere'})


def break_missing(index):
    del index['Models'][0]['Metadata']['SHA256']


def break_left_over(index):
    index['Models'][0]['Metadata']['Colour'] = 'red'


@pytest.mark.parametrize(
    'damage, message',
    [
        (break_collection, "no collection 'Elsewhere'"),
        (break_heading, 'Elsewhere.*no heading'),
        (break_missing, 'SHA256.*missing'),
        (break_left_over, 'Colour.*not be shown'),
    ],
)
def test_unusable_index_leaves_the_page_alone(tmp_path, index, damage, message):
    damage(index)
    path = written(tmp_path / 'index.yml', index)
    page = tmp_path / 'weights.md'
    page.write_text('old')
    with pytest.raises(ValueError, match=message):
        WRITER.main(['--index', str(path), '--output', str(page)])
    assert page.read_text() == 'old'
