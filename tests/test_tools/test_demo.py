"""The whole demo on a handful of scenes: all its steps, not its accuracy."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

DEMO = Path(__file__).resolve().parents[2] / 'tools/demo.py'


def test_help_says_what_comes_out():
    result = subprocess.run([sys.executable, DEMO, '--help'], capture_output=True, text=True)
    assert result.returncode == 0
    assert 'OUT/summary.json' in result.stdout


@pytest.mark.slow
def test_demo_goes_from_nothing_to_pictures(tmp_path):
    sizes = ['--num-train', '40', '--num-val', '6', '--num-pictures', '3']
    command = [sys.executable, str(DEMO), '--out', 'out', *sizes]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert 0 <= summary['keypoint AP, boxes given'] <= 1
    assert summary['keypoint AP of the mean pose in every box'] <= 0.1
    assert 0 <= summary['box AP of the detector'] <= 1
    assert len(list((tmp_path / 'out/pictures').glob('*.jpg'))) == 3
    assert len(list((tmp_path / 'out/predictions').glob('*.json'))) == 3
    assert cv2.imread(str(tmp_path / 'out/pictures.jpg')).shape == (240, 4 * 320, 3)
