"""Whatever order pages were recorded in, engines see angle-major frames of the right plane and time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.layout import ORDERS, Layout, arranged

LAYOUT = Layout(2, 3)


def coded(axes: str, sizes: dict[str, int]) -> ImageStack:
    """Return pages whose value says which angle, phase, plane and time they are."""
    weights = {"A": 1000, "P": 100, "Z": 10, "T": 1}
    outer = [a for a in axes if a not in "YX"]
    index = np.indices([sizes[a] for a in outer])
    value = sum(weights[a] * i for a, i in zip(outer, index, strict=True))
    return ImageStack.of(np.broadcast_to(value[..., None, None], (*value.shape, 2, 3)).copy(), axes)


def expected(time: int, plane: int) -> list[int]:
    return [1000 * a + 100 * p + 10 * plane + time for a in range(LAYOUT.angles) for p in range(LAYOUT.phases)]


@pytest.mark.parametrize("order", ORDERS)
@given(sets=st.integers(1, 4))
@settings(max_examples=6, deadline=None)
def test_pages_in_any_order_become_angle_major_frames(order: str, sets: int) -> None:
    extra = "z" if "z" in order else "t"
    letters = order if "z" in order else extra + order
    stack = coded(letters.upper() + "YX", {"A": 2, "P": 3, extra.upper(): sets})
    pages = ImageStack.of(stack.data.reshape(-1, 2, 3), "NYX")
    result = arranged(pages.grid, LAYOUT, order).of(pages)
    assert result.grid.axes == ("NYX" if sets == 1 else f"{extra.upper()}NYX")
    for i in range(sets):
        index = {} if sets == 1 else {extra: i}
        got = result.read("NYX", **index)[:, 0, 0].tolist()
        assert got == (expected(0, i) if extra == "z" else expected(i, 0))


@pytest.mark.parametrize("axes", ["".join(p) + "YX" for p in itertools.permutations("APZT")])
def test_named_axes_win_over_the_order(axes: str) -> None:
    stack = coded(axes, {"A": 2, "P": 3, "Z": 2, "T": 4})
    result = arranged(stack.grid, LAYOUT, "pa").of(stack)
    assert result.grid.axes == "TZNYX" and result.grid.shape == (4, 2, 6, 2, 3)
    assert result.read("NYX", t=3, z=1)[:, 0, 0].tolist() == expected(3, 1)


def test_arranging_twice_changes_no_axes() -> None:
    grid = Grid.of("NYX", (12, 4, 5))
    once = arranged(grid, LAYOUT, "ap").grid
    assert arranged(once, LAYOUT, "ap").grid == once


def test_two_plain_dimensions_of_the_right_sizes_are_angle_and_phase() -> None:
    stack = coded("APYX", {"A": 2, "P": 3})
    plain = ImageStack.of(stack.data, "TNYX")
    assert arranged(plain.grid, LAYOUT, "ap").of(plain).read("NYX")[:, 0, 0].tolist() == expected(0, 0)


@pytest.mark.parametrize("order", [order for order in ORDERS if "z" in order])
@pytest.mark.parametrize("joined", [None, 0, 1])
def test_plain_dimensions_follow_an_order_with_z(order: str, joined: int | None) -> None:
    stack = coded(order.upper() + "YX", {"A": 2, "P": 3, "Z": 5})
    shape = list(stack.grid.shape)
    if joined is not None:
        shape[joined : joined + 2] = [shape[joined] * shape[joined + 1]]
    plain = ImageStack.of(stack.data.reshape(shape), "TCNYX" if joined is None else "TNYX")
    result = arranged(plain.grid, LAYOUT, order).of(plain)
    planes = result.data[:].reshape(5, 6, 2, 3)  # along Z, or T where whole sets follow each other
    assert [frames[:, 0, 0].tolist() for frames in planes] == [expected(0, z) for z in range(5)]


def test_named_planes_stay_planes_whatever_the_order_says() -> None:
    stack = ImageStack.of(np.zeros((6, 4, 8, 8)), "NZYX", scale={"Z": 0.2}, units={"Z": "micrometer"})
    grid = arranged(stack.grid, LAYOUT, "zap").grid
    assert (grid.axes, grid.shape, grid.step("Z"), grid.unit("Z")) == ("ZNYX", (4, 6, 8, 8), 0.2, "micrometer")


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ("NYX", (15, 4, 4), "3 x 5"),
        ("NYX", (11, 4, 4), "no usual number"),
        ("TNYX", (9, 20, 4, 4), "--axes NTYX"),
        ("APYX", (3, 5, 4, 4), "phases=5"),
        ("TNYX", (4, 18, 4, 4), "18 pages at each t"),
    ],
)
def test_what_does_not_fit_is_told_what_would(axes: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError) as error:
        arranged(Grid.of(axes, shape), Layout(3, 3), "ap")
    assert words in str(error.value)
