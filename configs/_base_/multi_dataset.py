# The papers' data sets, each by its name: head, training and evaluation data, metric. Configs pick
# from here: heads = {name: _base_.heads[name] for name in names}, and so on.
# docs/datasets.md says where the files come from and where they belong.

# Codecs as in the official configs, so that published weights come out right: UDP for COCO and
# MPII, plain ones with a shifted flip test for the others. For training of one's own UDP is the
# sounder choice for all: vitpose_plus_base_classic_8xb128-210e_six-datasets-udp-256x192.py.
udp = dict(type='BatchedUDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
plain = dict(type='BatchedMSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
codecs = dict(
    coco=udp,
    aic=plain,
    mpii=udp,
    crowdpose=plain,
    ochuman=udp,  # read by COCO's head; the official evaluation is plain, see docs/multi_dataset.md
    ap10k=plain,
    apt36k=plain,
    coco_wholebody=plain,
    interhand2d=plain,
)

# --- heads ---
shifted = dict(shift_heatmap=True)
heads = dict(
    coco=dict(out_channels=17, decoder=udp, metainfo='CocoDataset'),
    aic=dict(out_channels=14, decoder=plain, metainfo='AicDataset', test_cfg=shifted),
    mpii=dict(out_channels=16, decoder=udp, metainfo='MpiiDataset'),
    crowdpose=dict(out_channels=14, decoder=plain, metainfo='CrowdPoseDataset', test_cfg=shifted),
    ap10k=dict(out_channels=17, decoder=plain, metainfo='AP10KDataset', test_cfg=shifted),
    apt36k=dict(out_channels=17, decoder=plain, metainfo='APT36KDataset', test_cfg=shifted),
    coco_wholebody=dict(
        out_channels=133, decoder=plain, metainfo='CocoWholeBodyDataset', test_cfg=shifted
    ),
    interhand2d=dict(
        out_channels=21,
        decoder=plain,
        metainfo='InterHand2DSingleDataset',
        test_cfg=shifted,
    ),
)
read_by_others = dict(ochuman=dict(head='coco', metainfo='OCHumanDataset'))

# --- pipelines: one for all, which crops as the codec of the sample's data set needs it ---
checked = [dict(type='LoadCheckedImage'), dict(type='GetCheckedBBoxCenterScale')]
hand = [dict(type='LoadCheckedImage'), dict(type='GetCheckedBBoxCenterScale', padding=1.5)]
flipped = dict(type='FastRandomFlip', direction='horizontal')
augmented = [
    dict(type='FastRandomBBoxTransform'),
    dict(type='TopdownAffineByCodec', codecs=codecs),
    dict(type='PackPersonInputs', pack_transformed=True),
]
cropped = [dict(type='TopdownAffineByCodec', codecs=codecs), dict(type='PackPersonInputs')]
train_pipeline_by_codec = [
    dict(type='SeedAugmentation'),
    *checked,
    flipped,
    dict(type='RandomHalfBody'),
    *augmented,
]
val_pipeline_by_codec = [*checked, *cropped]

# --- data ---
train_datasets = dict(
    coco=dict(
        type='CocoDataset',
        data_root='data/coco/',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
    ),
    aic=dict(
        type='AicDataset',
        data_root='data/aic/',
        ann_file='annotations/aic_train.json',
        data_prefix=dict(
            img='ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902/'
        ),
    ),
    mpii=dict(
        type='MpiiDataset',
        data_root='data/mpii/',
        ann_file='annotations/mpii_train.json',
        data_prefix=dict(img='images/'),
        # no half bodies, as in the official code
        pipeline=[
            dict(type='SeedAugmentation'),
            *checked,
            dict(type='ZeroBasedKeypoints'),
            flipped,
            *augmented,
        ],
    ),
    crowdpose=dict(
        type='CrowdPoseDataset',
        data_root='data/crowdpose/',
        ann_file='annotations/mmpose_crowdpose_trainval.json',
        data_prefix=dict(img='images/'),
        # half bodies of more than 6 keypoints, as in the official config
        pipeline=[
            dict(type='SeedAugmentation'),
            *checked,
            flipped,
            dict(type='RandomHalfBody', min_total_keypoints=7),
            *augmented,
        ],
    ),
    ap10k=dict(
        type='AP10KDataset',
        data_root='data/ap10k/',
        ann_file='annotations/ap10k-train-split1.json',
        data_prefix=dict(img='data/'),
    ),
    apt36k=dict(
        type='APT36KDataset',
        data_root='data/apt36k/',
        ann_file='annotations/train_annotations_1.json',
    ),
    coco_wholebody=dict(
        type='CocoWholeBodyDataset',
        data_root='data/coco/',
        ann_file='annotations/coco_wholebody_train_v1.0.json',
        data_prefix=dict(img='train2017/'),
    ),
    interhand2d=dict(
        type='InterHand2DSingleDataset',
        data_root='data/interhand2.6m/',
        ann_file='annotations/all/InterHand2.6M_train_data.json',
        camera_param_file='annotations/all/InterHand2.6M_train_camera.json',
        joint_file='annotations/all/InterHand2.6M_train_joint_3d.json',
        data_prefix=dict(img='images/train/'),
        pipeline=[
            dict(type='SeedAugmentation'),
            *hand,
            flipped,
            dict(type='FastRandomBBoxTransform', rotate_factor=180, scale_factor=(0.7, 1.3)),
            *augmented[1:],
        ],
    ),
)
coco_detections = 'data/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json'
val_datasets = dict(
    coco=dict(
        type='CocoDataset',
        data_root='data/coco/',
        ann_file='annotations/person_keypoints_val2017.json',
        bbox_file=coco_detections,
        data_prefix=dict(img='val2017/'),
        test_mode=True,
    ),
    aic=dict(
        type='AicDataset',
        data_root='data/aic/',
        ann_file='annotations/aic_val.json',
        data_prefix=dict(
            img='ai_challenger_keypoint_validation_20170911/keypoint_validation_images_20170911/'
        ),
        test_mode=True,
    ),
    mpii=dict(
        type='MpiiDataset',
        data_root='data/mpii/',
        ann_file='annotations/mpii_val.json',
        headbox_file='data/mpii/annotations/mpii_gt_val.mat',
        data_prefix=dict(img='images/'),
        test_mode=True,
    ),
    crowdpose=dict(
        type='CrowdPoseDataset',
        data_root='data/crowdpose/',
        ann_file='annotations/mmpose_crowdpose_test.json',
        bbox_file='data/crowdpose/annotations/det_for_crowd_test_0.1_0.5.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
    ),
    ochuman=dict(
        type='OCHumanDataset',
        data_root='data/ochuman/',
        ann_file='annotations/ochuman_coco_format_val_range_0.00_1.00.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
    ),
    ap10k=dict(
        type='AP10KDataset',
        data_root='data/ap10k/',
        ann_file='annotations/ap10k-val-split1.json',
        data_prefix=dict(img='data/'),
        test_mode=True,
    ),
    apt36k=dict(
        type='APT36KDataset',
        data_root='data/apt36k/',
        ann_file='annotations/val_annotations_1.json',
        test_mode=True,
    ),
    coco_wholebody=dict(
        type='CocoWholeBodyDataset',
        data_root='data/coco/',
        ann_file='annotations/coco_wholebody_val_v1.0.json',
        bbox_file=coco_detections,
        data_prefix=dict(img='val2017/'),
        test_mode=True,
    ),
    interhand2d=dict(
        type='InterHand2DSingleDataset',
        data_root='data/interhand2.6m/',
        ann_file='annotations/machine_annot/InterHand2.6M_val_data.json',
        camera_param_file='annotations/machine_annot/InterHand2.6M_val_camera.json',
        joint_file='annotations/machine_annot/InterHand2.6M_val_joint_3d.json',
        data_prefix=dict(img='images/val/'),
        test_mode=True,
        pipeline=[*hand, *cropped],
    ),
)
# These have a split for validation and another for tests.
test_files = dict(
    ochuman=dict(ann_file='annotations/ochuman_coco_format_test_range_0.00_1.00.json'),
    ap10k=dict(ann_file='annotations/ap10k-test-split1.json'),
)

# --- metrics, which take the annotation files of the data sets above ---
metrics = dict(
    coco=dict(type='CocoMetric'),
    aic=dict(type='CocoMetric', use_area=False),
    mpii=dict(type='MpiiPCKAccuracy'),  # PCKh@0.5
    crowdpose=dict(type='CocoMetric', use_area=False, iou_type='keypoints_crowd'),
    ochuman=dict(type='CocoMetric'),
    ap10k=dict(type='CocoMetric'),
    apt36k=dict(type='CocoMetric'),
    coco_wholebody=dict(type='CocoWholeBodyMetric'),
    interhand2d=[dict(type='AUC'), dict(type='EPE'), dict(type='PCKAccuracy', thr=0.2)],
)

# --- each alone, for configs of a single data set ---
alone = {
    name: dict(
        head=dict(
            out_channels=head['out_channels'], decoder=dict(_delete_=True, **head['decoder'])
        ),
        test_cfg=head.get('test_cfg', {}),
        train=dict(_delete_=True, **{'pipeline': train_pipeline_by_codec, **train_datasets[name]}),
        val=dict(_delete_=True, **{'pipeline': val_pipeline_by_codec, **val_datasets[name]}),
        evaluator=dict(_delete_=True, type='DatasetEvaluator', metrics={name: metrics[name]}),
    )
    for name, head in heads.items()
}
