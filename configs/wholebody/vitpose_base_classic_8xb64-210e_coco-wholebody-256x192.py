# COCO-WholeBody alone. Of checkpoints with several heads this takes its own, and merges its expert.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.coco_wholebody
model = dict(
    pretrained_dataset='coco_wholebody',
    head=dict(out_channels=133, decoder=dict(_delete_=True, **codec)),
    test_cfg=_base_.heads.coco_wholebody.test_cfg,
)
dataset_type = 'CocoWholeBodyDataset'  # by which inferencers choose a detector
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.coco_wholebody},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.coco_wholebody},
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='DatasetEvaluator',
    metrics=dict(coco_wholebody=_base_.metrics.coco_wholebody),
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco_wholebody/AP'))
