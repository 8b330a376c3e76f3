from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_recon.core.events import BlockReady, Event, PreviewReady
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.jobs import make_plan
from napari_recon.viewer.live import LiveSource, LiveView, live_params, shot_of
from tests.toy_engine import ToySmooth
from tests.viewer.conftest import wait_for_workers


@pytest.fixture
def source() -> Iterator[LiveSource]:
    registry.register("toy.smooth", ToySmooth())
    data = np.random.default_rng(0).random((3, 12, 14), dtype=np.float32)
    stack = ImageStack(data, Grid.of("TYX", data.shape), "cells")
    plan, inputs = make_plan("toy.smooth", {"image": [stack]})
    yield LiveSource(plan, inputs, {"T": 1}, {"radius": 2})
    registry.unregister("toy.smooth")


@pytest.fixture
def view(qtbot: Any) -> Iterator[LiveView]:
    made = LiveView()
    yield made
    made.close()
    wait_for_workers()


def smooth(source: LiveSource, radius: int) -> Any:
    """What a run of that frame alone gives."""
    from napari_recon import run

    stack = source.inputs["image"][0]
    frame = ImageStack(stack.data[1], stack.grid.only("YX"), "cells")
    return run("toy.smooth", frame, params={"radius": radius}).outputs["smooth"].data


def test_session_shows_its_frame_in_the_layer_and_follows_values(
    view: LiveView, source: LiveSource, viewer: ViewerModel, qtbot: Any
) -> None:
    layer = viewer.add_layer(Image(np.zeros((1, 24, 28), np.float32)))
    with qtbot.waitSignal(view.opened, timeout=10000):
        view.open(source, {"smooth": layer})
    np.testing.assert_allclose(layer.data[0], smooth(source, 2), rtol=1e-6)
    with qtbot.waitSignal(view.rested, timeout=10000) as rested:
        view.update({"radius": 4})
    np.testing.assert_allclose(layer.data[0], smooth(source, 4), rtol=1e-6)
    assert rested.args == [{"radius": 4}]


def test_only_the_newest_value_is_computed(view: LiveView, source: LiveSource, viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_layer(Image(np.zeros((24, 28), np.float32)))
    with qtbot.waitSignal(view.opened, timeout=10000):
        view.open(source, {"smooth": layer})
    session, asked, go = view._session, [], threading.Event()
    update = session.update

    def slow(params: Any) -> Iterator[Event]:
        asked.append(params["radius"])
        go.wait(60)
        yield from update(params)

    session.update = slow
    shown: list[float] = []
    view.shown.connect(shown.append)
    for radius in range(3, 10):
        view.update({"radius": radius})
    go.set()
    qtbot.waitUntil(lambda: len(shown) == 2, timeout=10000)
    assert asked == [3, 9]
    np.testing.assert_allclose(layer.data, smooth(source, 9), rtol=1e-6)


def test_unfit_values_are_told_and_the_next_ones_work(
    view: LiveView, source: LiveSource, viewer: ViewerModel, qtbot: Any
) -> None:
    layer = viewer.add_layer(Image(np.zeros((24, 28), np.float32)))
    with qtbot.waitSignal(view.opened, timeout=10000):
        view.open(source, {"smooth": layer})
    with qtbot.waitSignal(view.failed, timeout=10000) as failed:
        view.update({"radius": 99})
    assert "radius" in failed.args[0]
    with qtbot.waitSignal(view.shown, timeout=10000):
        view.update({"radius": 1})


def test_closing_while_opening_shows_nothing(view: LiveView, source: LiveSource, viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_layer(Image(np.zeros((24, 28), np.float32)))
    view.open(source, {"smooth": layer})
    view.close()
    wait_for_workers()
    qtbot.wait(50)
    assert not view.active and not layer.data.any()


def test_of_several_estimates_of_a_place_the_last_one_counts() -> None:
    here = (slice(0, 2), slice(0, 2))
    events = [PreviewReady("a", here, np.full((2, 2), 1.0), 0), BlockReady("a", here, np.full((2, 2), 2.0))]
    (block,) = shot_of(events).blocks
    assert block.array[0, 0] == 2


def test_live_parameters_are_the_declared_ones() -> None:
    assert live_params(ToySmooth()) == {"radius"}
