# On COCO's people alone: 74.5 AP after fine-tuning (arXiv 2204.12484, Table 3).
_base_ = ['./mae_base_8xb512-1600e_coco-aic-crops-256x192.py']

train_dataloader = dict(
    dataset=dict(
        sources=[
            dict(
                ann_file='coco/annotations/person_keypoints_train2017.json',
                img_dir='coco/train2017/',
            ),
        ],
    ),
)
