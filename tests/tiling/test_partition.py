from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box
from napari_recon.tiling.partition import cuts, tiles

sizes = st.integers(1, 40)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Grid, Box, dict[str, int], dict[str, int], dict[str, int]]:
    shape = [draw(sizes) for _ in "ZYX"]
    grid = Grid.of("ZYX", shape)
    bounds = {}
    for axis, n in zip("ZYX", shape, strict=True):
        start = draw(st.integers(0, n - 1))
        bounds[axis] = (start, draw(st.integers(start + 1, n)))
    size = {a: draw(st.integers(3, 20)) for a in "YX"}
    halo = {a: draw(st.integers(0, 6)) for a in "ZYX"}
    multiple = {a: draw(st.integers(1, 4)) for a in "YX"}
    return grid, Box.of(bounds), size, halo, multiple


@given(cases())
def test_cores_cover_the_box_exactly_once_and_trim_gives_the_core(
    case: tuple[Grid, Box, dict[str, int], dict[str, int], dict[str, int]],
) -> None:
    grid, box, size, halo, multiple = case
    field = np.random.default_rng(0).random(grid.shape)
    count = np.zeros(grid.shape, int)
    for tile in tiles(box, grid, size, halo, multiple):
        count[tile.core.slices("ZYX")] += 1
        part = field[tile.read.slices("ZYX")]
        np.testing.assert_array_equal(part[tile.trim()], field[tile.core.slices("ZYX")])
    inside = np.zeros(grid.shape, bool)
    inside[box.slices("ZYX")] = True
    np.testing.assert_array_equal(count, inside.astype(int))


@given(st.integers(0, 30), st.integers(1, 60), st.integers(1, 20), st.integers(1, 5), st.integers(0, 7))
def test_a_region_is_cut_where_the_whole_field_is(start: int, length: int, size: int, multiple: int, phase: int) -> None:
    whole = {lo for lo, _ in cuts(0, 100, size, multiple, phase)}
    inner = [lo for lo, _ in cuts(start, start + length, size, multiple, phase)][1:]
    assert whole.issuperset(inner)
    assert all(hi - lo <= max(size, multiple) for lo, hi in cuts(start, start + length, size, multiple, phase))


def test_the_central_tile_comes_first() -> None:
    grid = Grid.of("ZYX", (5, 90, 90))
    first = tiles(Box(), grid, {"Y": 30, "X": 30})[0]
    assert first.core == Box(z=(0, 5), y=(30, 60), x=(30, 60))
