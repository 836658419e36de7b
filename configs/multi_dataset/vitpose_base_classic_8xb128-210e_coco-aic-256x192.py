# ViTPose-B on COCO and AI Challenger, a head for each: arXiv 2204.12484, Table 7.
_base_ = ['../body/vitpose_base_classic_8xb64-210e_coco-256x192.py', '../_base_/multi_dataset.py']

names = ['coco', 'aic']

# --- schedule: twice the batch, twice the learning rate (Table 1) ---
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=1024)  # 8 GPUs x 128

# --- model ---
model = dict(
    pretrained_dataset=None,
    head=dict(
        _delete_=True,
        type='MultiDatasetHead',
        shared=dict(type='TopdownHeatmapSimpleHead', in_channels=768),
        heads={name: _base_.heads[name] for name in names},
        order=names,
        datasets=_base_.read_by_others,
    ),
)

# --- data: concatenated and shuffled ---
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        _delete_=True,
        type='MultiDataset',
        datasets={name: _base_.train_datasets[name] for name in names},
        pipeline=_base_.train_pipeline_by_codec,
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiDataset',
        datasets={name: _base_.val_datasets[name] for name in [*names, 'ochuman']},
        pipeline=_base_.val_pipeline_by_codec,
    )
)
test_dataloader = val_dataloader

# --- evaluation: one run, one table ---
val_evaluator = dict(
    _delete_=True,
    type='DatasetEvaluator',
    metrics={name: _base_.metrics[name] for name in [*names, 'ochuman']},
)
test_evaluator = val_evaluator
visualizer = dict(type='DatasetPoseVisualizer')
