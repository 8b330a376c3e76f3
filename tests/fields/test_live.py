"""A field that is looked at: lattices, indexing, what is answered at once and what lands."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.grid import Grid
from napari_recon.fields.live import Landed, LiveField
from napari_recon.fields.live_lattice import Levels, Span
from napari_recon.fields.live_store import Store, batch, hull, tiles_of

UNITS = {"T": "second", **dict.fromkeys("ZYX", "micrometer")}


def recording(shape: tuple[int, ...] = (3, 4, 20, 30)) -> Grid:
    return Grid.of("TZYX"[-len(shape) :], shape, {"T": 5, "Z": 1.0, "Y": 0.25, "X": 0.25}, {"Y": 3.0}, UNITS)


def plane_of(places: Mapping[str, Span]) -> np.ndarray:
    """Something that is different everywhere and smooth."""
    weights = dict(zip("TZYX", (1000.0, 100.0, 1.0, 0.01), strict=True))
    parts = np.meshgrid(*(span.places() * weights[axis] for axis, span in places.items()), indexing="ij")
    return np.sum(parts, axis=0, dtype=np.float64).astype(np.float32)


class Slow:
    """A field whose evaluation waits to be let go, and counts."""

    def __init__(self, rate: float = np.inf) -> None:
        self.rate, self.calls, self.gate = rate, [], threading.Event()
        self.gate.set()

    def __call__(self, places: Mapping[str, Span], check: Callable[[], None]) -> np.ndarray:
        found = plane_of(places)
        self.calls.append((threading.current_thread().name, found.shape))
        until = time.perf_counter() + found.size / self.rate
        while time.perf_counter() < until or not self.gate.is_set():
            check()
            time.sleep(0.001)
        return found


@pytest.fixture
def live():
    opened: list[LiveField] = []

    def make(field: Slow, data: Grid | None = None, **options) -> tuple[LiveField, list[Landed]]:
        landed: list[Landed] = []
        steps, failed = options.pop("time_steps", 4), options.pop("failed", [])
        opened.append(LiveField(lambda: field, Levels(data or recording(), steps), **options))
        opened[-1].landed, opened[-1].failed = landed.append, failed.append
        opened[-1].start()
        return opened[-1], landed

    yield make
    for each in opened:
        each.close()
        assert each.join(60)


def seen(field: LiveField, level: int, t: int, z: int) -> np.ndarray:
    """Index as a viewer does: what is seen, then the plane."""
    return field.arrays[level][:, :][t, z]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


sizes = st.tuples(st.integers(2, 5), st.integers(1, 40), st.integers(2, 300), st.integers(2, 300))


@given(sizes, st.integers(1, 12))
def test_levels_lie_on_each_other_edge_to_edge(shape, steps) -> None:
    data = recording(shape)
    levels = Levels(data, steps)
    for level, size in enumerate(levels.shapes):
        for axis in range(4):
            span, finest = levels.span(level, axis), levels.span(0, axis)
            assert span.count == size[axis]
            assert span.first - span.step / 2 == pytest.approx(finest.first - finest.step / 2, abs=1e-6)
            assert span.count * span.step == pytest.approx(finest.count * finest.step)
    assert np.prod(levels.shapes[-1][1:]) <= 1 << 21
    assert levels.grid.shape == levels.shapes[0]


@given(sizes, st.integers(1, 12))
def test_data_points_are_on_the_levels(shape, steps) -> None:
    """Frames and planes on every level but the volume for 3-D, pixels on the one with one sample for each."""
    levels = Levels(recording(shape), steps)
    np.testing.assert_allclose(levels.span(0, 0).places()[::steps], np.arange(shape[0]), atol=1e-9)
    np.testing.assert_allclose(levels.span(0, 1).places()[:: levels.z_steps], np.arange(shape[1]), atol=1e-9)
    same = next(i for i in range(len(levels.shapes)) if levels.shapes[i][2:] == shape[2:])
    assert (levels.span(same, 2).places() == np.arange(shape[2])).all()
    assert levels.shapes[same][1] == levels.shapes[0][1]
    assert (levels.span(same, 3).places() == np.arange(shape[3])).all()


def test_a_level_lies_in_the_world_where_the_data_do() -> None:
    levels = Levels(recording(), 4)
    assert levels.grid.scale == (1.25, 0.25, 0.03125, 0.03125)
    assert levels.grid.to_world("Y", -0.5) == pytest.approx(recording().to_world("Y", -0.5))
    assert levels.grid.units == recording().units


@given(st.data())
def test_indexing_follows_numpy(data) -> None:
    field = LiveField(lambda: lambda places, check: plane_of(places), Levels(recording((2, 3, 4, 5)), 2), immediate=False)
    array = field.arrays[-1]
    whole = np.asarray(array)
    assert whole.shape == array.shape == (3, 9, 4, 5)
    index = data.draw(basic_indices(array.shape, allow_newaxis=True))
    expected = whole[index]
    found = array[index]
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)
    if expected.ndim and isinstance(index, tuple):
        again = data.draw(basic_indices(expected.shape))
        np.testing.assert_allclose(np.asarray(found[again]), expected[again], rtol=1e-6)


def test_other_ways_of_indexing_are_numpys() -> None:
    field = LiveField(lambda: lambda places, check: plane_of(places), Levels(recording((2, 3, 4, 5)), 2), immediate=False)
    array = field.arrays[-1]
    whole = np.asarray(array)
    np.testing.assert_array_equal(array[[0, 2], 1], whole[[0, 2], 1])
    np.testing.assert_array_equal(array[np.array([0, 2]), ..., 1], whole[np.array([0, 2]), ..., 1])
    assert array[0, 0, 0, 0] == whole[0, 0, 0, 0] and len(array) == 3
    for wrong in ((7,), (0, 0, 0, 0, 0), (..., ...), "x"):
        with pytest.raises((IndexError, TypeError)):
            array[wrong]
    with pytest.raises(InputError, match="export a part"):
        np.asarray(LiveField(lambda: Slow(), Levels(recording((50, 50, 500, 500)), 10), immediate=False).arrays[0])


def test_an_index_is_answered_at_once_and_the_plane_lands(live) -> None:
    slow = Slow()
    field, landed = live(slow)
    wait_for(lambda: bool(landed))
    slow.gate.clear()
    level = 3
    first = seen(field, level, 5, 2)  # or it would wait for ever
    assert first.shape == (20, 30) and not field.exact
    slow.gate.set()
    wait_for(lambda: field.exact)
    expected = plane_of(dict(zip("TZYX", field.levels.spans(level, ((5, 6), (2, 3), (0, 20), (0, 30))), strict=True)))
    np.testing.assert_array_equal(seen(field, level, 5, 2), expected[0, 0])
    assert landed[-1].exact and landed[-1].kind == "view" and landed[-1].density == pytest.approx(1)
    assert all(name == "napari-recon field" for name, _ in slow.calls)


def test_what_stands_in_is_near_in_time_and_coarse(live) -> None:
    slow = Slow()
    field, landed = live(slow)
    wait_for(lambda: bool(landed))
    seen(field, 3, 4, 4)
    wait_for(lambda: field.exact)
    slow.gate.clear()
    near = seen(field, 3, 5, 4)
    np.testing.assert_allclose(near, seen(field, 3, 4, 4))  # a quarter of a frame before
    finer = seen(field, 2, 4, 4)
    assert np.abs(finer - np.kron(seen(field, 3, 4, 4), np.ones((2, 2)))).max() == 0
    slow.gate.set()


def test_the_newest_request_comes_first_and_old_ones_are_dropped(live) -> None:
    slow = Slow()
    field, landed = live(slow)
    wait_for(lambda: bool(landed))
    slow.gate.clear()
    for t in range(9):
        seen(field, 3, t, 0)
    slow.gate.set()
    wait_for(lambda: field.exact)
    exact = [each.spans[0].first for each in landed if each.kind == "view" and each.exact]
    assert exact[-1] == 2.0 and len(exact) <= 2, "the one in work when they came, and the last"


def test_a_long_evaluation_shows_coarse_pictures_and_gives_way(live) -> None:
    slow = Slow(rate=3e4)
    field, landed = live(slow, recording((3, 4, 64, 64)))
    wait_for(lambda: bool(landed))
    landed.clear()
    seen(field, 0, 1, 0)  # 512 x 512 at 30000 per second
    wait_for(lambda: any(each.kind == "view" for each in landed))
    first = next(each for each in landed if each.kind == "view")
    assert first.density < 8 and not first.exact
    seen(field, 3, 2, 0)
    wait_for(lambda: field.exact)
    assert sum(each.exact for each in landed if each.kind == "view") == 1, "it does not wait for the other"


def test_a_shift_computes_only_what_is_new(live) -> None:
    slow = Slow()
    field, landed = live(slow, recording((3, 4, 64, 64)))
    wait_for(lambda: bool(landed))
    field.arrays[0][:, :, 0:128, 0:256][4, 4]
    wait_for(lambda: field.exact)
    slow.calls.clear()
    field.arrays[0][:, :, 0:128, 128:384][4, 4]
    wait_for(lambda: field.exact)
    assert [shape for _, shape in slow.calls] == [(1, 1, 128, 128)]


def test_strides_and_other_planes_land_too(live) -> None:
    field, landed = live(Slow())
    wait_for(lambda: bool(landed))
    seen(field, 3, 0, 0)
    first = field.arrays[0][2, 1, ::4, ::-3]
    assert first.shape == (40, 80)
    wait_for(lambda: any(each.kind == "side" and each.exact for each in landed))
    spans = field.levels.spans(0, ((2, 3), (1, 2), (0, 160), (0, 240)))
    expected = plane_of(dict(zip("TZYX", spans, strict=True)))[0, 0]
    np.testing.assert_allclose(field.arrays[0][2, 1, ::4, ::-3], expected[::4, ::-3], rtol=1e-6)


def test_other_threads_wait_for_exact_values(live) -> None:
    field, _ = live(Slow())
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(np.asarray(field.arrays[-1][7, 3])))
    thread.start()
    thread.join(60)
    spans = field.levels.spans(len(field.arrays) - 1, ((7, 8), (3, 4), (0, 20), (0, 30)))
    np.testing.assert_array_equal(found[0], plane_of(dict(zip("TZYX", spans, strict=True)))[0, 0])


def test_memory_is_bounded(live) -> None:
    field, landed = live(Slow(), recording((3, 4, 64, 64)), memory=1 << 20)
    wait_for(lambda: bool(landed))
    for t in range(9):
        seen(field, 1, t, 0)
        wait_for(lambda: field.exact)
    assert field.store.bytes <= (1 << 20) + 2 * 256 * 256 * 4


def test_an_error_is_said_and_the_next_plane_is_tried(live) -> None:
    class Broken(Slow):
        def __call__(self, places, check):
            if places["T"].first == 1.0:
                raise ValueError("damaged")
            return super().__call__(places, check)

    said: list[Exception] = []
    field, landed = live(Broken(), time_steps=1, failed=said)
    wait_for(lambda: bool(said))
    seen(field, 3, 1, 0)
    wait_for(lambda: field.exact)
    assert str(said[0]) == "damaged"
    seen(field, 3, 2, 0)
    wait_for(lambda: field.exact)
    assert landed[-1].exact


def test_closing_in_the_middle_stops_and_frees(live) -> None:
    slow = Slow()
    field, landed = live(slow)
    wait_for(lambda: bool(landed))
    slow.gate.clear()
    seen(field, 0, 3, 3)
    wait_for(lambda: len(slow.calls) > 1)
    field.close()
    assert field.join(60), "although the evaluation never ends by itself"
    assert field.store.bytes == 0 and field._evaluate is None
    assert seen(field, 3, 0, 0).shape == (20, 30)
    slow.gate.set()
    field.reopen()
    seen(field, 3, 0, 1)
    wait_for(lambda: field.exact)


def test_another_time_resolution_keeps_what_is_known(live) -> None:
    slow = Slow()
    field, landed = live(slow)
    wait_for(lambda: bool(landed))
    exact = seen(field, 3, 4, 4)
    wait_for(lambda: field.exact)
    exact = seen(field, 3, 4, 4)
    field.relevelled(Levels(recording(), 10))
    slow.gate.clear()
    np.testing.assert_array_equal(seen(field, 3, 10, 4), exact)
    assert field.arrays[0].shape[0] == 21
    slow.gate.set()


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_tiles_cover_a_box_once(rows, columns, data) -> None:
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    box = ((top, data.draw(st.integers(top + 1, rows))), (left, data.draw(st.integers(left + 1, columns))))
    tiles = tiles_of(box, (rows, columns))
    painted = np.zeros((rows, columns), int)
    for (a, b), (c, d) in tiles:
        painted[a:b, c:d] += 1
    assert painted.max() == 1 and (painted[slice(*box[0]), slice(*box[1])] == 1).all()
    group = batch(tiles, data.draw(st.integers(1, 100000)))
    assert group[0] == tiles[0]
    inside = sum((b - a) * (d - c) for (a, b), (c, d) in group)
    (a, b), (c, d) = hull(group)
    assert inside == (b - a) * (d - c), "a group is a box without gaps"


def test_a_guess_needs_the_axes_that_are_seen() -> None:
    store = Store(1 << 20, 0)
    line = (Span(0, 1, 1), Span(0, 1, 1), Span(0, 1, 5))
    store.put(line, np.ones((1, 1, 5), np.float32))
    assert store.guess((Span(0, 1, 1), Span(0, 1, 3), Span(0, 1, 5))) is None
    assert store.guess((Span(2, 1, 1), Span(0, 1, 1), Span(0, 0.5, 10))).shape == (1, 1, 10)


def test_a_field_that_cannot_be_opened_is_said() -> None:
    said: list[Exception] = []

    def opener():
        raise InputError("no such file")

    field = LiveField(opener, Levels(recording(), 2))
    field.failed = said.append
    field.start()
    wait_for(lambda: bool(said))
    assert isinstance(said[0], InputError) and field.join(60)
    assert not issubclass(type(said[0]), Cancelled)


def test_the_interpreter_ends_while_a_field_is_computed() -> None:
    code = """
import time, torch
from napari_recon.core.grid import Grid
from napari_recon.fields.live import LiveField
from napari_recon.fields.live_lattice import Levels
def evaluate(places, check):
    while True:
        check()
        torch.rand(200, 200) @ torch.rand(200, 200)
field = LiveField(lambda: evaluate, Levels(Grid.of("TZYX", (3, 4, 20, 30)), 2))
field.start()
time.sleep(0.2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr
