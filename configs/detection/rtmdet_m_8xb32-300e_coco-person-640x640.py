# RTMDet-M that finds only people: a detector for top-down inference, by mmdet's own recipe.
_base_ = ['mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py']

model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(nms_pre=1000, score_thr=0.05, max_per_img=100),
)
train_dataloader = dict(dataset=dict(metainfo=dict(classes=('person',))))
val_dataloader = dict(dataset=dict(metainfo=dict(classes=('person',))))
test_dataloader = val_dataloader
