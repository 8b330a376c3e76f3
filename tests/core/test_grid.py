from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid, check_axes

finite = st.floats(-100, 100).filter(lambda v: abs(v) > 1e-3)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    return Grid(
        axes="ZYX",
        shape=tuple(draw(st.integers(1, 50)) for _ in "ZYX"),
        scale=tuple(draw(finite) for _ in "ZYX"),
        translate=tuple(draw(finite) for _ in "ZYX"),
        units=("micrometer",) * 3,
    )


@given(grids(), st.integers(1, 200))
def test_resampling_keeps_the_outer_edges(grid: Grid, size: int) -> None:
    fine = grid.resampled({"Y": size})
    for a, b in ((-0.5, -0.5), (grid.size("Y") - 0.5, size - 0.5)):
        assert fine.to_world("Y", b) == pytest.approx(grid.to_world("Y", a), rel=1e-6, abs=1e-6)


@given(grids(), st.data())
def test_a_crop_keeps_every_voxel_where_it_was(grid: Grid, data: st.DataObject) -> None:
    lo = data.draw(st.integers(0, grid.size("X") - 1))
    hi = data.draw(st.integers(lo + 1, grid.size("X")))
    part = grid.cropped({"X": (lo, hi)})
    assert part.size("X") == hi - lo
    assert part.to_world("X", 0) == pytest.approx(grid.to_world("X", lo))


@given(grids(), st.floats(-1e3, 1e3))
def test_world_and_index_are_inverse(grid: Grid, index: float) -> None:
    assert grid.to_index("Z", grid.to_world("Z", index)) == pytest.approx(index, rel=1e-6, abs=1e-4)


def test_axes_are_checked() -> None:
    assert check_axes("tvyx", 4) == "TVYX"
    with pytest.raises(InputError, match="distinct letters"):
        check_axes("QYX", 3)
    with pytest.raises(InputError, match="distinct letters"):
        check_axes("YYX", 3)
    with pytest.raises(InputError, match="3 axes"):
        check_axes("ZYX", 4)


def test_only_and_joined_reorder_everything() -> None:
    grid = Grid.of("TVYX", (2, 3, 4, 5), {"T": 7.0}, {"X": 1.0}, {"T": "second"})
    assert grid.only("XT").shape == (5, 2)
    assert grid.only("XT").units == ("pixel", "second")
    assert grid.only("T").joined(grid.only("VYX")) == grid


def test_alike_grids_have_the_same_voxels_to_within_rounding() -> None:
    grid = Grid.of("YX", (4, 5), {"Y": 0.1}, {"X": 3.0})
    assert grid.alike(Grid.of("YX", (4, 5), {"Y": 0.1 + 1e-9}, {"X": 3.0 + 1e-9}))
    for other in (Grid.of("YX", (4, 6), {"Y": 0.1}, {"X": 3.0}), Grid.of("YX", (4, 5), {"Y": 0.1001}, {"X": 3.0})):
        assert not grid.alike(other)
