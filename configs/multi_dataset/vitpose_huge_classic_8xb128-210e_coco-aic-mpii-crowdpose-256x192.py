_base_ = ['./vitpose_base_classic_8xb128-210e_coco-aic-mpii-crowdpose-256x192.py']

optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
model = dict(
    backbone=dict(arch='huge', drop_path_rate=0.55), head=dict(shared=dict(in_channels=1280))
)
