import sys
from pathlib import Path

# tiny_training and its hooks serve the tests of both folders.
sys.path.insert(0, str(Path(__file__).parents[1] / 'test_engine'))
