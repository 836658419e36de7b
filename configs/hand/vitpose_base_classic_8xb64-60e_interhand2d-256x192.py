# Single hands of InterHand2.6M, to which the papers transfer: start from a backbone by
# model.backbone.init_cfg, of ViTPose++ with an expert named by model.backbone.pretrained_expert.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

# --- schedule of the official config ---
train_cfg = dict(max_epochs=60)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=60, milestones=[40, 50], gamma=0.1, by_epoch=True),
]

own = _base_.alone.interhand2d
model = dict(pretrained_dataset=None, head=own.head, test_cfg=own.test_cfg)
dataset_type = 'InterHand2DDoubleDataset'  # by which inferencers choose a detector
train_dataloader = dict(dataset=own.train)
val_dataloader = dict(dataset=own.val)
test_dataloader = dict(
    dataset=dict(
        own.val,
        ann_file='annotations/all/InterHand2.6M_test_data.json',
        camera_param_file='annotations/all/InterHand2.6M_test_camera.json',
        joint_file='annotations/all/InterHand2.6M_test_joint_3d.json',
        data_prefix=dict(img='images/test/'),
    )
)
val_evaluator = own.evaluator
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='interhand2d/AUC'))
