_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
model = dict(backbone=dict(arch='large', drop_path_rate=0.5), head=dict(in_channels=1024))
