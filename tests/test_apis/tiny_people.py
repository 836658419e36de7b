"""A tiny pose model, pictures and a detector that needs no network, for tests of inference."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from vitpose_mm.apis.boxes import Boxes
from vitpose_mm.apis.detector import Detector

INPUT_WH = (48, 64)
CODEC = dict(type='BatchedUDPHeatmap', input_size=INPUT_WH, heatmap_size=(12, 16))
PLAIN_CODEC = dict(CODEC, type='BatchedMSRAHeatmap')
HEAD = dict(type='TopdownHeatmapBilinearHead', in_channels=32)
KEYPOINTS = dict(coco='CocoDataset', ap10k='AP10KDataset', aic='AicDataset')
COUNTS = dict(coco=17, ap10k=17, aic=14)


def tiny_config(**model: object) -> Config:
    """A model for COCO's keypoints with flip test; ``model`` replaces parts of its config."""
    pipeline = [
        dict(type='LoadCheckedImage'),
        dict(type='GetCheckedBBoxCenterScale'),
        dict(type='TopdownAffine', input_size=INPUT_WH, use_udp=True),
        dict(type='PackPersonInputs'),
    ]
    return Config(
        dict(
            default_scope='mmpose',
            model=dict(
                dict(
                    type='TopdownViTPose',
                    data_preprocessor=dict(
                        type='StackedPoseDataPreprocessor',
                        mean=[123.675, 116.28, 103.53],
                        std=[58.395, 57.12, 57.375],
                        bgr_to_rgb=True,
                    ),
                    backbone=dict(
                        type='ViT',
                        arch=dict(embed_dim=32, depth=2, num_heads=2),
                        img_size=INPUT_WH[::-1],
                    ),
                    head=dict(HEAD, out_channels=17, decoder=CODEC),
                    test_cfg=dict(flip_test=True, shift_heatmap=False),
                ),
                **model,
            ),
            data_mode='topdown',
            dataset_type='CocoDataset',
            train_dataloader=dict(dataset=dict(type='CocoDataset')),  # tells the keypoints
            test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)),
            visualizer=dict(type='PoseLocalVisualizer', name='tests'),
        )
    )


def several_heads(experts: Sequence[str] = ()) -> Config:
    """A model with heads for COCO (UDP), AP-10K and AI Challenger (plain, shifted)."""
    heads = {
        name: dict(
            HEAD,
            out_channels=COUNTS[name],
            decoder=CODEC if name == 'coco' else PLAIN_CODEC,
            metainfo=KEYPOINTS[name],
            test_cfg=dict(shift_heatmap=name != 'coco'),
        )
        for name in KEYPOINTS
    }
    cfg = tiny_config(head=dict(type='MultiDatasetHead', heads=heads, order=list(heads)))
    if experts:
        cfg.model.backbone.update(experts=list(experts), part_features=8)
    codecs = {name: head['decoder'] for name, head in heads.items()}
    cfg.test_dataloader.dataset.pipeline[2] = dict(type='TopdownAffineByCodec', codecs=codecs)
    return cfg


def save_weights(cfg: Config, folder: Path, seed: int = 0) -> str:
    """Random weights with which people differ."""
    init_default_scope('mmpose')
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(cfg.model))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not name.endswith('running_var'):
                tensor.add_(torch.randn_like(tensor) * 0.05)
    path = folder / f'random_{seed}.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def picture(seed: int = 0, height: int = 90, width: int = 120) -> np.ndarray:
    """Smooth colours, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save_pictures(folder: Path, count: int, suffix: str = '.png') -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f'{number:03d}{suffix}') for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(path, picture(number))
    return paths


def random_boxes(count: int, seed: int = 0, height: int = 90, width: int = 120) -> np.ndarray:
    """Boxes (N, 4) xyxy, some of which reach beyond the image."""
    rng = np.random.default_rng(seed)
    low = rng.uniform((-8, -8), (width - 20, height - 20), (count, 2))
    return np.hstack([low, low + rng.uniform(12, 60, (count, 2))]).astype(np.float32)


class FakeDetector(Detector):
    """Finds a box at each bright square, of the class that its blue tells (see ``draw``)."""

    class_names = ('person', 'dog', 'tree')
    batch_size = 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def choose(self, classes: Optional[object]) -> None:
        pass

    @staticmethod
    def draw(image: np.ndarray, box: Sequence[int], label: int = 0, score: int = 90) -> None:
        left, top, right, bottom = box
        image[top:bottom, left:right] = (10 + 20 * label, score, 255)

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.3) -> list[Boxes]:
        self.batches.append(len(images))
        found = []
        for image in images:
            _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 2] > 250).astype('uint8'))
            boxes, scores, classes = [], [], []
            for left, top, width, height, area in stats[1:]:
                if area < 40:
                    continue
                blue, green, _ = image[top + height // 2, left + width // 2].tolist()
                boxes.append([left, top, left + width, top + height])
                scores.append(green / 100)
                classes.append(self.class_names[max(0, round((blue - 10) / 20))])
            chosen = Boxes(
                np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), classes
            )
            found.append(chosen[chosen.scores > threshold])
        return found
