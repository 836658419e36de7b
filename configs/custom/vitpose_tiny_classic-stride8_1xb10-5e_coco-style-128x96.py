# A ViTPose of 5.5 M parameters at 1/8 features, on people of your own as in
# vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py. For 16 x 12 tokens, windows of 4 x 4 are what
# 8 x 8 are for the 32 x 24 of 256x192: model.backbone.attention=window (shift, pool, shift+pool)
# and model.backbone.window_hw=(4,4).
_base_ = ['./vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py']

# --- schedule: 5 epochs of 450 steps on 4498 people, few: small batches, mild augmentation ---
train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=10)

# --- model ---
codec = dict(type='BatchedUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5)
model = dict(
    backbone=dict(img_size=(128, 96), ratio=2, drop_path_rate=0.0),
    head=dict(
        type='TopdownHeatmapSimpleHead',
        deconv_out_channels=(64,),  # from 1/8 to 1/4
        deconv_kernel_sizes=(4,),
        decoder=codec,
    ),
)

# --- data ---
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(
        type='FastRandomBBoxTransform',
        shift_factor=0.08,
        scale_factor=(0.8, 1.2),
        rotate_factor=30,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs', pack_transformed=True),
]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=[*train_pipeline[1:3], *train_pipeline[-2:]]))
test_dataloader = val_dataloader
