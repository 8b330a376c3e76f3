"""The compare tool of the Light field dock: methods beside each other, numbers, CSV and picture."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtGui import QImage

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.agreement import halves, residual
from napari_recon.jobs.methods import CORR, MISFIT, PSNR, TIME, at_the_place_of, compare_methods
from napari_recon.optics.lightfield_geometry import load_psf_shift
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.widgets.compare import Column, ComparePanel, Row
from napari_recon.widgets.light_field import LightFieldWidget
from tests.engines.deconvolution.scenes import beads, views_of
from tests.engines.serenet.examples import drawn_model

PLANES, FIELD = 5, (12, 12)
MICROMETER = {"Y": "micrometer", "X": "micrometer"}


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LightFieldWidget]:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub.menu, "BUILT_IN", tmp_path, raising=False)
    hub.import_model(drawn_model("serenet").path, "drawn")
    made = LightFieldWidget(viewer)
    qtbot.addWidget(made)
    made.resize(320, 900)
    made.show()
    yield made
    made.let_go()


def add_scene(viewer: ViewerModel) -> tuple[Any, Any]:
    volume = beads(FIELD, PLANES, count=4)
    geometry = load_psf_shift("geometric-13").with_planes(PLANES)
    counts = np.maximum(views_of(volume, FIELD), 0)
    pixel = geometry.fine_pixel_um * geometry.upsampling
    raw = viewer.add_image(counts, name="cells", scale=(1, pixel, pixel), units=("pixel", "um", "um"))
    grid = geometry.volume_of(
        Grid.of("VYX", counts.shape, {"Y": pixel, "X": pixel}, units=MICROMETER),
    )
    truth = viewer.add_image(
        volume.numpy(), name="truth", visible=False, scale=grid.scale, translate=grid.translate, units=("um",) * 3
    )
    return raw, truth


def test_methods_are_compared_in_linked_layers_with_a_table(
    dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    raw, truth = add_scene(viewer)
    dock.settings.change({"planes": PLANES, "iterations": 3})
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.compare.compare_button.isEnabled(), timeout=20000)
    assert dock.compare.truth.layer is truth
    for title, box in dock.compare.boxes.items():
        box.setChecked(title in ("Richardson-Lucy", "Refocus", hub.find("drawn").name))
    assert len(dock.compare.chosen()) == 3
    dock.compare_fold.set_open(True)
    with qtbot.waitSignal(dock.comparison.ended, timeout=120000):
        dock.compare.compare_button.click()
    known = dock.compare.known
    assert list(known) == dock.compare.chosen()
    for row in known.values():
        assert {TIME, MISFIT, PSNR, CORR} <= set(row.numbers)
        assert row.numbers[TIME] > 0
    physics, refocus = known["Richardson-Lucy"].numbers, known["Refocus"].numbers
    assert physics[MISFIT] < refocus[MISFIT] < 1 and physics[CORR] > refocus[CORR]
    shown = [layer for layer in viewer.layers if layer.visible]
    assert len(shown) == 3 and viewer.canvas.grid.enabled  # halves left nothing behind
    assert not [layer for layer in viewer.layers if "half" in layer.name]
    dock.compare.side_button.click()
    assert not viewer.canvas.grid.enabled and raw.visible
    dock.compare.save_table(tmp_path / "numbers.csv")
    with open(tmp_path / "numbers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(known)
    assert float(rows[0][PSNR]) == physics[PSNR]
    dock.compare.save_picture(tmp_path / "methods.png")
    picture = QImage(str(tmp_path / "methods.png"))
    assert picture.width() > 3 * 260 and picture.height() > 260


def test_a_cancelled_comparison_leaves_no_halves(dock: LightFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add_scene(viewer)
    dock.settings.change({"planes": PLANES, "iterations": 3})
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.compare.compare_button.isEnabled(), timeout=20000)
    dock.compare.compare_button.click()
    assert not dock.compare.compare_button.isEnabled()
    dock.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=30000)
    qtbot.wait(50)
    assert dock.compare.compare_button.isEnabled() and not viewer.canvas.grid.enabled
    assert not [layer for layer in viewer.layers if "half" in layer.name]


def test_methods_are_compared_without_a_viewer(viewer: ViewerModel, tmp_path: Path) -> None:
    raw, truth = (stack_from_layer(layer, axes) for layer, axes in zip(add_scene(viewer), ("VYX", "ZYX"), strict=True))
    short, long = (f"deconvolution.lightfield_rl:iterations={n}" for n in (1, 4))
    found = compare_methods(
        raw, [short, long, "serenet.refocus"], truth=truth, params={"planes": PLANES}, halves=False, out=tmp_path / "t.csv"
    )
    assert found[long][MISFIT] < found[short][MISFIT] and found[long][CORR] > found["serenet.refocus"][CORR]
    with open(tmp_path / "t.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == list(found)
    for methods, sentence in (([short, short], "once each"), (["serenet.realign"], "volume of a light field")):
        with pytest.raises(InputError, match=sentence):
            compare_methods(raw, methods)


def test_the_residual_tells_the_right_volume_from_a_wrong_one() -> None:
    volume, geometry = beads(FIELD, PLANES, count=4), load_psf_shift("geometric-13").with_planes(PLANES)
    views = views_of(volume, FIELD, seed=None)
    right = residual(3 * volume.numpy(), views + 50, geometry)  # brightness and background do not matter
    wrong = residual(np.roll(volume.numpy(), 8, axis=1), views, geometry)
    assert right < 0.1 and wrong > 3 * right
    assert residual(-volume.numpy(), views, geometry) == 1.0


def test_halves_share_no_view() -> None:
    geometry = load_psf_shift("geometric-13")
    rng = np.random.default_rng(0)
    first, second = halves(rng.standard_normal((49, 8, 8)).astype(np.float32), geometry)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.75  # each is filled in from its own views
    same = np.broadcast_to(rng.random((1, 8, 8), dtype=np.float32), (49, 8, 8))
    np.testing.assert_allclose(halves(same, geometry)[0], same, rtol=1e-5)
    noise = [rng.standard_normal((49, 4, 4)).astype(np.float32) for _ in range(2)]
    one, other = halves(noise[0], geometry)
    kept = [np.isclose(half, noise[0]).all(axis=(1, 2)) for half in (one, other)]
    assert (kept[0] ^ kept[1]).all() and 20 <= kept[0].sum() <= 29


def test_the_truth_is_taken_where_the_result_lies() -> None:
    truth = ImageStack.of(np.arange(2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6), "TZYX", scale={"Y": 0.5, "X": 0.5})
    like = Grid.of("TZYX", (1, 4, 2, 3), {"Y": 0.5, "X": 0.5}, {"T": 1, "Y": 1.0, "X": 0.5})
    found = at_the_place_of(truth, like)
    np.testing.assert_array_equal(found, truth.data[1, :, 2:4, 1:4])
    assert at_the_place_of(truth, Grid.of("ZYX", (4, 2, 3))) is None  # other voxels
    assert at_the_place_of(truth, Grid.of("ZYX", (9, 2, 3), {"Y": 0.5, "X": 0.5})) is None


def test_many_columns_stand_below_the_name_in_a_narrow_dock(qtbot: Any) -> None:
    columns = [Column(f"c{n}", f"column {n}", "", lambda v: f"{v:.1f}", "high") for n in range(7)]
    panel = ComparePanel(columns)
    qtbot.addWidget(panel)
    panel.show()
    panel.show_row("A method with a long name", Row({f"column {n}": float(n) for n in range(7)}))
    panel.show_row("Other", Row({"column 1": 5.0}, "warning", "is not complete"))
    panel.resize(300, 200)
    assert panel.width() == 300
    assert [label.text() for label in panel.rows["Other"]] == ["⚠ Other", "–", "5.0", *"–––––", "⚠ is not complete"]
    assert panel.rows["Other"][2].font().bold() and not panel.rows["A method with a long name"][2].font().bold()
