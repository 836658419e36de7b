# ResNet-50 with the classic decoder, for contrast (arXiv 2204.12484, Table 2): mmpose's recipe of
# SimpleBaseline (arXiv 1804.06208) at 256x192.
_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

# One learning rate for all layers, as a ResNet states no depths; neither decay nor clipping.
optim_wrapper = dict(_delete_=True, optimizer=dict(type='Adam', lr=5e-4))

# The paper names no codec and the official repository has no config of a ResNet. The published
# AP with this decoder is that of mmpose 0.x, whose configs have plain heatmaps and a shifted flip.
codec = dict(_base_.codec, type='BatchedMSRAHeatmap')
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        in_channels=2048,
        deconv_out_channels=(256, 256, 256),  # from 1/32 of the input to 1/4
        deconv_kernel_sizes=(4, 4, 4),
        decoder=codec,
    ),
    test_cfg=dict(shift_heatmap=True),
)

crop = dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=False)
train_pipeline = [crop if t['type'] == crop['type'] else t for t in _base_.train_pipeline]
val_pipeline = [crop if t['type'] == crop['type'] else t for t in _base_.val_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
