# ViTPose-B at 224x224 (arXiv 2204.12484, Table 4).
_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

codec = dict(_base_.codec, input_size=(224, 224), heatmap_size=(56, 56))
model = dict(backbone=dict(img_size=(224, 224)), head=dict(decoder=codec))

crop = dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True)
train_pipeline = [crop if t['type'] == crop['type'] else t for t in _base_.train_pipeline]
val_pipeline = [crop if t['type'] == crop['type'] else t for t in _base_.val_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
