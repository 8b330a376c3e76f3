"""The Cells dock, its buttons pressed: from the sample to cells, live edits, table, divisions, exports, bad input."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from superqt.utils import WorkerBase

from napari_recon.core.provenance import KEY
from napari_recon.engines.segmentation.kept import MEMBRANES
from napari_recon.samples import cells
from napari_recon.widgets.cells import CellsWidget
from tests.widgets.conftest import planned

_made: list[Any] = []


@pytest.fixture
def sample() -> list[Any]:
    """The layers of the sample, drawn once, of which the last two times are kept."""
    if not _made:
        _made.extend(cells())
    kept = []
    for data, attributes, kind in _made:
        attributes = dict(attributes)
        if kind == "points":
            late = data[:, 0] >= 2
            data = data[late] - (2, 0, 0, 0)
            attributes["features"] = {"name": list(np.array(attributes["features"]["name"])[late])}
        else:
            data = data[2:].copy()
        kept.append(Layer.create(data, attributes, kind))
    return kept


@pytest.fixture
def dock(qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CellsWidget]:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    made = CellsWidget(ViewerModel())
    qtbot.addWidget(made)
    made.resize(380, 900)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def filled(dock: CellsWidget, layers: list[Any], qtbot: Any) -> None:
    for layer in layers:
        dock.viewer.add_layer(layer)
    planned(dock, qtbot)


def found(dock: CellsWidget, qtbot: Any) -> Any:
    qtbot.waitUntil(lambda: dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
    assert done.args[0].error is None
    qtbot.waitUntil(lambda: not dock.live.busy, timeout=20000)
    return done.args[0].layers[0]


def after(dock: CellsWidget, qtbot: Any, edit: Any) -> None:
    with qtbot.waitSignal(dock.live.shown, timeout=20000):
        edit()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def numbers(dock: CellsWidget) -> dict[str, int]:
    return {row["name"]: row["label"] for rows in dock.live.rows.values() for row in rows}


def test_from_the_sample_to_edited_cells(dock: CellsWidget, sample: list[Any], qtbot: Any, tmp_path: Path) -> None:
    filled(dock, sample, qtbot)
    membranes, _, truth, points = sample
    assert dock.data.layer is membranes and dock.seeds.layer is points
    assert dock.run_bar.run_button.text().replace("&", "") == "Find cells"
    labels = found(dock, qtbot)
    names = list(truth_names())
    known = numbers(dock)
    overlaps = [
        dice(labels.data[t] == known[n], truth.data[t] == i)
        for t in (0, 1)
        for i, n in enumerate(names, 1)
        if (truth.data[t] == i).any()
    ]
    assert np.mean(overlaps) > 0.93 and min(overlaps) > 0.85
    assert labels.contour == 1 and {"index", "name", "volume", "surface", "contacts", "time"} <= set(labels.features)
    assert dock.viewer.layers.index(points) > dock.viewer.layers.index(labels), "outlines hide no nuclei"
    dock.outline_box.click()
    assert labels.contour == 0

    # the dividing cell is one at the first time, two at the second; a hand decides otherwise
    dock.viewer.dims.set_current_step(0, 0)
    assert {row["mother"]: row["one_cell"] for row in dock._sisters_now()}["C"]
    assert "C" in [dock.table.item(i, 0).text() for i in range(dock.table.rowCount())]
    box = dock.divisions.boxes["C:0"]
    after(dock, qtbot, lambda: (box.setCurrentIndex(2), box.activated.emit(2)))
    assert {"Ca", "Cp"} <= {row["name"] for row in dock.live.rows[0]} and dock.settings.values()["apart"] == ["C:0"]

    # nuclei that move, come and go
    before = labels.data.copy()
    data = points.data.copy()
    data[0, 2] += 6
    after(dock, qtbot, lambda: setattr(points, "data", data))
    assert (labels.data[0] != before[0]).any() and (labels.data[1] == before[1]).all()
    assert " followed in " in dock.live_line.text()
    points.selected_data = {0}
    after(dock, qtbot, lambda: points.add(data[0] + (0, 1, -12, 3)))
    assert "new1" in {row["name"] for row in dock.live.rows[0]} and points.features["name"].iloc[-1] == "new1"
    gone = str(points.features["name"].iloc[0])
    points.selected_data = {0}
    after(dock, qtbot, points.remove_selected)
    assert gone not in {row["name"] for row in dock.live.rows[0]} and not (labels.data[0] == known[gone]).any()
    planned(dock, qtbot)
    step = labels.metadata[KEY]["recipe"]["steps"][-1]
    text = Path(step["inputs"]["seeds"][0]["path"]).read_text()
    assert "new1" in text and step["params"]["apart"] == ["C:0"], "a repeated run starts from the nuclei as they are"

    # a row shows its cell, a click on a cell its row
    dock.table.chosen.emit(known["E"])
    assert labels.selected_label == known["E"]
    at = np.argwhere(labels.data[0] == known["MS"]).mean(0)
    at = min(np.argwhere(labels.data[0] == known["MS"]), key=lambda p: ((p - at) ** 2).sum())
    event = SimpleNamespace(
        type="mouse_press", position=labels.data_to_world((0, *at)), view_direction=None, dims_displayed=[2, 3]
    )
    dock._clicked(dock.viewer, event)
    assert dock.table.label() == known["MS"]

    # files
    folder = tmp_path / "out"
    dock.export_masks(str(folder))
    dock.export_table(str(tmp_path / "cells.csv"))
    dock.export_nuclei(str(tmp_path / "nuclei.csv"))
    dock.export_labels(str(tmp_path / "cells.ome.tif"))
    dock.export_labels(str(tmp_path / "cells.ome.zarr"))
    WorkerBase.await_workers(60_000)
    qtbot.wait(20)
    import nibabel

    mask = np.asarray(nibabel.load(folder / "cells_000_E.nii.gz").dataobj)
    assert (mask.transpose(2, 1, 0) == np.where(labels.data[0] == known["E"], known["E"], 0)).all()
    table = list(csv.DictReader((tmp_path / "cells.csv").read_text().splitlines()))
    assert {"name", "volume", "surface", "contacts"} <= set(table[0]) and "new1" in {row["name"] for row in table}
    from napari_recon.io import open_stack

    for name in ("cells.ome.tif", "cells.ome.zarr"):
        assert (np.asarray(open_stack(tmp_path / name).data[:]) == labels.data).all()

    # nuclei from a table again
    dock.take_table = dock.seeds.take_file(str(tmp_path / "nuclei.csv"))
    assert dock.seeds.layer is not points and len(dock.seeds.rows()) == len(points.data)
    dock.viewer.layers.remove(labels)
    assert not dock.live.active and not dock._cells_section.isVisible()
    assert MEMBRANES.nbytes
    dock.let_go()
    assert not MEMBRANES.nbytes


def truth_names() -> list[str]:
    from napari_recon.samples.cells import DIVIDING, NAMES

    return [*NAMES, DIVIDING + "a", DIVIDING + "p"]


def test_nuclei_are_found_in_their_channel(dock: CellsWidget, sample: list[Any], qtbot: Any) -> None:
    membranes, channel, _, points = sample
    filled(dock, [membranes, channel], qtbot)
    assert "Nuclei are missing" in dock.run_bar.run_button.toolTip() and not dock.run_bar.run_button.isEnabled()
    assert dock.seeds.channel.layer is channel
    for wrong in ("", "wide", "0"):
        dock.seeds.diameter.lineEdit().setText(wrong)
        dock.seeds.find_button.click()
        assert "diameter should be a number above zero" in dock.seeds.line.text()
    dock.seeds.diameter.set_value(2.0)
    dock.seeds.find_button.click()
    qtbot.waitUntil(lambda: dock.seeds.layer is not None, timeout=20000)
    rows = dock.seeds.rows()
    for t in (0, 1):
        true = points.data[points.data[:, 0] == t][:, 1:]
        own = np.array([[row[a] for a in "zyx"] for row in rows if row["time"] == t])
        assert len(own) == len(true)
        away = np.linalg.norm((true[:, None] - own) * (4, 1, 1), axis=-1).min(1)
        assert np.median(away) < 3
    assert len({row["cell"] for row in rows}) <= len(rows) / 2 + 2, "who is nearest keeps the name"


def test_what_does_not_fit_is_one_sentence(dock: CellsWidget, sample: list[Any], qtbot: Any, tmp_path: Path) -> None:
    membranes, _, _, points = sample
    dock.seeds.take_file("anything.csv")
    assert "Choose the membrane layer first" in dock.seeds.line.text()
    filled(dock, [membranes], qtbot)
    table = tmp_path / "table.csv"

    def said(text: str) -> str:
        table.write_text(text)
        dock.seeds.take_file(str(table))
        return dock.seeds.line.text()

    assert "columns cell, time, z, y, x, found cell, a, b" in said("cell,a,b\nE,1,2\n")
    assert "should be voxels of membranes (z 14, y 80, x 104)" in said("cell,time,z,y,x\nE,1,999,3,4\n")
    assert "numbers for z, y and x" in said("cell,time,z,y,x\nE,1,far,3,4\n")
    assert "found an empty file" in said("")
    assert dock.seeds.layer is None
    filled(dock, [points], qtbot)
    assert dock.run_bar.run_button.isEnabled()
    data = points.data.copy()
    data[0, 3] = 500
    points.data = data
    qtbot.waitUntil(lambda: not dock.run_bar.run_button.isEnabled(), timeout=5000)
    assert "nuclei should lie in membranes, found 1 outside" in dock.run_bar.run_button.toolTip()
    points.data = data[:0]
    qtbot.waitUntil(lambda: "has no points yet" in dock.run_bar.run_button.toolTip(), timeout=5000)
    points.data = data[1:] + (70, 0, 0, 0)
    qtbot.waitUntil(lambda: "has no nuclei at the times of membranes" in dock.run_bar.run_button.toolTip(), timeout=5000)


def test_a_table_of_several_times_for_one_stack_asks_which(
    dock: CellsWidget, sample: list[Any], qtbot: Any, tmp_path: Path
) -> None:
    membranes = sample[0]
    place = {"scale": membranes.scale[1:], "units": membranes.units[1:], "axis_labels": "zyx"}
    single = Layer.create(membranes.data[0], {"name": "one", **place}, "image")
    filled(dock, [single], qtbot)
    table = tmp_path / "t.csv"
    table.write_text("cell,time,z,y,x\nE,4,5,30,40\nE,9,5,31,40\nMS,9,5,60,60\n")
    dock.seeds.take_file(str(table))
    assert dock.seeds.layer is None and "has 2: choose which one it shows" in dock.seeds.line.text()
    dock.seeds.time_combo.setCurrentIndex(1)
    dock.seeds.time_combo.activated.emit(1)
    assert [row["cell"] for row in dock.seeds.rows()] == ["E", "MS"]
    request = dock.request()
    assert request is not None and request.params["time_point"] == 9, "results say the table's times"
    assert {row["time"] for row in dock.seeds.timed()} == {9} and {row["time"] for row in dock.seeds.rows()} == {0}
    dock.seeds.new_button.click()
    assert dock.seeds.layer.mode == "add" and "has no points yet" in dock.seeds.problem()
    dock.seeds.layer.add((5, 30, 40))
    assert list(dock.seeds.layer.features["name"]) == ["new1"]


def test_tracks_are_nuclei_too(dock: CellsWidget, sample: list[Any], qtbot: Any) -> None:
    membranes, _, _, points = sample
    names = list(points.features["name"])
    ids = [1 + sorted(set(names)).index(name) for name in names]
    order = np.lexsort((points.data[:, 0], ids))
    place = {"scale": points.scale, "units": points.units, "features": {"name": np.array(names)[order]}}
    tracks = Layer.create(np.column_stack([ids, points.data])[order], place, "tracks")
    filled(dock, [membranes, tracks], qtbot)
    found(dock, qtbot)
    assert {"ABal", "C", "Ca", "Cp"} <= set(numbers(dock))
    data = tracks.data.copy()
    data[0, 4] += 6
    after(dock, qtbot, lambda: setattr(tracks, "data", data))
    dock.viewer.layers.remove(tracks)
    assert dock.seeds.layer is None


def test_closing_in_the_middle_of_a_run(dock: CellsWidget, sample: list[Any], qtbot: Any) -> None:
    filled(dock, sample, qtbot)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "running", timeout=20000)
    dock.let_go()
    WorkerBase.await_workers(60_000)
    dock.viewer.layers.clear()
    assert dock._clicked not in dock.viewer.mouse_drag_callbacks
