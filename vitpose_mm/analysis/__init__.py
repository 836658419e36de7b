"""What a model costs and how fast it is: what the tools in ``tools/analysis`` call."""

from vitpose_mm.report import format_report, format_table, write_json

from .complexity import Cost, complexity_report, count_complexity, format_complexity
from .data_path import build_train_loader, measure_data_path, time_transforms
from .logs import plot_logs, read_scalars
from .machine import describe_device, select_device, set_threads, time_alternately
from .models import build_model, config_scope, input_hw
from .throughput import measure_throughput
from .training_step import TrainingStep, measure_training_step, peak_memory

__all__ = [
    'Cost',
    'TrainingStep',
    'build_model',
    'build_train_loader',
    'complexity_report',
    'config_scope',
    'count_complexity',
    'describe_device',
    'format_complexity',
    'format_report',
    'format_table',
    'input_hw',
    'measure_data_path',
    'measure_throughput',
    'measure_training_step',
    'peak_memory',
    'plot_logs',
    'read_scalars',
    'select_device',
    'set_threads',
    'time_alternately',
    'time_transforms',
    'write_json',
]
