# The same with ViTPose++'s experts, one for each data set.
_base_ = ['./vitpose_tiny_classic_1xb14-12e_coco-style-lsp-128x96.py']

model = dict(backbone=dict(experts=['coco', 'lsp_extended']))
