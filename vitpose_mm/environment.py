"""Whether the package can work beside what is installed.

`import vitpose_mm` calls `import_problem`, which reads version numbers and imports nothing. Works
without torch and OpenMMLab. The doctor (`doctor.py`) looks closer.
"""

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional


@dataclass(frozen=True)
class Requirement:
    """Versions from `minimum` on and below `limit` fit; `distributions` provide the module."""

    module: str
    minimum: str
    limit: str
    distributions: tuple[str, ...]
    install: str
    optional: bool = False


REQUIREMENTS = (
    Requirement('torch', '2.1', '3', ('torch',), '"torch>=2.1"'),
    Requirement(
        'mmengine', '0.10', '1', ('mmengine', 'mmengine-lite', 'onedl-mmengine'), 'mmengine==0.10.7'
    ),
    Requirement(
        'mmcv', '2.0', '3', ('mmcv', 'mmcv-lite', 'onedl-mmcv'), '--no-build-isolation mmcv==2.1.0'
    ),
    Requirement('mmdet', '3.0', '4', ('mmdet', 'onedl-mmdetection'), 'mmdet==3.3.0', optional=True),
    Requirement('mmpose', '1.2', '2', ('mmpose',), '--no-build-isolation mmpose==1.3.2'),
)
# Upstream mmdet (3.3 and before) refuses newer mmcv when it is imported, and mmpose.apis imports
# mmdet where there is one. The fork (3.5) has no such limit.
MMDET_WITH_MMCV_LIMIT = '3.4'
MMCV_LIMIT_OF_MMDET = '2.2'


def release(version: str) -> tuple[int, ...]:
    """Returns the release numbers of a version: '2.14.1+cu130' is (2, 14, 1), '2.0' is (2,).

    Raises ValueError where the text begins with no number.
    """
    match = re.match(r'\d+(\.\d+)*', version)
    if not match:
        raise ValueError(f'version must begin with a number, got {version!r}')
    numbers = [int(number) for number in match[0].split('.')]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def installed_version(module: str, distributions: Iterable[str]) -> Optional[str]:
    """Returns the version of the module that an import would find, without importing it, or None.

    The module's own file comes first, since it is what runs: forks share module names, and a folder
    on the path has no metadata.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        return None
    version_file = Path(spec.origin).with_name('version.py')
    if version_file.exists():
        match = re.search(
            r"^__version__\s*(?::.*)?=\s*['\"]([^'\"]+)",
            version_file.read_text(errors='replace'),
            re.M,
        )
        if match:
            return match[1]
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def installed_versions() -> dict[str, Optional[str]]:
    versions = {
        item.module: installed_version(item.module, item.distributions) for item in REQUIREMENTS
    }
    return {'python': '.'.join(map(str, sys.version_info[:3])), **versions}


def version_problem(requirement: Requirement, found: Optional[str]) -> Optional[str]:
    """Returns what is wrong with this version and what to do, in one clause, or None."""
    name = requirement.module
    if found is None:
        return (
            None
            if requirement.optional
            else f'{name} is not installed: pip install {requirement.install}'
        )
    if release(requirement.minimum) <= release(found) < release(requirement.limit):
        return None
    return (
        f'{name} {found} does not fit, {requirement.minimum} or later and below '
        f'{requirement.limit} is needed: pip install {requirement.install}'
    )


def mmdet_problem(versions: Mapping[str, Optional[str]]) -> Optional[str]:
    mmdet, mmcv = versions.get('mmdet'), versions.get('mmcv')
    if mmdet is None or mmcv is None:
        return None
    if release(mmdet) >= release(MMDET_WITH_MMCV_LIMIT) or release(mmcv) < release(
        MMCV_LIMIT_OF_MMDET
    ):
        return None
    return (
        f'mmdet {mmdet} refuses mmcv {mmcv}, it needs one below {MMCV_LIMIT_OF_MMDET}: '
        'pip install --no-build-isolation mmcv==2.1.0'
    )


def import_problem(versions: Mapping[str, Optional[str]]) -> Optional[str]:
    """Returns one sentence on why the package cannot work here and what to do, or None."""
    problem = None
    if release(versions['python'] or '0') < (3, 9):
        problem = (
            f'Python {versions["python"]} is too old: make an environment with Python 3.9 or later'
        )
    for requirement in REQUIREMENTS:
        problem = problem or version_problem(requirement, versions.get(requirement.module))
    problem = problem or mmdet_problem(versions)
    if problem is None:
        return None
    return f'vitpose_mm cannot be used here because {problem} (`vitpose-mm doctor` tells more).'
