import copy

import pytest
import torch
from tiny_training import make_coco, tiny_config

from vitpose_mm.engine import build_runner


def test_logs_the_loss_of_the_whole_set_without_augmentation(tmp_path):
    make_coco(tmp_path)
    cfg = tiny_config(tmp_path, batch_size=8, work_dir=str(tmp_path / 'work'))
    cfg.train_cfg.max_epochs = 1
    cfg.model.backbone.drop_path_rate = 0.5  # must not act in validation
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    cfg.val_dataloader.batch_size = 24  # 40 people: batches of 24 and 16
    cfg.val_dataloader.dataset.pipeline[-1].pack_transformed = True
    cfg.val_cfg, cfg.val_evaluator = {}, cfg.test_evaluator
    cfg.custom_hooks.append({'type': 'ValidationLossHook'})
    runner = build_runner(cfg)
    runner.train()
    logged = runner.message_hub.get_scalar('val/loss_kpt').current()

    model = runner.model.eval()
    batch = runner.val_dataloader.collate_fn([runner.val_dataloader.dataset[i] for i in range(40)])
    with torch.no_grad():
        losses = model(**model.data_preprocessor(batch), mode='loss')
    assert logged == pytest.approx(losses['loss_kpt'].item(), rel=1e-5)
