"""Pre-flight check: what in a config and its data will not train."""

from .findings import Finding, format_findings
from .running import Report, check_config, examine

__all__ = ['Finding', 'Report', 'check_config', 'examine', 'format_findings']
