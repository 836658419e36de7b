"""Run by an environment with mmpretrain: CHECKPOINT INPUTS.npz OUTPUTS.npz DECODER KEYPOINTS."""

import sys

import mmpretrain.models  # noqa: F401  (registers the backbone)
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS

checkpoint, inputs, outputs, decoder, keypoints = sys.argv[1:]
init_default_scope('mmpose')
count = 2 if decoder == 'classic' else 0
head = dict(
    type='HeatmapHead',
    in_channels=32,
    out_channels=int(keypoints),
    deconv_out_channels=[16] * count,
    deconv_kernel_sizes=[4] * count,
)
neck = None
if decoder == 'simple':
    head['final_layer'] = dict(kernel_size=3, padding=1)
    neck = dict(type='FeatureMapProcessor', scale_factor=4.0, apply_relu=True)
# as in mmpose's configs of ViTPose, but for the size
model = MODELS.build(
    dict(
        type='TopdownPoseEstimator',
        backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=128),
            img_size=(64, 48),
            patch_size=16,
            qkv_bias=True,
            with_cls_token=False,
            out_type='featmap',
            patch_cfg=dict(padding=2),
        ),
        neck=neck,
        head=head,
    )
)
load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
with np.load(inputs) as file, torch.no_grad():
    heatmaps = model.eval()(torch.from_numpy(file['images']), None)
np.savez(outputs, heatmaps=heatmaps.numpy())
