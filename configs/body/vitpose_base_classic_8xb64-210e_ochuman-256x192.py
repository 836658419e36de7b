# OCHuman, for evaluation: training is on COCO, whose head reads it. Boxes are annotated ones.
_base_ = [
    './vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

val_dataloader = dict(
    dataset=dict(
        _delete_=True, **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.ochuman}
    )
)
test_dataloader = dict(dataset=dict(val_dataloader['dataset'], **_base_.test_files.ochuman))
val_evaluator = dict(
    _delete_=True, type='DatasetEvaluator', metrics=dict(ochuman=_base_.metrics.ochuman)
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='ochuman/AP'))
