# MPII alone. Of checkpoints with several heads this takes its own, and merges its expert.
_base_ = [
    './vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.mpii
model = dict(
    pretrained_dataset='mpii',
    head=dict(out_channels=16, decoder=dict(_delete_=True, **codec)),
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.mpii},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.mpii}
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='DatasetEvaluator', metrics=dict(mpii=_base_.metrics.mpii))
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='mpii/PCK'))
