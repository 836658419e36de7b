"""A full disk costs the checkpoint that does not fit, and nothing that is already there."""

import errno
import sys
from pathlib import Path

import pytest
from tiny_training import finish, start, tiny_config

from vitpose_mm.checkpoints import load_file
from vitpose_mm.engine import AtomicLocalBackend

# The disk is full from the second epoch on: files end at 64 KiB.
TRAIN = """
import resource, signal, sys
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
from vitpose_mm.engine import build_runner

class FillDisk(Hook):
    def after_train_epoch(self, runner):
        if runner.epoch == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 ** 16, 2 ** 16))

runner = build_runner(Config.fromfile(sys.argv[1]), 'train')
runner.register_hook(FillDisk(), 'VERY_HIGH')
runner.train()
"""


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_the_error_names_the_file_and_the_reason(tmp_path):
    path = tmp_path / 'epoch_2.pth'
    path.write_bytes(b'old')
    (tmp_path / 'epoch_2.pth.partial').symlink_to('/dev/full')
    with pytest.raises(
        OSError,
        match=rf'{path} could not be written \(No space left on device\); .* are untouched',
    ) as raised:
        AtomicLocalBackend().put(b'new' * 10_000, path)
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old'
    assert [file.name for file in tmp_path.iterdir()] == ['epoch_2.pth']


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(OSError, match=r'file/epoch_1\.pth could not be written \(File exists'):
        AtomicLocalBackend().put(b'new', tmp_path / 'file' / 'epoch_1.pth')


def test_training_that_fills_the_disk_leaves_the_checkpoint_before(coco):
    work_dir = coco / 'work'
    cfg = tiny_config(coco, batch_size=20, train_cfg__max_epochs=3, work_dir=str(work_dir))
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.dump(coco / 'config.py')
    output = finish(start(sys.executable, '-c', TRAIN, coco / 'config.py'), returncode=1)
    last_line = output.rstrip().splitlines()[-1]
    assert f'{work_dir}/epoch_2.pth could not be written (File too large)' in last_line
    assert 'files written before, also of this name, are untouched' in last_line

    assert [path.name for path in work_dir.glob('*.pth*')] == ['epoch_1.pth']
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_1.pth')
    assert load_file(str(work_dir / 'epoch_1.pth'))['meta']['epoch'] == 1
