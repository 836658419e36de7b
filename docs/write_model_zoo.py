"""Write docs/model_zoo.md, the table of all configs, from the configs and the published figures.

Groups, figures of papers and results of this package are in docs/model_zoo.yml, public weights and
their figures in model-index.yml. Models are counted when the page is written, which takes minutes.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import yaml
from write_weights import HEADINGS, format_figures, read_index, wrap

ROOT = Path(__file__).resolve().parents[1]
OFFICIAL = 'https://github.com/ViTAE-Transformer/ViTPose'
ARCHS = ('tiny', 'small', 'base', 'large', 'huge')
NOT_COUNTED = ('', '')
CHECKED = 15  # of so many models --check counts one
NAME = re.compile(
    r'(?P<model>\w+?)(_(?P<decoder>classic|simple|minimal))?(-(?P<variant>[a-z0-9-]+))?'
    r'_\d+xb\d+-\d+e_(?P<data>[a-z0-9-]+)-(?P<size>\d+x\d+)'
)
KEYS = {'Title', 'Configs', 'Text', 'Source', 'Published', 'Index', 'Measured', 'Elsewhere'}
DATA = {
    'coco': ['COCO'],
    'ochuman': ['COCO'],
    'aic': ['AI Challenger'],
    'mpii': ['MPII'],
    'crowdpose': ['CrowdPose'],
    'ap10k': ['AP-10K'],
    'apt36k': ['APT-36K'],
    'interhand2d': ['InterHand2.6M'],
    'coco-wholebody': ['COCO-WholeBody'],
    'coco-aic': ['COCO', 'AI Challenger'],
    'coco-aic-mpii': ['COCO', 'AI Challenger', 'MPII'],
    'coco-aic-mpii-crowdpose': ['COCO', 'AI Challenger', 'MPII', 'CrowdPose'],
    'six-datasets': ['COCO', 'AI Challenger', 'MPII', 'AP-10K', 'APT-36K', 'COCO-WholeBody'],
}
COLUMNS = (
    *('config', 'arch', 'decoder', 'data', 'input', 'parameters, M', 'multiply-adds, G'),
    *('published', 'weights', 'measured here'),
)

INTRODUCTION = """\
# Model zoo

All configs of this package. This page is made by `python docs/write_model_zoo.py` from the configs,
[model_zoo.yml](model_zoo.yml), [model-index.yml](../model-index.yml) and
[benchmarks/results](../benchmarks/results).

- **parameters, multiply-adds**: of one forward of one image without flip test, as
  `tools/analysis/count_flops.py` counts them; of pose models only.
- **published**: what the authors measured with their code, in percent, and where it stands. Tables
  are those of [ViTPose](https://arxiv.org/abs/2204.12484), the README is that of the
  [official repository](https://github.com/ViTAE-Transformer/ViTPose). AP is on COCO val, with the
  detected boxes that have 56 AP on people, unless another data set is named. **None of it was
  measured here.** `none known`: no figure of this very training was found in either.
- **weights**: public files for the model of the config. [weights.md](weights.md) has links,
  licences, and the figures of other implementations.
- **measured here**: the outcome of trainings with this package, AP and PCK in percent, and the file
  that holds it. Speed and memory are in [benchmarks](../benchmarks/README.md).
"""


class Group(NamedTuple):
    """A table of the page; figures and results are by config, below ``configs/``, no ``.py``."""

    title: str
    text: str
    configs: list[str]
    source: str
    published: dict[str, dict[str, float]]
    index: dict[str, list[str]]
    measured: dict[str, list[dict]]
    elsewhere: dict[str, str]


def list_configs(folder: Path) -> list[str]:
    """Paths below ``folder`` without ``.py``, ``_base_`` left out; small models first."""
    paths = (path.relative_to(folder).with_suffix('') for path in folder.rglob('*.py'))
    return sorted((path.as_posix() for path in paths if '_base_' not in path.parts), key=in_order)


def in_order(config: str) -> tuple:
    """Archs by size, then names, in which numbers count as such."""
    sizes = [size for size, arch in enumerate(ARCHS) if f'_{arch}_' in config]
    parts = re.split(r'(\d+)', config)
    return sizes, [int(part) if part.isdigit() else part for part in parts]


def read_groups(path: Path, configs: Sequence[str]) -> list[Group]:
    """Divide configs among the groups of ``model_zoo.yml``.

    Raises:
        ValueError: A config is in no group or in two, what a group says is of none of its configs,
            or a group says what would not be shown.
    """
    groups, places = [], Counter()
    for entry in yaml.safe_load(path.read_text())['Groups']:
        title = entry['Title']
        if unknown := entry.keys() - KEYS:
            raise ValueError(f'group {title!r}: {sorted(unknown)} would not be shown')
        own = [config for config in configs if re.fullmatch(entry['Configs'], config)]
        places.update(own)
        tables = [entry.get(key, {}) for key in ('Published', 'Index', 'Measured', 'Elsewhere')]
        if strangers := sorted({config for table in tables for config in table} - set(own)):
            raise ValueError(f'group {title!r} has entries for {strangers}, no configs of it')
        if tables[0] and 'Source' not in entry:
            raise ValueError(f'group {title!r}: published figures need a Source')
        groups.append(Group(title, entry['Text'], own, entry.get('Source', ''), *tables))
    if wrong := {config: places[config] for config in configs if places[config] != 1}:
        raise ValueError(f'each config must be in one group of {path.name}, got {wrong}')
    return groups


def parse_name(config: str) -> dict[str, str]:
    """Arch, decoder, data and input size, which the name of a config tells.

    Raises:
        ValueError: The name is not made as those of all configs are.
    """
    found = NAME.fullmatch(Path(config).name)
    if found is None:
        raise ValueError(
            f'{config}: its name must be {{model}}_{{gpus}}xb{{batch}}-{{epochs}}e_{{data}}-'
            '{height}x{width}'
        )
    arch = found['model'].removeprefix('vitpose_').replace('_', ' ')
    variant = '' if found['variant'] is None else f', {found["variant"]}'
    return dict(
        arch=arch + variant,
        decoder=found['decoder'] or '',
        data=', '.join(DATA.get(found['data'], [found['data']])),
        input=found['size'],
    )


def count(path: Path) -> tuple[str, str]:
    """Millions of parameters and thousands of millions of multiply-adds; none but of pose models.

    Imports and builds the model on the meta device, which takes a second.
    """
    if not path.name.startswith(('vitpose', 'resnet')):
        return NOT_COUNTED
    from mmengine.config import Config

    from vitpose_mm.analysis import complexity_report

    total = complexity_report(Config.fromfile(path))['total']
    return f'{total["parameters"] / 1e6:.1f}', f'{total["macs"] / 1e9:#.4g}'


def read_counts(page: str) -> dict[str, tuple[str, str]]:
    """Counts by config, as a page has them."""
    counts = {}
    for line in page.splitlines():
        if link := re.match(r'\| \[[^]]+]\(\.\./configs/([^)]+)\.py\) ', line):
            cells = [cell.strip() for cell in line.split('|')[1:-1]]
            counts[link[1]] = (cells[5], cells[6])
    return counts


def anchors(headings: Iterable[str]) -> list[str]:
    """What GitHub calls headings in links; of equal names all but the first get a number."""
    seen, names = Counter(), []
    for heading in headings:
        name = re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
        names.append(name if not seen[name] else f'{name}-{seen[name]}')
        seen[name] += 1
    return names


def add_links(
    families: dict[str, list[dict[str, Any]]], configs: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Models of the index by name, each with the ``Link`` to its table in weights.md.

    Raises:
        ValueError: One names a config that does not exist.
    """
    links = dict(zip(HEADINGS, anchors(HEADINGS.values())))
    models = {}
    for family, entries in families.items():
        for entry in entries:
            name, path = entry['Name'], entry['Config']
            if path is not None and path not in [f'configs/{config}.py' for config in configs]:
                raise ValueError(f'{name}: model-index.yml names {path}, which does not exist')
            models[name] = {**entry, 'Link': f'[{name}](weights.md#{links[family]})'}
    return models


def models_of(config: str, group: Group, models: dict[str, dict[str, Any]]) -> list[dict]:
    """Models of the index for a config: those that name it, and those that the group adds.

    Raises:
        ValueError: The group adds a name that the index does not have.
    """
    further = group.index.get(config, [])
    if unknown := [name for name in further if name not in models]:
        raise ValueError(f'{config}: model-index.yml has no {unknown}')
    path = f'configs/{config}.py'
    return [model for model in models.values() if model['Config'] == path] + [
        models[name] for name in further
    ]


def format_published(config: str, group: Group, models: Sequence[dict[str, Any]]) -> str:
    """Figures of official models and of the group's table, and where they stand."""
    lines, sources = [], []
    for model in models:
        if model['Page'] != OFFICIAL or not model['Results']:
            continue
        trained_on = ', '.join(model['Training Data'])
        if trained_on != parse_name(config)['data']:
            lines.append(f'of weights trained on {trained_on}:')
        lines.append(format_figures(model['Results']))
        sources = ['(README)']
    if figures := group.published.get(config):
        lines.append(', '.join(f'{value} {metric}' for metric, value in figures.items()))
        sources.append(f'({group.source})')
    return '<br>'.join([*lines, *sources]) or 'none known'


def format_measured(config: str, group: Group, results: Path) -> str:
    """Figures of this package's trainings, with the files that hold them.

    Raises:
        ValueError: A file does not hold a figure where the group says.
    """
    lines = []
    for entry in group.measured.get(config, []):
        path = results / f'{entry["Results"]}.json'
        content = json.loads(path.read_text())
        figures = ', '.join(
            f'{format_value(find(content, place, path), name)} {name}'
            for name, place in entry['Figures'].items()
        )
        lines.append(f'{figures} ([{path.stem}](../benchmarks/results/{path.stem}.txt))')
    if config in group.elsewhere:
        lines.append(f'see {group.elsewhere[config]}, no file of results')
    return '<br>'.join(lines) or 'not measured here'


def find(content: Any, place: Sequence[str], path: Path) -> float:
    """A figure by its keys; elements of lists are found by their ``arm``."""
    found = content
    for key in place:
        if isinstance(found, list):
            found = {element['arm']: element for element in found}
        if key not in found:
            raise ValueError(f'{path} holds no {place}: {key!r} is not in {list(found)}')
        found = found[key]
    return found


def format_value(value: float, name: str) -> str:
    return f'{value:.3f}' if 'loss' in name else f'{100 * value:.1f}'


def render(
    groups: Sequence[Group],
    models: dict[str, dict[str, Any]],
    counts: dict[str, tuple[str, str]],
    results: Path,
) -> str:
    """The page as Markdown; where ``counts`` lacks a config, its counts are question marks."""
    lines = INTRODUCTION.splitlines()
    for group in groups:
        lines += ['', f'## {group.title}', '', *wrap(group.text), '']
        lines += [f'| {" | ".join(COLUMNS)} |', f'|{"---|" * len(COLUMNS)}']
        for config in group.configs:
            known = models_of(config, group, models)
            cells = [
                f'[{Path(config).name}](../configs/{config}.py)',
                *parse_name(config).values(),
                *counts.get(config, ('?', '?')),
                format_published(config, group, known),
                '<br>'.join(model['Link'] for model in known),
                format_measured(config, group, results),
            ]
            lines.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')
    return '\n'.join(lines) + '\n'


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='What comes out: the whole file, or nothing. Exit status 1 with --check where the '
        'file is out of date.',
    )
    parser.add_argument('--configs', type=Path, default=ROOT / 'configs')
    parser.add_argument('--groups', type=Path, default=ROOT / 'docs' / 'model_zoo.yml')
    parser.add_argument('--index', type=Path, default=ROOT / 'model-index.yml')
    parser.add_argument('--results', type=Path, default=ROOT / 'benchmarks' / 'results')
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'model_zoo.md')
    parser.add_argument(
        '--check',
        action='store_true',
        help=f'write nothing, only compare; one of {CHECKED} models is counted, see --all',
    )
    parser.add_argument('--all', action='store_true', help='with --check: count all models')
    options = parser.parse_args(arguments)
    configs = list_configs(options.configs)
    groups = read_groups(options.groups, configs)
    models = add_links(read_index(options.index), configs)
    page = options.output.read_text() if options.check and options.output.exists() else ''
    counts = read_counts(page)
    if not options.check:
        counted = configs
    else:  # what is not on the page is found without
        counted = [config for config in configs if config in counts]
        counted = counted if options.all else counted[::CHECKED]
    for config in counted:
        counts[config] = count(options.configs / f'{config}.py')
    text = render(groups, models, counts, options.results)
    if not options.check:
        # Imported late for a quick --help and --check.
        from vitpose_mm.files import written_whole

        with written_whole(options.output) as partial:
            Path(partial).write_text(text)
    elif page != text:
        old, new = page.splitlines(), text.splitlines()
        changed = [f'- {line}' for line in old if line not in new]
        changed += [f'+ {line}' for line in new if line not in old]
        lines = [f'{options.output} is out of date: run python docs/write_model_zoo.py', *changed]
        sys.stderr.write('\n'.join(lines) + '\n')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
