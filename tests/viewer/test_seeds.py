"""Nuclei in layers become rows in voxels of the stack, through the world; names, times and divisions come along."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Tracks

from napari_recon.core.errors import InputError
from napari_recon.viewer.label_table import is_label_table, label_features
from napari_recon.viewer.seeds import name_new, points_layer, seeds_of, thicken

SHAPE = (3, 6, 20, 30)
WORLD = {"scale": (60, 0.8, 0.2, 0.2), "translate": (0, 1, -2, 3)}


def stack(**options) -> Image:
    return Image(np.zeros(SHAPE, np.float32), name="membranes", **(WORLD | options))


def places(rows) -> list[tuple]:
    return [(row["time"], row["z"], row["y"], row["x"]) for row in rows]


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.floats(0.5, 3), st.floats(-5, 5)), st.floats(0, 5), st.floats(0, 29))
def test_where_points_lie_in_the_world_counts(world, z, x) -> None:
    scale, shift = world
    layer = stack()
    own = np.array([1, z, 4.0, x]) * WORLD["scale"] + WORLD["translate"]
    place = {"scale": (60, scale, 0.2, scale), "translate": (0, shift, 0, shift)}
    points = Points([(own - place["translate"]) / place["scale"]], **place)
    (row,) = seeds_of(points, layer, "TZYX")
    assert places([row]) == [(1, pytest.approx(z, abs=1e-3), pytest.approx(4.0), pytest.approx(x, abs=1e-3))]


def test_rows_become_points_and_points_the_same_rows() -> None:
    layer = stack()
    rows = [{"cell": n, "time": t, "z": 2.5, "y": 7.0, "x": 3.0 + t} for t in (0, 2) for n in ("Ca", "Cp")]
    rows[0]["mother"] = "C"
    found = seeds_of(points_layer(rows, layer, "TZYX"), layer, "TZYX")
    assert found == rows


def test_points_without_time_are_there_at_all_times() -> None:
    points = Points([(1, 2, 3)], scale=WORLD["scale"][1:], translate=WORLD["translate"][1:])
    assert places(seeds_of(points, stack(), "TZYX")) == [(t, 1, 2, 3) for t in range(3)]


def test_one_time_of_points_for_a_stack_without() -> None:
    single = Image(np.zeros(SHAPE[1:], np.float32), scale=WORLD["scale"][1:], translate=WORLD["translate"][1:])
    points = Points([(0, 1, 2, 3), (2, 1, 5, 3)], features={"cell": ["a", "a"]}, **WORLD)
    assert places(seeds_of(points, single, "ZYX", time=2)) == [(0, 1, 5, 3)]
    assert seeds_of(points, single, "ZYX", time=1) == []


def test_times_that_the_series_has_not_are_left_out() -> None:
    points = Points([(0, 1, 2, 3), (9, 1, 5, 3)], **WORLD)
    assert places(seeds_of(points, stack(), "TZYX")) == [(0, 1, 2, 3)]


def test_tracks_bring_names_and_divisions() -> None:
    data = [(1, 0, 1, 2, 3), (2, 1, 1, 2, 2), (3, 1, 1, 2, 4)]
    tracks = Tracks(data, graph={2: [1], 3: [1]}, **WORLD)
    rows = seeds_of(tracks, stack(), "TZYX")
    assert [(row["cell"], row.get("mother")) for row in rows] == [
        ("track1", None),
        ("track2", "track1"),
        ("track3", "track1"),
    ]
    named = Tracks(data, graph={2: [1], 3: [1]}, features={"name": ["C", "Ca", "Cp"]}, **WORLD)
    assert [row["cell"] for row in seeds_of(named, stack(), "TZYX")] == ["C", "Ca", "Cp"]


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match="coordinates z, y and x"):
        seeds_of(Points([(1, 2)]), stack(), "TZYX")
    twice = Points([(0, 1, 2, 3), (0, 1, 5, 3)], features={"name": ["a", "a"]}, **WORLD)
    with pytest.raises(InputError, match="found more of a at time 0"):
        seeds_of(twice, stack(), "TZYX")
    assert seeds_of(Points(ndim=4), stack(), "TZYX") == []


def test_new_points_get_names_of_their_own() -> None:
    layer = points_layer([{"cell": "a", "time": 0, "z": 1, "y": 1, "x": 1, "mother": "m"}], stack(), "TZYX")
    layer.selected_data = {0}
    layer.add((0, 2, 2, 2))
    layer.add((0, 3, 2, 2))
    name_new(layer, 1)
    assert list(layer.features["name"]) == ["a", "new1", "new2"] and list(layer.features["mother"]) == ["m", "", ""]


def test_nuclei_show_in_the_planes_around_theirs() -> None:
    viewer = ViewerModel()
    layer = stack()
    viewer.add_layer(layer)
    points = points_layer([{"cell": "a", "time": t, "z": 2, "y": 1, "x": 1} for t in (0, 1)], layer, "TZYX")
    viewer.add_layer(points)
    thicken(viewer, points)
    viewer.dims.set_point((0, 1), (60, 1 + 0.8 * 4))
    assert list(points._view_indices) == [1], "two planes away, at its own time"
    viewer.dims.set_point(1, 1 + 0.8 * 5)
    assert not len(points._view_indices)


def test_features_of_labels() -> None:
    rows = [{"frame": t, "time": t + 5, "label": n, "volume": 10.0 * t + n} for t in (0, 1) for n in (3, 1)]
    layer = Labels(np.zeros((4, 4), int), features=label_features(rows, frame=0))
    assert "frame" not in layer.features and set(layer.features["time"]) == {5, 6}
    assert layer._label_index[3] == 2 and layer.features["volume"][2] == 3.0, "the time on show is told under the mouse"
    assert "time" not in label_features(rows[:2]) and list(label_features(rows[:2])["index"]) == [3, 1]
    assert is_label_table(rows) and not is_label_table([{"frame": 1}]) and not is_label_table([])
