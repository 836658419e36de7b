_base_ = ['./vitpose_plus_base_classic_8xb128-210e_six-datasets-256x192.py']

optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.1), head=dict(shared=dict(in_channels=384))
)
