"""sim.residual: honest images leave noise, invented structure stands out, whatever made the image."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_recon
from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.camera_noise import camera_noise
from napari_recon.engines.sim.classical.filters import Filters
from napari_recon.engines.sim.classical.otf import CircularOtf
from napari_recon.engines.sim.classical.recombine import Reconstructor
from napari_recon.engines.sim.classical.reprojection import Reprojection
from napari_recon.engines.sim.classical.residual_run import agreement

SIZE = 96


class Case(NamedTuple):
    raw: ImageStack
    truth: np.ndarray
    calibration: Calibration
    image: np.ndarray


@cache
def case_of(seed: int = 0, **params: Any) -> Case:
    """A simulated recording and its classical reconstruction with the true pattern."""
    made = napari_recon.simulate("sim", seed=seed, height=SIZE, width=SIZE, **params)
    calibration = Calibration.model_validate(made.artifacts["calibration"])
    operator = Reconstructor(calibration, (SIZE, SIZE), CircularOtf(calibration.cutoff_per_um))
    image = operator(torch.from_numpy(made["raw"].astype(np.float32)), Filters(0.05))
    return Case(made.outputs["raw"], made["truth"], calibration, image.numpy())


def judged(case: Case, image: np.ndarray, **options: Any) -> tuple[dict[str, Any], np.ndarray]:
    comparison = Reprojection(case.calibration, (SIZE, SIZE), **options)(
        torch.from_numpy(np.asarray(case.raw.data).astype(np.float32)), torch.from_numpy(np.ascontiguousarray(image))
    )
    significance = comparison.significance
    return agreement(comparison, significance, case.calibration), significance.numpy()


def spot(y: int, x: int, width: float = 2.0) -> np.ndarray:
    yy, xx = np.mgrid[: 2 * SIZE, : 2 * SIZE]
    return np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2)).astype(np.float32)


PATTERNS: list[dict[str, Any]] = [
    {},
    {"photons": 60.0, "pattern_frequency": 0.6},
    {"photons": 3000.0, "intensity_jitter": 0.05, "phase_error_deg": 8.0},
    {"pattern": "hexagonal", "phases": 7},
    {"profile": "three-beam", "phases": 5},
    {"angles": 2, "phases": 5, "scene": "cells"},
]


@pytest.mark.parametrize("params", PATTERNS, ids=str)
def test_an_honest_image_leaves_noise_and_an_invented_spot_stands_out(params: dict[str, Any]) -> None:
    case = case_of(3, **params)
    report, significance = judged(case, case.image)
    assert report["agrees"] and "within their noise" in report["verdict"], report["verdict"]
    assert 0.2 < report["chi_square"] < 1.1 and report["in_band"] < 1.1
    inner = significance[8:-8, 8:-8]
    assert np.abs(inner).max() < 6 and report["share_of_field"] < 0.002
    bright = float(np.quantile(case.image, 0.99))
    fake = case.image + 0.5 * bright * spot(110, 70)
    report, significance = judged(case, fake)
    assert not report["agrees"] and "light that was not measured" in report["verdict"]
    assert report["strongest"]["significance"] < -8
    assert math.hypot(report["strongest"]["y"] - 55, report["strongest"]["x"] - 35) < 3
    hidden = case.image - 0.5 * bright * spot(110, 70)
    report, _ = judged(case, hidden)
    assert report["strongest"]["significance"] > 8 and "too little light" in report["verdict"]


@given(st.floats(1e-3, 1e3), st.floats(-5, 5))
@settings(max_examples=8, deadline=None)
def test_scale_and_level_of_the_image_do_not_matter(scale: float, level: float) -> None:
    case = case_of(3)
    plain, significance = judged(case, case.image)
    other, changed = judged(case, scale * (case.image + 100 * level).astype(np.float32))
    assert other["in_band"] == pytest.approx(plain["in_band"], rel=0.02)
    assert np.abs(np.abs(changed) - np.abs(significance)).max() < 0.3


@pytest.mark.parametrize("apodisation", ["triangle", "cosine"])
def test_the_transfer_of_the_image_does_not_matter(apodisation: Any) -> None:
    case = case_of(3)
    operator = Reconstructor(case.calibration, (SIZE, SIZE), CircularOtf(case.calibration.cutoff_per_um))
    image = operator(torch.from_numpy(np.asarray(case.raw.data).astype(np.float32)), Filters(0.2, 0.5, 1.0, apodisation))
    report, _ = judged(case, image.numpy())
    assert report["agrees"], report["verdict"]


def test_the_truth_agrees_though_out_of_focus_light_is_taken_out_of_it() -> None:
    case = case_of(3, background=1.0)
    report, _ = judged(case, case.truth)
    assert report["share_of_field"] < 0.01 and report["in_band"] < 1.2
    strict, _ = judged(case, case.truth, background_um=0.0)
    assert strict["in_band"] > 3 * report["in_band"]


def test_detail_that_is_not_in_the_raw_frames_is_named() -> None:
    case = case_of(3, photons=3000.0, background=0.0)
    spectrum = np.fft.rfft2(case.image)
    fy, fx = np.fft.fftfreq(2 * SIZE, 0.0325)[:, None], np.fft.rfftfreq(2 * SIZE, 0.0325)[None]
    fine = np.hypot(fy, fx) > 5.0
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, spectrum.shape)
    scrambled = np.fft.irfft2(np.where(fine, spectrum * np.exp(1j * angles), spectrum)).astype(np.float32)
    report, _ = judged(case, scrambled)
    assert not report["agrees"] and "is not in the raw frames" in report["verdict"]
    assert 3.0 < report["supported_to_per_um"] < 6.0
    assert judged(case, case.image)[0]["supported_to_per_um"] is None


def test_a_wide_field_image_does_not_explain_the_frames() -> None:
    case = case_of(3, photons=3000.0)
    wide = np.asarray(case.raw.data).astype(np.float32).mean(axis=0)
    report, _ = judged(case, wide)
    honest, _ = judged(case, case.image)
    assert not report["agrees"] and report["in_band"] > 5 * honest["in_band"]


def test_an_angle_with_a_wrong_pattern_is_named() -> None:
    case = case_of(3, photons=1000.0)
    groups = list(case.calibration.groups)
    carrier = groups[1].carriers[0]
    wrong = carrier.model_copy(update={"phases_rad": tuple(p + 1.0 for p in carrier.phases_rad)})
    groups[1] = groups[1].model_copy(update={"carriers": (wrong,)})
    spoilt = case._replace(calibration=case.calibration.model_copy(update={"groups": tuple(groups)}))
    report, _ = judged(spoilt, case.image)
    assert not report["agrees"] and "angle 2, whose pattern may be wrong" in report["verdict"], report
    angles = report["in_band_per_angle"]
    assert angles[1] > 3 * max(angles[0], angles[2])


def test_an_image_on_the_raw_grid_is_interpolated() -> None:
    case = case_of(3, photons=3000.0)
    wide = np.asarray(case.raw.data).astype(np.float32).mean(axis=0)
    spectrum, large = np.fft.fft2(wide), np.zeros((2 * SIZE, 2 * SIZE), complex)
    half = SIZE // 2
    large[half:-half, half:-half] = np.fft.fftshift(spectrum)
    fine = np.fft.ifft2(np.fft.ifftshift(large)).real.astype(np.float32)
    (found, coarse), (expected, whole) = judged(case, wide), judged(case, fine)
    assert found["in_band"] == pytest.approx(expected["in_band"], rel=0.05)
    inner = [np.abs(a[16:-16, 16:-16]).ravel() for a in (coarse, whole)]
    assert np.corrcoef(*inner)[0, 1] > 0.98


@pytest.mark.parametrize(("gain", "read"), [(1.0, 2.0), (0.4, 10.0), (3.0, 1.0)])
def test_the_noise_of_a_camera_is_read_from_its_frames(gain: float, read: float) -> None:
    made = napari_recon.simulate("sim", seed=1, height=128, width=128, gain=gain, read_noise=read, photons=400.0)
    frames = torch.from_numpy(made["raw"].astype(np.float32))
    noise = camera_noise(frames, 2 * 1.2 / 0.525, (0.065, 0.065))
    light = frames - 100
    expected = float((gain * light + read**2).mean())
    assert float(noise.variance(frames).mean()) == pytest.approx(expected, rel=0.1)
    bright = light > light.quantile(0.9)
    assert float(noise.variance(frames)[bright].mean()) == pytest.approx(
        float((gain * light + read**2)[bright].mean()), rel=0.2
    )


def test_the_engine_gives_maps_a_report_and_a_warning(tmp_path: Path) -> None:
    case = case_of(3)
    grid = case.raw.grid.only("YX").finer(2)
    fake = case.image + float(np.quantile(case.image, 0.99)) * spot(110, 70)
    given = tmp_path / "calibration.json"
    given.write_text(case.calibration.model_dump_json())
    results = []
    for image in (case.image, fake):
        stack = ImageStack(image.astype(np.float32), grid, "image")
        options = {"na": 1.2, "wavelength_um": 0.525, "frames": True, "calibration": str(given)}
        results.append(napari_recon.run("sim.residual", case.raw, stack, params=options))
    honest, invented = results
    assert honest.report["agrees"] and not honest.warnings
    assert not invented.report["agrees"] and "standard deviations" in invented.warnings[0]
    assert honest["residual"].shape == (SIZE, SIZE) and honest["frames"].shape == (9, SIZE, SIZE)
    np.testing.assert_allclose(honest["residual"], np.sqrt((honest["frames"] ** 2).mean(axis=0)), rtol=1e-4)
    assert invented["residual"][55, 35] > 1.5 * honest["residual"][55, 35]
    assert invented["significance"][55, 35] < -8 < honest["significance"].min()


def test_a_measured_psf_is_taken_over_the_ideal_aperture() -> None:
    bent = {"spherical": 0.07, "defocus": 0.05, "photons": 3000.0, "background": 0.0}
    made = napari_recon.simulate("sim", seed=3, height=SIZE, width=SIZE, **bent)
    calibration = Calibration.model_validate(made.artifacts["calibration"])
    options = {"na": 1.2, "wavelength_um": 0.525}
    found = {}
    for name, extra in (("aperture", {}), ("measured", {"psf": made.outputs["psf"]})):
        inputs = {"raw": made.outputs["raw"], "reconstruction": made.outputs["truth"], **extra}
        found[name] = napari_recon.run("sim.residual", inputs=inputs, params=options).report
    assert found["measured"]["in_band"] < 0.8 * found["aperture"]["in_band"]
    assert calibration.cutoff_per_um == pytest.approx(2 * 1.2 / 0.525)


def test_series_are_judged_image_by_image() -> None:
    made = napari_recon.simulate("sim", seed=3, height=SIZE, width=SIZE, frames=2, speed=4.0)
    sharp = napari_recon.run("sim.wiener", made.outputs["raw"], params={"na": 1.2, "wavelength_um": 0.525})
    image = sharp.outputs["sr"]
    optics = {"na": 1.2, "wavelength_um": 0.525}
    found = napari_recon.run("sim.residual", made.outputs["raw"], image, params=optics)
    assert found["significance"].shape == (2, SIZE, SIZE)
    assert [entry["agrees"] for entry in found.report["frames"]] == [True, True]
    swapped = ImageStack(np.asarray(image.data)[::-1].copy(), image.grid, "swapped")
    wrong = napari_recon.run("sim.residual", made.outputs["raw"], swapped, params=optics)
    assert not any(entry["agrees"] for entry in wrong.report["frames"])


def plan_of(raw: Grid, image: Grid, **params: Any) -> Any:
    refs = [InputRef(name="raw", grid=raw), InputRef(name="reconstruction", grid=image)]
    optics = {"na": 1.2, "wavelength_um": 0.525}
    return registry.get("sim.residual").plan(refs, {**optics, **params}, compute=Compute(device="cpu", threads=1))


MICRONS = {"scale": {"Y": 0.065, "X": 0.065}, "units": {"Y": "micrometer", "X": "micrometer"}}


@pytest.mark.parametrize(
    ("raw_shape", "image_shape", "params", "sentence"),
    [
        ((9, 64, 64), (100, 128), {}, r"128 x 128 pixels \(or 64 x 64\).*found 100 x 128; reconstruct the whole field"),
        ((10, 64, 64), (128, 128), {}, "multiple of 3 angles x 3 phases"),
        ((9, 24, 64), (48, 128), {}, "at least 32 x 32"),
        ((9, 64, 64), (128, 128), {"wavelength_um": 525}, "looks like nanometers"),
        ((9, 64, 64), (128, 128), {"na": 1.6}, "should not exceed the refractive index"),
        ((9, 64, 64), (128, 128), {"calibration": "/nowhere.json"}, "calibration should be a JSON file"),
    ],
)
def test_unfit_inputs_are_one_sentence(
    raw_shape: tuple[int, ...], image_shape: tuple[int, ...], params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(Grid.of("NYX", raw_shape, **MICRONS), Grid.of("YX", image_shape), **params)


def test_a_calibration_of_other_frames_is_refused(tmp_path: Path) -> None:
    given = tmp_path / "calibration.json"
    given.write_text(case_of(3).calibration.model_dump_json())
    with pytest.raises(InputError, match=r"calibration is of raw frames of 96 x 96 .* found 64 x 64"):
        plan_of(Grid.of("NYX", (9, 64, 64), **MICRONS), Grid.of("YX", (64, 64)), calibration=str(given))


def test_frames_without_a_pattern_are_refused() -> None:
    made = napari_recon.simulate("sim", seed=3, height=SIZE, width=SIZE, pattern="none")
    optics = {"na": 1.2, "wavelength_um": 0.525}
    with pytest.raises(InputError, match="pattern not found"):
        napari_recon.run("sim.residual", made.outputs["raw"], made.outputs["truth"], params=optics)


def test_a_constant_image_explains_nothing_and_a_broken_one_is_refused() -> None:
    case = case_of(3, photons=3000.0)
    report, significance = judged(case, np.full((2 * SIZE, 2 * SIZE), 7.0, np.float32))
    assert np.isfinite(significance).all() and not report["agrees"]
    assert "does not explain the raw frames" in report["verdict"] and report["share_of_field"] > 0.1
    broken = case.image.copy()
    broken[5, 5] = np.nan
    optics = {"na": 1.2, "wavelength_um": 0.525}
    with pytest.raises(InputError, match=r"NaN|finite"):
        napari_recon.run("sim.residual", case.raw, broken, params=optics)


def test_saturated_frames_are_refused() -> None:
    case = case_of(3)
    clipped = np.minimum(np.asarray(case.raw.data), int(np.quantile(np.asarray(case.raw.data), 0.6)))
    raw = ImageStack(clipped, case.raw.grid, "raw")
    with pytest.raises(InputError, match="should not be saturated"):
        napari_recon.run("sim.residual", raw, case.image, params={"na": 1.2, "wavelength_um": 0.525})
