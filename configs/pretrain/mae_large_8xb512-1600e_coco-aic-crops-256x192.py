_base_ = ['./mae_base_8xb512-1600e_coco-aic-crops-256x192.py']

model = dict(backbone=dict(arch='large'))
