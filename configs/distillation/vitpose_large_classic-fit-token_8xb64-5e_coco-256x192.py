# Distillation by a knowledge token (arXiv 2204.12484, section 3.5), first training: it is fitted to
# the frozen teacher in a few epochs, nothing else changes. load_from is the teacher, a trained
# vitpose_large_classic_8xb64-210e_coco-256x192.py. The token goes to knowledge_tokens.pth in the
# working folder, where configs with -token take it from.
_base_ = ['../body/vitpose_large_classic_8xb64-210e_coco-256x192.py']

load_from = 'work_dirs/vitpose_large_classic_8xb64-210e_coco-256x192/epoch_210.pth'
train_cfg = dict(max_epochs=5, val_interval=5)
# The paper says 'a few epochs', not how; a token has no decay
optim_wrapper = dict(optimizer=dict(lr=5e-3))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=5, convert_to_iter_based=True),
]
model = dict(backbone=dict(num_knowledge_tokens=1))
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='CheckDataHook'),
    dict(type='TokenDistillationHook', step='fit'),
]
