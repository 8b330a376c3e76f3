from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.region import Box, Region, Selection, TimeRange, WorldBox, parse_box, parse_time

GRID = Grid.of("ZYX", (20, 30, 40), {"Y": 0.5, "X": 0.5}, {"Y": 2.0})


@st.composite
def boxes(draw: st.DrawFn, grid: Grid = GRID) -> Box:
    bounds = {}
    for axis in "ZYX":
        start = draw(st.integers(0, grid.size(axis) - 1))
        bounds[axis] = (start, draw(st.integers(start + 1, grid.size(axis))))
    return Box.of(bounds)


def _contains(outer: Box, inner: Box) -> bool:
    inside = dict(inner.items())
    return all(lo <= inside[a][0] and inside[a][1] <= hi for a, (lo, hi) in outer.items())


@given(boxes(), st.integers(0, 10))
def test_a_halo_stays_inside_the_field(box: Box, halo: int) -> None:
    grown = box.expanded(dict.fromkeys("ZYX", halo), GRID)
    assert _contains(grown, box) and _contains(Box.whole(GRID), grown)


@given(boxes(), st.integers(5, 200), st.integers(5, 200))
def test_mapping_to_another_grid_and_back_covers_the_box(box: Box, y: int, x: int) -> None:
    other = GRID.resampled({"Y": y, "X": x})
    there = box.mapped(GRID, other).clipped(other)
    assert _contains(there.mapped(other, GRID).clipped(GRID), box)


@given(boxes())
def test_mapping_to_an_integer_finer_grid_is_exact(box: Box) -> None:
    fine = GRID.resampled({"Y": 3 * GRID.size("Y")})
    there = box.mapped(GRID, fine)
    assert box.y is not None and there.y == (3 * box.y[0], 3 * box.y[1])


@given(boxes())
def test_text_round_trip(box: Box) -> None:
    assert parse_box(str(box)) == box


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_time_text_round_trip(start: int, length: int) -> None:
    time = TimeRange(start=start, stop=start + length)
    assert parse_time(str(time)) == time and len(time) == length


@pytest.mark.parametrize("text", ["", "z", "z=", "z=1", "z=1:2:3", "q=1:2", "z=1:2,z=3:4", "z=a:b", "z=1.5:2"])
def test_malformed_boxes(text: str) -> None:
    with pytest.raises(InputError, match="should"):
        parse_box(text)


@pytest.mark.parametrize("text", ["", "3", "5:3", "4:4", "a:b", "-1:3", "1:"])
def test_malformed_time_ranges(text: str) -> None:
    with pytest.raises(InputError, match="time range"):
        parse_time(text)


@pytest.mark.parametrize("bounds", [{"y": (0, 31)}, {"y": (-1, 4)}, {"z": (20, 21)}])
def test_boxes_outside_are_refused(bounds: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="should lie inside"):
        Box(**bounds).resolved(GRID)


def test_an_empty_or_reversed_box_is_refused() -> None:
    with pytest.raises(InputError, match="at least one voxel"):
        Box(y=(5, 5))
    with pytest.raises(InputError, match="at least one voxel"):
        Box(y=(9, 5))


@given(boxes())
def test_a_selection_in_input_or_world_space_covers_the_same_voxels(box: Box) -> None:
    output = GRID.resampled({"Y": 60, "X": 80})
    by_input = Selection(box=box, space="input").box_on(output, GRID)
    edges = {a.lower(): (GRID.to_world(a, lo - 0.5), GRID.to_world(a, hi - 0.5)) for a, (lo, hi) in box.items()}
    by_world = Selection(box=WorldBox(**edges), space="world").box_on(output, GRID)
    assert by_input == by_world


@given(boxes())
def test_world_edges_typed_with_few_digits_give_the_same_voxels(box: Box) -> None:
    edges = {a.lower(): tuple(round(GRID.to_world(a, n - 0.5), 4) for n in bounds) for a, bounds in box.items()}
    assert WorldBox(**edges).on(GRID) == box.resolved(GRID)


def test_a_world_box_outside_or_reversed_is_refused() -> None:
    with pytest.raises(InputError, match="should overlap the result, found it outside along y"):
        WorldBox(y=(9000.0, 9100.0)).on(GRID)
    with pytest.raises(InputError, match="run forward along y"):
        WorldBox(y=(5.0, 2.0))


def test_axes_that_only_the_output_has_count_its_voxels() -> None:
    flat = GRID.only("YX")
    asked = Selection(box=Box(z=(1, 3), y=(2, 5)), space="input").box_on(GRID, flat)
    assert asked == Box(z=(1, 3), y=(2, 5), x=(0, GRID.size("X")))
    with pytest.raises(InputError, match="limits z, but the data have axes YX and the result YX"):
        Selection(box=Box(z=(1, 3)), space="input").box_on(flat, flat)


def test_no_box_is_the_whole_output() -> None:
    assert Selection().box_on(GRID, GRID) == Box.whole(GRID)


def test_a_region_tells_when_it_changes_and_validates() -> None:
    region, seen = Region(), []
    region.events.box.connect(lambda new, old: seen.append(new))
    region.box = Box(y=(1, 4))
    region.box = Box(y=(1, 4))
    assert seen == [Box(y=(1, 4))]
    assert region.selection() == Selection(box=Box(y=(1, 4)), space="input")


@given(boxes(), boxes())
def test_slices_select_the_shape(a: Box, b: Box) -> None:
    assume(a != b)
    assert tuple(s.stop - s.start for s in a.slices("ZYX")) == a.shape()


@given(boxes(), boxes())
def test_a_box_is_cut_out_of_an_array_of_another(a: Box, b: Box) -> None:
    bounds = {axis: (min(p[0], q[0]), max(p[1], q[1])) for (axis, p), (_, q) in zip(a.items(), b.items(), strict=True)}
    outer = Box.of(bounds)
    positions = np.stack(np.meshgrid(*(np.arange(lo, hi) for lo, hi in bounds.values()), indexing="ij"), -1)
    cut = positions[a.within(outer)]
    assert cut.shape[:-1] == a.shape()
    assert cut.reshape(-1, len(bounds))[0].tolist() == [lo for _, (lo, _) in a.items()]
