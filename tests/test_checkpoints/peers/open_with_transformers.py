"""Run by transformers' own environment: FOLDER INPUTS.npz OUTPUTS.npz."""

import sys

import numpy as np
import torch
from transformers import AutoImageProcessor, VitPoseForPoseEstimation

folder, inputs, outputs = sys.argv[1:]
model, info = VitPoseForPoseEstimation.from_pretrained(folder, output_loading_info=True)
problems = {kind: list(names) for kind, names in info.items() if names}
if problems:
    sys.exit(f'not loaded strictly: {problems}')
processor = AutoImageProcessor.from_pretrained(folder)
with np.load(inputs) as file:
    images, dataset = torch.from_numpy(file['images']), int(file['dataset'])
index = torch.full((len(images),), dataset)
with torch.no_grad():
    heatmaps = model.eval()(images, dataset_index=index).heatmaps
size = processor.size
np.savez(outputs, heatmaps=heatmaps.numpy(), input_hw=[size['height'], size['width']])
