"""The published ViTPose++ config on samples of its six data sets, laid out as in docs/datasets.md.

Its schedule, batch and width are cut down; all else is what users run.
"""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from tiny_training import ROOT, finish, start, start_distributed, start_tool

sys.path.append(str(Path(__file__).parents[1] / 'test_datasets'))

from apt36k_release import ap10k_sources, make_release

CONFIG = (
    ROOT / 'configs/multi_dataset/vitpose_plus_small_classic_8xb128-210e_six-datasets-256x192.py'
)
OPTIONS = [
    'model.head.shared.deconv_out_channels=(8,8)',
    *('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.num_workers=0'),
    *('train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0'),
    *('val_dataloader.persistent_workers=False', 'randomness.seed=0'),
    'model.test_cfg.flip_test=False',
]
SMALLER = f"""_base_ = ['{CONFIG}']
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=64, depth=2, num_heads=2),
        part_features=16,
    ),
    head=dict(shared=dict(in_channels=64)),
)
"""
NUM_BOXES = 16  # of the detector's 118
# Data set, metric and number of people, also where the detector's boxes are evaluated.
TABLE = {
    ('coco', 'AP'): 12,
    ('aic', 'AP'): 9,
    ('ochuman', 'AP'): 5,
    ('mpii', 'PCK'): 5,
    ('ap10k', 'AP'): 2,
    ('apt36k', 'AP'): 3,
    ('coco_wholebody', 'AP'): 12,
}


def lay_out(samples: Path, data: Path, make_apt36k) -> None:
    """Copy the samples to the folders and names that the configs expect."""

    def copy(source: str, *targets: str) -> None:
        for target in targets:
            path = data / target
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(samples / source, path)

    def copy_images(source: str, *targets: str) -> None:
        for target in targets:
            for image in (samples / source).glob('*.jpg'):
                copy(f'{source}/{image.name}', f'{target}/{image.name}')

    for part in ('train', 'val'):
        copy('coco/test_coco.json', f'coco/annotations/person_keypoints_{part}2017.json')
        copy('coco/test_coco_wholebody.json', f'coco/annotations/coco_wholebody_{part}_v1.0.json')
        copy('aic/test_aic.json', f'aic/annotations/aic_{part}.json')
        copy('mpii/test_mpii.json', f'mpii/annotations/mpii_{part}.json')
        copy_images('coco', f'coco/{part}2017')
    boxes = json.loads((samples / 'coco/test_coco_det_AP_H_56.json').read_text())
    (data / 'coco/person_detection_results').mkdir()
    path = data / 'coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json'
    path.write_text(json.dumps(boxes[:NUM_BOXES]))
    copy_images(
        'aic',
        'aic/ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902',
        'aic/ai_challenger_keypoint_validation_20170911/keypoint_validation_images_20170911',
    )
    copy_images('mpii', 'mpii/images')
    # MPII's head boxes are not in the sample: neck to top of the head stands in for them.
    people = json.loads((samples / 'mpii/test_mpii.json').read_text())
    corners = np.stack([np.array(person['joints'])[[8, 9]] for person in people], axis=-1)
    savemat(data / 'mpii/annotations/mpii_gt_val.mat', dict(headboxes_src=corners))
    copy(
        'ochuman/test_ochuman.json',
        'ochuman/annotations/ochuman_coco_format_val_range_0.00_1.00.json',
    )
    copy_images('ochuman', 'ochuman/images')
    for part in ('train', 'val', 'test'):
        copy('ap10k/test_ap10k.json', f'ap10k/annotations/ap10k-{part}-split1.json')
    copy_images('ap10k', 'ap10k/data')
    release = make_release(make_apt36k, sources=ap10k_sources(samples / 'ap10k'))
    (make_apt36k / 'AP-36k-patr1').rename(data / 'apt36k')
    folder = data / 'apt36k'
    finish(
        start_tool('convert_apt36k.py', release, folder / 'annotations', '--images', str(folder))
    )


@pytest.fixture(scope='module')
def logs(tmp_path_factory) -> dict[str, str]:
    """What an epoch and its evaluation wrote, by mim and by two processes, both at once."""
    samples = ROOT.parent / 'shared' / 'data'
    if not samples.is_dir():
        pytest.skip('needs the development folder ../shared/data')
    work = tmp_path_factory.mktemp('six')
    lay_out(samples, work / 'data', work)
    config = work / 'smaller.py'
    config.write_text(SMALLER)
    command = ['mim', 'train', 'vitpose_mm', config, '--gpus', '0', '--work-dir', work / 'mim']
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        by_mim = start(*command, '--cfg-options', *OPTIONS, 'train_dataloader.batch_size=8')
        by_two = start_distributed(
            'dist_train.sh',
            config,
            2,
            *('--work-dir', work / 'two', '--cfg-options', *OPTIONS),
            'train_dataloader.batch_size=4',
        )
    with ThreadPoolExecutor(2) as pool:  # a full pipe would stop the one that is not read
        outputs = dict(zip(('mim', 'two'), pool.map(finish, (by_mim, by_two))))
    assert (work / 'mim/epoch_1.pth').is_file()
    assert (work / 'two/epoch_1.pth').is_file()
    return outputs


def table_of(log: str) -> dict[tuple[str, str], tuple[float, int]]:
    """The rows of the table at the end of an evaluation."""
    lines = log.splitlines()
    header = ['data', 'set', 'metric', 'value', 'people']
    starts = [index for index, line in enumerate(lines) if line.split() == header]
    assert len(starts) == 1, 'one table'
    rows = {}
    for line in lines[starts[0] + 1 :]:
        if line[:1].isdigit():  # the time of the next line of the log
            break
        name, rest = line.split(maxsplit=1)
        metric, value, people = rest.rsplit(maxsplit=2)
        rows[name, metric] = float(value), int(people)
    return rows


@pytest.mark.slow
def test_one_epoch_and_one_table(logs):
    for way in ('mim', 'two'):
        rows = table_of(logs[way])
        for key, people in TABLE.items():
            value, found = rows[key]
            assert found == people, (way, key)
            assert -1 <= value <= 100, (way, key)
        assert {name for name, _ in rows} == {name for name, _ in TABLE}, way
        # 12 + 9 + 5 + 2 + 4 + 12 people
        assert 'Epoch(train) [1][6/6]' in logs[way].replace('  ', ' '), way
