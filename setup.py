"""Packaging of vitpose_mm.

No OpenMMLab distribution is required by name: the package goes beside the upstream packages or
their maintained forks, which share the import names, and checks what it finds when it is imported.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('configs', 'tools', 'model-index.yml')
MIM_COMMANDS = ('train.py', 'test.py')
PROXY = """import runpy

# mim looks for tools beside the installed package; this installation is editable and its tools are
# in the source tree.
runpy.run_path({path!r}, run_name='__main__')
"""


def version() -> str:
    return re.search(r"__version__ = '(.+)'", (ROOT / 'vitpose_mm' / 'version.py').read_text())[1]


class BuildPyWithMim(build_py):
    """Adds `vitpose_mm/.mim`, where `mim` looks for configs and tools, to what is built.

    Nothing is copied into the source tree.

    An editable installation has no package folder in site-packages, where mim looks all the same.
    It gets one with scripts that run the source tree's tools, and an index that imports its index.
    Without an `__init__.py` that is no package, so that Python passes over it to the source tree,
    which `package_dir` below makes setuptools put on the path as a plain directory.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            # setuptools assembles the editable wheel where `install` points; its `data_files` would
            # be left out.
            self.write_proxies(
                Path(self.get_finalized_command('install').install_lib) / 'vitpose_mm'
            )
        else:
            self.copy_sources(Path(self.build_lib) / 'vitpose_mm' / '.mim')

    def write_proxies(self, target: Path) -> None:
        tools = target / '.mim' / 'tools'
        tools.mkdir(parents=True)
        for name in MIM_COMMANDS:
            (tools / name).write_text(PROXY.format(path=str(ROOT / 'tools' / name)))
        index = target / '.mim' / 'model-index.yml'
        index.write_text(f"Import:\n  - '{ROOT / 'model-index.yml'}'\n")
        # pip removes a folder on uninstalling only where it has put a file into that very folder.
        (target / 'README').write_text(f'For mim only: the package itself is in {ROOT}.\n')

    def copy_sources(self, target: Path) -> None:
        shutil.rmtree(
            target, ignore_errors=True
        )  # a build folder that was used before may hold files since removed
        target.mkdir(parents=True)
        for source in (ROOT / name for name in MIM_SOURCES):
            if source.is_dir():
                shutil.copytree(
                    source, target / source.name, ignore=shutil.ignore_patterns('__pycache__')
                )
            else:
                shutil.copy2(source, target)


setup(
    name='vitpose_mm',
    version=version(),
    description='ViTPose and ViTPose++ for MMPose 1.x',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    author='The vitpose_mm contributors',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.9',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    keywords='human pose estimation, animal pose estimation, vision transformer, ViTPose, MMPose',
    packages=find_packages(include=['vitpose_mm', 'vitpose_mm.*']),
    package_dir={'': '.'},
    python_requires='>=3.9',
    install_requires=['numpy', 'pycocotools', 'safetensors'],
    entry_points={'console_scripts': ['vitpose-mm = vitpose_mm.cli:main']},
    cmdclass={'build_py': BuildPyWithMim},
    zip_safe=False,
)
