# A ViTPose of 5.9 M parameters on people of your own as in
# vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py, at a size for quick studies: with a quarter
# of the tokens of vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py.
_base_ = ['./vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py']

# --- schedule: 6 epochs of 450 steps on 4498 people ---
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=6, by_epoch=True, convert_to_iter_based=True),
]

# --- model ---
model = dict(
    backbone=dict(ratio=1),
    head=dict(deconv_out_channels=(64, 64), deconv_kernel_sizes=(4, 4)),  # from 1/16 to 1/4
)
