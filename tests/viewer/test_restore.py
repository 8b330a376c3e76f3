"""A dropped recipe or result brings back its dock, its settings and its data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Layer
from napari.layers._source import layer_source

import napari_recon
from napari_recon.core.provenance import Recipe
from napari_recon.io import open_stack
from napari_recon.viewer import plugin, preferences, restore
from napari_recon.viewer.files import opened_layer
from napari_recon.viewer.restore import Restorer, origin_of, shown_files
from tests.viewer.conftest import wait_for_workers


class Combo:
    def __init__(self) -> None:
        self.layer = None

    def choose(self, layer) -> None:
        self.layer = layer


@pytest.fixture
def dock(monkeypatch):
    """A dock that notes what it is told; opening docks opens it."""
    data = SimpleNamespace(spec=SimpleNamespace(name="views"), combo=Combo(), extras={"psf": SimpleNamespace(combo=Combo())})
    made = SimpleNamespace(data=data, loaded=[], opened=[], controller=SimpleNamespace(state="idle"))
    made.load_settings = made.loaded.append
    monkeypatch.setattr(plugin, "open_dock", lambda viewer, engine: made.opened.append(engine) or made)
    return made


@pytest.fixture
def said(monkeypatch):
    heard: list[str] = []
    for name in ("show_info", "show_warning"):
        monkeypatch.setattr(restore, name, heard.append)
    return heard


@pytest.fixture
def restorer(viewer, qtbot, monkeypatch):
    monkeypatch.setattr(restore, "PATIENCE_MS", 1)
    yield Restorer(viewer)
    wait_for_workers()


@pytest.fixture
def files(tmp_path):
    """A recording and a result of it."""
    raw, result = tmp_path / "views.npy", tmp_path / "planes.ome.tif"
    np.save(raw, np.random.default_rng(0).random((5, 9, 9)).astype(np.float32))
    napari_recon.run("fake.planes", raw, out=result)
    return raw, result


def drop(viewer, path, reader="napari"):
    """Do what napari does with a dropped file."""
    with layer_source(path=str(path), reader_plugin=reader):
        return viewer.add_image(np.asarray(open_stack(path, default_axes="VYX").data))


def test_a_dropped_result_brings_back_its_dock_and_its_data_below_it(viewer, restorer, files, dock, said, qtbot):
    raw, result = files
    layer = drop(viewer, result)
    qtbot.waitUntil(lambda: bool(said))
    assert dock.opened == ["fake.planes"] and dock.loaded == [str(result)]
    below, above = viewer.layers
    assert above is layer and viewer.layers.selection.active is layer
    assert dock.data.combo.layer is below and below.metadata["napari-recon-path"] == str(raw)
    assert layer.axis_labels == ("z", "y", "x") and layer.metadata["napari-recon"]["engine"] == "fake.planes"
    assert said == ["The settings of planes.ome.tif are in the dock; what it was made from is open"]
    assert shown_files(viewer) >= {str(raw), str(result)}


def test_what_is_gone_is_said_and_what_is_open_is_not_opened_again(viewer, restorer, files, dock, said, qtbot):
    raw, result = files
    assert origin_of(str(result), {str(raw)}).sources == {}
    raw.unlink()
    drop(viewer, result)
    qtbot.waitUntil(lambda: len(said) == 2)
    assert len(viewer.layers) == 1 and f"made from {raw}" in said[1]


@pytest.mark.parametrize("why", ["several", "off", "busy", "no result", "not dropped"])
def test_nobody_is_bothered(viewer, restorer, files, dock, said, qtbot, monkeypatch, why):
    raw, result = files
    settled: list[str] = []
    settle = restorer._settle
    restorer._timer.timeout.disconnect()
    restorer._timer.timeout.connect(lambda: settled.append(why) or settle())
    if why == "several":
        drop(viewer, raw)
    monkeypatch.setattr(preferences, "restores", lambda: why != "off")
    dock.controller.state = "running" if why == "busy" else "idle"
    if why == "not dropped":
        settled.append(why)
        viewer.add_layer(Layer.create(*opened_layer(str(result))))
    else:
        drop(viewer, raw if why == "no result" else result)
    qtbot.waitUntil(lambda: bool(settled))
    qtbot.waitUntil(lambda: not restore_works(restorer))
    assert dock.loaded == []
    assert bool(said) == (why == "busy")


def restore_works(restorer) -> bool:
    from napari_recon.viewer.worker import Background

    return any(background.parent() is restorer for background in Background._alive)


def test_a_recipe_of_several_steps_says_so(viewer, dock, said, qtbot, files, tmp_path):
    raw, result = files
    one = origin_of(str(result)).recipe.to_dict()["steps"][0]
    two = {**one, "id": "again", "inputs": {"views": [{**one["inputs"]["views"][0], "path": "step:planes.volume"}]}}
    path = tmp_path / "chain.recipe.yaml"
    path.write_text(Recipe.from_dict({"schema": 1, "steps": [{**one, "id": "planes"}, two]}).to_yaml())
    restore.restore(viewer, str(path), said.append)
    qtbot.waitUntil(lambda: bool(said))
    assert "of its 2 steps the last one" in said[0] and dock.loaded == [str(path)]
    assert len(viewer.layers) == 1 and dock.data.combo.layer is None
    restore.restore(viewer, str(raw), said.append)
    qtbot.waitUntil(lambda: "found none" in str(said[-1]))


def test_a_pattern_of_files_is_opened(tmp_path):
    for n in range(2):
        np.save(tmp_path / f"t{n}.npy", np.zeros((5, 4, 4), np.float32))
    recipe = {"id": "a", "engine": "fake.planes", "inputs": {"views": [{"path": str(tmp_path / "t*.npy"), "axes": "TVYX"}]}}
    found, notes = restore.sources_of(Recipe.from_dict({"schema": 1, "steps": [recipe]}))
    assert found["views"][0][0].shape == (2, 5, 4, 4) and not notes


def test_several_small_recordings_of_one_input_are_opened(viewer, dock, said, files):
    result = files[1]
    layers = [(np.full((5, 9, 9), n, np.float32), {"name": f"views {n}"}, "image") for n in range(2)]
    origin = restore.Origin(str(result), origin_of(str(result)).recipe, sources={"views": layers})
    restore.bring_back(viewer, origin)
    assert [layer.name for layer in viewer.layers] == ["views 1", "views 0"]
    assert dock.data.combo.layer is viewer.layers[1]
