# CrowdPose alone. Of checkpoints with several heads this takes its own, and merges its expert.
_base_ = [
    './vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.crowdpose
model = dict(
    pretrained_dataset='crowdpose',
    head=dict(out_channels=14, decoder=dict(_delete_=True, **codec)),
    test_cfg=_base_.heads.crowdpose.test_cfg,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.crowdpose},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.crowdpose}
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='DatasetEvaluator', metrics=dict(crowdpose=_base_.metrics.crowdpose)
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
