"""Makes .venv and installs requirements.txt and this package into it; the Makefile calls it.

    python3.11 requirements/install.py

It may be interrupted and called again. It needs the standard library alone, and it parses on old
Pythons too, so that those get a sentence and no SyntaxError. pip's whole output goes to
.venv/install.log.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
VENV_PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'install.log'
PYTHON_VERSIONS = ((3, 11), (3, 12))

SECONDS_OF_SILENCE = 30
SHOWN_LINE = re.compile(
    r'\s*(Downloading|Using cached|Building wheel|Created wheel|Installing coll|Successfully|ERROR)'
)
NINJA_LINE = re.compile(r'\s*\[(\d+)/(\d+)\]')


def succeeds(command, cwd=None):
    silent = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    return subprocess.run(command, cwd=cwd, **silent).returncode == 0


def user_compiler():
    """Returns the command of the C++ compiler: the user's own CXX, or the system's."""
    return os.environ.get('CXX') or shutil.which('c++') or 'g++'


def machine_problem():
    """Returns one sentence on what this machine lacks, or None."""
    if sys.version_info[:2] not in PYTHON_VERSIONS:
        return (
            'Python 3.11 or 3.12 is needed and {} is {}.{}: install one of them, or name it, as in '
            '`make demo PYTHON=python3.11`.'.format(sys.executable, *sys.version_info[:2])
        )
    version = '{}.{}'.format(*sys.version_info[:2])
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f'This Python lacks its venv module: install it (Debian: python{version}-venv).'
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        return f'The headers of Python {version} are missing (Debian: python{version}-dev).'
    c_compiler = (sysconfig.get_config_var('CC') or 'cc').split()[0]
    if not shutil.which(os.environ.get('CC', c_compiler).split()[0]):
        return f'The C compiler `{c_compiler}` is missing (Debian: build-essential).'
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / 'probe.cpp'
        source.write_text('#include <concepts>\nstatic_assert(std::integral<int>);\n')
        command = [*user_compiler().split(), '-std=c++20', '-c', str(source), '-o', source.stem]
        try:
            compiles = succeeds(command, cwd=folder)
        except OSError:
            compiles = False
    if not compiles:
        return (
            f'The C++ compiler `{user_compiler()}` is missing or does not know C++20, which '
            'mmcv is built with: install g++ 10 or later (Debian: build-essential) or set CXX.'
        )
    return None


def build_environment():
    """Returns the environment variables for pip: how mmcv is to be built."""
    variables = dict(os.environ)
    variables['VITPOSE_MM_CXX'] = user_compiler()
    variables['CXX'] = str(ROOT / 'requirements' / 'cxx')
    variables['MMCV_WITH_OPS'] = '1'
    # mmcv's own default is four jobs on any machine; each takes more than a gigabyte of memory.
    variables.setdefault('MAX_JOBS', str(len(os.sched_getaffinity(0))))
    # On a machine with a GPU mmcv would want nvcc and a CUDA that it does not know yet.
    # FORCE_CUDA=1 asks for it still.
    variables['CUDA_VISIBLE_DEVICES'] = ''
    return variables


def say(text):
    print(text, flush=True)


def make_venv():
    """Makes .venv, anew where it is of another Python or was left without a working pip."""
    version = tuple(sys.version_info[:2])
    probe = f'import sys, pip; sys.exit(sys.version_info[:2] != {version})'
    command = [str(VENV_PYTHON), '-c', probe]
    if VENV_PYTHON.exists() and succeeds(command):
        return
    say('Making {} with {}'.format(VENV.name, sys.executable))
    subprocess.run([sys.executable, '-m', 'venv', '--clear', str(VENV)], check=True)


def forget_half_installed():
    """Drops what an interrupted pip left without its last file: pip takes it for installed."""
    for site_packages in VENV.glob('lib/python*/site-packages'):
        for information in site_packages.glob('*.dist-info'):
            if not (information / 'INSTALLER').exists():
                say(f'{information.name} was installed halfway: again')
                shutil.rmtree(information)


def pip_install(*arguments):
    """Runs pip, showing the lines that tell progress and a sign of life in between.

    Raises SystemExit where pip fails, after the end of its output.
    """
    forget_half_installed()
    started = last_shown = time.monotonic()

    def show(text):
        nonlocal last_shown
        last_shown = time.monotonic()
        minutes, seconds = divmod(int(last_shown - started), 60)
        say(f'  {minutes:2d}:{seconds:02d}  {text[:110]}')

    def show_life():
        while not finished.wait(1):
            if time.monotonic() - last_shown > SECONDS_OF_SILENCE:
                show('...')

    command = [str(VENV_PYTHON), '-m', 'pip', 'install', '-v', *arguments]
    process = subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=build_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    )
    finished = threading.Event()
    threading.Thread(target=show_life, daemon=True).start()
    lines = []
    try:
        with LOG.open('a') as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.append(line)
                compiled = NINJA_LINE.match(line)
                if compiled:
                    show('compiled {} of {} files'.format(*compiled.groups()))
                elif SHOWN_LINE.match(line):
                    show(line.strip())
        if process.wait():
            sys.exit('{}\npip failed; its whole output is in {}'.format(''.join(lines[-40:]), LOG))
    finally:
        finished.set()
        # pip unwinds on its own after an interrupt; leaving it running would disturb the next call.
        process.wait()


def mmcv_ops_load():
    probe = [str(VENV_PYTHON), '-W', 'ignore', '-c', 'import mmcv.ops']
    return succeeds(probe)


def main():
    problem = machine_problem()
    if problem:
        sys.exit(problem)
    make_venv()
    say('1/3  build tools and torch (about 3 GB to download)')
    pip_install('-r', 'requirements/build.txt')
    say('2/3  OpenMMLab; compiling mmcv takes about a quarter of an hour on two cores, once')
    pip_install('--no-build-isolation', '-r', 'requirements.txt')
    if not mmcv_ops_load():
        say('     the mmcv wheel at hand was built for another torch: compiling it')
        subprocess.run([str(VENV_PYTHON), '-m', 'pip', 'uninstall', '-y', '-q', 'mmcv'], check=True)
        options = ('--no-build-isolation', '--no-cache-dir', '--no-binary', 'mmcv')
        pip_install(*options, '-r', 'requirements.txt')
    say('3/3  vitpose_mm')
    pip_install('--no-build-isolation', '--no-deps', '-e', '.')
    doctor = [str(VENV_PYTHON), '-m', 'vitpose_mm', 'doctor']
    sys.exit(subprocess.run(doctor, cwd=str(ROOT)).returncode)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('Interrupted: call it again and it goes on.')
