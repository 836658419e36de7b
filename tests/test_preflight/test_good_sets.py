"""Real sets are in order: nothing is found but what is really there."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmpose.datasets.datasets import (
    AicDataset,
    AP10KDataset,
    CocoDataset,
    CocoWholeBodyDataset,
    CrowdPoseDataset,
    OCHumanDataset,
)

from vitpose_mm.codecs import BatchedUDPHeatmap
from vitpose_mm.preflight import examine
from vitpose_mm.preflight.annotations import left_out
from vitpose_mm.preflight.coco_file import read_annotations
from vitpose_mm.preflight.overlap import check_overlap
from vitpose_mm.preflight.sets import examine_set

CUSTOM = Path(__file__).resolve().parents[2] / 'configs/custom'
DEIT = 'deit_tiny_patch16_224.npz'
CODEC = BatchedUDPHeatmap(input_size=(192, 256), heatmap_size=(48, 64))
# class, annotation file, folder of images, options of the metric, kinds of warnings
SETS = [
    ('CocoDataset', 'coco_persons/person_keypoints_train.json', 'images', {}, []),
    ('CocoDataset', 'coco_persons/person_keypoints_val.json', 'images', {}, []),
    ('CocoDataset', 'coco/test_coco.json', '', {}, []),
    ('CocoWholeBodyDataset', 'coco/test_coco_wholebody.json', '', {}, []),
    ('OCHumanDataset', 'ochuman/test_ochuman.json', '', {}, []),
    ('CrowdPoseDataset', 'crowdpose/test_crowdpose.json', '', dict(use_area=False), []),
    # its own files have no iscrowd, either
    ('AicDataset', 'aic/test_aic.json', '', dict(use_area=False), ['iscrowd-missing']),
    ('AP10KDataset', 'ap10k/test_ap10k.json', '', {}, []),
]


@pytest.mark.parametrize(('kind', 'file', 'images', 'options', 'warnings'), SETS)
def test_real_sets_have_no_faults(kind, file, images, options, warnings, real_data_dir):
    path = real_data_dir / file
    config = dict(type=kind, ann_file=str(path), data_prefix=dict(img=str(path.parent / images)))
    metrics = {None: [dict(type='CocoMetric', ann_file=str(path), **options)]}
    report = examine_set('val', 'val', config, {None: CODEC}, metrics, num_images=10)
    assert [(each.severity, each.kind) for each in report.findings] == [
        ('warning', kind) for kind in warnings
    ]
    assert len(report.images) > 1
    assert report.counts['used'] > 1


@pytest.mark.parametrize(
    ('kind', 'file'),
    [
        (CocoDataset, 'coco/test_coco.json'),
        (CocoWholeBodyDataset, 'coco/test_coco_wholebody.json'),
        (CrowdPoseDataset, 'crowdpose/test_crowdpose.json'),
        (AicDataset, 'aic/test_aic.json'),
        (AP10KDataset, 'ap10k/test_ap10k.json'),
        (OCHumanDataset, 'ochuman/test_ochuman.json'),
    ],
)
def test_those_left_out_are_those_that_mmpose_leaves_out(kind, file, real_data_dir):
    path = str(real_data_dir / file)
    dataset = kind(ann_file=path, serialize_data=False)
    content = read_annotations(path)
    used = {annotation['id'] for annotation in left_out(content)[None]}
    assert used == {info['id'] for info in dataset.data_list}


def test_config_of_real_people_has_no_findings(real_data_dir, real_weights_dir, monkeypatch):
    monkeypatch.setenv('DATA_ROOT', str(real_data_dir / 'coco_persons'))
    cfg = Config.fromfile(CUSTOM / 'vitpose_tiny_classic_1xb10-5e_coco-style-128x96.py')
    cfg.model.backbone.init_cfg.checkpoint = str(real_weights_dir / DEIT)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.serialize_data = False  # which takes mmengine half a second
    report = examine(cfg, num_samples=4, num_images=10, overlap_seconds=0)
    assert report.findings == []
    assert [each.caption.split()[0] for each in report.samples] == ['coco'] * 4
    assert sum(counts['used'] for counts in report.counts.values()) == 4498 + 903


def test_two_real_sets_have_no_findings(real_data_dir, real_weights_dir, monkeypatch):
    monkeypatch.setenv('COCO_ROOT', str(real_data_dir / 'coco_persons'))
    monkeypatch.setenv('LSP_ROOT', str(real_data_dir / 'lsp_extended'))
    cfg = Config.fromfile(CUSTOM / 'vitpose_tiny_classic_1xb14-12e_coco-style-lsp-128x96.py')
    cfg.model.backbone.init_cfg.checkpoint = str(real_weights_dir / DEIT)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for part in loader.dataset.datasets.values():
            part.serialize_data = False
    report = examine(cfg, num_samples=4, num_images=10, overlap_seconds=0)
    assert report.findings == []
    names = [each.caption.split()[0] for each in report.samples]
    assert sorted(names) == ['coco', 'coco', 'lsp_extended', 'lsp_extended']


def test_a_picture_that_lsp_extended_has_twice_is_found(real_data_dir):
    """Of 121 images one: a warning."""
    folder = real_data_dir / 'lsp_extended/images'
    trained = read_annotations(str(real_data_dir / 'lsp_extended/person_keypoints_train.json'))
    names = [*(image['file_name'] for image in trained['images'][::50]), 'im00457.jpg']
    validated = read_annotations(str(real_data_dir / 'lsp_extended/person_keypoints_val.json'))
    others = [*(image['file_name'] for image in validated['images'][:120]), 'im09410.jpg']
    train, val = (
        [str(folder / name) for name in dict.fromkeys(group)] for group in (names, others)
    )
    overlap = check_overlap(train, val, seconds=600)
    (finding,) = overlap.findings
    assert (finding.severity, finding.kind, finding.count) == ('warning', 'same-images', 1)
    assert 'im00457' in finding.examples[0]
    assert 'im09410' in finding.examples[0]
