"""Training in the Light field dock: from a stated microscope, from one's own recording, stopped, continued, used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_recon import hub
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.widgets.light_field import LightFieldWidget
from napari_recon.widgets.light_field_train import TRAIN, teacher, written_psf
from napari_recon.widgets.refine import NETWORK
from tests.engines.serenet.examples import drawn_model
from tests.widgets.test_refine import add_views, finished

SMALL = {"planes": 3, "crop": 9, "field": 9, "pool": 2, "held_out": 1, "photons_from": 500.0, "checkpoint_every": 2}


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LightFieldWidget]:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    hub.import_model(drawn_model("serenet").path, "drawn")
    made = LightFieldWidget(viewer)
    qtbot.addWidget(made)
    made.resize(320, 900)
    made.show()
    yield made
    made.controller.close()
    made.let_go()


def ready(dock: LightFieldWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)


def test_a_network_is_trained_for_a_microscope_and_used(dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add_views(viewer)
    dock.choose_method(TRAIN)
    assert dock.run_bar.run_button.text() == "T&rain" and not dock._region_section.isVisible()
    assert "simulated" in dock.train.line.text() and dock.data.optional.is_open
    dock.settings.change({**SMALL, "steps": 4, "validate_every": 2})
    ready(dock, qtbot)
    before = {card.id for card in hub.catalogue(NETWORK)}
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None, result.error
    assert dock.curves.curve("loss") or dock.curves.choice.count()
    qtbot.waitUntil(lambda: {card.id for card in hub.catalogue(NETWORK)} != before, timeout=10000)
    qtbot.waitUntil(lambda: "trained model" in dock.run_bar.offer_button.text(), timeout=5000)
    dock.run_bar.offer_button.click()
    assert dock.engine == NETWORK and dock.model.card is not None and dock.model.card.id not in before


def test_a_model_is_fine_tuned_on_the_recording_and_goes_on_after_a_stop(
    dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    raw = add_views(viewer)
    dock.choose_method(NETWORK)
    dock.model.choose("drawn")
    dock.settings.change({"planes": 3})
    assert dock.fine_tune.isVisible() and dock.fine_tune.isEnabled(), dock.fine_tune.toolTip()
    dock.fine_tune.click()
    values = dock.settings.values()
    assert dock.engine == TRAIN and values["init"] == "drawn" and values["crop"] == 9 and values["planes"] == 3
    assert dock.data.extras["views"].layer is raw and dock.train.start_combo.currentData() == "drawn"
    assert "optics are its teacher" in dock.train.line.text()
    dock.settings.change({"steps": 400, "validate_every": 2, "checkpoint_every": 2, "held_out": 1})
    ready(dock, qtbot)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
        qtbot.waitUntil(lambda: dock._saved is not None, timeout=60000)
        dock.run_bar.cancel_button.click()
    assert done.args[0].partial
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert "Contin&ue the training" in dock.run_bar.offer_button.text()
    step = dock._saved.step
    dock.settings.change({"steps": step + 2})
    ready(dock, qtbot)
    result = finished(dock, qtbot, dock.run_bar.offer_button.click)
    assert result.error is None and not result.partial and result.plan.params["resume"]
    assert dock.settings.values()["resume"] == "" and dock.settings.values()["init"] == "drawn"


def test_what_a_training_starts_from_brings_its_microscope(dock: LightFieldWidget) -> None:
    dock.choose_method(TRAIN)
    combo = dock.train.start_combo
    combo.setCurrentIndex(combo.findData("drawn"))
    combo.activated.emit(combo.currentIndex())
    assert dock.settings.values()["init"] == dock.settings.values()["psf_shift"] == "drawn"
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    assert dock.settings.values()["init"] == "" and dock.settings.values()["psf_shift"] == "geometric-13"
    dock.settings.change({"network": "vcdnet"})
    assert combo.findData("drawn") < 0  # a SeReNet is no start for a VCD-Net


def test_a_psf_says_where_views_see_depths(dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    psf = np.zeros((49, 3, 9, 9), np.float32)
    psf[:, :, 4, 4], psf[5, 2, 4, 5] = 1, 1
    layer = viewer.add_image(
        psf, name="PSF", axis_labels=("view", "z", "y", "x"), scale=(1, 0.2, 0.12, 0.12), units=("pixel", "um", "um", "um")
    )
    dock.choose_method(TRAIN)
    assert dock.psf.layer is None  # it is taken when it is asked for
    dock.psf.combo.choose(layer)
    qtbot.waitUntil(lambda: "psf-" in str(dock.settings.values()["psf_shift"]), timeout=10000)
    optics = load_optics(dock.settings.values()["psf_shift"])
    assert optics.psf_shift.shape == (49, 3, 2) and optics.psf_shift[5, 2, 1] > 0.4
    dock.psf.combo.choose(None)
    assert dock.settings.values()["psf_shift"] == "geometric-13"


def test_a_psf_is_written_once_per_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path))
    path = written_psf(ImageStack(np.ones((49, 1, 3, 3), np.float32), Grid.of("VZYX", (49, 1, 3, 3)), "psf"))
    assert Path(path).parent.name == "psf"


def test_what_teaches_is_said() -> None:
    assert "alone" in teacher("serenet", {"views"}) and "volumes" in teacher("vcdnet", {"views", "volume"})
    assert "simulated" in teacher("serenet", {"psf"})


def test_aberration_is_shown_and_the_views_go_on(dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add_views(viewer)
    dock.choose_method("serenet.predao")
    ready(dock, qtbot)
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None
    assert not dock.aberration.isHidden() and "µm rms" in dock.aberration.line.text()
    assert not dock.aberration.picture.pixmap().isNull()
    dock.run_bar.offer_button.click()
    assert dock.engine == "deconvolution.lightfield_rl" and dock.data.layer is result.layers[0]
    assert dock.aberration.isHidden()
