"""Hooks that tests put into training processes, found through PYTHONPATH."""

import os
import signal

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmpose.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    """Kill the process group, workers included, after a number of iterations."""

    def __init__(self, after: int):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            os.killpg(os.getpgrp(), signal.SIGKILL)


@HOOKS.register_module()
class RecordHook(Hook):
    """Save what a rank saw, as rank_N.pth.

    Every step's loss, averaged over ranks, the data sets in its batch, and the final buffers and
    parameters.
    """

    def before_train(self, runner):
        self.losses, self.datasets = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, op='mean')
        self.losses.append(loss.item())
        names = {sample.metainfo['dataset_name'] for sample in data_batch['data_samples']}
        self.datasets.append(sorted(names))

    def after_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        content = {
            'losses': self.losses,
            'datasets': self.datasets,
            'buffers': dict(model.named_buffers()),
            'parameters': dict(model.named_parameters()),
        }
        torch.save(content, os.path.join(runner.work_dir, f'rank_{get_rank()}.pth'))
