"""The training loss, measured on the validation set."""

from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Log the model's losses on the validation set beside its metrics, as ``val/loss_kpt`` etc.

    One more forward per batch, without augmentation, flip test or drop path; averaged over samples
    and processes. Samples need targets: ``PackPoseInputs(pack_transformed=True)`` in the validation
    pipeline, and boxes of annotated people (no ``bbox_file``).
    """

    def before_val_epoch(self, runner: Runner) -> None:
        self.sums: dict[str, float] = {}
        self.num_samples = 0

    @torch.no_grad()
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[Sequence] = None,
    ) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        losses = model(**model.data_preprocessor(data_batch, False), mode='loss')
        for name, value in model.parse_losses(losses)[1].items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item() * len(outputs)
        self.num_samples += len(outputs)

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        totals = torch.tensor([*self.sums.values(), self.num_samples], dtype=torch.float64)
        all_reduce(totals)
        for name, total in zip(self.sums, totals):
            runner.message_hub.update_scalar(f'val/{name}', (total / totals[-1]).item())
