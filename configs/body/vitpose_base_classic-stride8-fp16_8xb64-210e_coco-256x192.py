# ViTPose-B at 1/8 features, full attention, mixed precision (Table 5).
_base_ = ['./vitpose_base_classic-stride8_8xb64-210e_coco-256x192.py']

optim_wrapper = dict(type='AmpOptimWrapper', dtype='float16')
