from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_recon.core.region import Selection
from napari_recon.engines import registry
from napari_recon.jobs import make_plan
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.run import Job, RunController
from tests.viewer.fake import Fake


@pytest.fixture(autouse=True)
def _fake_engine() -> Iterator[None]:
    registry.register("fake.planes", Fake())
    yield
    registry.unregister("fake.planes")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Runs stand still after their first plane until it is set."""
    Fake.gate.clear()
    yield Fake.gate
    Fake.gate.set()


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def controller(viewer: ViewerModel, qtbot) -> Iterator[RunController]:
    made = RunController(viewer)
    yield made
    made.close()
    wait_for_workers()


def wait_for_workers() -> None:
    from superqt.utils import WorkerBase

    WorkerBase.await_workers(60_000)


def rests(qtbot, value: Callable[[], Any], ms: int = 300) -> None:
    """Wait until `value` stays the same for a while, as it does in a pause."""
    seen = [object()]

    def same() -> bool:
        qtbot.wait(ms)
        seen.append(value())
        return seen[-1] == seen[-2]

    qtbot.waitUntil(same)


def views(shape: tuple[int, ...] = (5, 8, 10), bright: tuple[int, int] = (3, 4), **options) -> Image:
    """A light-field-like layer: one bright pixel in every view (and frame, and channel)."""
    data = np.ones(shape, np.float32)
    data[(..., *bright)] = 100
    options = {"name": "cells", "scale": (1, 0.5, 0.5), "translate": (0, 3, -2), "units": ("pixel", "um", "um")} | options
    if len(shape) > 3 and len(options["scale"]) == 3:
        extra = len(shape) - 3
        options["scale"] = (1,) * extra + options["scale"]
        options["translate"] = (0,) * extra + options["translate"]
        options["units"] = ("pixel",) * extra + options["units"]
    return Image(data, **options)


def job_of(
    layer: Image, axes: str = "VYX", selection: Selection = Selection(), preview: bool = False, title: str = "", **params
) -> Job:
    """A job on `layer`, planned in the worker as the dock does it."""
    stack = stack_from_layer(layer, axes)

    def planned():
        return make_plan("fake.planes", {"views": [stack]}, params, selection)

    return Job(planned, title=title or f"{layer.name} · Planes", parent_layers=(layer,), preview=preview)


def run(controller: RunController, qtbot, *jobs: Job) -> list:
    """Run jobs to their end and return their results."""
    results: list = []
    controller.finished.connect(results.append)
    controller.start(list(jobs))
    qtbot.waitUntil(lambda: len(results) == len(jobs) and controller.state == "idle", timeout=10000)
    controller.finished.disconnect(results.append)
    return results
