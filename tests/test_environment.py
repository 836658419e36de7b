import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitpose_mm import cli, doctor, environment
from vitpose_mm.doctor import Finding, Probe, Subject

FITTING = {
    'python': '3.11.7',
    'torch': '2.14.1+cu130',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmdet': '3.3.0',
    'mmpose': '1.3.2',
}
FORKS = {**FITTING, 'mmengine': '0.10.12', 'mmcv': '2.3.6', 'mmdet': '3.5.1'}
OLDER = {**FITTING, 'python': '3.9.18', 'torch': '2.1.0', 'mmdet': '3.2.0', 'mmpose': '1.2.0'}
SUBJECTS = {subject.name: subject for subject in doctor.SUBJECTS}


def planted_module(folder: Path, name: str, content: str, version: str = '') -> dict[str, str]:
    """Returns environment variables under which this module is found before the installed one."""
    (folder / name).mkdir(parents=True)
    (folder / name / '__init__.py').write_text(content)
    if version:
        (folder / name / 'version.py').write_text(f'__version__ = {version!r}\n')
    root = Path(environment.__file__).parents[1]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(folder), str(root)])}


@pytest.mark.parametrize(
    'version, numbers',
    [('2.14.1+cu130', (2, 14, 1)), ('2.0.0rc4', (2,)), ('0.10.0', (0, 10)), ('3', (3,))],
)
def test_release(version, numbers):
    assert environment.release(version) == numbers


def test_release_of_no_version():
    with pytest.raises(ValueError, match="begin with a number, got 'parrots'"):
        environment.release('parrots')


@pytest.mark.parametrize('versions', [FITTING, FORKS, OLDER, {**FITTING, 'mmdet': None}])
def test_versions_that_fit(versions):
    assert environment.import_problem(versions) is None


@pytest.mark.parametrize(
    'change, problem',
    [
        ({'python': '3.8.18'}, 'Python 3.8.18 is too old'),
        ({'torch': None}, 'torch is not installed: pip install "torch>=2.1"'),
        ({'torch': '1.13.1'}, 'torch 1.13.1 does not fit, 2.1 or later and below 3 is needed'),
        ({'mmengine': '0.9.1'}, 'mmengine 0.9.1 does not fit'),
        ({'mmcv': None}, 'mmcv is not installed: pip install --no-build-isolation mmcv==2.1.0'),
        ({'mmcv': '1.7.2'}, 'mmcv 1.7.2 does not fit, 2.0 or later and below 3 is needed'),
        ({'mmdet': '2.28.2'}, 'mmdet 2.28.2 does not fit'),
        ({'mmcv': '2.2.0'}, 'mmdet 3.3.0 refuses mmcv 2.2.0, it needs one below 2.2'),
        ({'mmpose': '0.29.0'}, 'mmpose 0.29.0 does not fit, 1.2 or later and below 2 is needed'),
        ({'mmpose': None}, 'mmpose is not installed'),
    ],
)
def test_versions_that_do_not_fit(change, problem):
    message = environment.import_problem({**FITTING, **change})
    assert message.startswith(f'vitpose_mm cannot be used here because {problem}')
    assert '`vitpose-mm doctor`' in message
    assert '\n' not in message


def test_the_version_is_read_from_the_module_that_an_import_finds(tmp_path, monkeypatch):
    (tmp_path / 'some_module').mkdir()
    (tmp_path / 'some_module' / '__init__.py').write_text('raise RuntimeError("was imported")')
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        environment.installed_version('some_module', ('no-such-distribution', 'pytest'))
        == pytest.__version__
    )
    assert environment.installed_version('some_module', ()) is None
    (tmp_path / 'some_module' / 'version.py').write_text(
        "# text\n__version__: str = '1.2.3+local'\n"
    )
    assert environment.installed_version('some_module', ('pytest',)) == '1.2.3+local'
    assert environment.installed_version('no_such_module', ('pytest',)) is None


@pytest.mark.parametrize(
    'name, error, advice',
    [
        (
            'xtcocotools',
            'ValueError: numpy.dtype size changed, may indicate binary incompatibility.',
            'built for another numpy: pip install --force-reinstall --no-deps --no-build-isolation '
            '--no-cache-dir --no-binary xtcocotools xtcocotools',
        ),
        (
            'mmengine',
            "ModuleNotFoundError: No module named 'pkg_resources'",
            'setuptools is too new or missing: pip install "setuptools>=77,<81"',
        ),
        (
            'mmcv',
            "ModuleNotFoundError: No module named 'mmcv._ext'",
            'mmcv without its compiled ops: ',
        ),
        (
            'mmcv',
            "ModuleNotFoundError: No module named 'mmcv'",
            'mmcv is missing: pip install --no-build-isolation mmcv',
        ),
        (
            'mmpose',
            'ImportError: /x/mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c10',
            'mmcv was built for another torch: ',
        ),
        (
            'mmpose',
            'RuntimeError: operator torchvision::nms does not exist',
            'torchvision does not fit torch: ',
        ),
        (
            'mmdet',
            'AssertionError: MMCV==2.2.0 is used but incompatible. Please',
            'this mmdet refuses this mmcv: ',
        ),
        (
            'opencv',
            'ImportError: libGL.so.1: cannot open shared object file: No such file or directory',
            'the system library libGL.so.1 is missing: apt-get install libgl1',
        ),
        (
            'opencv',
            'ImportError: libgthread-2.0.so.0: cannot open shared object file: No such file',
            'the system library libgthread-2.0.so.0 is missing: apt-get install libglib2.0-0',
        ),
        (
            'opencv',
            'ImportError: libxcb.so.1: cannot open shared object file: No such file or directory',
            'the system library libxcb.so.1 is missing: apt-get install libxcb1',
        ),
        (
            'torch',
            'OSError: libcudnn.so.9: cannot open shared object file: No such file or directory',
            'the shared library libcudnn.so.9 is missing: pip install --force-reinstall torch',
        ),
        (
            'mmpose',
            "ModuleNotFoundError: No module named 'json_tricks.np'",
            'json_tricks is missing: ',
        ),
        ('mmpose', 'Traceback (most recent call last):\n  File "x"\nKeyError: 7', 'KeyError: 7'),
    ],
)
def test_advice_for_import_errors(name, error, advice):
    assert doctor.advice_for(error, SUBJECTS[name]).startswith(advice)


def test_a_missing_optional_module_is_no_problem():
    error = Probe({}, "ModuleNotFoundError: No module named 'mmdet'")
    assert doctor.import_finding(SUBJECTS['mmdet'], error).status == 'note'
    broken = Probe({}, "ModuleNotFoundError: No module named 'shapely'")
    assert doctor.import_finding(SUBJECTS['mmdet'], broken).status == 'problem'


def test_a_probe_survives_a_crash():
    probe = doctor.run_probe('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')
    assert probe.error.startswith('the import crashed (SIGSEGV)')
    subject = Subject('json', 'json', 'no-such-distribution', 'json', "values['detail'] = 'x'")
    assert doctor.run_probe(doctor.probe_program(subject)) == Probe(
        {'version': json.__version__, 'detail': 'x'}
    )


@pytest.mark.parametrize(
    'torch, mmcv, status, found',
    [
        ({'cuda': '', 'gpu': ''}, {}, 'ok', 'CPU only'),
        ({'cuda': '13.0', 'gpu': ''}, {}, 'ok', 'torch is built for CUDA 13.0, no GPU is seen'),
        ({'cuda': '13.0', 'gpu': 'H100'}, {'detail': 'CUDA ops: not available'}, 'note', 'H100'),
        ({'cuda': '13.0', 'gpu': 'H100'}, {'detail': 'CUDA ops: 13.0'}, 'ok', 'H100'),
    ],
)
def test_gpu_finding(torch, mmcv, status, found):
    finding = doctor.gpu_finding({'torch': Probe(torch), 'mmcv': Probe(mmcv)})
    assert (finding.status, finding.found) == (status, found)


@pytest.mark.parametrize(
    'numpy, mmpose, status',
    [
        ('2.4.6', '1.3.2', 'problem'),
        ('2.3.5', '1.3.2', 'ok'),
        ('1.26.4', '1.2.0', 'ok'),
        ('2.4.6', '1.4.0', 'ok'),
        (None, '1.3.2', 'ok'),
    ],
)
def test_drawing_finding(numpy, mmpose, status):
    assert doctor.drawing_finding(numpy, mmpose).status == status


def test_mim_finding(tmp_path):
    tool = tmp_path / 'train.py'
    assert doctor.mim_finding(None).status == 'note'
    assert doctor.mim_finding(tool).found == 'missing'
    tool.touch()
    assert doctor.mim_finding(tool) == Finding('tools for mim', 'in place', 'ok')


def test_table_is_aligned():
    table = doctor.format_table(
        [Finding('a', '1.0', 'ok'), Finding('long name', '', 'problem', 'mend it')]
    )
    assert table.splitlines() == ['a          1.0  ok', 'long name       problem  mend it']


def test_doctor_finds_a_planted_failure(tmp_path, monkeypatch, capsys):
    variables = planted_module(
        tmp_path, 'xtcocotools', "raise ValueError('numpy.dtype size changed')"
    )
    monkeypatch.setenv('PYTHONPATH', variables['PYTHONPATH'])
    monkeypatch.setattr(doctor, 'SUBJECTS', (SUBJECTS['xtcocotools'], SUBJECTS['pycocotools']))
    assert cli.main(['doctor']) == 1
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines() if row}
    assert 'problem  built for another numpy: pip install --force-reinstall' in rows['xtcocotools']
    assert rows['pycocotools'].split()[2] == 'ok'


def test_doctor_is_content_here():
    done = subprocess.run(
        [sys.executable, '-m', 'vitpose_mm', 'doctor'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith('All fine.\n')


@pytest.mark.parametrize('module, version', [('torch', '1.13.1'), ('mmcv', '1.7.2')])
def test_an_import_that_cannot_work_says_so_in_one_sentence_and_lets_the_doctor_in(
    tmp_path, module, version
):
    variables = planted_module(tmp_path, module, "raise RuntimeError('was imported')", version)

    def run(program: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, '-c', program], capture_output=True, text=True, env=variables
        )

    refused = run('import vitpose_mm')
    assert refused.returncode == 1
    closing_line = refused.stderr.splitlines()[-1]
    assert closing_line.startswith(
        f'ImportError: vitpose_mm cannot be used here because {module} {version} does not fit'
    )

    doctor = "import sys; sys.argv = ['/usr/bin/vitpose-mm', 'doctor']; import vitpose_mm.cli"
    assert run(doctor).returncode == 0
    assert run(doctor.replace("'doctor'", "'predict'")).returncode == 1
    assert run(doctor.replace('vitpose-mm', 'other')).returncode == 1
