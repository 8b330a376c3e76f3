"""sim.wiener as an engine: blind numbers, series, calibration in and out, live sessions, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.classical import recombine
from napari_recon.engines.sim.wiener import SimWiener
from tests.contract.examples import collect
from tests.engines.sim.sim_data import Stack, circle_otf, simulate
from tests.engines.sim.truth import Stored, psnr, wanted

OPTICS = {"na": 1.2, "wavelength_um": 0.525}
UNITS = {"units": {"Y": "micrometer", "X": "micrometer"}, "scale": {"Y": 0.065, "X": 0.065}}
FOLDERS = ("p1_periodic_k0p90_highsnr", "p2_crop_k0p80_midsnr", "p3_crop_k0p45_coarse_jitter")


def stacked(frames: np.ndarray, axes: str = "NYX") -> ImageStack:
    return ImageStack.of(frames, axes, "raw", **UNITS)


def planned(raw: ImageStack, selection: Selection = Selection(), others: dict[str, ImageStack] | None = None, **params: Any):
    stacks = {"raw": raw, **(others or {})}
    refs = [InputRef(name=n, uri=f"memory:{n}", grid=s.grid, dtype=str(s.dtype)) for n, s in stacks.items()]
    return SimWiener().plan(refs, {**OPTICS, **params}, selection, None, Compute(device="cpu", threads=1))


def ran(
    raw: ImageStack, plan: Plan | None = None, others: dict[str, ImageStack] | None = None, **params: Any
) -> list[Event]:
    plan = plan or planned(raw, others=others, **params)
    return list(SimWiener().run(plan, {n: [s] for n, s in {"raw": raw, **(others or {})}.items()}))


def payload(events: Iterable[Event], name: str) -> Any:
    return [e.payload for e in events if isinstance(e, ArtifactReady) and e.name == name][-1]


def image(events: list[Event], name: str = "sr") -> np.ndarray:
    return collect(events, name)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return simulate(1, n=96, kind="mix", photons=1000)


@pytest.fixture(scope="module")
def events(stack: Stack) -> list[Event]:
    return ran(stacked(stack.frames))


def test_the_image_is_better_than_the_wide_field_and_lies_on_it(stack: Stack, events: list[Event]) -> None:
    report = payload(events, "quality")
    truth = wanted(stack, report["result_cutoff_per_um"])
    result = image(events)
    assert psnr(result, truth) > psnr(np.kron(stack.frames.mean(axis=0), np.ones((2, 2))), truth) + 8
    # index 2 j lies on raw pixel j: an image moved by one fine pixel fits worse, in every direction
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        assert psnr(np.roll(result, shift, (0, 1)), truth) < psnr(result, truth) - 3
    assert result.mean() == pytest.approx(stack.frames.mean() - report["camera_offset"], rel=0.05)


def test_the_report_says_what_was_found(stack: Stack, events: list[Event]) -> None:
    report = payload(events, "quality")
    json.dumps(report)
    for row, k, m in zip(report["angles"], stack.k_ac, stack.modulation, strict=True):
        found = np.array(row["k_per_um"])
        assert min(np.linalg.norm(found - k[0]), np.linalg.norm(found + k[0])) < 0.01
        assert row["k_magnitude_per_um"] == pytest.approx(np.hypot(*k[0]), abs=0.01)
        assert row["modulation"] == pytest.approx(m[0], abs=0.06)
        assert row["peak_to_noise"] > 4 and row["verdict"]
        assert sum(row["phase_steps_deg"]) % 360 == pytest.approx(0, abs=0.5)
    decided = {k: v for e in events if isinstance(e, Decided) for k, v in e.params.items()}
    assert decided == {"wiener": report["wiener"], "camera_offset": pytest.approx(report["camera_offset"], abs=1e-3)}


def test_what_was_decided_and_the_calibration_file_repeat_the_run(stack: Stack, events: list[Event], tmp_path: Path) -> None:
    again = ran(stacked(stack.frames), **next(dict(e.params) for e in events if isinstance(e, Decided)))
    np.testing.assert_allclose(image(again), image(events), rtol=1e-4, atol=1e-2)
    file = tmp_path / "pattern.json"
    file.write_text(json.dumps(payload(events, "calibration")))
    by_file = ran(stacked(stack.frames), calibration=str(file), na="auto", wavelength_um="auto")
    np.testing.assert_allclose(image(by_file), image(events), rtol=1e-3, atol=0.1)
    with pytest.raises(InputError, match=r"raw frames of 96 x 96 pixels .* found 64 x 96 .*calibration=auto"):
        planned(stacked(stack.frames[:, :64]), calibration=str(file))
    with pytest.raises(InputError, match="set angles=3, phases=3"):
        planned(stacked(np.concatenate([stack.frames] * 4)), calibration=str(file), angles=2)


@pytest.mark.parametrize(("folder", "reachable", "true"), zip(FOLDERS, (50.0, 45.2, 46.5), (51.4, 45.4, 46.8), strict=True))
def test_blind_numbers_on_the_public_stacks(parity_dir: Path, folder: str, reachable: float, true: float) -> None:
    stored = Stored(parity_dir / "sim" / "classical" / folder)
    found = ran(stacked(stored.frames.numpy()))
    quality = psnr(image(found), stored.reference)
    assert quality > reachable - 0.3 and quality > true - 1.0
    for row, carrier in zip(payload(found, "quality")["angles"], stored.calibration.groups, strict=True):
        k, true_k = np.array(row["k_per_um"]), np.array(carrier.carriers[0].k_per_um)
        assert min(np.linalg.norm(k - true_k), np.linalg.norm(k + true_k)) < 0.002


def test_borders_cast_no_lines_into_the_field() -> None:
    stack = simulate(4, n=96, kind="texture", photons=1e5, read=0)
    found = ran(stacked(stack.frames))
    truth = wanted(stack, payload(found, "quality")["result_cutoff_per_um"])
    centre, rim = psnr(image(found), truth, 60), psnr(image(found), truth, 12)
    assert rim > centre - 6


def test_orders_of_pages_axes_and_channels(stack: Stack, events: list[Event]) -> None:
    expected, frames = image(events), stack.frames
    nine = frames.reshape(3, 3, *frames.shape[1:])
    by_phase = ran(stacked(nine.swapaxes(0, 1).reshape(frames.shape)), frame_order="pa")
    np.testing.assert_array_equal(image(by_phase), expected)
    np.testing.assert_array_equal(image(ran(ImageStack.of(nine, "APYX", "raw", **UNITS))), expected)
    two = np.stack([frames, simulate(2, n=96, photons=300).frames])
    channels = ran(stacked(two, "CNYX"))
    np.testing.assert_array_equal(image(channels)[0], expected)
    reports = [e.payload for e in channels if isinstance(e, ArtifactReady) and e.name == "quality"]
    assert [r["channel"] for r in reports] == [0, 1] and reports[0]["wiener"] != reports[1]["wiener"]
    assert not any(isinstance(e, Decided) for e in channels), "one value can't stand for two channels"
    planes = ran(stacked(np.stack([frames, frames]), "ZNYX"))
    assert image(planes).shape == (2, 192, 192)


def test_a_moving_pattern_is_followed(stack: Stack) -> None:
    # the pattern steps on by 120 degrees from image to image: nothing of it is left in their average
    nine = stack.frames.reshape(3, 3, 96, 96)
    moving = np.stack([np.roll(nine, t, axis=1).reshape(9, 96, 96) for t in range(3)])
    for mode in ("auto", "each"):
        found = ran(stacked(moving, "TNYX"), calibrate_on=mode)
        assert sum(isinstance(e, ArtifactReady) and e.name == "quality" for e in found) == 3
        for t in (1, 2):
            assert psnr(image(found)[t], image(found)[0].astype(float)) > 45
    fixed = ran(stacked(np.stack([stack.frames] * 3), "TNYX"))
    assert sum(isinstance(e, ArtifactReady) and e.name == "quality" for e in fixed) == 1, (
        "a pattern that stays is one operator"
    )


def test_a_dark_plane_does_not_spoil_a_series(stack: Stack) -> None:
    dark = np.random.default_rng(0).poisson(3, stack.frames.shape) + 100
    series = stacked(np.stack([dark, stack.frames, dark]).astype(np.float32), "ZNYX")
    plan = planned(series, Selection(box=Box(z=(1, 2))))
    result = image(ran(series, plan))
    truth = wanted(stack, 8.3)
    assert psnr(result[0], truth) > 33


def test_maps_on_request(stack: Stack) -> None:
    raw = stacked(stack.frames)
    plan = planned(raw, Selection(box=Box(y=(20, 101), x=(0, 64))), mcnr=True, widefield=True)
    found = ran(raw, plan)
    assert [spec.name for spec in plan.outputs] == ["sr", "mcnr", "widefield"]
    wide = image(found, "widefield")
    assert wide.shape == plan.output("widefield").grid.shape
    offset = payload(found, "quality")["camera_offset"]
    start = round(plan.output("widefield").grid.origin("Y") / 0.065)
    mean = stack.frames.mean(axis=0)[start : start + wide.shape[0], : wide.shape[1]] - offset
    np.testing.assert_allclose(wide, mean, rtol=0.02, atol=2)
    flat = simulate(1, n=96, kind="mix", photons=1000, modulation=0.3)
    weak = image(ran(stacked(flat.frames), planned(stacked(flat.frames), mcnr=True)), "mcnr")
    assert image(ran(raw, planned(raw, mcnr=True)), "mcnr").mean() > 1.5 * weak.mean()


def test_a_measured_transfer_function_takes_the_place_of_the_ideal_one(stack: Stack, events: list[Event]) -> None:
    n = 64
    f = np.fft.fftshift(np.fft.fftfreq(n, 0.065))
    otf = circle_otf(np.hypot(f[:, None], f[None]) / stack.fc).astype(np.float32)
    psf = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(otf)).real).astype(np.float32)
    for name, array in (("otf", otf), ("psf", psf)):
        others = {name: ImageStack.of(array, "YX", name)}
        assert psnr(image(ran(stacked(stack.frames), others=others)), image(events).astype(float)) > 38
    with pytest.raises(InputError, match="leave one out"):
        both = {"otf": ImageStack.of(otf, "YX", "otf"), "psf": ImageStack.of(psf, "YX", "psf")}
        planned(stacked(stack.frames), others=both)


def opened(stack: Stack, **params: Any) -> Any:
    plan = planned(stacked(stack.frames), **params)
    return SimWiener().open(plan, {})


def last(events: Iterable[Event]) -> np.ndarray:
    return [e.array for e in events if isinstance(e, BlockReady)][-1]


def test_sliders_recombine_the_bands_that_are_there(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(stack)
    first = last(session.feed(stack.frames))
    np.testing.assert_array_equal(first, image(ran(stacked(stack.frames))))
    monkeypatch.setattr(recombine.Reconstructor, "bands", lambda *_: pytest.fail("a slider separates bands again"))
    smooth = last(session.update({"wiener": 0.5}))
    np.testing.assert_array_equal(smooth, last(session.update({"wiener": 0.5})))
    assert smooth.std() < first.std()
    flat = last(session.update({"attenuation_strength": 0.9, "attenuation_fwhm": 2.0, "apodisation": "triangle"}))
    assert not np.array_equal(flat, smooth)
    monkeypatch.undo()
    direct = ran(stacked(stack.frames), wiener=0.5, attenuation_strength=0.9, attenuation_fwhm=2.0, apodisation="triangle")
    np.testing.assert_allclose(flat, image(direct), rtol=1e-4, atol=1e-2)
    with pytest.raises(InputError, match="camera_offset can't change"):
        list(session.update({"camera_offset": 5}))
    session.close()


@pytest.mark.parametrize("order", ["ap", "pa"])
def test_single_frames_roll_through_the_set(stack: Stack, order: str) -> None:
    session = opened(stack, frame_order=order)
    nine = stack.frames.reshape(3, 3, 96, 96)
    arriving = (nine if order == "ap" else nine.swapaxes(0, 1)).reshape(9, 96, 96)
    for number, frame in enumerate(arriving[:8]):
        found = list(session.feed(frame))
        assert [e.done for e in found if isinstance(e, Progress)] == [number + 1]
    np.testing.assert_array_equal(last(session.feed(arriving[8])), image(ran(stacked(stack.frames))))
    brighter = arriving[0] + 50 * np.random.default_rng(0).random((96, 96)).astype(np.float32)
    rolled = last(session.feed(brighter))
    changed = stack.frames.copy()
    changed[0] = brighter
    other = opened(stack)
    list(other.feed(stack.frames))
    np.testing.assert_allclose(rolled, last(other.feed(changed)), rtol=1e-4, atol=1e-2)
    again = last(session.update({"wiener": 0.3}))
    assert again.std() < rolled.std(), "the latest frames are what sliders show"
    with pytest.raises(InputError, match=r"\(96, 96\), found \(4, 5\)"):
        list(session.feed(np.ones((4, 5))))


def test_a_wide_field_stack_has_no_pattern() -> None:
    wide = simulate(3, n=96, modulation=0.0, photons=500)
    with pytest.raises(InputError, match="pattern not found"):
        ran(stacked(wide.frames))


def test_an_angle_without_a_pattern_is_said(stack: Stack) -> None:
    frames = stack.frames.copy()
    light = np.maximum(frames[3:6].mean(axis=0) - 100, 0)
    frames[3:6] = np.random.default_rng(0).poisson(light, frames[3:6].shape) + 100
    found = ran(stacked(frames))
    assert any("angle 2: no pattern" in e.message for e in found if isinstance(e, Warned))
    rows = payload(found, "quality")["angles"]
    assert [row["angle"] for row in rows] == [1, 2, 3] and "no pattern" in rows[1]["verdict"]
    assert np.isfinite(image(found)).all()


def test_clipped_pixels_are_remarked_upon(stack: Stack) -> None:
    clipped = np.minimum(stack.frames, np.percentile(stack.frames, 98.5))
    said = [e.message for e in ran(stacked(clipped)) if isinstance(e, Warned)]
    assert any("clipped" in sentence for sentence in said)


def test_a_time_range_does_not_change_the_calibration(stack: Stack) -> None:
    series = np.stack([stack.frames, simulate(1, n=96, kind="mix", photons=300).frames])
    whole = image(ran(stacked(series, "TNYX")))
    raw = stacked(series, "TNYX")
    part = image(ran(raw, planned(raw, Selection(time=TimeRange(start=1, stop=2)))))
    np.testing.assert_array_equal(part[0], whole[1])
