"""Simulated light-sheet recordings: geometry, light, noise, and that the engines meant for them find the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.engines.simulate.light_sheet import SkewedScan, seen
from napari_recon.engines.simulate.light_sheet_params import LlsmParams

VIEWS: dict[str, Any] = {"planes": 20, "height": 32, "width": 36, "tubes": 3, "beads": 10, "bubbles": 0}
SCAN: dict[str, Any] = {"planes": 40, "height": 20, "width": 60, "step_um": 0.2, "tubes": 2, "beads": 12, "bubbles": 0}


def _psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((found.astype(float) - truth) ** 2)))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_views_are_the_truth_through_their_psf() -> None:
    result = napari_recon.simulate("dual-view", seed=3, photon_noise=False, read_noise=0, camera_offset=0, **VIEWS)
    for view, letter in enumerate("ab"):
        clean = seen(result["truth"], result[f"psf_{letter}"])
        assert np.abs(result["raw"][view] - clean).max() <= 0.51
        np.testing.assert_array_equal(result[f"view_{letter}"], result["raw"][view])
    assert result["raw"].max() == pytest.approx(300, abs=1)


def test_fusion_of_simulated_views_is_nearer_the_truth_than_any() -> None:
    made = napari_recon.simulate("dual-view", seed=1, **VIEWS)
    psfs = [made.outputs[f"psf_{letter}"] for letter in "ab"]
    fused = napari_recon.run(
        "fusion.multiview_rl", inputs={"views": made.outputs["raw"], "psf": psfs}, params={"iterations": 15}
    )
    best = max(_psnr(view - 100.0, made["truth"]) for view in made["raw"])
    assert _psnr(fused["volume"], made["truth"]) > best + 3


def test_views_can_lie_off_their_place_and_differ_in_brightness() -> None:
    plain = {**VIEWS, "photon_noise": False, "read_noise": 0, "camera_offset": 0, "angles_deg": (20.0, 20.0)}
    moved = napari_recon.simulate("dual-view", offset_um=(0.0, 0.2, -0.3), brightness=(1.0, 0.5), **plain)["raw"].astype(
        float
    )
    expected = np.roll(moved[0] * 0.5, (2, -3), axis=(1, 2))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert np.abs(moved[1][inner] - expected[inner]).max() < 2


@pytest.mark.parametrize("direction", [1, -1])
def test_a_straightened_scan_shows_the_object_and_its_image_where_the_truth_says(direction: int) -> None:
    made = napari_recon.simulate("llsm", seed=2, direction=direction, line=0, camera_offset=0, **SCAN)
    raw, truth = made.outputs["raw"], made.outputs["truth"]
    assert raw.metadata["optics"]["na"] == (1.0,) if "optics" in raw.metadata else True
    straight = napari_recon.run("fusion.deskew", raw, params={"coverslip": True, "direction": direction})
    grid = straight.outputs["volume"].grid
    offset = [grid.to_index(axis, truth.grid.origin(axis)) for axis in "ZX"]
    assert grid.step("Z") == pytest.approx(truth.grid.step("Z"))
    # the object, then its mirror image behind it
    world = np.concatenate([made["truth"], made["truth"][::-1]])
    blurred = seen(world, made["psf_a"])
    from scipy.ndimage import map_coordinates

    z, y, x = np.indices(straight["volume"].shape, dtype=float)
    expected = map_coordinates(blurred, [z - offset[0], y, x - offset[1]], order=1)
    lit = straight["volume"] > 0
    assert lit.mean() > 0.3
    assert _correlation(straight["volume"][lit], expected[lit]) > 0.95


def test_the_found_direction_is_the_simulated_one() -> None:
    for direction in (1, -1):
        raw = napari_recon.simulate("llsm", seed=4, direction=direction, mirror=False, **SCAN).outputs["raw"]
        said = napari_recon.run("fusion.deskew", raw).artifacts["report"]
        assert said["direction"] == direction


def test_the_mirror_is_a_line_of_constant_column() -> None:
    params = LlsmParams(mirror_at=0.4, direction=-1)
    scan = SkewedScan(params)
    line = scan.line()
    column = (int(line.argmax()) - (params.width - 1) / 2) * params.pixel_um
    assert -column * np.sin(np.radians(params.angle_deg)) == pytest.approx(scan.mirror_um, abs=0.1)
    made = napari_recon.simulate("llsm", photon_noise=False, read_noise=0, **{**SCAN, "line": 10.0})["raw"]
    assert len(set(made.argmax(axis=2).ravel().tolist())) <= 2


def test_series_move_and_differ_in_noise_alone_where_nothing_moves() -> None:
    still = napari_recon.simulate("llsm", frames=2, speed=0, **SCAN)
    np.testing.assert_array_equal(still["truth"][0], still["truth"][1])
    assert (still["raw"][0] != still["raw"][1]).any()
    moving = napari_recon.simulate("dual-view", frames=2, speed=3, **VIEWS)
    assert (moving["truth"][0] != moving["truth"][1]).any() and moving["raw"].shape[:2] == (2, 2)


@pytest.mark.parametrize(
    ("kind", "params", "sentence"),
    [
        ("dual-view", {"tubes": 0, "beads": 0, "bubbles": 0}, "no structures"),
        ("dual-view", {"na": 1.4}, "below the refractive index"),
        ("dual-view", {"brightness": (1.0,)}, "each of the 2 views"),
        ("llsm", {"tubes": 0, "beads": 0, "bubbles": 0}, "no structures"),
    ],
)
def test_what_can_not_be_simulated_is_one_sentence(kind: str, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        napari_recon.simulate(kind, **params)
