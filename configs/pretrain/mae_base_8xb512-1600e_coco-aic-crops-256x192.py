# MAE pre-training of ViT-B on people of COCO and AIC, each cut out by its box (arXiv 2204.12484,
# Table 3: 75.8 AP after fine-tuning, as after ImageNet). The recipe is that of arXiv 2111.06377,
# Table 8. All other configs of this folder inherit from it and state only what differs.
#
# Pose training then starts from it by one line:
#   model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='.../epoch_1600.pth')))
_base_ = ['mmpose::_base_/default_runtime.py']
custom_imports = dict(imports=['vitpose_mm'], allow_failed_imports=False)

# --- schedule ---
train_cfg = dict(max_epochs=1600)
val_cfg = None
test_cfg = None
optim_wrapper = dict(
    # 1.5e-4 for each 256 images of a batch; --auto-scale-lr for other numbers of GPUs
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', end=40, start_factor=1e-6, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=40, T_max=1560, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4096)  # 8 GPUs x 512

# --- hooks: the same seed gives the same run, also after a resume; unusable images are counted ---
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
    dict(type='SkippedImagesHook'),
    dict(type='ReconstructionHook', interval=100),
]
default_hooks = dict(
    checkpoint=dict(type='AtomicCheckpointHook', interval=20, max_keep_ckpts=2),
)

# --- model ---
input_size = (192, 256)
model = dict(
    type='MAE',
    data_preprocessor=dict(
        type='StackedPoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='ViT', arch='base', img_size=(256, 192)),
)

# --- data ---
data_root = 'data/'
sources = [
    dict(
        ann_file='coco/annotations/person_keypoints_train2017.json',
        img_dir='coco/train2017/',
    ),
    dict(
        ann_file='aic/annotations/aic_train.json',
        img_dir='aic/ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902/',
    ),
]
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type='stacked_collate'),
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(
        type='PretrainingImages',
        data_root=data_root,
        sources=sources,
        pipeline=[
            dict(type='SeedAugmentation'),
            dict(type='LoadCheckedImage', on_error='skip'),
            dict(type='RandomResizedBoxCrop', input_size=input_size),
            dict(type='FastRandomFlip', direction='horizontal'),
            dict(type='PackPersonInputs'),
        ],
    ),
)
