"""What all tests share: one BLAS thread, the markers that depend on the machine, and the Hypothesis profiles.

Tests whose surroundings are missing are deselected, not skipped, and counted in the summary: a run says what it did not
look at.

    FARKAS_VNNCOMP=FOLDER pytest          also the public instances in FOLDER
    pytest --hypothesis-profile=thorough  many more examples of every property
"""

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before the first import of NumPy: BLAS threads on a busy machine cost more than they give.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_INSTANCES = pytest.StashKey[int]()
WITHOUT_DEVICE = pytest.StashKey[int]()
WITHOUT_BROWSER = pytest.StashKey[int]()
WITHOUT_RAY = pytest.StashKey[int]()

# No deadline and no check of speed: a shared machine is slow at times, and that is no fault of the code under test.
settings.register_profile(
    "modest", max_examples=50, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("modest"), max_examples=2000)
settings.load_profile("modest")


def has_cuda_device() -> bool:
    """Whether CuPy is installed and sees at least one device."""
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def deselect(config: pytest.Config, items: list[pytest.Item], marker: str, key: pytest.StashKey[int]) -> None:
    """Removes the items that carry `marker`, and keeps their number for the summary."""
    gone = [item for item in items if item.get_closest_marker(marker)]
    config.stash[key] = len(gone)
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if not item.get_closest_marker(marker)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "vnncomp" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("vnncomp"):
            raise pytest.UsageError(f"{item.nodeid} uses the fixture vnncomp without the marker vnncomp")
    if not os.environ.get("FARKAS_VNNCOMP"):
        deselect(config, items, "vnncomp", WITHOUT_INSTANCES)
    if any(item.get_closest_marker("cuda") for item in items) and not has_cuda_device():
        deselect(config, items, "cuda", WITHOUT_DEVICE)
    if importlib.util.find_spec("ray") is None:
        deselect(config, items, "ray", WITHOUT_RAY)

    if browser() is None:
        deselect(config, items, "browser", WITHOUT_BROWSER)


def browser() -> str | None:
    """The program of Chromium (Debian: apt-get install chromium), which opens pages without a screen."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def absences(config: pytest.Config) -> Iterable[str]:
    """One line for each kind of test that this run left out."""
    if count := config.stash.get(WITHOUT_INSTANCES, 0):
        yield f"{count} tests on the public instances deselected: FARKAS_VNNCOMP is not set"
    if count := config.stash.get(WITHOUT_DEVICE, 0):
        yield f"device part skipped: {count} cuda tests deselected, no CUDA device with CuPy here"
    if count := config.stash.get(WITHOUT_BROWSER, 0):
        yield f"{count} tests in a browser deselected: there is no Chromium (apt-get install chromium)"
    if count := config.stash.get(WITHOUT_RAY, 0):
        yield f"{count} tests on a Ray cluster deselected: Ray is not installed"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in absences(config):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def vnncomp() -> Path:
    """The folder of the public instances: `manifest.csv` and the files that it names."""
    folder = Path(os.environ["FARKAS_VNNCOMP"]).resolve()
    if not (folder / "manifest.csv").is_file():
        raise pytest.UsageError(f"FARKAS_VNNCOMP: no manifest.csv in {folder}")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the networks and properties that the project makes itself."""
    return ROOT / "examples"
