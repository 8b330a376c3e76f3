"""Separation, recombination and the forward model, with true parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.sim.classical.edges import continued, padded_size, wrapped
from napari_recon.engines.sim.classical.filters import Filters, apodisation, attenuation
from napari_recon.engines.sim.classical.forward import ForwardModel, predict
from napari_recon.engines.sim.classical.offset import with_offset
from napari_recon.engines.sim.classical.otf import CircularOtf
from napari_recon.engines.sim.classical.recombine import Reconstructor
from napari_recon.engines.sim.classical.separation import separation
from napari_recon.engines.sim.classical.wiener_choice import choose_wiener
from tests.engines.sim.sim_data import Stack, simulate
from tests.engines.sim.truth import Stored, calibration_of, psnr, wanted

FOLDERS = ("p1_periodic_k0p90_highsnr", "p2_crop_k0p80_midsnr", "p3_crop_k0p45_coarse_jitter")


@pytest.fixture(scope="module")
def clean() -> Stack:
    """Practically without noise, periodic, uneven phases and intensities."""
    return simulate(3, n=64, pad=0, photons=1e8, read=0, phase_jitter=0.1, intensity_jitter=0.05)


def operator(stack: Stack, **options: object) -> Reconstructor:
    calibration = calibration_of(stack)
    return Reconstructor(calibration, calibration.shape_yx, CircularOtf(stack.fc), **options)


def plainly(stack: Stack, filters: Filters) -> np.ndarray:
    """The formula of `recombine` in float64, band by band on the fine grid, nothing saved."""
    calibration = calibration_of(stack)
    n, pixel = stack.frames.shape[1], stack.pixel_um
    f = np.fft.fftfreq(2 * n, pixel / 2)
    otf = CircularOtf(stack.fc)
    r = (np.arange(2 * n) / 2 - n // 2) * pixel
    numerator, denominator = np.zeros((2 * n, 2 * n), complex), np.full((2 * n, 2 * n), filters.wiener**2)
    frames = stack.frames.astype(float) - stack.offset
    for order in separation(calibration):
        kx, ky = order.k_per_um
        band = np.tensordot(order.coefficients.numpy(), frames, axes=1)
        spectrum = np.fft.fftshift(np.fft.fft2(band))
        fine = np.fft.ifftshift(np.pad(spectrum, n // 2))  # 2 n samples of the same band
        h = otf(torch.from_numpy(f)[:, None], torch.from_numpy(f)[None]).numpy()
        filtered = np.fft.ifft2(fine * h) * 4
        for sign in (1, -1) if kx or ky else (1,):
            image = filtered if sign == 1 else filtered.conj()
            turn = np.exp(-2j * np.pi * sign * (kx * r[None] + ky * r[:, None]))
            numerator += order.weight * np.fft.fft2(image * turn)
            moved = otf(torch.from_numpy(f + sign * ky)[:, None], torch.from_numpy(f + sign * kx)[None]).numpy()
            denominator += order.summed * order.weight * moved**2
    frequency = torch.from_numpy(np.hypot(f[:, None], f[None]))
    shape = apodisation(frequency, calibration.result_cutoff_per_um, filters.apodisation).numpy()
    brightness = denominator[0, 0] / (denominator[0, 0] - filters.wiener**2)
    return np.fft.ifft2(numerator * shape / denominator).real * brightness


def test_the_fast_form_is_the_formula(clean: Stack) -> None:
    filters = Filters(wiener=0.1)
    # borders differ: here a band is moved before its carrier's step at the border of the field is filtered, there after
    fast, plain = operator(clean, edges="periodic")(torch.from_numpy(clean.frames), filters).numpy(), plainly(clean, filters)
    inner = (slice(32, -32),) * 2
    assert np.abs(fast - plain)[inner].max() < 5e-3 * np.abs(plain).max()
    assert psnr(fast, plain, 32) > 60


def test_without_noise_the_object_comes_back(clean: Stack) -> None:
    reconstructor = operator(clean)
    truth = wanted(clean, reconstructor.calibration.result_cutoff_per_um)
    image = reconstructor(torch.from_numpy(clean.frames), Filters(wiener=1e-3))
    assert psnr(image, truth) > 55
    wide = np.kron(clean.frames.mean(axis=0), np.ones((2, 2)))
    assert psnr(wide, truth) < 35


@pytest.mark.parametrize("pattern", ["hexagonal", "three-beam"])
def test_several_carriers_in_one_group(pattern: str) -> None:
    rel = 0.8 if pattern == "hexagonal" else 0.9
    stack = simulate(2, n=64, photons=1e7, read=0, pattern=pattern, phases=7 if pattern == "hexagonal" else 5, rel=rel)
    reconstructor = operator(stack)
    truth = wanted(stack, reconstructor.calibration.result_cutoff_per_um)
    assert psnr(reconstructor(torch.from_numpy(stack.frames), Filters(wiener=2e-3)), truth) > 45


@pytest.mark.parametrize("angles", [1, 2, 5])
def test_any_number_of_angles_and_phases(angles: int) -> None:
    stack = simulate(angles, n=64, photons=1e7, read=0, angles=angles, phases=3 + angles)
    reconstructor = operator(stack)
    image = reconstructor(torch.from_numpy(stack.frames), Filters(wiener=2e-3)).numpy()
    predicted = predict(torch.from_numpy(image), reconstructor.calibration, apodised="otf").numpy()
    inner = (slice(None), slice(12, -12), slice(12, -12))
    assert np.abs(predicted - stack.frames)[inner].max() < 0.02 * stack.frames.max()


@settings(max_examples=15, deadline=None)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), seed=st.integers(0, 100))
def test_it_is_linear_in_the_light(a: float, b: float, seed: int) -> None:
    stack = simulate(0, n=32, photons=200)
    reconstructor = operator(stack)
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.random(stack.frames.shape).astype(np.float32)) for _ in range(2))
    of_x, of_y, of_both = (reconstructor(light + stack.offset, Filters()) for light in (x, y, a * x + b * y))
    torch.testing.assert_close(of_both, a * of_x + b * of_y, atol=1e-3, rtol=1e-3)


@settings(max_examples=10, deadline=None)
@given(position=st.integers(0, 8))
def test_one_new_frame_renews_only_its_bands(position: int) -> None:
    stack = simulate(0, n=48, photons=200)
    reconstructor, frames = operator(stack), torch.from_numpy(stack.frames)
    bands = reconstructor.bands(frames)
    changed = frames.clone()
    changed[position] += 10 * torch.rand(48, 48)
    renewed = reconstructor.renewed(bands, changed, position)
    torch.testing.assert_close(renewed, reconstructor.bands(changed))
    others = [n for n in (1, 2, 3) if n != 1 + position // 3]
    assert torch.equal(renewed[others], bands[others]) and not torch.equal(renewed[0], bands[0])


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_continued_field_is_unchanged_inside_and_closes_smoothly(length: int, seed: int) -> None:
    field = torch.from_numpy(np.random.default_rng(seed).random((3, length)))
    size = padded_size(length)
    whole = continued(field, size, 1)
    assert whole.shape == (3, size) and size >= length + 24
    assert torch.equal(whole[:, :length], field)
    assert (whole >= field.min(dim=1, keepdim=True).values - 1e-6).all()
    assert (whole <= field.max(dim=1, keepdim=True).values + 1e-6).all()
    assert (whole[:, length] - field[:, -1]).abs().max() < 0.02 and (whole[:, -1] - field[:, 0]).abs().max() < 0.02


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 20), start=st.integers(-60, 60), share=st.floats(0, 1))
def test_a_part_of_a_periodic_axis(size: int, start: int, share: float) -> None:
    count = round(share * size)
    row = torch.arange(size)
    assert wrapped(row, start, count, 0).tolist() == [(start + n) % size for n in range(count)]


def test_filters_stay_within_their_bounds() -> None:
    f = torch.linspace(0, 12, 200)
    for shape in ("otf", "triangle", "cosine", "none"):
        values = apodisation(f, 9.0, shape)
        assert values[0] == 1 and (values.diff() <= 1e-6).all() and (values[f > 9.01] == 0).all()
    g = attenuation(f**2, 0.8, 2.0)
    assert g[0] == pytest.approx(0.2) and attenuation(torch.tensor(1.0), 0.8, 2.0) == pytest.approx(0.6)


def test_attenuation_takes_smooth_light_away_and_leaves_detail(clean: Stack) -> None:
    reconstructor, frames = operator(clean), torch.from_numpy(clean.frames)
    plain, without = (reconstructor(frames, Filters(0.1, strength, 2.0)) for strength in (0.0, 0.95))
    assert without.mean() < 0.95 * plain.mean()
    assert (without - without.mean()).std() == pytest.approx(float((plain - plain.mean()).std()), rel=0.2)


def test_the_wiener_parameter_does_not_change_the_brightness(clean: Stack) -> None:
    reconstructor, frames = operator(clean), torch.from_numpy(clean.frames)
    means = [float(reconstructor(frames, Filters(w)).mean()) for w in (0.01, 0.1, 1.0)]
    assert max(means) < 1.002 * min(means)
    assert means[0] == pytest.approx(float((frames - clean.offset).mean()), rel=0.05)


def test_the_forward_model_makes_the_frames(clean: Stack) -> None:
    calibration = calibration_of(clean)
    made = ForwardModel(calibration, calibration.shape_yx, edges="periodic")(torch.from_numpy(clean.objects).float())
    light, expected = made - clean.offset, torch.from_numpy(clean.frames) - clean.offset
    scale = (light * expected).sum() / light.square().sum()
    assert (scale * light - expected).abs().max() < 1e-3 * expected.max()


def test_what_a_reconstruction_leaves_unexplained_is_noise() -> None:
    stack = simulate(5, n=128, photons=500)
    reconstructor = operator(stack)
    frames = torch.from_numpy(stack.frames)
    left = frames - predict(reconstructor(frames, Filters(0.03)), reconstructor.calibration, apodised="otf")
    inner = left[:, 12:-12, 12:-12]
    noise = (frames - stack.offset).clamp(min=0)[:, 12:-12, 12:-12] + 4 + 1 / 12
    assert 0.6 < float((inner.square() / noise).mean()) < 1.1


def test_the_offset_is_found_where_intensities_differ() -> None:
    stack = simulate(7, n=128, kind="texture", photons=2000, intensity_jitter=0.05)
    high = calibration_of(stack).model_copy(update={"camera_offset": 800.0, "noise_power": 1000.0})
    found = with_offset(high, torch.from_numpy(stack.frames), CircularOtf(stack.fc))
    assert abs(found.camera_offset - stack.offset) < 100
    even = simulate(7, n=128, kind="texture", photons=2000)
    same = calibration_of(even).model_copy(update={"camera_offset": 800.0, "noise_power": 1000.0})
    assert with_offset(same, torch.from_numpy(even.frames), CircularOtf(even.fc)).camera_offset == pytest.approx(800, abs=5)


@pytest.mark.parametrize(("kind", "photons"), [("filaments", 3000.0), ("mix", 300.0), ("beads", 100.0), ("texture", 1000.0)])
def test_the_chosen_wiener_parameter_is_nearly_the_best(kind: str, photons: float) -> None:
    stack = simulate(11, n=128, kind=kind, photons=photons, read=2)
    reconstructor = operator(stack)
    frames = torch.from_numpy(stack.frames)
    bands = reconstructor.bands(frames)
    truth = wanted(stack, reconstructor.calibration.result_cutoff_per_um)
    noise = float(stack.frames.mean() - stack.offset) + 4 + 1 / 12
    chosen = choose_wiener(reconstructor, frames, noise, Filters())
    of = {w: psnr(reconstructor.combine(bands, Filters(w)), truth) for w in (*np.geomspace(0.004, 0.5, 15), chosen)}
    assert of[chosen] > max(of.values()) - 0.3
    assert chosen == choose_wiener(reconstructor, frames, noise, Filters(wiener=7.0)), "the present value does not matter"


@pytest.mark.parametrize(("folder", "documented"), zip(FOLDERS, (51.4, 45.4, 46.8), strict=True))
def test_true_parameters_give_the_documented_numbers(parity_dir: Path, folder: str, documented: float) -> None:
    stored = Stored(parity_dir / "sim" / "classical" / folder)
    transfer = CircularOtf(stored.calibration.cutoff_per_um)
    best = {}
    for weights in ("equal", "noise"):
        reconstructor = Reconstructor(stored.calibration, stored.calibration.shape_yx, transfer, weights=weights)
        bands = reconstructor.bands(stored.frames)
        values = (0.05, 0.1, 0.2, 0.4) if weights == "equal" else (0.01, 0.02, 0.05)
        best[weights] = max(psnr(reconstructor.combine(bands, Filters(w)), stored.reference) for w in values)
    assert best["equal"] == pytest.approx(documented, abs=0.1)
    assert best["noise"] > best["equal"] + 0.25
