"""Peak memory of loading a checkpoint into a model, through mmengine, in a fresh process.

python benchmarks/loading_memory.py [--config CONFIG] [--out STEM]
"""

import argparse
import multiprocessing
import os
import re
import tempfile
from pathlib import Path

import torch
from common import CONFIGS, describe_machine, write_report

HUGE = CONFIGS / 'body/vitpose_huge_classic_8xb64-210e_coco-256x192.py'
FORMATS = (
    'ours .pth',
    'official .pth',
    'official .pth with six experts, one merged',
    'ours .safetensors',
    'Hugging Face folder',
)
DATASETS = ('coco', 'aic', 'mpii', 'ap10k', 'apt36k', 'coco_wholebody')
MB = 1e6


def memory(kind: str) -> float:
    """``VmRSS``, what is resident now, or ``VmHWM``, the most that was; MB."""
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{kind}:\s+(\d+) kB', status)[1]) * 1024 / MB


def reset_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def build(config: str) -> torch.nn.Module:
    from mmengine.config import Config

    from vitpose_mm.analysis.models import build_model

    return build_model(Config.fromfile(config))


def write(config: str, folder: str, queue: multiprocessing.Queue) -> None:
    from vitpose_mm.checkpoints import convert_file

    model = build(config)
    ours = os.path.join(folder, 'ours.pth')
    torch.save(dict(state_dict=model.state_dict()), ours)
    official = os.path.join(folder, 'official.pth')
    experts = os.path.join(folder, 'experts.pth')
    tensors = os.path.join(folder, 'ours.safetensors')
    transformers = os.path.join(folder, 'transformers')
    convert_file(ours, official, 'official')
    convert_file(ours, experts, 'official', dataset='coco', spread_experts=DATASETS)
    convert_file(ours, tensors)
    convert_file(ours, transformers, 'huggingface')
    queue.put(dict(zip(FORMATS, (ours, official, experts, tensors, transformers))))


def measure(config: str, path: str, mapped: bool, queue: multiprocessing.Queue) -> None:
    from mmengine.runner import load_checkpoint
    from mmengine.runner.checkpoint import _load_checkpoint_to_model

    from vitpose_mm.checkpoints import load_file

    imported = memory('VmRSS')
    model = build(config)
    built = memory('VmRSS')
    reset_peak()
    if mapped:
        load_checkpoint(model, path, map_location='cpu')
    else:
        _load_checkpoint_to_model(model, load_file(path))
    file = Path(path, 'model.safetensors') if os.path.isdir(path) else Path(path)
    queue.put(
        {
            'model': built - imported,
            'file': file.stat().st_size / MB,
            'peak above the model': memory('VmHWM') - built,
        }
    )


def in_new_process(function, *arguments: object) -> dict:
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=function, args=(*arguments, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    from vitpose_mm.analysis import format_report, format_table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=str(HUGE))
    parser.add_argument('--out', metavar='STEM', help='write STEM.json and STEM.txt as well')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = in_new_process(write, args.config, folder)
        figures = {
            name: in_new_process(measure, args.config, path, True) for name, path in paths.items()
        }
        copied = 'ours .pth, read before it is copied'
        figures[copied] = in_new_process(measure, args.config, paths['ours .pth'], False)
    rows = [('MB', 'model', 'file', 'peak above the model', 'of the file')]
    for name, each in figures.items():
        share = each['peak above the model'] / each['file']
        rows.append((name, *(f'{value:.0f}' for value in each.values()), f'{share:.1%}'))
    title = f'Memory of loading {Path(args.config).stem}'
    text = '\n'.join([title, '', format_table(rows), '', format_report(describe_machine()), ''])
    print(text)
    content = dict(title=title, figures=figures, machine=describe_machine())
    write_report(args.out, content, text)


if __name__ == '__main__':
    main()
