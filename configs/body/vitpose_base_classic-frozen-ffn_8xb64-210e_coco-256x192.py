# ViTPose-B fine-tuned from MAE with the feed-forward networks, and the norms before them, as they
# are (arXiv 2204.12484, Table 6), and as in the official code patch and position embedding, too.
# Set model.backbone.init_cfg, as the README says: what is frozen stays random otherwise.
_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

model = dict(backbone=dict(freeze_ffn=True, frozen_stages=0))
