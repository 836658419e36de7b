# APT-36K alone. Of checkpoints with several heads this takes its own, and merges its expert.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.apt36k
model = dict(
    pretrained_dataset='apt36k',
    head=dict(out_channels=17, decoder=dict(_delete_=True, **codec)),
    test_cfg=_base_.heads.apt36k.test_cfg,
)
dataset_type = 'AP10KDataset'  # by which inferencers choose a detector
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.apt36k},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.apt36k}
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='DatasetEvaluator', metrics=dict(apt36k=_base_.metrics.apt36k)
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='apt36k/AP'))
