import copy
import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from tiny_training import make_coco, tiny_config

from vitpose_mm.analysis.logs import read_scalars
from vitpose_mm.engine import ValidationLossHook, build_runner, validation_loss


def test_logs_the_loss_of_the_whole_set_without_augmentation(tmp_path):
    make_coco(tmp_path)
    cfg = tiny_config(tmp_path, batch_size=8, work_dir=str(tmp_path / 'work'))
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.model.backbone.drop_path_rate = 0.5  # must not act in validation
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    cfg.val_dataloader.batch_size = 24  # 40 people: batches of 24 and 16
    cfg.val_dataloader.dataset.pipeline[-1].pack_transformed = True
    cfg.val_cfg, cfg.val_evaluator = {}, cfg.test_evaluator
    cfg.custom_hooks.append({'type': 'ValidationLossHook'})
    runner = build_runner(cfg)
    runner.train()
    # the last validation's, not a mean over all
    logged = [each['loss_kpt'] for each in read_scalars(tmp_path / 'work') if 'iter' not in each]

    model = runner.model.eval()
    batch = runner.val_dataloader.collate_fn([runner.val_dataloader.dataset[i] for i in range(40)])
    with torch.no_grad():
        losses = model(**model.data_preprocessor(batch), mode='loss')
    assert len(logged) == 2 and logged[0] > 1.001 * logged[1]
    assert logged[1] == pytest.approx(losses['loss_kpt'].item(), rel=1e-5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(bbox_file='boxes.json'), "bbox_file to None, got 'boxes.json'"),
        (dict(), 'pack_transformed=True'),
    ],
)
def test_validation_without_targets_is_refused_before_training(changes, message, tmp_path):
    make_coco(tmp_path)
    boxes = [dict(image_id=0, category_id=1, bbox=[5, 5, 40, 40], score=1.0)]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    cfg = tiny_config(tmp_path, batch_size=8, work_dir=str(tmp_path / 'work'))
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    if 'bbox_file' in changes:
        cfg.val_dataloader.dataset.bbox_file = str(tmp_path / 'boxes.json')
        message = message.replace('boxes.json', str(tmp_path / 'boxes.json'))
    cfg.val_cfg, cfg.val_evaluator = {}, cfg.test_evaluator
    cfg.custom_hooks.append({'type': 'ValidationLossHook'})
    with pytest.raises(ValueError, match=message):
        build_runner(cfg).train()


def test_adds_up_over_processes_of_which_one_has_no_samples(monkeypatch):
    hub = MessageHub.get_instance('validation_loss')
    hook = ValidationLossHook()
    hook.sums, hook.counts = {}, {}
    theirs = ({('loss_kpt', 'coco'): 6.0}, {('loss_kpt', 'coco'): 4})
    monkeypatch.setattr(validation_loss, 'all_gather_object', lambda mine: [mine, theirs])
    hook.after_val_epoch(SimpleNamespace(message_hub=hub, model=SimpleNamespace()))
    assert hub.get_scalar('val/loss_kpt').current() == 1.5
