"""A little set of people that is in order, made on the spot, and a config that trains on it."""

import copy
import functools
import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ['nose', 'left_hand', 'right_hand', 'left_foot', 'right_foot']
SWAPS = ['', 'right_hand', 'left_hand', 'right_foot', 'left_foot']
LINKS = [('nose', 'left_hand'), ('nose', 'right_hand'), ('nose', 'left_foot')]
WIDTH, HEIGHT = 160, 120  # px, of images
# of the keypoints in a box, in parts of its width and height
PLACES = np.array([(0.5, 0.08), (0.92, 0.4), (0.08, 0.4), (0.8, 0.95), (0.2, 0.95)])
TRAIN, VAL = 24, 20  # images, of one person each

METAINFO = dict(
    dataset_name='little',
    keypoint_info={
        i: dict(name=name, id=i, type='upper' if i < 3 else 'lower', swap=SWAPS[i])
        for i, name in enumerate(NAMES)
    },
    skeleton_info={i: dict(link=link, id=i) for i, link in enumerate(LINKS)},
    joint_weights=[1.0] * 5,
    sigmas=[0.05] * 5,
)


def make_annotations(count: int, seed: int) -> dict:
    """COCO's format: people of any size anywhere in their image, all labelled."""
    draw = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(count):
        number = 100 * seed + index
        width, height = draw.uniform(30, 60), draw.uniform(40, 70)
        left, top = draw.uniform(0, WIDTH - width), draw.uniform(0, HEIGHT - height)
        points = (left, top) + PLACES * (width, height) + draw.uniform(-1, 1, (5, 2))
        images.append(
            dict(id=number, file_name=f'{number:04}.png', width=WIDTH, height=HEIGHT),
        )
        annotations.append(
            dict(
                id=number,
                image_id=number,
                category_id=1,
                iscrowd=0,
                bbox=[round(value, 2) for value in (left, top, width, height)],
                area=round(0.5 * width * height, 2),
                num_keypoints=5,
                keypoints=[value for x, y in points.round(2).tolist() for value in (x, y, 2)],
            )
        )
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='person', keypoints=list(NAMES))],
    )


@functools.cache
def encoded_image(number: int) -> bytes:
    """A PNG that looks like no other."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode('.png', image)[1].tobytes()


class LittleSet:
    """Files in a folder, and the config; faults are planted into ``train``, ``val`` and ``cfg``.

    Attributes:
        train: Content of the training set's annotation file.
        val: Content of the validation set's.
        cfg: Config; written to the folder by :meth:`write`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train, self.val = make_annotations(TRAIN, 1), make_annotations(VAL, 2)
        self.cfg = make_config(folder)
        (folder / 'images').mkdir(parents=True)
        for annotation in self.train['annotations'] + self.val['annotations']:
            self.image(annotation['id']).write_bytes(encoded_image(annotation['id']))

    def image(self, number: int) -> Path:
        return self.folder / 'images' / f'{number:04}.png'

    def write(self) -> Path:
        """Write annotations and config; returns the config's path."""
        self.write_annotations()
        path = self.folder / 'little.py'
        path.write_text('\n'.join(f'{key} = {value!r}' for key, value in self.cfg.items()))
        return path

    def write_annotations(self) -> None:
        for name, content in (('train', self.train), ('val', self.val)):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (self.folder / f'{name}.json').write_text(text)


def make_config(folder: Path) -> dict:
    codec = dict(type='BatchedUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=1.5)
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='GetCheckedBBoxCenterScale'),
        dict(type='TopdownAffine', input_size=(48, 64), use_udp=True),
        dict(type='PackPersonInputs', pack_transformed=True),
    ]
    augmented = [
        dict(type='SeedAugmentation'),
        *pipeline[:2],
        dict(type='FastRandomFlip', direction='horizontal'),
        dict(type='FastRandomBBoxTransform', shift_factor=0.05, scale_factor=(0.9, 1.1)),
        *pipeline[2:],
    ]

    def loader(name: str, **options: object) -> dict:
        return dict(
            batch_size=4,
            num_workers=0,
            dataset=dict(
                type='CocoDataset',
                data_root=str(folder),
                ann_file=f'{name}.json',
                data_prefix=dict(img='images/'),
                metainfo=copy.deepcopy(METAINFO),
                serialize_data=False,  # which takes mmengine half a second
                **options,
            ),
        )

    weights = folder / 'weights.pth'
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b'not read by the check')
    sampler = dict(type='DefaultSampler', shuffle=False, round_up=False)
    return dict(
        default_scope='mmpose',
        work_dir=str(folder / 'work'),
        custom_imports=dict(imports=['vitpose_mm'], allow_failed_imports=False),
        train_cfg=dict(by_epoch=True, max_epochs=100, val_interval=10),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=[
            dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),
            dict(type='MultiStepLR', begin=0, end=100, milestones=[80, 95], by_epoch=True),
        ],
        auto_scale_lr=dict(base_batch_size=4),
        model=dict(
            type='TopdownViTPose',
            data_preprocessor=dict(type='PoseDataPreprocessor', mean=[0.0], std=[1.0]),
            backbone=dict(
                type='ViT',
                arch=dict(embed_dim=16, depth=1, num_heads=2),
                img_size=(64, 48),
                init_cfg=dict(type='Pretrained', checkpoint=str(weights)),
            ),
            head=dict(
                type='TopdownHeatmapSimpleHead',
                in_channels=16,
                out_channels=5,
                deconv_out_channels=(8, 8),
                decoder=codec,
            ),
        ),
        train_dataloader=dict(
            loader('train', pipeline=augmented),
            sampler=dict(type='SeededSampler', shuffle=True),
        ),
        val_dataloader=dict(loader('val', pipeline=pipeline, test_mode=True), sampler=sampler),
        val_evaluator=dict(type='CocoMetric', ann_file=str(folder / 'val.json')),
    )
