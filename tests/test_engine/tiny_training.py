"""A training run small enough for tests: 40 generated persons, a ViT of width 32, input 64 x 48."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES, PERSONS_PER_IMAGE = 10, 4
INPUT_WH, HEATMAP_WH = (48, 64), (12, 16)
CODEC = {'type': 'BatchedUDPHeatmap', 'input_size': INPUT_WH, 'heatmap_size': HEATMAP_WH}


def make_coco(folder: Path, num_keypoints: int = 17, num_images: int = NUM_IMAGES) -> None:
    """Write images of noise and ``annotations.json`` with four people per image."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(num_images):
        name = f'{image_id:03d}.png'
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
        images.append({'id': image_id, 'file_name': name, 'width': 96, 'height': 96})
        for _ in range(PERSONS_PER_IMAGE):
            x, y = (float(value) for value in rng.integers(5, 45, 2))
            points = np.full((num_keypoints, 3), 2.0)
            points[:, :2] = np.array((x, y)) + rng.uniform(2, 38, (num_keypoints, 2))
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': 1,
                    'iscrowd': 0,
                    'bbox': [x, y, 40.0, 40.0],
                    'area': 1600.0,
                    'keypoints': points.round(2).flatten().tolist(),
                    'num_keypoints': num_keypoints,
                }
            )
    categories = [{'id': 1, 'name': 'person'}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'annotations.json').write_text(json.dumps(content))


def tiny_config(data_root: Path, batch_size: int, num_workers: int = 0, **changes) -> Config:
    """Config of a run; ``changes`` as for ``Config.merge_from_dict``, with __ for the dot."""
    dataset = {
        'type': 'CocoDataset',
        'data_root': str(data_root),
        'ann_file': 'annotations.json',
        'data_prefix': {'img': ''},
    }
    crop = {'type': 'TopdownAffine', 'input_size': INPUT_WH, 'use_udp': True}
    cfg = Config(
        {
            'default_scope': 'mmpose',
            'custom_imports': {'imports': ['vitpose_mm', 'tiny_hooks']},
            'randomness': {'seed': 7},
            'model': {
                'type': 'TopdownViTPose',
                'data_preprocessor': {
                    'type': 'StackedPoseDataPreprocessor',
                    'mean': [123.675, 116.28, 103.53],
                    'std': [58.395, 57.12, 57.375],
                    'bgr_to_rgb': True,
                },
                'backbone': {
                    'type': 'ViT',
                    'arch': {'embed_dim': 32, 'depth': 2, 'num_heads': 2},
                    'img_size': INPUT_WH[::-1],
                    'drop_path_rate': 0.0,
                },
                'head': {
                    'type': 'TopdownHeatmapBilinearHead',
                    'in_channels': 32,
                    'out_channels': 17,
                    'decoder': CODEC,
                },
                'test_cfg': {'flip_test': True, 'shift_heatmap': False},
            },
            'train_cfg': {'by_epoch': True, 'max_epochs': 4},
            'optim_wrapper': {
                'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.1},
                'constructor': 'LayerDepthDecayOptimWrapperConstructor',
                'paramwise_cfg': {'layer_decay_rate': 0.75},
                'clip_grad': {'max_norm': 1.0, 'norm_type': 2},
            },
            'param_scheduler': [
                {'type': 'LinearLR', 'begin': 0, 'end': 5, 'start_factor': 0.5, 'by_epoch': False},
                {'type': 'MultiStepLR', 'milestones': [2], 'by_epoch': True},
            ],
            'train_dataloader': {
                'batch_size': batch_size,
                'num_workers': num_workers,
                'persistent_workers': num_workers > 0,
                'collate_fn': {'type': 'stacked_collate'},
                'sampler': {'type': 'SeededSampler', 'shuffle': True},
                'dataset': {
                    **dataset,
                    'pipeline': [
                        {'type': 'SeedAugmentation'},
                        {'type': 'LoadCheckedImage'},
                        {'type': 'GetCheckedBBoxCenterScale'},
                        {'type': 'FastRandomFlip', 'direction': 'horizontal'},
                        {'type': 'RandomHalfBody'},
                        {'type': 'FastRandomBBoxTransform'},
                        crop,
                        {'type': 'PackPersonInputs', 'pack_transformed': True},
                    ],
                },
            },
            'test_dataloader': {
                'batch_size': 4,
                'num_workers': 0,
                'sampler': {'type': 'DefaultSampler', 'shuffle': False, 'round_up': False},
                'dataset': {
                    **dataset,
                    'test_mode': True,
                    'pipeline': [
                        {'type': 'LoadCheckedImage'},
                        {'type': 'GetCheckedBBoxCenterScale'},
                        crop,
                        {'type': 'PackPersonInputs'},
                    ],
                },
            },
            'test_cfg': {},
            'test_evaluator': {'type': 'PCKAccuracy', 'thr': 0.5},
            'default_hooks': {
                'checkpoint': {'type': 'AtomicCheckpointHook', 'interval': 1},
                'logger': {'type': 'LoggerHook', 'interval': 1},
            },
            'custom_hooks': [{'type': 'SeedIterationHook'}],
            'env_cfg': {
                'mp_cfg': {'mp_start_method': 'fork', 'opencv_num_threads': 0},
                'dist_cfg': {'backend': 'nccl'},
            },
            'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}]},
        },
        format_python_code=False,  # which takes longer than the training
    )
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def start(*command: str, environment: Optional[dict] = None) -> subprocess.Popen:
    """Start a tool of the repository, in a process group of its own."""
    paths = [ROOT, Path(__file__).parent, *filter(None, [os.environ.get('PYTHONPATH')])]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': os.pathsep.join(map(str, paths)),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            **(environment or {}),
        },
    )


def start_tool(name: str, *arguments: str) -> subprocess.Popen:
    return start(sys.executable, ROOT / 'tools' / name, *arguments)


def start_distributed(script: str, *arguments: str) -> subprocess.Popen:
    """Start ``dist_train.sh`` or ``dist_test.sh`` on a port that is free."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    return start('bash', ROOT / 'tools' / script, *arguments, environment={'PORT': port})


def finish(process: subprocess.Popen, returncode: int = 0) -> str:
    """Wait for a process and return what it wrote."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == returncode, output[-4000:]
    return output
