# ViT-H has patches of 14 px, as in arXiv 2111.06377; on these images as many as of 16 px on
# 256x192. Pose training pads them with zeros to 16 px when it begins.
_base_ = ['./mae_base_8xb512-1600e_coco-aic-crops-256x192.py']

input_size = (168, 224)
model = dict(backbone=dict(arch='huge', img_size=(224, 168), patch_size=14))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='SeedAugmentation'),
            dict(type='LoadCheckedImage', on_error='skip'),
            dict(type='RandomResizedBoxCrop', input_size=input_size),
            dict(type='FastRandomFlip', direction='horizontal'),
            dict(type='PackPersonInputs'),
        ],
    ),
)
