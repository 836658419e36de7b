# A small person detector, trained from scratch on generated people (tools/generate_persons.py) in
# minutes on a CPU: RTMDet-tiny at half its width.
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']
# For resuming and testing with torch >= 2.6, which cannot read mmengine's checkpoints by itself.
custom_imports = dict(imports=['vitpose_mm'], allow_failed_imports=False)

max_epochs = 2
image_wh = (192, 144)  # the scenes' 320x240 times 0.6
padded_wh = (192, 160)  # multiples of the largest stride, 32

# --- model ---
norm_cfg = dict(type='BN')
model = dict(
    use_syncbn=False,  # does not run on the CPU
    backbone=dict(widen_factor=0.1875, norm_cfg=norm_cfg, init_cfg=None),
    neck=dict(in_channels=[48, 96, 192], out_channels=48, norm_cfg=norm_cfg),
    bbox_head=dict(num_classes=1, in_channels=48, feat_channels=48, norm_cfg=norm_cfg),
    test_cfg=dict(score_thr=0.05, nms=dict(iou_threshold=0.45), nms_pre=1000, max_per_img=50),
)

# --- data ---
data_root = 'data/generated_persons/'
metainfo = dict(classes=('person',))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_wh, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=padded_wh, pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_wh, keep_ratio=True),
    dict(type='Pad', size=padded_wh, pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='images/train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='images/val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val.json')
test_evaluator = val_evaluator

# --- schedule ---
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs, dynamic_intervals=None)
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=2e-5,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1), logger=dict(interval=20))
# Neither the average of the weights nor a second pipeline pays in so short a training.
custom_hooks = []
