# Two data sets of one's own, with different keypoints, on one backbone of 5.5 M parameters: people
# in COCO's format (environment variable COCO_ROOT) and Leeds Sports Pose Extended (LSP_ROOT), 14
# keypoints in its own order. Each folder: person_keypoints_{train,val}.json  images/
# Start: a DeiT-tiny, timm's or the original file, as it is.
_base_ = ['./vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py']

# --- schedule: 12 epochs of 450 steps on 4498 + 1800 people, on average 10 + 4 in a batch. For so
# few samples: small batches and mild augmentation ---
train_cfg = dict(max_epochs=12, val_interval=12)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=12, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=14)

# --- meta information that mmpose does not have ---
joints = ['right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle']
joints += ['right_wrist', 'right_elbow', 'right_shoulder']
joints += ['left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'head_top']
swaps = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
links = [(0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11)]
links += [(2, 3), (8, 9), (2, 8), (3, 9), (12, 13)]
lsp = dict(
    dataset_name='lsp_extended',
    keypoint_info={
        i: dict(name=joint, id=i, type='lower' if i < 6 else 'upper', swap=joints[swaps[i]])
        for i, joint in enumerate(joints)
    },
    skeleton_info={
        i: dict(link=(joints[first], joints[second]), id=i)
        for i, (first, second) in enumerate(links)
    },
    joint_weights=[1.0] * 14,
    # COCO's of the same joints; of neck and head as mmpose has them for MPII
    sigmas=[
        *(0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079),
        *(0.079, 0.072, 0.062, 0.026, 0.026),
    ],
)

# --- model ---
codec = dict(type='BatchedUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5)
model = dict(
    backbone=dict(img_size=(128, 96), drop_path_rate=0.0),
    head=dict(
        _delete_=True,
        type='MultiDatasetHead',
        # at this size features are too coarse for the simple decoder
        shared=dict(
            type='TopdownHeatmapSimpleHead',
            in_channels=192,
            deconv_out_channels=(64, 64),
            decoder=codec,
        ),
        heads=dict(
            coco=dict(out_channels=17, metainfo='CocoDataset'),
            lsp_extended=dict(out_channels=14, metainfo=lsp),
        ),
    ),
)

# --- data ---
parts = dict(
    coco=dict(type='CocoDataset', data_root='{{$COCO_ROOT:data/persons}}/'),
    lsp_extended=dict(
        type='CocoDataset', data_root='{{$LSP_ROOT:data/lsp_extended}}/', metainfo=lsp
    ),
)
train = dict(ann_file='person_keypoints_train.json', data_prefix=dict(img='images/'))
val = dict(ann_file='person_keypoints_val.json', data_prefix=dict(img='images/'), test_mode=True)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadCheckedImage'),
    dict(type='GetCheckedBBoxCenterScale'),
    dict(type='FastRandomFlip', direction='horizontal'),
    dict(
        type='FastRandomBBoxTransform',
        shift_factor=0.08,
        scale_factor=(0.8, 1.2),
        rotate_factor=30,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPersonInputs', pack_transformed=True),
]
train_dataloader = dict(
    batch_size=14,
    dataset=dict(
        _delete_=True,
        type='MultiDataset',
        datasets={name: {**part, **train} for name, part in parts.items()},
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiDataset',
        datasets={name: {**part, **val} for name, part in parts.items()},
        pipeline=[*train_pipeline[1:3], *train_pipeline[-2:]],
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='DatasetEvaluator',
    metrics=dict(
        coco=dict(type='CocoMetric'),
        # a tenth of the box's longer side, about a fifth of the torso's
        lsp_extended=[dict(type='PCKAccuracy', thr=0.1), dict(type='CocoMetric')],
    ),
)
test_evaluator = val_evaluator
visualizer = dict(type='DatasetPoseVisualizer')
