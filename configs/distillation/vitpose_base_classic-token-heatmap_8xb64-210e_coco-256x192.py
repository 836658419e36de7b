# Both kinds of distillation from ViTPose-L to B: 76.6 AP instead of 75.8 (arXiv 2204.12484,
# Table 8).
_base_ = ['./vitpose_base_classic-token_8xb64-210e_coco-256x192.py']

model = dict(
    type='HeatmapDistiller',
    teacher='{{ fileDirname }}/../body/vitpose_large_classic_8xb64-210e_coco-256x192.py',
    teacher_checkpoint='work_dirs/vitpose_large_classic_8xb64-210e_coco-256x192/epoch_210.pth',
    teacher_dtype='bfloat16',
)
