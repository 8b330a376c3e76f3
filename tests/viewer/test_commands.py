"""What can be done with a finished result."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from qtpy.QtWidgets import QApplication

from napari_recon.core.errors import InputError
from napari_recon.core.region import Box, Selection
from napari_recon.io import open_stack, read_provenance
from napari_recon.viewer import commands
from napari_recon.viewer.made import how_made, record_of, sources
from tests.viewer.conftest import job_of, run, views, wait_for_workers

KEY = "napari-recon"


@pytest.fixture
def notes(monkeypatch) -> list[str]:
    found: list[str] = []
    for name in ("show_info", "show_warning", "show_error"):
        monkeypatch.setattr(commands, name, found.append)
    return found


@pytest.fixture
def made(controller, viewer, qtbot):
    layer = viewer.add_layer(views())
    (result,) = run(controller, qtbot, job_of(layer, selection=Selection(box=Box(y=(2, 6)), space="input"), planes=5))
    yield result.layers[0]
    for other in list(commands._controllers.values()):
        other.close()
    wait_for_workers()


def test_the_text_says_what_was_done_and_holds_the_recipe(made):
    text = how_made(made)
    for part in ("fake.planes", "views", "layer cells", "axes VYX", "z=0:5,y=4:12,x=0:20", "planes = 5", "napari-recon"):
        assert part in text
    recipe = yaml.safe_load(text.split("------\n")[1])
    assert recipe == made.metadata[KEY]["recipe"]
    assert "PARTIAL" not in text
    made.metadata[KEY]["partial"] = True
    assert "PARTIAL" in how_made(made)


def test_run_again_gives_the_same_voxels_in_a_new_layer(made, viewer, qtbot, notes):
    viewer.layers.selection.active = made
    commands.run_again(viewer)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3 and not viewer.layers[2].metadata[KEY]["partial"], timeout=5000)
    again = viewer.layers[2]
    np.testing.assert_array_equal(again.data, made.data)
    assert again.name == f"{made.name} (2)" and again.metadata[KEY]["recipe"] == made.metadata[KEY]["recipe"]
    np.testing.assert_allclose(again.data_to_world((1, 2, 3)), made.data_to_world((1, 2, 3)))


def test_run_again_finds_a_layer_opened_anew_by_name(made, viewer, qtbot):
    old = viewer.layers["cells"]
    viewer.layers.remove(old)
    with pytest.raises(InputError, match=r"the layer cells .* is gone"):
        sources(made, viewer)
    viewer.add_layer(views())
    assert sources(made, viewer)["views"][0].grid.axes == "VYX"


def test_code_is_copied(made, viewer, qtbot, notes):
    viewer.layers.selection.active = made
    commands.copy_as_python(viewer)
    qtbot.waitUntil(lambda: bool(notes), timeout=5000)
    assert "Python code was copied" in notes[-1]
    text = QApplication.clipboard().text()
    assert "napari_recon.run(" in text and "'fake.planes'" in text and "viewer.layers['cells']" in text
    compile(text, "copied", "exec")
    commands.copy_as_command(viewer)
    qtbot.waitUntil(lambda: len(notes) == 2, timeout=5000)
    assert QApplication.clipboard().text().startswith("napari-recon run fake.planes")


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr", ".npy"])
def test_a_saved_result_keeps_its_place_and_how_it_was_made(made, viewer, qtbot, notes, tmp_path, suffix):
    viewer.layers.selection.active = made
    path = tmp_path / f"result{suffix}"
    commands.save_result(viewer, str(path))
    qtbot.waitUntil(lambda: bool(notes), timeout=5000)
    assert "was saved to" in notes[0]
    stack = open_stack(path, axes="ZYX")
    np.testing.assert_array_equal(stack.read("ZYX"), made.data)
    assert read_provenance(path)["recipe"] == made.metadata[KEY]["recipe"]
    if suffix != ".npy":
        assert stack.grid.scale == pytest.approx(made.scale) and stack.grid.units == ("micrometer",) * 3


def test_saving_where_nobody_may_write_is_told(made, viewer, qtbot, notes, tmp_path):
    viewer.layers.selection.active = made
    (tmp_path / "file").touch()
    commands.save_result(viewer, str(tmp_path / "file" / "result.ome.tif"))
    qtbot.waitUntil(lambda: bool(notes), timeout=5000)
    assert len(notes[0]) > 20 and "was saved" not in notes[0]


@pytest.mark.parametrize(
    "command", [commands.run_again, commands.copy_as_python, commands.save_result, commands.show_how_made]
)
def test_layers_without_a_record_get_one_sentence(command, viewer, qtbot, notes):
    command(viewer)
    viewer.add_layer(views())
    command(viewer)
    assert len(notes) == 2
    assert "found no layer" in notes[0] and "found cells, which does not say how it was made" in notes[1]
    with pytest.raises(InputError):
        record_of(viewer.layers[0])
