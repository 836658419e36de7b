"""At no moment is there less than one complete checkpoint, once there has been one."""

import os
import signal
from types import SimpleNamespace

import mmengine
import pytest
from mmengine.logging import MessageHub, MMLogger

from vitpose_mm.engine import AtomicCheckpointHook, AtomicLocalBackend


def test_backend_is_registered_and_writes(tmp_path):
    path = tmp_path / 'new' / 'metrics.json'
    mmengine.dump({'AP': 0.5}, str(path), backend_args={'backend': 'atomic_local'})
    assert path.read_text() == '{"AP": 0.5}'
    assert os.listdir(path.parent) == ['metrics.json']


def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    path.write_bytes(b'old')

    def no_space(descriptor):
        raise OSError('No space left on device')

    monkeypatch.setattr(os, 'fsync', no_space)
    with pytest.raises(OSError, match='No space'):
        AtomicLocalBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_killed_write_leaves_the_old_file_and_can_be_repeated(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', lambda descriptor: os.kill(os.getpid(), signal.SIGKILL))
        child = os.fork()
        if child == 0:
            AtomicLocalBackend().put(b'new', path)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    AtomicLocalBackend().put(b'newer', path)
    assert path.read_bytes() == b'newer'
    assert os.listdir(tmp_path) == ['file']


class Recorder:
    """Stands in for a runner; remembers what is on disk whenever a checkpoint is being written."""

    def __init__(self, work_dir):
        self.work_dir = str(work_dir)
        self.message_hub = MessageHub(f'{type(self).__name__}_{work_dir}')
        self.logger = MMLogger.get_current_instance()
        self.train_loop = SimpleNamespace()
        self.max_epochs = 10
        self.iter = self.epoch = 0
        self.written = []

    def save_checkpoint(self, out_dir, filename, *args, backend_args=None, **kwargs):
        self.written.append((filename, self.checkpoints()))
        assert backend_args == {'backend': 'atomic_local'}
        AtomicLocalBackend().put(b'', os.path.join(out_dir, filename))

    def checkpoints(self) -> list[str]:
        return sorted(name for name in os.listdir(self.work_dir) if name.endswith('.pth'))

    def last_checkpoint(self) -> str:
        with open(os.path.join(self.work_dir, 'last_checkpoint')) as file:
            return os.path.basename(file.read())

    def train(self, hook, scores) -> None:
        hook.before_train(self)
        for score in scores:
            hook.after_train_epoch(self)
            self.epoch += 1
            if score is not None:
                hook.after_val_epoch(self, score)
            assert self.last_checkpoint() == f'epoch_{self.epoch}.pth'


def test_new_checkpoint_is_complete_before_the_old_is_removed(tmp_path):
    runner = Recorder(tmp_path)
    runner.train(AtomicCheckpointHook(interval=1, max_keep_ckpts=1), [None] * 3)
    assert runner.written == [
        ('epoch_1.pth', []),
        ('epoch_2.pth', ['epoch_1.pth']),
        ('epoch_3.pth', ['epoch_2.pth']),
    ]
    assert runner.checkpoints() == ['epoch_3.pth']


def test_all_checkpoints_are_kept_by_default(tmp_path):
    runner = Recorder(tmp_path)
    runner.train(AtomicCheckpointHook(interval=1), [None] * 3)
    assert runner.checkpoints() == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


@pytest.mark.parametrize('save_best', ['AP', 'auto'])
def test_new_best_is_complete_before_the_old_is_removed(tmp_path, save_best):
    runner = Recorder(tmp_path)
    hook = AtomicCheckpointHook(interval=1, max_keep_ckpts=1, save_best=save_best, rule='greater')
    runner.train(hook, [{'AP': 0.3}, {'AP': 0.2}, {'AP': 0.4}])
    assert runner.written == [
        ('epoch_1.pth', []),
        ('best_AP_epoch_1.pth', ['epoch_1.pth']),
        # once more, to hold the new best score
        ('epoch_1.pth', ['best_AP_epoch_1.pth', 'epoch_1.pth']),
        ('epoch_2.pth', ['best_AP_epoch_1.pth', 'epoch_1.pth']),
        ('epoch_3.pth', ['best_AP_epoch_1.pth', 'epoch_2.pth']),
        ('best_AP_epoch_3.pth', ['best_AP_epoch_1.pth', 'epoch_3.pth']),
        ('epoch_3.pth', ['best_AP_epoch_1.pth', 'best_AP_epoch_3.pth', 'epoch_3.pth']),
    ]
    assert runner.checkpoints() == ['best_AP_epoch_3.pth', 'epoch_3.pth']


def test_best_of_several_metrics(tmp_path):
    runner = Recorder(tmp_path)
    hook = AtomicCheckpointHook(
        interval=1, max_keep_ckpts=1, save_best=['AP', 'AR'], rule='greater'
    )
    scores = [{'AP': 0.3, 'AR': 0.5}, {'AP': 0.4, 'AR': 0.4}, {'AP': 0.1, 'AR': 0.1}]
    runner.train(hook, scores)
    assert runner.checkpoints() == ['best_AP_epoch_2.pth', 'best_AR_epoch_1.pth', 'epoch_3.pth']
    assert hook.best_ckpt_path_dict == {
        'AP': str(tmp_path / 'best_AP_epoch_2.pth'),
        'AR': str(tmp_path / 'best_AR_epoch_1.pth'),
    }


def test_resumed_hook_knows_what_to_remove(tmp_path):
    options = {'interval': 1, 'max_keep_ckpts': 1, 'save_best': 'AP', 'rule': 'greater'}
    runner = Recorder(tmp_path)
    runner.train(AtomicCheckpointHook(**options), [{'AP': 0.3}, {'AP': 0.2}])
    runner.train(AtomicCheckpointHook(**options), [{'AP': 0.1}, {'AP': 0.4}])
    assert runner.checkpoints() == ['best_AP_epoch_4.pth', 'epoch_4.pth']
