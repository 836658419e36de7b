"""Several processes with or without GPUs."""

import logging
import os
import subprocess
from datetime import timedelta

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import MODEL_WRAPPERS
from torch.nn.parallel import DistributedDataParallel

# Launcher -> environment variables from which (rank, world size, local rank) are read.
RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def prepare_environment(cfg: Config, launcher: str) -> None:
    """Make ``cfg`` and this process fit for the launcher, before a ``Runner`` is built from it.

    On GPUs mmengine does all there is to do (nccl; ``sync_bn='torch'`` in the config synchronises
    batch norm). It cannot start processes without GPUs: it selects a CUDA device first and gives
    its model wrapper ``device_ids``. There this function starts gloo, and sets the wrapper without
    device ids.

    **Batch norm on the CPU.** Synchronised batch norm does not exist for the CPU, so ``sync_bn`` is
    dropped with a warning: each process normalises by the statistics of its own share of the
    batch. Running averages also differ between processes; the checkpoint holds those of rank 0, or
    with ``custom_hooks=[dict(type='SyncBuffersHook')]``, as in mmpose's and our configs, the mean
    over all ranks, taken at the end of each epoch.

    Args:
        cfg: Changed in place: ``launcher``; without GPUs also ``env_cfg.dist_cfg.backend``,
            ``model_wrapper_cfg`` and ``sync_bn``.
        launcher: 'none', 'pytorch' (``torchrun``, ``tools/dist_*.sh``), 'slurm' or 'mpi'.

    Raises:
        ValueError: If the launcher is unknown, or this process was not started by it; or if
            several heads are to have mmcv's ``sync_bn``, which would wait for ever for processes
            without samples of a data set.
    """
    if launcher != 'none' and launcher not in RANK_VARIABLES:
        raise ValueError(f'launcher must be one of {["none", *RANK_VARIABLES]}, got {launcher!r}.')
    cfg.launcher = launcher
    if launcher == 'none':
        return
    missing = [name for name in RANK_VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise ValueError(
            f'launcher {launcher!r} needs the environment variables {missing}, which the program '
            'that starts the processes sets (tools/dist_train.sh or torchrun, srun, mpirun).'
        )
    head = cfg.get('model', {}).get('head') or {}
    if cfg.get('sync_bn') == 'mmcv' and head.get('type') == 'MultiDatasetHead':
        raise ValueError("a MultiDatasetHead needs sync_bn='torch', got 'mmcv'")
    if get_device() == 'cpu':
        start_gloo(cfg, launcher)
        wrap_without_devices(cfg)
        if cfg.pop('sync_bn', None) is not None:
            print_log(
                'sync_bn is dropped: synchronised batch norm does not run on the CPU. Each process '
                'uses the batch statistics of its own samples.',
                logger='current',
                level=logging.WARNING,
            )


def leave_processes() -> None:
    """Part from the other processes once all of them are done; call it after training or testing.

    Without it, a process that ends while rank 0 still writes its last checkpoint may be aborted by
    its own communication threads, upon which the launcher kills rank 0 in the middle of writing.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def start_gloo(cfg: Config, launcher: str) -> None:
    """Join the processes by gloo, as mmengine's ``init_dist`` does by nccl."""
    for name, source in zip(RANK_VARIABLES['pytorch'], RANK_VARIABLES[launcher]):
        os.environ[name] = os.environ[source]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            check=True,
            capture_output=True,
            text=True,
        )
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')

    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    if not torch.distributed.is_initialized():
        timeout = timedelta(seconds=cfg.env_cfg.dist_cfg.get('timeout', 1800))
        torch.distributed.init_process_group('gloo', timeout=timeout)


def wrap_without_devices(cfg: Config) -> None:
    """Keep mmengine from giving its data-parallel wrapper a CUDA device."""
    if cfg.get('model_wrapper_cfg') is None:
        # what Runner.wrap_model builds by default
        cfg.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
    wrapper = cfg.model_wrapper_cfg.setdefault('type', 'MMDistributedDataParallel')
    if isinstance(wrapper, str):
        wrapper = MODEL_WRAPPERS.get(wrapper)
    if issubclass(wrapper, DistributedDataParallel):
        cfg.model_wrapper_cfg['device_ids'] = None
