"""Where something is measured, and the clock."""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional, Union

import torch

DTYPES = ('float32', 'bfloat16', 'float16')


def select_device(device: Optional[Union[str, torch.device]] = None) -> torch.device:
    """The device asked for, by default a GPU where there is one.

    Raises:
        ValueError: It is neither 'cpu' nor 'cuda' or 'cuda:N', or there is no such GPU.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    kind, _, index = str(device).partition(':')
    if kind not in ('cpu', 'cuda') or not (index or '0').isdigit():
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {str(device)!r}")
    count = torch.cuda.device_count()
    if kind == 'cuda' and int(index or 0) >= count:
        raise ValueError(f'device {str(device)!r} needs a GPU, and there are {count}')
    return torch.device(device)


def select_dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ValueError(f'dtype must be one of {DTYPES}, got {name!r}')
    return getattr(torch, name)


def set_threads(threads: Optional[int]) -> None:
    """Have torch use so many threads on the CPU; None leaves it as it is."""
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f'threads must be at least 1, got {threads}')
    torch.set_num_threads(threads)


def cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def describe_device(device: torch.device) -> dict[str, object]:
    """What timings on a device depend on besides what is timed."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else cpu_name()
    return {
        'device': f'{device.type} ({name})',
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
    }


def synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def time_alternately(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    device: Optional[torch.device] = None,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time calls in turns (A, B, A, B, ...), so that what slows the machine slows all of them.

    Args:
        calls: What to time, by name.
        rounds: Timed runs of each.
        warm_up: Runs of each before those.
        device: Waited for before the clock is read.
        prepare: Called before each call, not timed.

    Returns:
        Seconds of each round, by name.
    """
    if rounds < 1 or warm_up < 0:
        raise ValueError(
            f'rounds must be at least 1 and warm_up at least 0, got {rounds} and {warm_up}'
        )
    device = device or torch.device('cpu')
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(warm_up + rounds):
        for name, call in calls.items():
            prepare()
            synchronize(device)
            start = time.perf_counter()
            result = call()
            synchronize(device)
            elapsed = time.perf_counter() - start
            del result  # not at the expense of the next round
            if index >= warm_up:
                seconds[name].append(elapsed)
    return seconds
