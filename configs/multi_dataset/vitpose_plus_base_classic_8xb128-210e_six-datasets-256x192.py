# ViTPose++-B: six data sets, a head and experts for each (arXiv 2212.04246).
_base_ = ['./vitpose_base_classic_8xb128-210e_coco-aic-256x192.py']

more = ['mpii', 'ap10k', 'apt36k', 'coco_wholebody']
model = dict(
    backbone=dict(experts=[*_base_.model.head.order, *more]),
    head=dict(
        heads={name: _base_.heads[name] for name in more}, order=[*_base_.model.head.order, *more]
    ),
)
train_dataloader = dict(dataset=dict(datasets={name: _base_.train_datasets[name] for name in more}))
val_dataloader = dict(dataset=dict(datasets={name: _base_.val_datasets[name] for name in more}))
test_dataloader = dict(
    dataset=dict(
        datasets={
            name: dict(_base_.val_datasets[name], **_base_.test_files.get(name, {}))
            for name in [*more, 'ochuman']
        }
    )
)
val_evaluator = dict(metrics={name: _base_.metrics[name] for name in more})
test_evaluator = val_evaluator
