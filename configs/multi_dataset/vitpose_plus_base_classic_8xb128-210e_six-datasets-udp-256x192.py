# ViTPose++-B with UDP for all data sets: unbiased targets and crops, no shifted flip test. Not for
# published weights, whose heads for AIC, AP-10K, APT-36K and WholeBody were trained otherwise.
_base_ = ['./vitpose_plus_base_classic_8xb128-210e_six-datasets-256x192.py']

udp_heads = dict(decoder=_base_.udp, test_cfg=dict(shift_heatmap=False))
model = dict(head=dict(heads=dict.fromkeys(_base_.model.head.heads, udp_heads)))
crop = dict(type='TopdownAffineByCodec', codecs=dict.fromkeys(_base_.codecs, _base_.udp))
train_pipeline_by_codec, val_pipeline_by_codec, mpii = (
    [crop if step.type == crop['type'] else step for step in pipeline]
    for pipeline in (
        _base_.train_pipeline_by_codec,
        _base_.val_pipeline_by_codec,
        _base_.train_datasets.mpii.pipeline,
    )
)
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline_by_codec, datasets=dict(mpii=dict(pipeline=mpii)))
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline_by_codec))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline_by_codec))
