"""Parts of a runner that lie behind wrappers."""

from collections.abc import Sequence

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """The model, also where a wrapper for several processes holds it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def transforms_of(dataset: object) -> Sequence[object]:
    """The transforms of a data set's own pipeline; none where it has no pipeline."""
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
