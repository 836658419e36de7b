# ViTPose-B with the classic decoder on COCO: the complete recipe of arXiv 2204.12484, Table 1.
# All other configs inherit from it and state only what differs.
_base_ = ['mmpose::_base_/default_runtime.py']
custom_imports = dict(imports=['vitpose_mm'], allow_failed_imports=False)

# --- schedule ---
train_cfg = dict(max_epochs=210, val_interval=10)
optim_wrapper = dict(
    constructor='LayerDepthDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.75),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=210, milestones=[170, 200], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=512)  # 8 GPUs x 64

# --- hooks: the same seed gives the same run, also after a resume; unusable data are named ---
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
]
default_hooks = dict(
    checkpoint=dict(
        type='AtomicCheckpointHook', save_best='coco/AP', rule='greater', max_keep_ckpts=1
    )
)

# --- model ---
codec = dict(type='BatchedUDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
model = dict(
    type='TopdownViTPose',
    pretrained_dataset='coco',  # the head to take from checkpoints with several
    data_preprocessor=dict(
        type='StackedPoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='ViT', arch='base', img_size=(256, 192), drop_path_rate=0.3),
    head=dict(type='TopdownHeatmapSimpleHead', in_channels=768, out_channels=17, decoder=codec),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False),
)

# --- data ---
data_root = 'data/coco/'
dataset_type = 'CocoDataset'
data_mode = 'topdown'
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='FastRandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs', pack_transformed=True),  # the head makes the targets
]
val_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='stacked_collate'),
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_val2017.json',
        bbox_file=data_root
        + 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

# --- evaluation ---
val_evaluator = dict(
    type='CocoMetric', ann_file=data_root + 'annotations/person_keypoints_val2017.json'
)
test_evaluator = val_evaluator
