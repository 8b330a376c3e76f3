"""Refine with physics: Richardson-Lucy from a network's volume, one button."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_recon import hub
from napari_recon.core.provenance import KEY
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.optics.lightfield_geometry import load_psf_shift
from napari_recon.widgets.light_field import LightFieldWidget
from napari_recon.widgets.refine import NETWORK, microscope_of
from tests.engines.serenet.examples import drawn_model, views

PLANES = 3


@pytest.fixture
def own_models(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small network with drawn weights in the menu, and nothing else of one's own."""
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    return hub.import_model(drawn_model("serenet").path, "drawn").id


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any, own_models: str) -> Iterator[LightFieldWidget]:
    made = LightFieldWidget(viewer)
    qtbot.addWidget(made)
    made.resize(320, 900)
    made.show()
    yield made
    made.let_go()


def add_views(viewer: ViewerModel, frames: int = 1) -> Any:
    stack = views(frames, 9, 9)
    data = stack.data if frames > 1 else stack.data[0]
    scale, units = (1,) * (data.ndim - 2) + (0.53, 0.53), ("pixel",) * (data.ndim - 2) + ("um", "um")
    return viewer.add_image(data, name="cells", scale=scale, units=units)


def finished(dock: LightFieldWidget, qtbot: Any, press: Any) -> Any:
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        press()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=5000)
    return done.args[0]


def network_volume(dock: LightFieldWidget, qtbot: Any, model: str, **settings: Any) -> Any:
    dock.choose_method(NETWORK)
    assert dock.model.choose(model)
    dock.settings.change({"planes": PLANES, **settings})
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None, result.error
    return result.layers[0]


def test_a_networks_volume_is_refined_with_physics(
    dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any, own_models: str
) -> None:
    add_views(viewer, frames=2)
    assert dock.refine.isHidden()
    volume = network_volume(dock, qtbot, own_models)
    assert not dock.refine.isHidden() and dock.refine.button.isEnabled(), dock.refine.button.toolTip()
    assert "Solid objects" in dock.refine.line.text()
    dock.refine.steps.setValue(2)
    result = finished(dock, qtbot, dock.refine.button.click)
    assert result.error is None, result.error
    assert result.plan.params["iterations"] == 2 and result.plan.params["start"] == "file"
    assert result.plan.params["psf_shift"] == "geometric-13" and result.plan.params["planes"] == PLANES
    refined = result.layers[0]
    assert refined.name.endswith("refined") and refined.data.shape == volume.data.shape
    np.testing.assert_allclose(refined.scale, volume.scale)
    np.testing.assert_allclose(refined.translate, volume.translate)
    assert dock.refine.isHidden()  # what is selected now is physics already


def test_what_can_not_be_refined_says_why(dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any, own_models: str) -> None:
    add_views(viewer)
    volume = network_volume(dock, qtbot, own_models)
    other = add_views(viewer)
    viewer.layers.selection.active = volume
    dock.data.combo.choose(other)
    assert not dock.refine.button.isEnabled() and "that this volume was made from" in dock.refine.button.toolTip()
    volume.metadata[KEY]["partial"] = True
    dock.refine.consider()
    assert "not complete" in dock.refine.button.toolTip()


def test_the_microscope_of_a_result() -> None:
    assert microscope_of({"params": {"psf_shift": "geometric-15"}, "model": {"id": "x"}}, 49) == "geometric-15"
    assert microscope_of({"params": {"psf_shift": "auto"}, "model": {"id": "x"}}, 49) == "x"
    assert microscope_of({}, 225) == "geometric-15" and microscope_of({}, 49) == "geometric-13"


def test_a_models_microscope_has_the_models_name(own_models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_optics(own_models).name == "geometric-13"  # it says no more than how many views it takes
    full = load_psf_shift("geometric-13")
    own = replace(full, psf_shift=full.psf_shift[:5, ::10], pages=(12, 13, 17, 7, 11), nnum=5, name="own")
    card = hub.find(own_models).model_copy(update={"contract": {"views": 5, "microscope": own.contract()}})
    monkeypatch.setattr(hub, "catalogue", lambda *_: [card])
    assert load_optics(own_models).psf_shift.shape == (5, 11, 2)
