# ViTPose-B at 1/8 features, full attention (arXiv 2204.12484, Table 5). The heatmaps stay at 1/4
# by one deconvolution; with both of the classic decoder, and heatmap_size=(96, 128) in the codec,
# they would follow the features to 1/2.
_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

model = dict(
    backbone=dict(ratio=2),
    head=dict(deconv_out_channels=(256,), deconv_kernel_sizes=(4,)),
)
