# AP-10K alone: to evaluate its head of a checkpoint with several, whose expert is merged,
# to fine-tune it (load_from), or to train from the start.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

own = _base_.alone.ap10k
model = dict(pretrained_dataset='ap10k', head=own.head, test_cfg=own.test_cfg)
dataset_type = 'AP10KDataset'  # by which inferencers choose a detector
train_dataloader = dict(dataset=own.train)
val_dataloader = dict(dataset=own.val)
test_dataloader = dict(dataset=dict(own.val, **_base_.test_files.ap10k))
val_evaluator = own.evaluator
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='ap10k/AP'))
