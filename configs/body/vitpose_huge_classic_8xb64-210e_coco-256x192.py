_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

# 0.8 as in the paper's Table 1; the official code's config has 0.85.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
model = dict(backbone=dict(arch='huge', drop_path_rate=0.55), head=dict(in_channels=1280))
