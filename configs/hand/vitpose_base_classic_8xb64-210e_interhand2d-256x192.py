# Single hands of InterHand2.6M, to which the papers transfer: start from a backbone by
# model.backbone.init_cfg, of ViTPose++ with an expert named by model.backbone.pretrained_expert.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.interhand2d
model = dict(
    pretrained_dataset=None,
    head=dict(out_channels=21, decoder=dict(_delete_=True, **codec)),
)
dataset_type = 'InterHand2DDoubleDataset'  # by which inferencers choose a detector
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.interhand2d},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.interhand2d},
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='DatasetEvaluator', metrics=dict(interhand2d=_base_.metrics.interhand2d)
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='interhand2d/AUC'))
