# A ViTPose of 5.6 M parameters on people of your own, annotated in COCO's format. The set's folder
# is given by the environment variable DATA_ROOT and looks like this:
#   person_keypoints_train.json  person_keypoints_val.json  images/
# Start: a DeiT-tiny, timm's or the original file, as it is.
_base_ = ['../body/vitpose_small_simple_8xb64-210e_coco-256x192.py']

# --- schedule: 10 epochs of 70 steps on 4500 people ---
train_cfg = dict(max_epochs=10, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=70, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=10, milestones=[7, 9], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
    dict(type='ValidationLossHook'),
]

# --- model ---
model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_tiny_patch16_224.pth'),
    ),
    head=dict(in_channels=192),
)

# --- data ---
data_root = '{{$DATA_ROOT:data/persons}}/'
val_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=(192, 256), use_udp=True),
    dict(type='PackPersonInputs', pack_transformed=True),  # for ValidationLossHook
]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='person_keypoints_train.json',
        data_prefix=dict(img='images/'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='person_keypoints_val.json',
        bbox_file=None,  # ground-truth boxes
        data_prefix=dict(img='images/'),
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'person_keypoints_val.json')
test_evaluator = val_evaluator
