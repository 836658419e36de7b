"""What is wrong around the package, and how to mend it: `vitpose-mm doctor`.

`examine` tries every import in a process of its own. Works without torch and OpenMMLab.
"""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

from .environment import (
    REQUIREMENTS,
    installed_version,
    installed_versions,
    mmdet_problem,
    release,
    version_problem,
)

PROBE_SECONDS = 300

REBUILD_MMCV = (
    'CXX="$PWD/requirements/cxx" MMCV_WITH_OPS=1 pip install --force-reinstall --no-deps '
    '--no-build-isolation --no-cache-dir --no-binary mmcv mmcv==2.1.0'
)
# (pattern of the error, what it means and how to mend it), the first that matches counts
KNOWN_ERRORS = (
    (
        r'numpy\.dtype size changed|compiled using NumPy 1|_ARRAY_API not found',
        'built for another numpy: pip install --force-reinstall --no-deps --no-build-isolation '
        '--no-cache-dir --no-binary {distribution} {distribution}',
    ),
    (
        r"No module named 'pkg_resources'",
        'setuptools is too new or missing: pip install "setuptools>=77,<81"',
    ),
    (
        r"No module named 'mmcv\._ext'",
        f'mmcv without its compiled ops: pip uninstall -y mmcv-lite; {REBUILD_MMCV}',
    ),
    (r'mmcv/_ext\S*: undefined symbol', f'mmcv was built for another torch: {REBUILD_MMCV}'),
    (
        r'operator torchvision::nms does not exist|torchvision\S*: undefined symbol',
        'torchvision does not fit torch: install the two that belong together, such as '
        'pip install torch==2.14.1 torchvision==0.29.1',
    ),
    (
        r'MMCV==\S+ is used but incompatible',
        'this mmdet refuses this mmcv: pip install mmdet==3.3.0 with mmcv 2.1.0, ' + REBUILD_MMCV,
    ),
)
DEBIAN_PACKAGES = {
    'libGL.so': 'libgl1',
    'libglib-2.0.so': 'libglib2.0-0',
    'libgthread-2.0.so': 'libglib2.0-0',
    'libxcb.so': 'libxcb1',
    'libX11.so': 'libx11-6',
    'libSM.so': 'libsm6',
    'libICE.so': 'libice6',
    'libXext.so': 'libxext6',
    'libXrender.so': 'libxrender1',
    'libfontconfig.so': 'libfontconfig1',
    'libgomp.so': 'libgomp1',
    'libstdc++.so': 'libstdc++6',
    'libz.so': 'zlib1g',
}

Status = Literal['ok', 'note', 'problem']


@dataclass(frozen=True)
class Finding:
    name: str
    found: str
    status: Status
    advice: str = ''


@dataclass(frozen=True)
class Probe:
    """The outcome of a program in a process of its own: what it printed as JSON, or its error."""

    values: Mapping[str, str]
    error: str = ''


@dataclass(frozen=True)
class Subject:
    """Something to import. `then` runs after it and may fill a dict `values` of strings."""

    name: str
    module: str
    distribution: str
    install: str
    then: str = ''
    optional: bool = False


TORCH_VALUES = """
values['cuda'] = torch.version.cuda or ''
values['gpu'] = ', '.join(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
"""
MMCV_VALUES = "values['detail'] = 'CUDA ops: ' + mmcv.ops.get_compiling_cuda_version()"

SUBJECTS = (
    Subject('torch', 'torch', 'torch', 'torch==2.14.1', TORCH_VALUES),
    Subject('torchvision', 'torchvision', 'torchvision', 'torchvision==0.29.1'),
    Subject('numpy', 'numpy', 'numpy', 'numpy'),
    Subject('opencv', 'cv2', 'opencv-python', 'opencv-python'),
    Subject('setuptools', 'pkg_resources', 'setuptools', '"setuptools>=77,<81"', optional=True),
    Subject('mmengine', 'mmengine.runner', 'mmengine', 'mmengine==0.10.7'),
    Subject('mmcv', 'mmcv.ops', 'mmcv', '--no-build-isolation mmcv==2.1.0', MMCV_VALUES),
    Subject(
        'xtcocotools',
        'xtcocotools.mask',
        'xtcocotools',
        '--no-build-isolation --no-binary xtcocotools xtcocotools',
    ),
    Subject('pycocotools', 'pycocotools.mask', 'pycocotools', 'pycocotools'),
    Subject('safetensors', 'safetensors.torch', 'safetensors', 'safetensors'),
    Subject('mmdet', 'mmdet.apis', 'mmdet', 'mmdet==3.3.0', optional=True),
    Subject('mmpose', 'mmpose.apis', 'mmpose', '--no-build-isolation mmpose==1.3.2'),
    Subject('openmim', 'mim', 'openmim', 'openmim', optional=True),
    Subject('vitpose_mm', 'vitpose_mm', 'vitpose_mm', '--no-deps .'),
)
PROBE = """
import importlib.metadata, json
values = {{}}
import {module}
try:
    values['version'] = importlib.metadata.version({distribution!r})
except importlib.metadata.PackageNotFoundError:
    pass
values['version'] = getattr({root}, '__version__', values.get('version', ''))
{then}
print('probe:' + json.dumps(values))
"""


def probe_program(subject: Subject) -> str:
    root = subject.module.split('.')[0]
    return PROBE.format(
        module=subject.module, distribution=subject.distribution, root=root, then=subject.then
    )


def run_probe(program: str) -> Probe:
    """Runs it in a new Python, since importing a wrong binary may kill the process."""
    command = [sys.executable, '-W', 'ignore', '-c', program]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors='replace', timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Probe({}, f'the import took more than {PROBE_SECONDS} seconds')
    for line in done.stdout.splitlines():
        if line.startswith('probe:') and done.returncode == 0:
            return Probe(json.loads(line[len('probe:') :]))
    if done.returncode < 0:
        return Probe(
            {}, f'the import crashed ({signal.Signals(-done.returncode).name})\n{done.stderr}'
        )
    return Probe({}, done.stderr.strip() or f'the import ended with status {done.returncode}')


def advice_for(error: str, subject: Subject) -> str:
    """Returns what an import error means and how to mend it, in plain words."""
    library = re.search(r'((lib[\w.+-]+?\.so)[\d.]*): cannot open shared object file', error)
    if library:
        package = DEBIAN_PACKAGES.get(library[2])
        if package:
            return f'the system library {library[1]} is missing: apt-get install {package}'
        install = f'pip install --force-reinstall {subject.install}'
        return f'the shared library {library[1]} is missing: {install}'
    for pattern, advice in KNOWN_ERRORS:
        if re.search(pattern, error):
            return advice.format(distribution=subject.distribution)
    missing = re.search(r"No module named '([\w.]+)'", error)
    if missing:
        root = missing[1].split('.')[0]
        own = root == subject.module.split('.')[0]
        return f'{root} is missing: pip install {subject.install if own else root}'
    return (error.strip().splitlines() or ['no message'])[-1][:300]


def import_finding(subject: Subject, probe: Probe) -> Finding:
    found = ' '.join(
        filter(None, [probe.values.get('version', ''), probe.values.get('detail', '')])
    )
    if not probe.error:
        return Finding(subject.name, found, 'ok')
    root = subject.module.split('.')[0]
    if subject.optional and re.search(rf"No module named '{root}'", probe.error):
        return Finding(
            subject.name, f'no {root}', 'note', f'optional: pip install {subject.install}'
        )
    return Finding(subject.name, 'cannot be imported', 'problem', advice_for(probe.error, subject))


def gpu_finding(probes: Mapping[str, Probe]) -> Finding:
    torch = probes.get('torch', Probe({})).values
    if not torch.get('gpu'):
        reason = (
            f'torch is built for CUDA {torch["cuda"]}, no GPU is seen'
            if torch.get('cuda')
            else 'CPU only'
        )
        return Finding('GPU', reason, 'ok')
    if 'not available' in probes.get('mmcv', Probe({})).values.get('detail', ''):
        advice = (
            "mmcv has CPU ops only: run mmdet's detectors on the CPU (pose estimation needs no ops)"
        )
        return Finding('GPU', torch['gpu'], 'note', advice)
    return Finding('GPU', torch['gpu'], 'ok')


def checkpoint_finding(probes: Mapping[str, Probe]) -> Finding:
    version = probes.get('torch', Probe({})).values.get('version')
    if version and release(version) >= (2, 6):
        return Finding(
            'checkpoints',
            "torch's safe loading",
            'ok',
            "vitpose_mm lets it accept mmengine's own types",
        )
    return Finding('checkpoints', "vitpose_mm's safe loading", 'ok')


def drawing_finding(numpy: Optional[str], mmpose: Optional[str]) -> Finding:
    """mmpose 1.3.2 draws keypoints by int() of one-element arrays, which numpy 2.4 refuses."""
    if numpy and mmpose and release(numpy) >= (2, 4) and release(mmpose) <= (1, 3, 2):
        advice = (
            f'mmpose {mmpose} cannot draw keypoints with numpy {numpy}: pip install "numpy<2.4"'
        )
        return Finding('drawing', 'fails', 'problem', advice)
    return Finding('drawing', 'works', 'ok')


def mim_finding(train_tool: Optional[Path]) -> Finding:
    """Judges the path at which `mim train vitpose_mm` looks; None where nothing is installed."""
    if train_tool is None:
        return Finding(
            'tools for mim',
            'missing',
            'note',
            'vitpose_mm is not installed: pip install --no-deps .',
        )
    if not train_tool.exists():
        advice = '`mim train vitpose_mm` finds no tools: pip install --force-reinstall --no-deps .'
        return Finding('tools for mim', 'missing', 'note', advice)
    return Finding('tools for mim', 'in place', 'ok')


def compiler_finding(compiler: Optional[str]) -> Finding:
    if compiler is None:
        return Finding(
            'C++ compiler',
            'none',
            'note',
            'needed to build mmcv only: apt-get install build-essential',
        )
    return Finding('C++ compiler', compiler, 'ok')


def mim_train_tool() -> Optional[Path]:
    try:
        distribution = importlib.metadata.distribution('vitpose_mm')
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file('vitpose_mm/.mim/tools/train.py')))


def examine() -> list[Finding]:
    """Looks at everything that can be wrong here; takes about half a minute, most of it imports."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        probes = dict(
            zip(
                [subject.name for subject in SUBJECTS],
                pool.map(run_probe, map(probe_program, SUBJECTS)),
            )
        )
    versions = installed_versions()
    mismatches = {
        item.module: version_problem(item, versions[item.module]) for item in REQUIREMENTS
    }
    mismatches['mmdet'] = mismatches['mmdet'] or mmdet_problem(versions)

    findings = [Finding('Python', versions['python'] or '', 'ok')]
    for subject in SUBJECTS:
        mismatch, version = mismatches.get(subject.name), versions.get(subject.name)
        if mismatch and version:
            findings.append(Finding(subject.name, version, 'problem', mismatch))
        else:
            findings.append(import_finding(subject, probes[subject.name]))
    compiler = os.environ.get('CXX') or shutil.which('c++') or shutil.which('g++')
    return [
        *findings,
        gpu_finding(probes),
        checkpoint_finding(probes),
        drawing_finding(installed_version('numpy', ('numpy',)), versions['mmpose']),
        mim_finding(mim_train_tool()),
        compiler_finding(compiler),
    ]


def format_table(findings: Sequence[Finding]) -> str:
    name_width = max(len(finding.name) for finding in findings)
    found_width = max(len(finding.found) for finding in findings)
    rows = []
    for finding in findings:
        columns = f'{finding.name:{name_width}}  {finding.found:{found_width}}  {finding.status:7}'
        rows.append(f'{columns}  {finding.advice}'.rstrip())
    return '\n'.join(rows)
