# A ViTPose of 5.8 M parameters on people of your own as in
# vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py, at a size for quick studies: with a quarter
# of the tokens of vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py.
_base_ = ['./vitpose_tiny_classic-stride8_1xb10-5e_coco-style-128x96.py']

model = dict(
    backbone=dict(ratio=1),
    head=dict(deconv_out_channels=(64, 64), deconv_kernel_sizes=(4, 4)),  # from 1/16 to 1/4
)
