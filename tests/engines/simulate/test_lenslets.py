"""The raw picture behind a microlens array: light goes where the grid says, and none is lost."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.simulate.lenslets import raw_lenslet, scan_order, scanned_lenslets


def _views(nnum: int = 5, rows: int = 7, columns: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((nnum * nnum, rows, columns)).astype(np.float32)


def test_an_aligned_array_interleaves_the_views_exactly() -> None:
    views = _views()
    raw = raw_lenslet(views, 5)
    assert raw.shape == (35, 45)
    expected = views.reshape(5, 5, 7, 9).transpose(2, 0, 3, 1).reshape(35, 45)
    np.testing.assert_array_equal(raw, expected)
    moved = raw_lenslet(views, 5, shape_yx=(40, 50), centre=(3 * 5 + 2 + 3, 4 * 5 + 2 + 4))
    np.testing.assert_array_equal(moved[3:38, 4:49], expected)
    assert moved[:3].sum() == moved[38:].sum() == 0


@given(
    pitch=st.floats(4.5, 9), turn=st.floats(-4, 4), off=st.tuples(st.floats(-1, 1), st.floats(-1, 1)), seed=st.integers(0, 9)
)
@settings(max_examples=20, deadline=None)
def test_light_is_kept_and_lies_where_the_grid_says(pitch: float, turn: float, off: tuple[float, float], seed: int) -> None:
    views = np.zeros((25, 7, 7), np.float32)
    rng = np.random.default_rng(seed)
    row, column = rng.integers(1, 6, 2)
    views[6:19, row, column] = 1.0  # symmetric about the middle of the pupil
    views[[9, 10, 14, 15], row, column] = 0
    centre = (30.0 + off[0], 30.0 + off[1])
    raw = raw_lenslet(views, 5, shape_yx=(61, 61), pitch_px=pitch, rotation_deg=turn, centre=centre)
    y, x = (np.arange(61) @ raw.sum(axis=axis) / raw.sum() for axis in (1, 0))
    radians = math.radians(turn)
    cosine, sine = math.cos(radians) * pitch, math.sin(radians) * pitch
    dy, dx = row - 3, column - 3
    assert (y, x) == pytest.approx((centre[0] + cosine * dy + sine * dx, centre[1] + cosine * dx - sine * dy), abs=0.12)
    assert raw.sum() == pytest.approx(views.sum(), rel=0.12)


def test_rotation_turns_rows_towards_y_as_the_realignment_says() -> None:
    realigning = pytest.importorskip("napari_recon.engines.serenet.realigning.lenslets")
    grid = realigning.LensletGrid(6.3, 2.0, (30.2, 31.1))
    views = np.zeros((25, 7, 7), np.float32)
    views[12, 1, 5] = 1.0
    raw = raw_lenslet(views, 5, shape_yx=(61, 61), pitch_px=6.3, rotation_deg=2.0, centre=(30.2, 31.1))
    found = [np.arange(61) @ raw.sum(axis=axis) / raw.sum() for axis in (1, 0)]
    assert found == pytest.approx(grid.places(np.array([-2.0, 2.0])).tolist(), abs=0.1)


def test_vignetting_darkens_the_corners() -> None:
    even = np.ones((25, 8, 8), np.float32)
    dark = raw_lenslet(even, 5, vignetting=0.6)
    assert dark[0, 0] == pytest.approx(0.4, abs=0.01)
    assert dark[20, 20] == pytest.approx(1.0, abs=0.01)


def test_the_scan_order_of_three_is_the_published_one_and_every_cell_is_taken_once() -> None:
    assert scan_order(3) == (6, 7, 8, 5, 2, 1, 0, 3, 4)
    for scanning in (1, 3, 5):
        order = scan_order(scanning)
        assert sorted(order) == list(range(scanning**2))
        assert order[-1] == scanning**2 // 2
        steps = [abs(a // scanning - b // scanning) + abs(a % scanning - b % scanning) for a, b in pairwise(order)]
        assert set(steps) <= {1}


def test_exposures_of_a_scan_hold_every_pixel_once() -> None:
    views = _views(3, 9, 6)
    again = np.zeros_like(views)
    for step, cell in enumerate(scan_order(3)):
        again[:, cell // 3 :: 3, cell % 3 :: 3] = scanned_lenslets(views, 3, step)
    np.testing.assert_array_equal(again, views)
