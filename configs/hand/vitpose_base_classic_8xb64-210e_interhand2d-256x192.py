# Single hands of InterHand2.6M, to which the papers transfer: start from a backbone by
# model.backbone.init_cfg, of ViTPose++ with an expert named by model.backbone.pretrained_expert.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

own = _base_.alone.interhand2d
model = dict(pretrained_dataset=None, head=own.head, test_cfg=own.test_cfg)
dataset_type = 'InterHand2DDoubleDataset'  # by which inferencers choose a detector
train_dataloader = dict(dataset=own.train)
val_dataloader = dict(dataset=own.val)
test_dataloader = val_dataloader
val_evaluator = own.evaluator
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='interhand2d/AUC'))
