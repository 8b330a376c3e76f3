"""Parts of the calibration: transfer functions, lattices, the dark level, words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.calibration import Carrier
from napari_recon.engines.sim.classical.calibrate import calibrate
from napari_recon.engines.sim.classical.noise import camera_offset
from napari_recon.engines.sim.classical.otf import CircularOtf, MeasuredOtf
from napari_recon.engines.sim.classical.quality import words
from napari_recon.engines.sim.classical.spectra import Lattice, spectra_of
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics

from .sim_data import circle_otf, simulate

OPTICS = Optics(1.2, 0.525, (0.065, 0.065))


def test_a_circular_aperture_falls_from_one_to_zero_at_the_cutoff() -> None:
    otf = CircularOtf(OPTICS.cutoff_per_um)
    f = torch.linspace(0, 6, 200)
    found = otf(torch.zeros(1), f)
    np.testing.assert_allclose(found.numpy(), circle_otf(f.numpy().astype(float) / OPTICS.cutoff_per_um), atol=1e-5)
    assert float(CircularOtf(OPTICS.cutoff_per_um, 0.5)(torch.zeros(1), f)[50]) < float(found[50])


@pytest.mark.parametrize("radial", [True, False])
def test_the_image_of_a_point_gives_the_transfer_function_back(radial: bool) -> None:
    n, fc = 64, OPTICS.cutoff_per_um
    f = np.fft.fftfreq(n, 0.065)
    psf = np.fft.fftshift(np.fft.ifft2(circle_otf(np.hypot(f[:, None], f[None]) / fc)).real)
    measured = MeasuredOtf.from_psf(torch.from_numpy(1000 * psf + 5), OPTICS.pixel_um, fc, radial=radial)
    fy, fx = torch.linspace(-4, 4, 23)[:, None], torch.linspace(0, 4, 17)[None]
    np.testing.assert_allclose(measured(fy, fx).numpy(), CircularOtf(fc)(fy, fx).numpy(), atol=0.02)


def test_a_dark_psf_is_refused() -> None:
    with pytest.raises(InputError, match="bright spot"):
        MeasuredOtf.from_psf(torch.zeros(16, 16), OPTICS.pixel_um, OPTICS.cutoff_per_um)


def test_a_measured_transfer_function_calibrates_as_well() -> None:
    stack = simulate(3)
    step = (1 / (128 * 0.065),) * 2
    f = (torch.arange(128) - 64) * step[0]
    measured = MeasuredOtf(CircularOtf(OPTICS.cutoff_per_um)(f[:, None], f[None]), step, OPTICS.cutoff_per_um)
    frames = torch.from_numpy(stack.frames)
    ideal, found = (calibrate(frames, OPTICS, Layout(3, 3), transfer=t) for t in (None, measured))
    for a, b in zip(ideal.groups, found.groups, strict=True):
        assert a.carriers[0].k_per_um == pytest.approx(b.carriers[0].k_per_um, abs=1e-3)
        assert a.carriers[0].modulation == pytest.approx(b.carriers[0].modulation, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(32, 90), st.integers(32, 90), st.floats(2.05, 4.0))
def test_a_lattice_shows_the_same_band_limited_image(height: int, width: int, rate: float) -> None:
    lattice = Lattice.of((height, width), OPTICS, CircularOtf(OPTICS.cutoff_per_um), rate, torch.device("cpu"))
    fy, fx = 2 / (height * 0.065), 3 / (width * 0.065)
    y, x = (torch.arange(n, dtype=torch.float64) * 0.065 - (n // 2) * 0.065 for n in (height, width))
    raw = torch.cos(2 * math.pi * (fy * y[:, None] + fx * x[None]) + 0.7)
    spectrum = torch.fft.rfft2(raw.float(), norm="forward")[None]
    image = lattice.image(lattice.take(spectrum, (height, width)))[0]
    expected = torch.cos(2 * math.pi * (fy * lattice.y_um + fx * lattice.x_um) + 0.7)
    assert float((image - expected).abs().max()) < 1e-4


def test_noise_is_measured_beyond_the_cutoff() -> None:
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.normal(500, 7, (9, 128, 128)).astype(np.float32))
    assert spectra_of(frames, OPTICS, CircularOtf(OPTICS.cutoff_per_um)).noise_power == pytest.approx(49, rel=0.05)


def test_the_dark_level_is_near_the_camera_offset() -> None:
    stack = simulate(2, kind="cells", offset=120.0)
    assert 120 <= camera_offset(torch.from_numpy(stack.frames)) < 150


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "clear"),
        ({"modulation": 2.5}, "can't be"),
        ({"phases_rad": (0.0, 0.2, 0.5)}, "check angles"),
        ({"modulation": 0.05}, "too weak"),
        ({"peak_to_noise": 4.0}, "weak"),
        ({"phases_rad": (0.0, 2.1, 3.4)}, "degrees off"),
    ],
)
def test_verdicts_say_what_is_wrong(change: dict[str, object], text: str) -> None:
    good = Carrier(k_per_um=(3.0, 1.0), modulation=0.7, phases_rad=(0.0, 2.0944, 4.1888), peak_to_noise=20.0)
    assert text in words(good.model_copy(update=change))
    assert words(good) == "clear"


def test_noise_alone_and_a_moving_grating_are_no_pattern() -> None:
    rng = np.random.default_rng(1)
    noise = torch.from_numpy(rng.poisson(50, (9, 128, 128)).astype(np.float32))
    with pytest.raises(InputError, match="pattern not found"):
        calibrate(noise, OPTICS, Layout(3, 3))
    moving = simulate(1, kind="grating", modulation=0.0, drift_px=0.1)
    with pytest.raises(InputError, match="pattern not found"):
        calibrate(torch.from_numpy(moving.frames), OPTICS, Layout(3, 3))
