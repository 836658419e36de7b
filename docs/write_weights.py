"""Write docs/weights.md, the tables of known public weights, from model-index.yml."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import yaml

ROOT = Path(__file__).resolve().parents[1]
LINE_LENGTH = 120  # of Markdown; tables are longer
HEADINGS = {
    'ViTPose': 'ViTPose, official',
    'ViTPose-multi-dataset': 'ViTPose on several data sets, official',
    'ViTPose++': 'ViTPose++, official',
    'ViTPose-splits': 'ViTPose on several data sets, one file per head, official',
    'MMPose': 'mmpose',
    'HuggingFace': 'Hugging Face transformers',
    'easy_ViTPose': 'easy_ViTPose',
    'Encoders': 'Encoders to start from',
}
REQUIRED = (
    *('Source', 'Page', 'Licence', 'Figures', 'Notes', 'Arch', 'Decoder', 'Training Data'),
    *('Input Size', 'Experts', 'File Name', 'SHA256'),
)
OPTIONAL = ('Heads', 'SHA256 Prefix', 'File Size', 'Mirror', 'Converted From', 'Note')

INTRODUCTION = """\
# Known public weights

This page says which file gives which head. It is made from [model-index.yml](../model-index.yml)
by `python docs/write_weights.py`. Files of these kinds load as they are, wherever a config takes a
checkpoint; that is tested on small files of the same layouts, not on these very files:

```bash
python tools/inspect_checkpoint.py FILE   # what a file at hand is, and its SHA-256 to compare
mim test vitpose_mm CONFIG --checkpoint FILE --gpus 1
mim search vitpose_mm --field heads weight
```

**Figures are those that the authors published, in percent. None of them was measured here.** The
lines above each table say where they stand.

- **heads**: data set and number of keypoints, in the order of the file, with what the head was
  trained and evaluated with. `UDP` means UDP's crop and UDP's coding of heatmaps, with no shift in
  the flip test; `MSRA, shift` means a plain affine crop, MSRA's coding, and `shift_heatmap=True`.
  Both belong to the weights: evaluated with the other codec, the same weights come out
  differently, without an error.
- **experts**: how many experts of ViTPose++ every block holds. With none, the file is a plain ViT.
- **file**: the name that the file has where it is published, linked to what the publisher gives: a
  file, or a page of OneDrive, which `mim download` cannot fetch. `mirror` is a copy that others
  host.
- **SHA-256**: of the whole file, as users of the mirror recorded it, or the first eight digits
  where the publisher states them in the name. Neither was computed here.
- **format**: what `tools/inspect_checkpoint.py` calls the source.
- **licence**: what the publisher states, and what is known of the weights and data that a model
  was trained from. What follows where these are for non-commercial use, none of the publishers
  says, and neither does this page.

`unknown` means that no source states it.
"""


def read_index(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the models of each collection, with what the collection states for all of them.

    Returns:
        Collections in their order, each with its models: the metadata, and the model's own
        ``Name``, ``Weights``, ``Config`` (None where there is none) and ``Results``.

    Raises:
        ValueError: A collection that no heading is known for or that does not exist, metadata that
            is missing, or metadata that would not be shown.
    """
    index = yaml.safe_load(path.read_text())
    shared = {collection['Name']: collection['Metadata'] for collection in index['Collections']}
    if unknown := shared.keys() - HEADINGS.keys():
        raise ValueError(
            f'collections {sorted(unknown)} have no heading; there are {list(HEADINGS)}'
        )
    families = {name: [] for name in shared}
    for model in index['Models']:
        name, collection = model['Name'], model['In Collection']
        if collection not in shared:
            raise ValueError(f'{name}: no collection {collection!r}; there are {list(shared)}')
        entry = {**shared[collection], **model['Metadata']}
        if missing := [key for key in REQUIRED if key not in entry]:
            raise ValueError(f'{name}: metadata {missing} missing')
        if left_over := [key for key in entry if key not in (*REQUIRED, *OPTIONAL)]:
            raise ValueError(f'{name}: metadata {left_over} would not be shown')
        entry['Figures of Collection'] = shared[collection]['Figures']
        for key in ('Name', 'Weights'):
            entry[key] = model[key]
        entry['Config'] = model.get('Config')
        entry['Results'] = model.get('Results', [])
        families[collection].append(entry)
    return families


def format_head(name: str, head: dict[str, Any]) -> str:
    """``coco 17 (UDP)``, ``aic 14 (MSRA, shift)``, ``coco_25 25 (codec unknown)``."""
    codec = 'codec unknown' if head['Codec'] == 'unknown' else head['Codec'].upper()
    shift = ', shift' if head['Shift Heatmap'] is True else ''
    return f'{name} {head["Keypoints"]} ({codec}{shift})'


def format_file(entry: dict[str, Any]) -> str:
    text = f'[{entry["File Name"]}]({entry["Weights"]})'
    if 'Mirror' in entry:
        text += f', [mirror]({entry["Mirror"]})'
    return text


def format_sum(entry: dict[str, Any]) -> str:
    if entry['SHA256'] != 'unknown':
        return f'`{entry["SHA256"]}`'
    return f'`{entry["SHA256 Prefix"]}`...' if 'SHA256 Prefix' in entry else 'unknown'


def format_figures(results: Sequence[dict[str, Any]]) -> str:
    """``COCO 75.8 AP, 81.1 AR``, one data set per line."""
    lines = []
    for result in results:
        figures = ', '.join(f'{value} {metric}' for metric, value in result['Metrics'].items())
        lines.append(f'{result["Dataset"]} {figures}')
    return '<br>'.join(lines)


def format_remarks(entry: dict[str, Any]) -> str:
    remarks = []
    if 'Converted From' in entry:
        remarks.append(f'From {entry["Converted From"]}.')
    if 'Note' in entry:
        remarks.append(entry['Note'])
    return ' '.join(remarks)


COLUMNS = {
    'model': lambda entry: entry['Name'],
    'file': format_file,
    'arch, decoder': lambda entry: f'{entry["Arch"]}, {entry["Decoder"]}',
    'trained on': lambda entry: ', '.join(entry['Training Data']),
    'input': lambda entry: entry['Input Size'],
    'experts': lambda entry: str(entry['Experts']),
    'heads': lambda entry: '<br>'.join(
        format_head(name, head) for name, head in entry.get('Heads', {}).items()
    ),
    'published figures': lambda entry: format_figures(entry['Results']),
    'config': lambda entry: (
        f'[{Path(entry["Config"]).stem}](../{entry["Config"]})' if entry['Config'] else ''
    ),
    'SHA-256': format_sum,
    'format': lambda entry: entry['Source'],
    'licence': lambda entry: entry['Licence'],
    'page': lambda entry: entry['Page'],
    'remarks': format_remarks,
}
# Above the table where all of a family's models agree, a column where they do not.
STATED_ONCE = {
    'input': 'Input',
    'format': 'Format',
    'licence': 'Licence',
    'page': 'Page',
    'trained on': 'Trained on',
    'experts': 'Experts',
}


def wrap(text: str) -> list[str]:
    """Lines of prose or of one item of a list; links stay whole."""
    indent = '  ' if text.startswith('- ') else ''
    return textwrap.wrap(
        text, LINE_LENGTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def format_family(name: str, entries: Sequence[dict[str, Any]]) -> list[str]:
    """Heading, what holds for all models, and a table of what differs."""
    cells = {
        column: [value(entry).replace('|', '\\|') for entry in entries]
        for column, value in COLUMNS.items()
    }
    common = [column for column in STATED_ONCE if len(set(cells[column])) == 1]
    shown = [column for column in cells if column not in common and any(cells[column])]
    lines = [f'## {HEADINGS[name]}', '', *wrap(entries[0]['Notes']), '']
    for column in common:
        lines += wrap(f'- {STATED_ONCE[column]}: {cells[column][0]}')
    lines += [*wrap(f'- Published figures: {entries[0]["Figures of Collection"]}'), '']
    lines += [f'| {" | ".join(shown)} |', f'|{"---|" * len(shown)}']
    lines += [f'| {" | ".join(row)} |' for row in zip(*(cells[column] for column in shown))]
    return lines


def render(families: dict[str, list[dict[str, Any]]]) -> str:
    """The page as Markdown."""
    lines = INTRODUCTION.splitlines()
    for name, entries in families.items():
        lines += ['', *format_family(name, entries)]
    return '\n'.join(lines) + '\n'


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='What comes out: the whole file, or nothing. Exit status 1 with --check where the '
        'file is out of date.',
    )
    parser.add_argument('--index', type=Path, default=ROOT / 'model-index.yml')
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'weights.md')
    parser.add_argument('--check', action='store_true', help='write nothing, only compare')
    options = parser.parse_args(arguments)
    text = render(read_index(options.index))
    if not options.check:
        # Imported late for a quick --help and --check.
        from vitpose_mm.files import written_whole

        with written_whole(options.output) as partial:
            Path(partial).write_text(text)
    elif not options.output.exists() or options.output.read_text() != text:
        sys.stderr.write(f'{options.output} is out of date: run python docs/write_weights.py\n')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
