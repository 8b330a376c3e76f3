"""Where queries sample: sizes, places and ranges along an axis, and how a scale is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.inr4d.lattice import Sampling, factors_of, sampled_grid, samplings, spelled

COUNTS, SCALES = st.integers(2, 40), st.floats(0.3, 5).map(lambda s: round(s, 2))


@given(COUNTS, SCALES)
def test_points_run_from_the_first_to_the_last_data_point(count: int, scale: float) -> None:
    sampling = Sampling(count, scale, "points")
    places = sampling.places(0, sampling.size)
    assert places[0] == 0 and places[-1] <= count - 1 + 1e-5
    assert places[-1] + 1 / scale > count - 1
    if float(scale).is_integer():
        assert sampling.size == (count - 1) * scale + 1


@given(COUNTS, SCALES)
def test_areas_cover_the_field_of_view(count: int, scale: float) -> None:
    sampling = Sampling(count, scale, "area")
    assert sampling.size == max(1, int(count * scale + 1e-6))
    places, half = sampling.places(0, sampling.size), sampling.step / 2
    assert places[0] - half == pytest.approx(-0.5) and places[-1] + half == pytest.approx(count - 0.5)


@given(COUNTS, SCALES)
def test_the_published_grid_has_both_ends(count: int, scale: float) -> None:
    sampling = Sampling(count, scale, "upstream")
    places = sampling.places(0, sampling.size)
    assert sampling.size == max(1, int(count * scale)) and places[0] == 0
    if sampling.size > 1:
        assert places[-1] == pytest.approx(count - 1)


@given(COUNTS, SCALES, st.sampled_from(["points", "area"]), st.data())
def test_ranges_of_data_points_cut_an_axis_into_parts(count: int, scale: float, kind: str, data: st.DataObject) -> None:
    sampling = Sampling(count, scale, kind)  # type: ignore[arg-type]
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    first, last = sampling.within(start, stop)
    places, edge = sampling.places(0, sampling.size), 0.5 if kind == "area" else 0.0
    inside = (places >= start - edge - 1e-6) & (places <= stop - 1 + edge + 1e-6)
    assert inside[first:last].all() and inside.sum() == last - first
    assert sampling.within(0, count) == (0, sampling.size)


def test_the_result_lies_on_the_recording() -> None:
    data = Grid.of("TZYX", (5, 4, 6, 8), {"T": 2.0, "Z": 1.0, "Y": 0.5, "X": 0.5}, {"Z": 10.0})
    points = sampled_grid(data, samplings(data, {"t": 2, "z": 1.5}, "points"))
    assert points.shape == (9, 5, 6, 8) and points.scale[:2] == (1.0, pytest.approx(2 / 3))
    assert points.translate == data.translate
    area = sampled_grid(data, samplings(data, {"z": 2, "x": 0.5}, "area"))
    expected = data.resampled({"Z": 8, "X": 4})
    np.testing.assert_allclose(area.translate, expected.translate)
    np.testing.assert_allclose(area.scale, expected.scale)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("t=2,z=2,y=1.5,x=1.5", {"t": 2, "z": 2, "y": 1.5, "x": 1.5}),
        ("2", {"z": 2, "y": 2, "x": 2}),
        (1.5, {"z": 1.5, "y": 1.5, "x": 1.5}),
        ({"T": 3}, {"t": 3}),
        (" Z = 2 ", {"z": 2}),
        ("", {}),
    ],
)
def test_a_scale_as_it_is_written(written: object, means: dict[str, float]) -> None:
    assert factors_of(written) == means
    assert factors_of(spelled(factors_of(written))) == means


@pytest.mark.parametrize("wrong", ["q=2", "t=0", "t=-1", "z=two", "x=nan", "t=1000", "z=2;y=2", "t=2,t=3"])
def test_a_scale_that_says_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"write for example t=2,z=2,y=1\.5"):
        factors_of(wrong)
