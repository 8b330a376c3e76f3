"""Neural layers: sliders and zoom show the field itself, nothing waits for it, closing frees it, export is a query."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.region import Box, TimeRange
from napari_recon.engines.live_fields import field_source, may_be_field
from napari_recon.viewer import commands
from napari_recon.viewer.files import layer_stack
from napari_recon.viewer.neural_layer import (
    export_view,
    get_field_reader,
    live_field,
    open_field,
    read_field,
)
from napari_recon.viewer.queue import job_queue
from tests.engines.inr4d import recordings
from tests.engines.lightfield_inr import fields
from tests.viewer.conftest import wait_for_workers

SHAPE = recordings.SHAPE
SAME = 3
"""Level with one sample per pixel of small data."""


@pytest.fixture(scope="module")
def splines(tmp_path_factory) -> Path:
    return recordings.splines(tmp_path_factory.mktemp("fields") / "splines.safetensors")


@pytest.fixture(autouse=True)
def _quiet():
    notification_manager.records.clear()
    yield
    for controller in list(commands._controllers.values()):
        controller.close()
    wait_for_workers()


@pytest.fixture
def viewer(_quiet):
    made = ViewerModel()
    yield made
    made.layers.clear()


@pytest.fixture
def window(make_napari_viewer, _quiet):
    made = make_napari_viewer(show=True)
    yield made
    made.layers.clear()


def settled(qtbot, layer) -> None:
    live = live_field(layer)
    qtbot.waitUntil(lambda: live.exact and live._live._evaluate is not None, timeout=20000)
    qtbot.wait(60)


def plane(qtbot, layer, level, *at) -> np.ndarray:
    """Index until the exact plane has landed."""
    field = live_field(layer)._live
    sizes = field.levels.shapes[level][len(at) :]
    spans = field.levels.spans(level, [*((i, i + 1) for i in at), *((0, n) for n in sizes)])
    qtbot.waitUntil(lambda: layer.data[level][at].shape == sizes and field.store.block(spans) is not None, timeout=10000)
    return layer.data[level][at]


def asked(path: Path, **params) -> napari_recon.Result:
    return napari_recon.run("inr4d.query", model=path, params=params)


def test_the_layer_lies_on_the_recording(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines)
    data = recordings.recording().grid
    assert layer.name == "splines · field" and [str(unit) for unit in layer.units] == list(data.units)
    np.testing.assert_allclose(layer.scale, (3.0, 0.25, 0.25 / 8, 0.25 / 8))
    low, high = layer._extent_world_augmented[:, 2:]
    np.testing.assert_allclose(low, [data.to_world("Y", -0.5), data.to_world("X", -0.5)])
    np.testing.assert_allclose(high, [data.to_world(axis, data.size(axis) - 0.5) for axis in "YX"])
    assert layer.axis_labels == ("time", "z", "y", "x")
    assert layer.extent.world[:, 0].tolist() == [0, 90.0]


@pytest.mark.parametrize("kind", ["splines", "published", "motion"])
def test_a_landed_plane_is_what_the_query_gives(viewer, qtbot, tmp_path, kind) -> None:
    path = FIELDS[kind](tmp_path)
    layer = open_field(viewer, path, time_steps=4, recording=recordings.recording().grid)
    live, landed = live_field(layer), []
    live.landed.connect(landed.append)
    settled(qtbot, layer)
    own = {"shape_tzyx": SHAPE} if kind == "published" else {}
    z = live._live.levels.z_steps
    points = asked(path, scale=f"t=4,z={z}", **own)["movie"]
    spread = np.ptp(points)
    same = SAME if kind != "published" else 1
    np.testing.assert_allclose(plane(qtbot, layer, same, 5, 7), points[5, 7], atol=1e-5 * spread)
    if kind != "published":  # its hypercubes are those of the lattice in all axes, time too
        area = asked(path, scale="y=4,x=4", grid="area", **own)["movie"]
        np.testing.assert_allclose(plane(qtbot, layer, 1, 8, 2 * z), area[2, 2], atol=1e-5 * spread)
    qtbot.waitUntil(lambda: any(each.kind == "side" and each.exact for each in landed))


def motion(folder: Path) -> Path:
    from napari_recon.engines.inr4d.place import placed
    from napari_recon.jobs.artifacts import write_artifact

    rng = np.random.default_rng(0)
    frames, joined = recordings.movie().astype(np.float32), rng.normal(0, 0.4, (2, 3, 3, 3, 6, 7)).astype(np.float32)
    options = placed(recordings.recording().grid, {}, float(frames.min()), float(frames.max()), (0.0, 1.0))
    card = {"engine": "inr4d.query", "architecture": "motion", "options": options}
    write_artifact(folder / "motion.safetensors", "model", {"state": {"frames": frames, "motion": joined}, "card": card})
    return folder / "motion.safetensors"


FIELDS = {
    "splines": lambda folder: recordings.splines(folder / "model.safetensors"),
    "published": lambda folder: recordings.published(folder / "save"),
    "motion": motion,
}


def test_the_time_slider_shows_what_lands(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines, time_steps=2)
    settled(qtbot, layer)
    live = live_field(layer)
    exact: list[bool] = []
    live.landed.connect(lambda landed: exact.append(landed.exact))
    reference = asked(splines, scale="t=2", grid="points")["movie"]
    viewer.dims.set_point(1, 2 + 2.0)  # plane 2
    for step in (1, 3, 4):
        viewer.dims.set_point(0, 15.0 * step)
        settled(qtbot, layer)
        np.testing.assert_allclose(
            plane(qtbot, layer, SAME, step, 2 * live._live.levels.z_steps), reference[step, 2], rtol=1e-5
        )
    assert True in exact


def test_contrast_is_that_of_the_field_and_the_users_stays(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines)
    settled(qtbot, layer)
    qtbot.waitUntil(lambda: layer.contrast_limits[0] > 80, timeout=5000)
    low, high = layer.contrast_limits
    assert 80 < low < 150 and 300 < high < 1100
    other = open_field(viewer, splines)
    other.contrast_limits = (0, 5)
    settled(qtbot, other)
    assert tuple(other.contrast_limits) == (0, 5)


def test_another_time_resolution_keeps_the_time_that_is_shown(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines, time_steps=2)
    settled(qtbot, layer)
    viewer.dims.set_point(0, 45.0)
    live = live_field(layer)
    live.set_time_steps(6)
    settled(qtbot, layer)
    assert layer.data.shape[0] == 19 and layer.scale[0] == 5 and viewer.dims.point[0] == 45.0
    assert live.time_steps == 6 and layer.extent.world[1, 0] == 90


def test_closing_frees_thread_field_and_cache(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines)
    driver = live_field(layer)
    field = driver._live
    said: list[bool] = []
    driver.closed.connect(lambda: said.append(True))
    viewer.dims.set_point(0, 33.0)  # in the middle of opening or evaluating
    viewer.layers.remove(layer)
    assert said and live_field(layer) is None and field.join(20)
    assert field.store.bytes == 0 and field._evaluate is None
    viewer.layers.append(layer)  # put back
    settled(qtbot, layer)
    assert live_field(layer) is not None
    field = live_field(layer)._live
    held = weakref.ref(field._evaluate)
    viewer.layers.clear()
    assert field.join(20)
    gc.collect()
    assert held() is None, "nothing holds on to the weights"


def test_a_copy_of_a_layer_has_a_field_of_its_own(viewer, splines, qtbot) -> None:
    from copy import deepcopy

    from napari.layers import Layer

    layer = open_field(viewer, splines)
    settled(qtbot, layer)
    data, attributes, kind = layer.as_layer_data_tuple()
    copy = viewer.add_layer(Layer.create(deepcopy(data), {**attributes, "name": "copy"}, kind))
    settled(qtbot, copy)
    assert live_field(copy) is not live_field(layer)
    viewer.layers.remove(layer)
    viewer.dims.set_point(0, 60.0)
    settled(qtbot, copy)


def test_what_is_seen_is_exported_as_a_query(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines, time_steps=4)
    settled(qtbot, layer)
    live = live_field(layer)
    viewer.dims.set_point(0, 37.5)
    viewer.dims.set_point(1, 4.5)
    layer._data_level = 2
    layer.corner_pixels = np.array([[0, 0, 6, 0], [0, 0, 17, 27]])
    exported: list[object] = []
    live.exported.connect(exported.append)
    live.export_view()
    qtbot.waitUntil(lambda: bool(exported), timeout=20000)
    made = exported[0]
    assert made.data.shape[:2] == (1, 1) and made in viewer.layers
    assert made.metadata["napari-recon"]["engine"] == "inr4d.query"
    np.testing.assert_allclose(made.translate[:2], (37.5, 4.5))
    z = live._live.levels.z_steps
    reference = asked(splines, scale=f"t=4,z={z},y=2,x=2")["movie"][5, round(2.5 * z)]
    first = round((made.translate[2] + 3.0) / 0.125)
    rows, columns = made.data.shape[2:]
    assert 5 <= first <= 7 and rows in (11, 12, 13)
    np.testing.assert_allclose(made.data[0, 0], reference[first : first + rows, :columns], rtol=1e-5)


def test_a_box_and_a_time_range_go_into_a_file(viewer, splines, qtbot, tmp_path) -> None:
    layer = open_field(viewer, splines)
    settled(qtbot, layer)
    live, exported = live_field(layer), []
    live.exported.connect(exported.append)
    place = tmp_path / "part.ome.tif"
    live.export("t=2,y=1.5", Box(y=(2, 8)), TimeRange(start=1, stop=3), place)
    qtbot.waitUntil(lambda: bool(exported), timeout=20000)
    reference = napari_recon.run(
        "inr4d.query", model=splines, params={"scale": "t=2,y=1.5"}, time=(1, 3), roi={"y": (3, 11)}
    )["movie"]
    found = _read(place)
    np.testing.assert_allclose(found.reshape(reference.shape), reference, rtol=1e-6)
    with pytest.raises(InputError, match="scale"):
        live.export("q=2")


def _read(path: Path) -> np.ndarray:
    from napari_recon.io import open_stack

    return np.asarray(open_stack(path).data)


def test_pixels_are_not_saved_in_place_of_the_field(viewer, splines, qtbot) -> None:
    layer = open_field(viewer, splines)
    with pytest.raises(InputError, match="export"):
        layer_stack(layer.data, layer.as_layer_data_tuple()[1])
    with pytest.raises(InputError, match="export"):
        np.asarray(layer.data[0])


@pytest.mark.parametrize("kind", ["scene", "sequence", "dense", "grid"])
def test_fields_of_light_fields_open_too(viewer, qtbot, tmp_path, kind) -> None:
    path = getattr(fields, kind)(tmp_path / "cp_000007.tar")
    params = {} if kind in ("dense", "grid") else {"render_size": (20, 23, 9)}
    layer = open_field(viewer, path, params=params)
    live = live_field(layer)
    settled(qtbot, layer)
    axes = live.source.data.axes
    assert axes == ("ZYX" if kind in ("scene", "dense") else "TZYX")
    assert layer.data.shape[0] == {"scene": 17, "dense": 23, "sequence": 3, "grid": 21}[kind]
    shape = live.source.data.shape[-2:]
    same = next(i for i in range(9) if layer.data[i].shape[-2:] == shape)
    at = (10,) if axes == "ZYX" else (2, 10)
    more = {"time_scale": 10} if kind == "grid" else {}
    whole = napari_recon.run("lightfield_inr.query", model=path, params={**params, "scale": (2, 1, 1), **more})["volume"]
    np.testing.assert_allclose(plane(qtbot, layer, same, *at), whole[at], atol=1e-5 * np.ptp(whole))


def test_a_published_field_takes_its_place_from_the_movie_beside_it(viewer, qtbot, tmp_path) -> None:
    save = recordings.published(tmp_path / "save")
    movie = recordings.recording()
    viewer.add_image(np.asarray(movie.data), scale=movie.grid.scale, translate=movie.grid.translate, units=movie.grid.units)
    layer = open_field(viewer, save)
    assert live_field(layer).source.data.shape == SHAPE and layer.scale[0] == 3.0 and not live_field(layer).source.note
    settled(qtbot, layer)


def test_files_and_folders_are_recognised(tmp_path, splines) -> None:
    assert get_field_reader(str(splines)) is read_field
    assert get_field_reader([str(splines), str(splines)]) is None
    assert get_field_reader(str(tmp_path / "none.safetensors")) is None
    save = recordings.published(tmp_path / "save")
    results = tmp_path / "results"
    results.mkdir()
    (results / "model.safetensors").write_bytes(splines.read_bytes())
    (results / "metrics.csv").write_text("a,b\n")
    assert may_be_field(save) and may_be_field(results) and not may_be_field(tmp_path / "metrics.csv")
    assert field_source(results).model.path.endswith("model.safetensors")
    source = field_source(save)
    assert source.data.shape == (10, 4, 12, 14) and "assumed" in source.note
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"")
    with pytest.raises(CheckpointError):
        field_source(other)
    assert read_field(str(other)) == [(None,)]
    assert "other.safetensors" in str(notification_manager.records[-1])


def test_without_a_viewer_an_array_waits_for_exact_values(splines) -> None:
    ((levels, attributes, kind),) = read_field(str(splines))
    assert kind == "image" and attributes["multiscale"]
    reference = asked(splines, scale="t=10")["movie"]
    np.testing.assert_allclose(levels[SAME][13, 4], reference[13, 1], rtol=1e-5)


def test_a_damaged_field_is_said_once(viewer, splines, qtbot, monkeypatch) -> None:
    from napari_recon.engines.live_fields import FieldSource

    def broken(self, compute=None):
        raise CheckpointError("the file is damaged; fit it again")

    monkeypatch.setattr(FieldSource, "open", broken)
    layer = open_field(viewer, splines)
    live = live_field(layer)
    with qtbot.waitSignal(live.failed, timeout=5000) as signal:
        pass
    assert "damaged" in signal.args[0]
    assert [str(r) for r in notification_manager.records if "damaged" in str(r)]


@pytest.mark.gl
def test_in_the_real_viewer(window, splines, qtbot) -> None:
    layer = open_field(window, splines, time_steps=4)
    settled(qtbot, layer)
    live = live_field(layer)
    reference = asked(splines, scale="t=4", grid="points")["movie"]
    window.dims.set_point(1, 4.0)
    evaluate, gate, waited = live._live._evaluate, threading.Event(), []
    live._live._evaluate = lambda *asked: (waited.append(gate.wait(60)), evaluate(*asked))[1]
    for step in (1, 2, 6):
        gate.clear()
        window.dims.set_point(0, 7.5 * step)  # does not wait for the evaluation, which waits for this
        gate.set()
        qtbot.waitUntil(lambda: live.exact, timeout=10000)
        qtbot.wait(100)
        for y, x in ((3, 4), (9, 12)):
            value = layer.get_value((7.5 * step, 4.0, y * 0.25 - 3.0, x * 0.25), world=True)[1]
            near = reference[step, 2, y - 1 : y + 2, x - 1 : x + 2]
            assert near.min() - 1 <= value <= near.max() + 1
    assert all(waited)
    window.camera.zoom *= 3
    qtbot.wait(200)
    qtbot.waitUntil(lambda: live.exact, timeout=10000)
    window.dims.ndisplay = 3
    qtbot.wait(200)
    qtbot.waitUntil(lambda: live.exact, timeout=20000)
    assert layer._slice.image.raw.shape == layer.data[-1].shape[1:]
    window.reset_view()
    qtbot.wait(300)
    assert window.screenshot(canvas_only=True, flash=False)[..., :3].max() > 60, "the volume is drawn"
    window.dims.ndisplay = 2
    window.layers.selection.active = layer
    export_view(window)
    qtbot.waitUntil(lambda: len(window.layers) == 2 and not job_queue().busy, timeout=20000)
    assert [str(r) for r in notification_manager.records if str(r.severity) in ("warning", "error")] == []
