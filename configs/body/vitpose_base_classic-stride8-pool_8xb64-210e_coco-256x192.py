# ViTPose-B at 1/8 features in windows of 8 x 8 that hear of each other by their means (Table 5).
_base_ = ['./vitpose_base_classic-stride8_8xb64-210e_coco-256x192.py']

model = dict(backbone=dict(attention='pool', window_hw=(8, 8), relative_positions=True))
