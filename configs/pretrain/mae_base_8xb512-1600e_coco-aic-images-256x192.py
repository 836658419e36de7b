# On whole images of COCO and AIC: 75.8 AP after fine-tuning (arXiv 2204.12484, Table 3).
_base_ = ['./mae_base_8xb512-1600e_coco-aic-crops-256x192.py']

train_dataloader = dict(
    dataset=dict(
        sources=[
            dict(img_dir='coco/train2017/'),
            dict(
                img_dir='aic/ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902/',
            ),
        ],
    ),
)
