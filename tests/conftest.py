"""What every test may use, and the promise that the installed package is the one under test."""

import os
import signal
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` and subprocesses would find the folder gdcore/ of the source tree, which has no
# compiled module: neither this process nor its children look into the working directory.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
os.environ["PYTHONSAFEPATH"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# A shell that starts jobs in the background has them ignore Ctrl-C; here and in children it counts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import gdcore  # noqa: E402
from gdcore import _core  # noqa: E402

LEVEL_TESTS = (
    "activations",
    "clipping",
    "constraints",
    "elementwise",
    "linear",
    "losses",
    "math",
    "optimizers",
    "reduce",
)
MARKS_BY_FILE = {
    **{f"test_{family}.py": "levels" for family in LEVEL_TESTS},
    "test_build.py": "release",
}
MARKS_BY_PREFIX = {"test_notebook": "notebooks", "test_peers": "peers"}

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


def pytest_sessionstart(session):
    if Path(gdcore.__file__).resolve().parent == ROOT / "gdcore":
        raise pytest.UsageError(f"{gdcore.__file__} is the source tree: install gdcore first")


def pytest_report_header(config):
    return f"gdcore {gdcore.__version__} at level {_core.level()}: {Path(gdcore.__file__).parent}"


def pytest_collection_modifyitems(items):
    for item in items:
        names = [MARKS_BY_FILE.get(item.path.name)]
        names += [
            mark for start, mark in MARKS_BY_PREFIX.items() if item.path.name.startswith(start)
        ]
        for name in filter(None, names):
            item.add_marker(name)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Each real type in turn."""
    return np.dtype(request.param)


@pytest.fixture
def rng(request):
    """A generator whose seed is the test's own name: the same draws in every run and order."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture
def isa():
    """Name of the level in force: base, avx2 or avx512."""
    return _core.level()


@pytest.fixture
def root():
    """The source tree."""
    return ROOT
