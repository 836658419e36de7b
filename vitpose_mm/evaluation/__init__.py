"""How well each keypoint is read, and what kinds of error there are."""

from .analysis import analyse
from .metric import KeypointReport
from .report import report_text, write_report

__all__ = ['KeypointReport', 'analyse', 'report_text', 'write_report']
