"""Blind calibration against stacks with known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.calibration import Calibration, Carrier
from napari_recon.engines.sim.classical import quality
from napari_recon.engines.sim.classical.calibrate import calibrate, refine
from napari_recon.engines.sim.classical.carriers import Peak
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics
from napari_recon.engines.sim.simulator.examples import Ranges, make_example

from .sim_data import Stack, simulate

PUBLIC = ("p1_periodic_k0p90_highsnr", "p2_crop_k0p80_midsnr", "p3_crop_k0p45_coarse_jitter")


def optics(stack: Stack) -> Optics:
    return Optics(stack.na, stack.wavelength_um, (stack.pixel_um, stack.pixel_um))


def calibrated(stack: Stack, layout: Layout = Layout(3, 3)) -> Calibration:
    return calibrate(torch.from_numpy(stack.frames), optics(stack), layout)


def k_and_phase_error(carrier: Carrier, k: tuple[float, float], phases: np.ndarray) -> tuple[float, float]:
    """Return the distance in cycles/um and the largest phase error in rad; k with phases equals -k with -phases."""
    found = np.array(carrier.k_per_um)
    sign = 1 if np.linalg.norm(found - k) < np.linalg.norm(found + k) else -1
    off = np.angle(np.exp(1j * (sign * np.array(carrier.phases_rad) - phases)))
    return float(np.linalg.norm(found - sign * np.array(k))), float(np.abs(off).max())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_stacks(parity_dir: Path, name: str) -> None:
    folder = parity_dir / "sim" / "classical" / name
    frames = torch.from_numpy(tifffile.imread(folder / "raw.tif").astype(np.float32))
    truth = json.loads((folder / "params.json").read_text())
    found = calibrate(frames, Optics(truth["na"], truth["wl"], (truth["px"],) * 2), Layout(3, 3))
    for angle, group in enumerate(found.groups):
        (carrier,) = group.carriers
        off, phase = k_and_phase_error(carrier, tuple(truth["k"][angle]), np.array(truth["phase"][angle]))
        assert off < 0.0015
        assert phase < 0.02
        assert carrier.modulation == pytest.approx(truth["mod"][angle], rel=0.025)
    gains = np.array(found.gains) / np.ravel(truth["gain"])
    assert gains.std() < 0.006


@pytest.mark.parametrize(
    ("angles", "phases", "rel"), [(1, 3, 0.7), (2, 4, 0.5), (3, 3, 0.95), (3, 5, 0.45), (4, 3, 0.8), (5, 3, 0.6)]
)
def test_any_number_of_angles_and_phases(angles: int, phases: int, rel: float) -> None:
    stack = simulate(3, n=128, angles=angles, phases=phases, rel=rel, photons=1000)
    found = calibrated(stack, Layout(angles, phases))
    for a, group in enumerate(found.groups):
        off, phase = k_and_phase_error(group.carriers[0], stack.k_ac[a][0], stack.phases_acp[a, 0])
        assert off < 0.006  # a field of half the size: twice the public stacks' Fourier pixel
        assert phase < 0.08
        assert group.carriers[0].modulation == pytest.approx(0.8, abs=0.05)


def test_uneven_phases_and_intensities_are_found() -> None:
    stack = simulate(5, n=192, photons=1500, phase_jitter=0.15, intensity_jitter=0.05)
    found = calibrated(stack)
    for a, group in enumerate(found.groups):
        assert k_and_phase_error(group.carriers[0], stack.k_ac[a][0], stack.phases_acp[a, 0])[1] < 0.03
    assert (np.array(found.gains) / (stack.gain_ap / stack.gain_ap.mean()).ravel()).std() < 0.01


def test_wide_field_is_refused() -> None:
    stack = simulate(1, modulation=0.0)
    with pytest.raises(InputError, match="pattern not found"):
        calibrated(stack)


def test_swapped_order_is_named() -> None:
    stack = simulate(2)
    frames = stack.frames.reshape(3, 3, *stack.frames.shape[1:]).swapaxes(0, 1).reshape(stack.frames.shape)
    with pytest.raises(InputError, match="frame_order=pa"):
        calibrate(torch.from_numpy(frames.copy()), optics(stack), Layout(3, 3))


def test_an_angle_without_pattern_is_said_and_one_alone_refused() -> None:
    stack = simulate(4, modulation=[0.8, 0.8, 0.0])
    found = calibrated(stack)
    assert [len(g.carriers) for g in found.groups] == [1, 1, 0]
    assert "angle 3" in found.groups[2].verdict and "2 of 3" in found.verdict
    with pytest.raises(InputError, match="pattern not found"):
        calibrated(simulate(4, modulation=[0.8, 0.0, 0.0]))


def test_a_weak_angle_is_found_where_the_others_point() -> None:
    found = calibrated(simulate(4, modulation=[0.8, 0.8, 0.12], photons=300))
    assert found.groups[2].carriers[0].modulation == pytest.approx(0.12, abs=0.03)


def test_a_peak_beside_the_carrier_gives_way_to_the_carrier(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = simulate(5, photons=2000)
    found = quality.accepted

    def misled(*args: Any) -> list[list[Peak]]:
        (first,), *others = found(*args)
        (kx, ky), pixel = first.k_per_um, 1 / (128 * stack.pixel_um)
        return [[first._replace(k_per_um=(kx + 6 * pixel, ky - 5 * pixel))], *others]

    monkeypatch.setattr(quality, "accepted", misled)
    result = calibrated(stack)
    error, _ = k_and_phase_error(result.groups[0].carriers[0], stack.k_ac[0][0], stack.phases_acp[0, 0])
    assert error < 0.005 and result.groups[0].misfit < 2


@pytest.mark.parametrize(("index", "size", "photons", "rel"), [(1000, 192, 100, 0.9), (2048, 128, 223, 0.95)])
def test_a_peak_of_the_object_above_the_carriers_gives_way(index: int, size: int, photons: float, rel: float) -> None:
    ranges = Ranges(
        photons=(photons, photons),
        period=(rel, rel),
        modulation=(0.5, 1.0),
        sampling=(0.55, 0.95),
        background=(0.0, 0.0),
        defocus_waves=(0.0, 0.0),
    )
    made = make_example(71000, index, (size, size), ranges)
    truth, frames = made.calibration, torch.from_numpy(np.round(made.raw + 100).astype(np.float32))
    found = calibrate(frames, Optics(truth.na, truth.wavelength_um, truth.pixel_um), Layout(3, 3))
    for group, true in zip(found.groups, truth.groups, strict=True):
        (carrier,), (wanted,) = group.carriers, true.carriers
        off, phase = k_and_phase_error(carrier, wanted.k_per_um, np.array(wanted.phases_rad))
        assert off < 0.01 and phase < 0.15  # a tenth of a Fourier pixel of the smaller field


def test_an_even_field_is_calibrated_by_the_pattern_itself() -> None:
    stack = simulate(3, n=192, kind="uniform", rel=0.5, photons=300)
    for a, group in enumerate(calibrated(stack).groups):
        off, phase = k_and_phase_error(group.carriers[0], stack.k_ac[a][0], stack.phases_acp[a, 0])
        assert off < 0.004 and phase < 0.1


def test_hexagonal_pattern() -> None:
    stack = simulate(6, pattern="hexagonal", phases=7, photons=1500, n=160)
    (group,) = calibrated(stack, Layout(1, 7, "hexagonal")).groups
    assert len(group.carriers) == 3
    for carrier in group.carriers:
        errors = [k_and_phase_error(carrier, k, stack.phases_acp[0, c]) for c, k in enumerate(stack.k_ac[0])]
        off, phase = min(errors)
        assert off < 0.003 and phase < 0.05
        assert carrier.modulation == pytest.approx(0.8 * 2 / 3, abs=0.03)


def test_refinement_follows_another_time_point() -> None:
    first, second = simulate(7, kind="filaments"), simulate(7, kind="filaments", phase_jitter=0.3)
    known = calibrated(first)
    again = refine(known, torch.from_numpy(second.frames))
    for a, group in enumerate(again.groups):
        assert k_and_phase_error(group.carriers[0], second.k_ac[a][0], second.phases_acp[a, 0])[1] < 0.08


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda c: c["groups"].pop(), "frames"),
        (lambda c: c["groups"][0]["carriers"][0]["phases_rad"].pop(), "phases"),
        (lambda c: c["gains"].pop(), "gains"),
        (lambda c: c.update(na=-1), "na"),
        (lambda c: c["groups"][0]["carriers"][0].update(k_per_um=[float("nan"), 1]), "k_per_um"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(change: Any, where: str, tmp_path: Path) -> None:
    content = calibrated(simulate(5, n=96)).model_dump(mode="json")
    change(content)
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"problem at: .*{where}"):
        Calibration.load(file)


def test_constant_saturated_and_broken_frames_are_named() -> None:
    stack = simulate(2, n=64)
    for change, words in ((7.0, "frame 5 .angle 2, phase 2. constant"), (float("nan"), "NaN")):
        frames = torch.from_numpy(stack.frames.copy())
        frames[4] = change
        with pytest.raises(InputError, match=words):
            calibrate(frames, optics(stack), Layout(3, 3))
    frames = torch.from_numpy(stack.frames).clamp(max=float(np.quantile(stack.frames, 0.6)))
    with pytest.raises(InputError, match="saturated"):
        calibrate(frames, optics(stack), Layout(3, 3))


def test_a_period_unlike_the_others_is_not_clear() -> None:
    groups = calibrated(simulate(3, n=128, photons=2000)).groups
    carrier = groups[1].carriers[0]
    longer = carrier.model_copy(update={"k_per_um": (1.2 * carrier.k_per_um[0], 1.2 * carrier.k_per_um[1])})
    told = quality.compared((groups[0], groups[1].model_copy(update={"carriers": (longer,)}), groups[2]))
    assert [g.carriers[0].verdict.startswith("clear") for g in told] == [True, False, True]
    assert "period" in told[1].carriers[0].verdict
    assert quality.odd([1.0, 1.2], 0.1) == [True, True] and quality.odd([], 0.1) == []


def test_another_place_that_fits_nearly_as_well_is_not_clear() -> None:
    carrier = Carrier(k_per_um=(2.0, 0.0), modulation=0.8, phases_rad=(0.0, 2.1, 4.2), peak_to_noise=20)
    assert quality.words(carrier) == "clear"
    assert "uncertain" in quality.words(carrier, doubtful=True)
    faint = simulate(2, n=128, kind="cells", rel=0.93, photons=80, pad=0)
    assert any(g.carriers[0].verdict.startswith("uncertain") for g in calibrated(faint).groups)
