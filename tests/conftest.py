"""Shared fixtures: where the parity data lie, and no network or user cache in any test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent

# without a display Qt would abort the interpreter; off screen everything works but the canvas
if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a canvas where there is none."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        no_canvas = pytest.mark.skip(reason="needs a display (run under xvfb-run)")
        for item in items:
            if item.get_closest_marker("gl"):
                item.add_marker(no_canvas)


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
