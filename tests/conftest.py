import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope

import vitpose_mm  # noqa: F401  (registers models and codecs)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # so that no process is left with a slow one at the end
    items.sort(key=lambda item: item.get_closest_marker('slow') is None)


@pytest.fixture(autouse=True)
def _mmpose_scope() -> None:
    init_default_scope('mmpose')


def _folder(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f'needs the development folder ../shared/{name}')
    return path


@pytest.fixture
def reference_dir() -> Path:
    """Recorded inputs and outputs of other implementations."""
    return _folder('reference')


@pytest.fixture
def real_data_dir() -> Path:
    """A few real images and annotations of each data set."""
    return _folder('data')


@pytest.fixture
def real_weights_dir() -> Path:
    """A real person detector and a real pre-trained backbone."""
    return _folder('weights')


@pytest.fixture
def load_reference(reference_dir: Path):
    """Open a recorded case: its arrays, with ``config`` parsed."""

    def load(name: str) -> dict:
        with np.load(reference_dir / f'{name}.npz') as file:
            case = dict(file)
        if 'config' in case:
            case['config'] = json.loads(str(case['config']))
        return case

    return load
