"""Knowledge tokens: fitted on a teacher, handed to a student."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vitpose_mm.checkpoints import CheckpointError
from vitpose_mm.checkpoints.loading import state_dict_of
from vitpose_mm.files import written_whole

from .parts import bare_model

STEPS = ('fit', 'transfer')
FILE_NAME = 'knowledge_tokens.pth'


@HOOKS.register_module()
class TokenDistillationHook(Hook):
    """Distillation by knowledge tokens (arXiv 2204.12484, section 3.5), in two trainings.

    The first, ``step='fit'``, trains a teacher whose backbone has ``num_knowledge_tokens`` and
    whose weights come by ``load_from``. Nothing but its tokens changes: all else is frozen and in
    evaluation mode, batch norms included. After each epoch (training by iterations has one) the
    tokens themselves, not an average that a hook makes of them, are saved.

    The second, ``step='transfer'``, trains a student with as many tokens. They are taken from that
    file, or from a checkpoint of the first training, and stay as they are. Where teacher and
    student differ in width, ``model.backbone.knowledge_dim`` gives the student a projection, which
    learns. Both are saved with the student, which needs no hook and no file to be used, nor to go
    on from its own checkpoint.

    Works with one process and with ``MMDistributedDataParallel``, which is wrapped anew, as it has
    to know what is frozen.

    Args:
        step: 'fit' or 'transfer'.
        tokens: For 'transfer': a file of the first training, its tokens or one of its checkpoints.
        out_file: For 'fit': where to save; by default ``knowledge_tokens.pth`` in the working
            folder.

    Raises:
        ValueError: An argument does not fit the step; the backbone has no knowledge tokens; the
            teacher has no weights to begin with; or the model is sharded.
        CheckpointError: The file has no tokens, or others than the student takes.
    """

    # before other hooks look at the model
    priority = 'VERY_HIGH'

    def __init__(
        self, step: str, tokens: Optional[str] = None, out_file: Optional[str] = None
    ) -> None:
        if step not in STEPS:
            raise ValueError(f'step must be one of {STEPS}, got {step!r}')
        if (tokens is not None) != (step == 'transfer'):
            raise ValueError(
                "tokens is a file for step 'transfer', which needs it, and not for 'fit', got "
                f'{tokens!r} for step {step!r}'
            )
        if out_file is not None and step != 'fit':
            raise ValueError(f"out_file is for step 'fit', got {out_file!r} with step {step!r}")
        self.step = step
        self.tokens = tokens
        self.out_file = out_file

    def before_run(self, runner: Runner) -> None:
        backbone = self._backbone(runner)
        if self.step == 'fit' and backbone.knowledge_proj is not None:
            raise ValueError(
                'a teacher takes tokens of its own width: drop model.backbone.knowledge_dim, got '
                f'{backbone.knowledge_tokens.shape[2]} for {backbone.embed_dim} channels'
            )
        with _wrapped_anew(runner):
            if self.step == 'fit':
                bare_model(runner).requires_grad_(False)
            backbone.knowledge_tokens.requires_grad = self.step == 'fit'

    def before_train(self, runner: Runner) -> None:
        if self.step == 'fit':
            if not runner._has_loaded:
                raise ValueError(
                    'tokens are fitted to a trained teacher, but nothing was loaded: set load_from '
                    'to its checkpoint'
                )
            return
        if runner.iter > 0:  # a resumed student has its tokens
            return
        own = self._backbone(runner).knowledge_tokens
        tokens = read_knowledge_tokens(self.tokens)
        if tokens.shape != own.shape:
            (_, count, width), (_, own_count, own_width) = tokens.shape, own.shape
            raise CheckpointError(
                f'{self.tokens} has {count} knowledge tokens of {width} channels, the student '
                f'takes {own_count} of {own_width}: set model.backbone.num_knowledge_tokens='
                f'{count} and knowledge_dim={width}, which adds a projection'
            )
        with torch.no_grad():
            own.copy_(tokens)
        print_log(f'{own.shape[1]} knowledge tokens from {self.tokens}', 'current')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        if self.step != 'fit':
            return
        model = bare_model(runner)
        model.eval()  # training loops switch to training mode
        if hasattr(getattr(model, 'head', None), 'loss_weighting'):
            # a MultiDatasetHead itself has no mode but of counting samples, over all processes
            model.head.training = True

    def after_train_epoch(self, runner: Runner) -> None:
        if self.step != 'fit' or not is_main_process():
            return
        tokens = self._backbone(runner).knowledge_tokens.detach().cpu().clone()
        path = Path(self.out_file or Path(runner.work_dir, FILE_NAME))
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            torch.save(dict(knowledge_tokens=tokens, meta=dict(iter=runner.iter)), partial)

    @staticmethod
    def _backbone(runner: Runner) -> nn.Module:
        backbone = getattr(bare_model(runner), 'backbone', None)
        if getattr(backbone, 'knowledge_tokens', None) is None:
            raise ValueError(
                'TokenDistillationHook needs a backbone with knowledge tokens, '
                'model.backbone.num_knowledge_tokens=1; '
                f'{type(backbone).__name__} of {type(bare_model(runner)).__name__} has none'
            )
        return backbone


def read_knowledge_tokens(path: str) -> Tensor:
    """Knowledge tokens (1, T, C) in a file of :class:`TokenDistillationHook` or a checkpoint.

    Raises:
        CheckpointError: The file has none, or several, or unusable ones.
    """
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state_dict = state_dict_of(content) or content
    found = {
        name: value
        for name, value in (state_dict.items() if isinstance(state_dict, dict) else ())
        if str(name).rpartition('.')[2] == 'knowledge_tokens'
    }
    if len(found) != 1:
        which = f'several: {list(found)}' if found else 'none'
        raise CheckpointError(
            f"{path} should have one entry 'knowledge_tokens', as step 'fit' of "
            f'TokenDistillationHook writes it, it has {which}'
        )
    ((name, tokens),) = found.items()
    is_usable = isinstance(tokens, Tensor) and tokens.ndim == 3 and len(tokens) == 1
    if not is_usable or not tokens.is_floating_point() or not tokens.isfinite().all():
        shape = tuple(getattr(tokens, 'shape', ()))
        raise CheckpointError(
            f'{path}: {name} must be finite numbers (1, tokens, channels), got '
            f'{getattr(tokens, "dtype", type(tokens).__name__)} {shape}'
        )
    return tokens


@contextmanager
def _wrapped_anew(runner: Runner) -> Iterator[None]:
    """Freeze or thaw inside; data-parallel wrappers take note of it when they are made only."""
    model = bare_model(runner)
    before = [parameter.requires_grad for parameter in model.parameters()]
    yield
    if before == [parameter.requires_grad for parameter in model.parameters()]:
        return
    if not is_model_wrapper(runner.model):
        return
    if not isinstance(runner.model, DistributedDataParallel):
        raise ValueError(
            'TokenDistillationHook freezes parameters, of which '
            f'{type(runner.model).__name__} knows only when it is made: train with '
            'MMDistributedDataParallel'
        )
    runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
