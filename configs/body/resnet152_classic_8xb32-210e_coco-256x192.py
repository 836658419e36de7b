# ResNet-152 with the classic decoder, for contrast (arXiv 2204.12484, Table 2).
_base_ = ['./resnet50_classic_8xb64-210e_coco-256x192.py']

resnet = dict(depth=152, init_cfg=dict(checkpoint='torchvision://resnet152'))
model = dict(backbone=resnet)
train_dataloader = dict(batch_size=32)  # as mmpose has it, with the learning rate of 8 x 64
