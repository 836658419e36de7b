# ViTPose-B fine-tuned from MAE with attention, and the norms before it, as they are (arXiv
# 2204.12484, Table 6).
# Set model.backbone.init_cfg, as the README says: what is frozen stays random otherwise.
_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

model = dict(backbone=dict(freeze_attn=True))
