# And MPII: arXiv 2204.12484, Table 7.
_base_ = ['./vitpose_base_classic_8xb128-210e_coco-aic-256x192.py']

more = ['mpii']
model = dict(
    head=dict(
        heads={name: _base_.heads[name] for name in more}, order=[*_base_.model.head.order, *more]
    ),
)
train_dataloader = dict(dataset=dict(datasets={name: _base_.train_datasets[name] for name in more}))
val_dataloader = dict(dataset=dict(datasets={name: _base_.val_datasets[name] for name in more}))
test_dataloader = val_dataloader
val_evaluator = dict(metrics={name: _base_.metrics[name] for name in more})
test_evaluator = val_evaluator
