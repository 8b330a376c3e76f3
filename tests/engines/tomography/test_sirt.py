"""tomography.sirt: quality, the axis, signals, inputs, refusals."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from napari_recon.core.errors import InputError
from napari_recon.engines.tomography.iterate import subsets_of, view_weights
from napari_recon.engines.tomography.prepare import find_centre, lines_of, noise_of
from napari_recon.jobs.api import run
from tests.engines.tomography.phantoms import ANGLES, blobs, projections, stack

SIZE = (32, 10, 32)
TRUTH = blobs(SIZE)


def psnr(found: np.ndarray, truth: np.ndarray = TRUTH) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((found - truth) ** 2)))


def solved(views: np.ndarray, **params: object) -> np.ndarray:
    return np.asarray(run("tomography.sirt", stack(views), params={"angles": ANGLES, **params})["volume"].data)


def test_iterations_stop_by_themselves_and_beat_filtered_back_projection() -> None:
    views = projections(TRUTH, noise=0.02)
    by_method = {method: psnr(solved(views, method=method)) for method in ("subsets", "sirt", "sart", "fbp")}
    assert by_method["fbp"] > 20
    assert by_method["subsets"] > by_method["fbp"] + 2
    assert min(by_method["sirt"], by_method["sart"]) > by_method["fbp"] + 1


@pytest.mark.parametrize("axis", ["y", "x"])
def test_an_axis_beside_the_middle_is_found(axis: str) -> None:
    truth = TRUTH if axis == "y" else TRUTH.transpose(0, 2, 1)
    views = projections(truth, noise=0.01, axis=axis, centre=2.4)
    result = run("tomography.sirt", stack(views), params={"angles": ANGLES, "axis": axis})
    report = result.artifacts["report"]
    assert report["centre"] == pytest.approx(2.4, abs=0.1)
    inner = (slice(None), slice(None), slice(4, -4)) if axis == "y" else (slice(None), slice(4, -4))
    assert psnr(np.asarray(result["volume"].data)[inner], truth[inner]) > 24


def test_the_axis_is_found_where_the_sample_changes_its_sum() -> None:
    views = torch.from_numpy(projections(TRUTH, noise=0.01, centre=-1.7))
    views = views * torch.linspace(1.0, 1.25, len(views))[:, None, None]
    assert find_centre(views, ANGLES, "y") == pytest.approx(-1.7, abs=0.35)


def test_transmission_and_emission_become_sums() -> None:
    lines = projections(0.02 * TRUTH)
    counts = np.random.default_rng(0).poisson(5000 * np.exp(-lines)).astype(np.float32)
    found = solved(counts, signal="transmission")
    assert psnr(found / 0.02) > 24
    light = np.random.default_rng(0).poisson(40 + 200 * projections(TRUTH)).astype(np.float32)
    assert psnr(solved(light, signal="emission") / 200) > 24


def test_noise_is_judged_from_the_views() -> None:
    views = projections(TRUTH, noise=0.05)
    assert noise_of(views) == pytest.approx(0.05 * projections(TRUTH).max(), rel=0.15)
    lines = lines_of(views - views.mean(axis=(1, 2), keepdims=True), "density", "auto", torch.device("cpu"))
    assert not lines.nonnegative
    raised = lines_of(views + 100, "density", "auto", torch.device("cpu"))
    assert raised.said and abs(float(raised.values.mean())) < 1e-3


def test_slices_and_regions_are_parts_of_the_whole() -> None:
    views = projections(TRUTH, noise=0.01)
    whole = solved(views)
    part = run("tomography.sirt", stack(views), params={"angles": ANGLES}, roi="y=3:5,x=4:20")["volume"]
    np.testing.assert_allclose(np.asarray(part.data), whole[:, 3:5, 4:20], atol=1e-5 * whole.max())


def test_views_stand_for_the_angle_around_them() -> None:
    assert view_weights(ANGLES).sum() == pytest.approx(np.pi)
    assert view_weights(np.arange(0, 360, 10)).sum() == pytest.approx(np.pi)
    wedge = view_weights(np.arange(-60, 61, 3))
    assert wedge.sum() == pytest.approx(np.radians(123))
    assert sorted(n for group in subsets_of(20, 6) for n in group) == list(range(20))


def test_a_tilt_series_brings_its_angles(tmp_path: Path) -> None:
    angles = np.arange(-60, 61, 6.0)
    views = projections(blobs((12, 6, 24)), angles=angles)
    with mrcfile.new(tmp_path / "tilt.mrc") as file:
        file.set_data(views)
        file.voxel_size = 10.0
    (tmp_path / "tilt.rawtlt").write_text("\n".join(map(str, angles)))
    result = run("tomography.sirt", tmp_path / "tilt.mrc", params={"thickness": 12, "iterations": 2, "centre": 0})
    assert np.asarray(result["volume"].data).shape == (12, 6, 24)
    listed = run(
        "tomography.sirt",
        inputs={"views": tmp_path / "tilt.mrc", "angles": tmp_path / "tilt.rawtlt"},
        params={"thickness": 12, "iterations": 2, "centre": 0},
    )
    np.testing.assert_array_equal(np.asarray(listed["volume"].data), np.asarray(result["volume"].data))


def test_angles_come_as_a_table_too() -> None:
    views = projections(TRUTH)
    rows = [{"angle": angle} for angle in ANGLES]
    by_table = run(
        "tomography.sirt", inputs={"views": stack(views), "angles": [rows]}, params={"iterations": 1, "centre": 0}
    )
    np.testing.assert_array_equal(np.asarray(by_table["volume"].data), solved(views, iterations=1, centre=0))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"angles": ANGLES[:-1]}, "one angle per projection \\(24\\), found 23"),
        ({}, "needs the angle of each of the 24"),
        ({"angles": "0:90:5"}, "one angle per projection"),
        ({"angles": ANGLES, "axis": "z"}, "axis"),
        ({"angles": ANGLES, "flat": -2}, "flat"),
        ({"angles": ANGLES, "centre": 400}, "centre should be less than"),
        ({"angles": ANGLES, "centre": float("nan")}, "centre should be"),
    ],
)
def test_unfit_settings_get_one_sentence(params: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run("tomography.sirt", stack(projections(TRUTH)), params=params)


def test_transmission_needs_light() -> None:
    views = -1 - projections(TRUTH)
    with pytest.raises(InputError, match="light without sample"):
        solved(views, signal="transmission")
