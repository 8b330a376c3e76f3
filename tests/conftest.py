"""Shared fixtures: where the parity data lie, no network or user cache in any test, and patience on slow machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).parent.parent
PATIENCE_MS = 60_000
SCREEN = "screen"

# how fast the machine is decides no test; where changes are accepted, examples are the same every time
settings.register_profile(
    "here", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("here")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes share the cores

# without a display Qt would abort the interpreter; off screen everything works but the canvas
if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a canvas where there is none; of several processes, let one begin with what has windows."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (_share(item.nodeid) != SCREEN, not item.get_closest_marker("slow")))
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        no_canvas = pytest.mark.skip(reason="needs a display (run under xvfb-run)")
        for item in items:
            if item.get_closest_marker("gl"):
                item.add_marker(no_canvas)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests among processes, see `_share`."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _share(nodeid)

    return Sharing(config, log)


def _share(nodeid: str) -> str:
    """Return what one process runs: all with windows, since there is one screen; the contract of an engine; a module."""
    module, _, rest = nodeid.partition("::")
    if module.startswith(("tests/viewer/", "tests/widgets/")) or module == "tests/cli/test_others.py":
        return SCREEN
    if module == "tests/contract/test_contract.py":
        return rest.partition("[")[2].rstrip("]").partition("-")[0]
    return module


@pytest.fixture
def qtbot(qtbot: Any) -> Any:
    """pytest-qt's, waiting as long as a slow machine needs."""

    def patient(wait: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(wait)(lambda *args, timeout=0, **rest: wait(*args, timeout=max(timeout, PATIENCE_MS), **rest))

    qtbot.waitUntil, qtbot.waitSignal = patient(qtbot.waitUntil), patient(qtbot.waitSignal)
    return qtbot


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder of parity fixtures; the test is skipped when it is absent."""
    folder = Path(os.environ.get("NAPARI_RECON_PARITY") or REPO.parent / "shared" / "parity")
    if not folder.is_dir():
        pytest.skip("parity fixtures are absent (set NAPARI_RECON_PARITY to their folder)")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty model cache and a configuration folder of its own."""
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("NAPARI_RECON_CONFIG", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True)
def _own_queue() -> Iterator[None]:
    """Every test has an empty queue of jobs."""
    yield
    if "napari_recon.viewer.queue" in sys.modules:
        from napari_recon.viewer.queue import job_queue

        job_queue().reset()
        job_queue.cache_clear()
