# MAE pre-training of a ViT-Ti on people of your own (environment variables COCO_ROOT, LSP_ROOT),
# laid out as in vitpose_tiny_classic_1xb14-12e_coco-style-lsp-128x96.py. Short: for days of
# training rather than minutes take what configs/pretrain has.
_base_ = ['../pretrain/mae_base_8xb512-1600e_coco-aic-crops-256x192.py']

# --- schedule: 60 epochs of 99 steps on 4498 + 1800 people; a higher rate, as there are few ---
train_cfg = dict(max_epochs=60)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', end=3, start_factor=1e-3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=3, T_max=57, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
    dict(type='SkippedImagesHook'),
    dict(type='ReconstructionHook', interval=5),
]
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1))

# --- model: with 12 of 48 patches visible a small decoder will do ---
input_size = (96, 128)
model = dict(
    backbone=dict(arch='tiny', img_size=(128, 96)),
    decoder_dim=96,
    decoder_depth=2,
    decoder_num_heads=3,
)

# --- data ---
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage', on_error='skip'),
    dict(type='RandomResizedBoxCrop', input_size=input_size),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(type='PackPersonInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        data_root=None,
        sources=[
            dict(
                ann_file='{{$COCO_ROOT:data/persons}}/person_keypoints_train.json',
                img_dir='{{$COCO_ROOT:data/persons}}/images/',
            ),
            dict(
                ann_file='{{$LSP_ROOT:data/lsp_extended}}/person_keypoints_train.json',
                img_dir='{{$LSP_ROOT:data/lsp_extended}}/images/',
            ),
        ],
        pipeline=train_pipeline,
    ),
)
