from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal
from superqt.utils import WorkerBase

from napari_recon.engines import registry
from napari_recon.widgets.dock import EngineDock
from tests.viewer.conftest import gate  # noqa: F401
from tests.viewer.fake import Fake


class Net(Fake):
    info = Fake.info.model_copy(update={"name": "fake.net", "title": "Net", "needs_model": "required"})


class FakeDock(EngineDock):
    methods: ClassVar[dict[str, str]] = {"fake.planes": "Planes", "fake.net": "Net"}
    what = "light-field recording"
    sample = ("napari-recon", "lightfield")
    preview_size = 4
    preview_params: ClassVar[dict[str, Any]] = {"fake.planes": {"previews": 0}}


class StandIn(QObject):
    """A region layer without a canvas."""

    availability_changed = Signal(bool, str)
    boxes_changed = Signal(object)
    reason = ""

    def __init__(self, viewer: Any, layer: Any, region: Any, axes: str, parent: Any = None) -> None:
        super().__init__(parent)
        self.region, self.drawn, self.computed, self.calls = region, [], None, []

    def draw(self) -> None:
        self.calls.append("draw")

    def boxes(self) -> list[Any]:
        return self.drawn

    def from_view(self) -> bool:
        self.calls.append("from_view")
        return False

    def whole(self) -> None:
        self.calls.append("whole")
        self.drawn = []

    def show_computed(self, grid: Any, box: Any = None) -> None:
        self.computed = grid, box

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture(autouse=True)
def _no_canvas(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_region" not in request.fixturenames:
        monkeypatch.setattr("napari_recon.widgets.region_panel.RegionLayer", StandIn)


@pytest.fixture
def real_region() -> None:
    """Asks for rectangles on a real Shapes layer."""


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "plugin_settings" not in request.fixturenames:
        monkeypatch.setattr("napari_recon.viewer.preferences._settings", lambda *_: None)
    monkeypatch.setenv("NAPARI_RECON_CONFIG", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def _fake_engines() -> Iterator[None]:
    for engine in (Fake(), Net()):
        registry.register(engine.info.name, engine)
    yield
    for name in ("fake.planes", "fake.net"):
        registry.unregister(name)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any) -> Iterator[FakeDock]:
    made = FakeDock(viewer)
    qtbot.addWidget(made)
    made.resize(380, 900)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def recording(shape: tuple[int, ...] = (5, 8, 10), name: str = "cells", **options: Any) -> Image:
    """A light-field-like layer with a pixel size."""
    data = np.random.default_rng(1).random(shape, dtype=np.float32)
    outer = len(shape) - 2
    geometry = {"scale": (1,) * outer + (0.5, 0.5), "units": ("pixel",) * outer + ("um", "um")}
    return Image(data, name=name, **(geometry | options))


def planned(dock: EngineDock, qtbot: Any) -> None:
    """Wait until the plan that the form asks for is there."""
    qtbot.waitUntil(lambda: not dock.planner.busy, timeout=5000)
