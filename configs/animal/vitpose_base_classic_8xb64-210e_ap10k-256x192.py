# AP-10K alone: to evaluate the head of a ViTPose++ checkpoint, whose expert is merged, or (with
# load_from) to fine-tune it, or to train from the start.
_base_ = [
    '../body/vitpose_base_classic_8xb64-210e_coco-256x192.py',
    '../_base_/multi_dataset.py',
]

codec = _base_.codecs.ap10k
model = dict(
    pretrained_dataset='ap10k',
    head=dict(out_channels=17, decoder=dict(_delete_=True, **codec)),
    test_cfg=_base_.heads.ap10k.test_cfg,
)
dataset_type = 'AP10KDataset'  # by which inferencers choose a detector
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **{'pipeline': _base_.train_pipeline_by_codec, **_base_.train_datasets.ap10k},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, **{'pipeline': _base_.val_pipeline_by_codec, **_base_.val_datasets.ap10k}
    )
)
test_dataloader = dict(
    dataset=dict(
        **dict(val_dataloader['dataset'], ann_file='annotations/ap10k-test-split1.json'),
    )
)
val_evaluator = dict(
    _delete_=True, type='DatasetEvaluator', metrics=dict(ap10k=_base_.metrics.ap10k)
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='ap10k/AP'))
