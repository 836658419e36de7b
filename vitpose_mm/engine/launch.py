"""Training and testing from a config: what ``tools/train.py`` and ``tools/test.py`` call."""

import os
from pathlib import Path
from typing import Optional, Union

import mmengine
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from vitpose_mm.evaluation.configs import with_reports

from .annotation_files import build_loops, check_annotation_files

METRIC_SUFFIXES = ('.json', '.yaml', '.yml', '.pkl', '.pickle')
PICKLE_SUFFIXES = ('.pkl', '.pickle')


def load_config(
    config: Union[str, Path], work_dir: Optional[str] = None, cfg_options: Optional[dict] = None
) -> Config:
    """Read a config file, apply ``cfg_options`` (``{'a.b': value}``) and settle ``work_dir``.

    The working folder is ``work_dir``, else the config's, else ``work_dirs/<name of the config>``.

    Raises:
        ValueError: If there is no such file.
    """
    if not os.path.isfile(config):
        raise ValueError(f'Config {config} does not exist.')
    cfg = quickly_printed(Config.fromfile(config))
    cfg.merge_from_dict(cfg_options or {})
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('.', 'work_dirs', Path(config).stem)
    return cfg


def quickly_printed(cfg: Config) -> Config:
    """A config that is printed and written without yapf.

    mmengine formats configs by it three times a run: half a minute for six data sets.
    """
    if cfg._imported_names:  # of mmengine's lazy configs, which cannot be made anew
        return cfg
    return Config(
        cfg.to_dict(),
        cfg_text=cfg.text,
        filename=cfg.filename,
        env_variables=cfg.env_variables,
        format_python_code=False,
    )


def set_training_options(
    cfg: Config,
    resume: Optional[str] = None,
    amp: bool = False,
    validate: bool = True,
    auto_scale_lr: bool = False,
) -> None:
    """Change a training config in place as the options of ``tools/train.py`` ask.

    Args:
        resume: A checkpoint to go on from, or 'auto' for the last one in the working folder. Where
            there is none yet, 'auto' starts from the beginning, from ``load_from`` if the config
            has it (mmpose's tool forgets ``load_from`` then).
        amp: Train in mixed precision, with dynamic loss scaling.
        validate: Whether to evaluate during training.
        auto_scale_lr: Scale learning rates by batch size over ``auto_scale_lr.base_batch_size``.

    Raises:
        ValueError: If a file is missing or the config does not provide for an option.
    """
    if resume == 'auto':
        resume = last_checkpoint(cfg.work_dir)
    if resume is not None:
        cfg.load_from = str(resume)
        cfg.resume = True
    if cfg.get('load_from') is not None:
        require_checkpoint(cfg.load_from)
    if amp:
        use_mixed_precision(cfg)
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError('auto_scale_lr needs auto_scale_lr.base_batch_size in the config.')
        cfg.auto_scale_lr.enable = True


def set_test_options(
    cfg: Config,
    checkpoint: str,
    dump: Optional[str] = None,
    out: Optional[str] = None,
    report: Optional[str] = None,
) -> None:
    """Change a config in place to test a checkpoint and, if asked, to keep more of its results.

    Args:
        dump: File for the predictions, .pkl or .pickle.
        out: File for the metrics, see :func:`run_test`; only checked here, before hours of testing.
        report: Folder for a ``KeypointReport`` of each data set.

    Raises:
        ValueError: If the checkpoint is missing, a file name has another suffix, or the evaluator
            is no metric, list of metrics or ``DatasetEvaluator``, to which the dump or the report
            could be added.
    """
    require_checkpoint(checkpoint)
    if out is not None:
        require_suffix('out', out, METRIC_SUFFIXES)
    cfg.load_from = str(checkpoint)
    if report is not None:
        cfg.test_evaluator = with_reports(cfg.test_evaluator, report)
    if dump is None:
        return
    require_suffix('dump', dump, PICKLE_SUFFIXES)
    dump_metric = {'type': 'DumpResults', 'out_file_path': str(dump)}
    metrics = cfg.test_evaluator
    if isinstance(metrics, dict) and metrics.get('type') == 'DatasetEvaluator':
        metrics.for_all = [*metrics.get('for_all', ()), dump_metric]
        return
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    if any('metrics' in metric for metric in metrics):
        raise ValueError(
            f'dump needs a test_evaluator that is a metric or a list of metrics, got the evaluator '
            f'{metrics[0].get("type")!r}.'
        )
    cfg.test_evaluator = [*metrics, dump_metric]


def set_visualization(
    cfg: Config,
    show: bool = False,
    show_dir: Optional[str] = None,
    interval: int = 1,
    wait_time: float = 1.0,
) -> None:
    """Have ``PoseVisualizationHook`` show results in a window, or write them to a folder.

    Args:
        interval: Every how many samples.
        wait_time: Seconds that a window stays.

    Raises:
        ValueError: If the config has no ``default_hooks.visualization``.
    """
    if not show and show_dir is None:
        return
    if cfg.get('default_hooks', {}).get('visualization') is None:
        raise ValueError(
            'show and show_dir need default_hooks.visualization in the config, such as '
            "dict(type='PoseVisualizationHook')."
        )
    cfg.default_hooks.visualization.update(
        enable=True, show=show, out_dir=show_dir, interval=interval, wait_time=wait_time
    )


def build_runner(cfg: Config, mode: Optional[str] = None) -> Runner:
    """Build the runner of a config; first :func:`prepare_environment` if there is a launcher.

    Args:
        mode: What for, 'train' or 'test': then its data sets are built at once, too. By default
            they are read when they are needed, and errors in them may name no file.

    Raises:
        DataError: An annotation file cannot be read or holds nobody.
    """
    if mode is not None:
        check_annotation_files(cfg, mode)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if mode is not None:
        build_loops(runner, mode)
    return runner


def run_test(runner: Runner, out: Optional[str] = None) -> dict:
    """Test, write the metrics to ``out`` (.json, .yaml or .pkl) if asked, and return them."""
    metrics = runner.test()
    if out is not None and is_main_process():
        mmengine.dump(metrics, str(out), backend_args={'backend': 'atomic_local'})
    return metrics


def last_checkpoint(work_dir: str) -> Optional[str]:
    """The checkpoint that ``last_checkpoint`` in a working folder names, None without that file.

    Raises:
        ValueError: If the checkpoint is gone.
    """
    path = find_latest_checkpoint(work_dir)
    if path is None:
        return None
    # the folder may have been moved since
    for candidate in (path, os.path.join(work_dir, os.path.basename(path))):
        if os.path.isfile(candidate):
            return candidate
    raise ValueError(f'Checkpoint {path!r}, named by {work_dir}/last_checkpoint, does not exist.')


def require_checkpoint(path: str) -> None:
    """Raise a ``ValueError`` if a local path is not there; addresses with a scheme pass."""
    # a folder may be one of transformers
    if '://' not in str(path) and not os.path.exists(os.path.expanduser(path)):
        raise ValueError(f'Checkpoint {path} does not exist.')


def require_suffix(argument: str, path: str, suffixes: tuple) -> None:
    if not str(path).endswith(suffixes):
        raise ValueError(f'{argument} must end with one of {", ".join(suffixes)}, got {path}.')


def use_mixed_precision(cfg: Config) -> None:
    if get_device() == 'cpu':
        raise ValueError('amp needs a GPU, and none is available.')
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'amp needs optim_wrapper.type OptimWrapper, got {wrapper!r}.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
