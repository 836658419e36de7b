"""ViTPose and ViTPose++ for MMPose 1.x.

Importing it registers everything, so that one entry in `custom_imports` does all.
"""

import sys
from pathlib import Path

from .environment import import_problem, installed_versions
from .version import __version__

__all__ = ['__version__']


def _doctor_is_called() -> bool:
    """Whether this import serves `vitpose-mm doctor` or `python -m vitpose_mm doctor`.

    Both import this file before their own code runs, and the doctor has to work where this import
    cannot.
    """
    if sys.argv[1:2] != ['doctor']:
        return False
    # While -m imports the package, argv[0] is still '-m'; Python 3.9 has no orig_argv to ask for
    # the module's name.
    original = getattr(sys, 'orig_argv', ['vitpose_mm'])
    called_as_module = sys.argv[0] == '-m' and 'vitpose_mm' in original
    return called_as_module or Path(sys.argv[0]).name == 'vitpose-mm'


if not _doctor_is_called():
    _problem = import_problem(installed_versions())
    if _problem:
        raise ImportError(_problem)

    from . import checkpoints, codecs, datasets, engine, evaluation, models

    __all__ += ['checkpoints', 'codecs', 'datasets', 'engine', 'evaluation', 'models']
