"""No process may end before the others are done."""

import time
from pathlib import Path

import torch.distributed
import torch.multiprocessing

from vitpose_mm.engine import leave_processes


def take_part(rank: int, folder: Path) -> None:
    store = (folder / 'store').as_uri()
    torch.distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    if rank == 0:
        time.sleep(2)  # as if it wrote a checkpoint
        (folder / 'written').touch()
    leave_processes()
    if not (folder / 'written').exists():
        raise RuntimeError('rank 1 left before rank 0 had written')
    if torch.distributed.is_initialized():
        raise RuntimeError('the process group is still there')


def test_processes_wait_for_each_other(tmp_path):
    torch.multiprocessing.spawn(take_part, (tmp_path,), nprocs=2)


def test_a_single_process_has_nothing_to_leave():
    leave_processes()
