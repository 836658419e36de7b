import sys
from pathlib import Path

import pytest
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_engine'))

from tiny_training import make_coco, tiny_config


def use_checked_transforms(cfg: Config) -> Config:
    """Put the transforms that refuse bad input in place of mmpose's."""
    names = {'LoadImage': 'LoadCheckedImage', 'GetBBoxCenterScale': 'GetCheckedBBoxCenterScale'}
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        for transform in loader.dataset.pipeline:
            transform['type'] = names.get(transform['type'], transform['type'])
    return cfg


@pytest.fixture
def coco(tmp_path) -> Path:
    """Folder of ten images 000.png to 009.png, four people in each, and annotations.json."""
    make_coco(tmp_path)
    return tmp_path


@pytest.fixture
def cfg(coco) -> Config:
    """A run on these people that takes a second."""
    cfg = use_checked_transforms(tiny_config(coco, batch_size=8, train_cfg__max_epochs=1))
    cfg.work_dir = str(coco / 'work')
    return cfg
