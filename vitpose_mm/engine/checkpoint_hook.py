"""Checkpoints that are written whole or not at all."""

import os
from pathlib import Path
from typing import Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from vitpose_mm.files import written_whole


class AtomicLocalBackend(LocalBackend):
    """Local files that appear, or change, all at once; mmengine's file backend 'atomic_local'.

    See :func:`~vitpose_mm.files.written_whole`.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        with written_whole(filepath) as partial:
            super().put(obj, partial)

    def put_text(self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend('atomic_local', AtomicLocalBackend)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, same arguments, that never leaves less than it found.

    Killed at any time, a run leaves at least one complete checkpoint and a ``last_checkpoint`` that
    names it, once the first has been written. mmengine 0.10.7 writes both files in place, removes
    the outdated checkpoint before it writes the next (with ``max_keep_ckpts=1`` the only one), and
    likewise the previous best. Here files are replaced in one step, and removed after the new ones
    are complete. What a kill may leave behind is a ``.partial`` file and one outdated checkpoint.

    With ``out_dir`` or ``backend_args`` naming a remote store, how checkpoints are written is that
    store's affair.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        is_local = self.out_dir is None or '://' not in str(self.out_dir)
        if is_local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = {'backend': 'atomic_local'}

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = []
        # A new best score saves the same step again, to hold the score.
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            last_checkpoint = os.path.join(runner.work_dir, 'last_checkpoint')
            AtomicLocalBackend().put_text(self.last_ckpt, last_checkpoint)
            for name in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, name))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        previous = self._best_paths()
        # The base class removes first what it knows as the best.
        self._set_best_paths(dict.fromkeys(previous))
        super()._save_best_checkpoint(runner, metrics)
        current = {key: path or previous[key] for key, path in self._best_paths().items()}
        self._set_best_paths(current)
        if is_main_process():
            for path in set(previous.values()) - set(current.values()) - {None}:
                self._remove(path)

    def _best_paths(self) -> dict:
        if len(self.key_indicators) == 1:
            # not by name: 'auto' is replaced by the metric's when the first metrics come
            return {'': self.best_ckpt_path}
        return {key: self.best_ckpt_path_dict.get(key) for key in self.key_indicators}

    def _set_best_paths(self, paths: dict) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            # DeepSpeed saves folders
            self.file_backend.rmtree(path)
