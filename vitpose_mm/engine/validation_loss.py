"""The training loss, measured on the validation set."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from .data_check import leaves
from .parts import bare_model


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Log the model's losses on the validation set beside its metrics, as ``val/loss_kpt`` etc.

    One more forward per batch, without augmentation, flip test or drop path; averaged over samples
    and processes. Samples of several heads are taken apart, so that ``val/<head>/kpt`` is the mean
    over all samples of its data sets, and ``val/loss_kpt`` adds them up by the head's
    ``loss_weighting``. Not for FSDP, whose modules cannot be called past their wrapper.

    Targets are drawn from the keypoints as the validation pipeline has them: MPII's, which its
    metric needs counted from 1, are a pixel off those of training.

    Raises:
        ValueError: The validation samples have no targets: their boxes are detections, or their
            keypoints are not packed.
    """

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is None:
            return
        for leaf in leaves(runner.val_dataloader.dataset):
            require_targets(leaf.dataset, leaf.transforms)

    def before_val_epoch(self, runner: Runner) -> None:
        # by the name of the loss and the head
        self.sums: dict[tuple, float] = {}
        self.counts: dict[tuple, int] = {}

    @torch.no_grad()
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[Sequence] = None,
    ) -> None:
        model = bare_model(runner)
        batch = model.data_preprocessor(data_batch, False)
        routes = getattr(getattr(model, 'head', None), 'routes', {})
        by_head = defaultdict(list)
        for index, sample in enumerate(batch['data_samples']):
            route = routes.get(sample.metainfo.get('dataset_name'))
            by_head[route and route.head].append(index)
        for head, indices in by_head.items():
            samples = [batch['data_samples'][index] for index in indices]
            losses = model(batch['inputs'][indices], samples, mode='loss')
            for name, value in model.parse_losses(losses)[1].items():
                key = name, head
                self.sums[key] = self.sums.get(key, 0.0) + value.item() * len(indices)
                self.counts[key] = self.counts.get(key, 0) + len(indices)

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        # A process without samples knows no names.
        gathered = all_gather_object((self.sums, self.counts))
        sums, counts = Counter(), Counter()
        for their_sums, their_counts in gathered:
            sums.update(their_sums)
            counts.update(their_counts)
        head = getattr(bare_model(runner), 'head', None)
        each_alike = getattr(head, 'loss_weighting', 'samples') == 'datasets'
        for name in sorted({name for name, _ in sums}):
            keys = [key for key in sums if key[0] == name]
            if each_alike:
                value = sum(sums[key] / counts[key] for key in keys) / len(keys)
            else:
                value = sum(sums[key] for key in keys) / sum(counts[key] for key in keys)
            # mmengine shows means of its last values of losses, which would be other validations'
            runner.message_hub.log_scalars.pop(f'val/{name}', None)
            runner.message_hub.update_scalar(f'val/{name}', value)


def require_targets(dataset: BaseDataset, transforms: Sequence[object]) -> None:
    """Raise a ``ValueError`` if samples of a data set have no targets."""
    if getattr(dataset, 'bbox_file', None):
        raise ValueError(
            'ValidationLossHook needs the boxes of annotated people: set '
            f'val_dataloader.dataset.bbox_file to None, got {dataset.bbox_file!r}.'
        )
    packing = [each for each in transforms if hasattr(each, 'pack_transformed')]
    has_targets = any(type(each).__name__ == 'GenerateTarget' for each in transforms)
    if packing and not has_targets and not any(each.pack_transformed for each in packing):
        raise ValueError(
            'ValidationLossHook needs keypoints in the validation samples: '
            "dict(type='PackPersonInputs', pack_transformed=True) in val_dataloader's pipeline."
        )
