# Distillation from ViTPose-L to B by a knowledge token: 76.0 AP instead of 75.8 (arXiv 2204.12484,
# Table 8). It comes from vitpose_large_classic-fit-token_8xb64-5e_coco-256x192.py.
_base_ = ['../body/vitpose_base_classic_8xb64-210e_coco-256x192.py']

model = dict(backbone=dict(num_knowledge_tokens=1, knowledge_dim=1024))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
    dict(
        type='TokenDistillationHook',
        step='transfer',
        tokens='work_dirs/vitpose_large_classic-fit-token_8xb64-5e_coco-256x192/'
        'knowledge_tokens.pth',
    ),
]
