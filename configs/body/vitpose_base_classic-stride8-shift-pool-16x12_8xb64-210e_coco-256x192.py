# ViTPose-B at 1/8 features in windows of 16 x 12, shifted and with means (Table 5).
_base_ = ['./vitpose_base_classic-stride8_8xb64-210e_coco-256x192.py']

model = dict(backbone=dict(attention='shift+pool', window_hw=(16, 12), relative_positions=True))
