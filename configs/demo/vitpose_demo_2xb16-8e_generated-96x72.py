# A small ViTPose, trained from scratch on generated people (tools/generate_persons.py) in minutes
# on a CPU: two processes of one thread each train faster than one of two threads.
_base_ = ['../body/vitpose_base_simple_8xb64-210e_coco-256x192.py']

# --- schedule: short, and without what large models and long training need ---
train_cfg = dict(max_epochs=8, val_interval=8)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.001, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=8, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)  # 2 processes x 16
default_hooks = dict(logger=dict(interval=20))

# --- model: 0.5 M parameters; patches of 8 px need no pre-training to find small parts ---
codec = dict(type='BatchedUDPHeatmap', input_size=(72, 96), heatmap_size=(18, 24), sigma=1.5)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=96, depth=6, num_heads=3, mlp_ratio=2),
        img_size=(96, 72),
        patch_size=8,
        patch_padding=0,
        drop_path_rate=0.0,
    ),
    head=dict(in_channels=96, upsample=2, decoder=codec),
)

# --- data ---
data_root = 'data/generated_persons/'
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(
        type='FastRandomBBoxTransform', shift_factor=0.06, scale_factor=(0.9, 1.15), rotate_prob=0.0
    ),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs', pack_transformed=True),
]
val_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='images/train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_val.json',
        bbox_file=None,  # ground-truth boxes
        data_prefix=dict(img='images/val/'),
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val.json')
test_evaluator = val_evaluator
