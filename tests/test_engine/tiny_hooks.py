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
    """Save every step's loss, averaged over ranks, and this rank's final buffers, as rank_N.pth."""

    def before_train(self, runner):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, op='mean')
        self.losses.append(loss.item())

    def after_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        content = {'losses': self.losses, 'buffers': dict(model.named_buffers())}
        torch.save(content, os.path.join(runner.work_dir, f'rank_{get_rank()}.pth'))
