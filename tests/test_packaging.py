import email
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from vitpose_mm import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = (
    *('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'model-index.yml'),
    *('vitpose_mm', 'configs', 'tools'),
)


@pytest.fixture(scope='module')
def install():
    """The module requirements/install.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location('install', ROOT / 'requirements' / 'install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def source_tree(tmp_path_factory):
    """A copy, since setuptools writes into the tree that it builds."""
    tree = tmp_path_factory.mktemp('source')
    for source in (ROOT / name for name in PACKAGED):
        if source.is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '*.egg-info')
            shutil.copytree(source, tree / source.name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, tree)
    return tree


def build(source_tree: Path, hook: str) -> zipfile.ZipFile:
    """Calls a hook of setuptools' build backend, as pip does."""
    target = source_tree / 'wheels' / hook
    target.mkdir(parents=True)
    program = f'from setuptools import build_meta; build_meta.{hook}({str(target)!r})'
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=source_tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(target.iterdir()))


@pytest.fixture(scope='module')
def wheel(source_tree):
    return build(source_tree, 'build_wheel')


@pytest.fixture(scope='module')
def editable_wheel(source_tree):
    return build(source_tree, 'build_editable')


def test_metadata_pins_no_openmmlab_distribution(wheel):
    name = f'vitpose_mm-{__version__}.dist-info/METADATA'
    metadata = email.message_from_bytes(wheel.read(name))
    assert sorted(metadata.get_all('Requires-Dist')) == ['numpy', 'pycocotools', 'safetensors']
    assert metadata['Requires-Python'] == '>=3.9'
    assert metadata['License-Expression' if 'License-Expression' in metadata else 'License'] == (
        'Apache-2.0'
    )


def test_wheel_holds_what_mim_looks_for(wheel):
    names = wheel.namelist()
    sources = [*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'tools').rglob('*.[ps][yh]')]
    expected = {f'vitpose_mm/.mim/{source.relative_to(ROOT)}' for source in sources}
    assert {'vitpose_mm/.mim/tools/train.py', 'vitpose_mm/.mim/tools/test.py'} <= expected
    assert expected | {'vitpose_mm/.mim/model-index.yml'} == {
        name for name in names if name.startswith('vitpose_mm/.mim/')
    }
    assert 'vitpose_mm/models/backbones/vit.py' in names
    assert not [name for name in names if name.startswith(('tests/', 'build/'))]
    entry_points = wheel.read(f'vitpose_mm-{__version__}.dist-info/entry_points.txt').decode()
    assert 'vitpose-mm = vitpose_mm.cli:main' in entry_points


def test_editable_wheel_leads_mim_to_the_source_tree(editable_wheel, source_tree):
    names = [name for name in editable_wheel.namelist() if 'dist-info' not in name]
    path_file = f'__editable__.vitpose_mm-{__version__}.pth'
    tools = 'vitpose_mm/.mim/tools'
    index = 'vitpose_mm/.mim/model-index.yml'
    assert sorted(names) == sorted(
        [path_file, f'{tools}/train.py', f'{tools}/test.py', index, 'vitpose_mm/README']
    )
    assert yaml.safe_load(editable_wheel.read(index)) == {
        'Import': [str(source_tree / 'model-index.yml')]
    }
    assert editable_wheel.read(path_file).decode().strip() == str(source_tree)


def test_proxy_runs_the_tool_with_its_arguments(editable_wheel, source_tree, tmp_path):
    (source_tree / 'tools' / 'train.py').write_text('import sys; print(__name__, sys.argv)')
    proxy = editable_wheel.extract('vitpose_mm/.mim/tools/train.py', tmp_path)
    printed = subprocess.check_output([sys.executable, proxy, 'config.py', '--amp'], text=True)
    tool = str(source_tree / 'tools' / 'train.py')
    assert printed.strip() == f'__main__ {[tool, "config.py", "--amp"]}'


def test_build_leaves_the_source_tree_alone(wheel, editable_wheel, source_tree):
    assert not (source_tree / 'vitpose_mm' / '.mim').exists()


@pytest.mark.parametrize(
    'torch, standard',
    [((2, 1), 'c++17'), ((2, 13), 'c++17'), ((2, 14), 'c++20'), ((3, 0), 'c++20')],
)
def test_compiler_wrapper_asks_for_the_standard_that_torch_needs(tmp_path, torch, standard):
    include = tmp_path / 'with space' / 'torch' / 'include'
    header = include / 'torch' / 'headeronly' / 'version.h'
    header.parent.mkdir(parents=True)
    major, minor = torch
    header.write_text(f'#define TORCH_VERSION_MAJOR {major}\n#define TORCH_VERSION_MINOR {minor}\n')
    arguments = ['-c', 'a b.cpp', f'-I{include}', '-DX="y"', '-std=c++17', '-o', 'a.o']
    printed = subprocess.check_output(
        [ROOT / 'requirements' / 'cxx', *arguments],
        # Two words, like "ccache g++".
        env={'PATH': '/usr/bin:/bin', 'VITPOSE_MM_CXX': r'printf %s\n'},
        text=True,
    )
    arguments[4] = f'-std={standard}'
    assert printed.splitlines() == arguments


def test_compiler_wrapper_without_torch_changes_nothing():
    printed = subprocess.check_output(
        [ROOT / 'requirements' / 'cxx', '-std=c++17', '-I/no/such/torch/include'],
        env={'PATH': '/usr/bin:/bin', 'VITPOSE_MM_CXX': 'echo'},
        text=True,
    )
    assert printed == '-std=c++17 -I/no/such/torch/include\n'


def test_installation_refuses_other_pythons(install, monkeypatch):
    monkeypatch.setattr(install, 'PYTHON_VERSIONS', ((3, 1),))
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    sentence = f'Python 3.11 or 3.12 is needed and {sys.executable} is {version}: '
    assert install.machine_problem().startswith(sentence)


def test_installation_refuses_a_machine_without_compiler(install, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler --flag')
    message = install.machine_problem()
    assert message.startswith('The C++ compiler `no-such-compiler --flag` is missing')


def test_installation_keeps_the_users_compiler(install, monkeypatch):
    monkeypatch.setenv('CXX', 'ccache g++')
    monkeypatch.setenv('MAX_JOBS', '7')
    variables = install.build_environment()
    assert variables['VITPOSE_MM_CXX'] == 'ccache g++'
    assert variables['CXX'] == str(ROOT / 'requirements' / 'cxx')
    assert variables['MAX_JOBS'] == '7'


def test_installation_goes_on_after_an_interrupt(install, monkeypatch, tmp_path):
    site_packages = tmp_path / 'lib' / 'python3.11' / 'site-packages'
    for name in ('whole-1.0.dist-info', 'half-1.0.dist-info'):
        (site_packages / name).mkdir(parents=True)
    (site_packages / 'whole-1.0.dist-info' / 'INSTALLER').write_text('pip\n')
    monkeypatch.setattr(install, 'VENV', tmp_path)
    install.forget_half_installed()
    assert [path.name for path in site_packages.iterdir()] == ['whole-1.0.dist-info']
