from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import napari_recon
from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.networks.wiener_front import CHANNELS, wiener_input
from napari_recon.engines.sim.simulator.examples import Ranges, make_example
from napari_recon.engines.sim.train import Train
from napari_recon.engines.sim.training.examples import Pool, held_out, ranges_of, shown, simulated
from napari_recon.engines.sim.training.losses import loss_of, psnr_gain
from napari_recon.engines.sim.training.params import SimTrainParams
from napari_recon.engines.sim.training.task import SimTask
from napari_recon.hub import check
from napari_recon.jobs.planning import input_ref

SMALL: dict[str, Any] = {
    **{"steps": 3, "batch_size": 2, "groups": 1, "blocks": 1, "features": 8, "crop": 24, "field": 64, "pool": 2},
    **{"held_out": 1, "validate_every": 3, "checkpoint_every": 3, "photons_from": 2000, "modulation_from": 0.7},
}
BRIGHT = Ranges(photons=(2000, 2000), modulation=(0.8, 0.9), background=(0, 0), sampling=(0.8, 0.8))


def params(**values: object) -> SimTrainParams:
    return SimTrainParams(**{**SMALL, **values})


def recording(index: int, size: int = 64) -> tuple[ImageStack, ImageStack]:
    """Return raw frames (100 counts offset) and truth as a user would have them."""
    made = make_example(5, index, (size, size), BRIGHT)
    pixel = made.calibration.pixel_um[0]
    units = dict.fromkeys("YX", "micrometer")
    raw = ImageStack.of(np.round(made.raw + 100), "NYX", f"raw{index}", scale=dict.fromkeys("YX", pixel), units=units)
    truth = ImageStack.of(3 * made.truth + 7, "YX", f"truth{index}", scale=dict.fromkeys("YX", pixel / 2), units=units)
    return raw, truth


def plan(raw: list[ImageStack], truth: list[ImageStack], **values: object) -> Plan:
    refs = [input_ref("raw", stack) for stack in raw] + [input_ref("truth", stack) for stack in truth]
    return Train().plan(refs, {**SMALL, **values}, compute=Compute(device="cpu", threads=1))


# --- the command line and Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", ["wiener", "frames"])
def test_a_model_is_trained_recognised_and_run(tmp_path: Path, front: str) -> None:
    events: list[Any] = []
    file = tmp_path / "model.safetensors"
    result = napari_recon.train("sim.train", out=file, params={**SMALL, "front": front}, on_event=events.append)
    assert result.paths["model"] == str(file) and len(result.checkpoints) == 1
    assert {"loss", "validation"} <= {row.name for row in events if hasattr(row, "value")}
    preview = next(e for e in events if isinstance(e, PreviewReady))
    assert preview.array.shape == (128, 384) and preview.array.dtype == np.float32
    report = check(file)
    assert report.fits and report.engine == "sim.network" and report.options["front"] == front
    raw, _ = recording(0, 48)
    optics = {"na": 1.2, "wavelength_um": 0.525}
    image = napari_recon.run("sim.network", raw, model=file, params=optics)["sr"]
    assert image.shape == (96, 96) and np.isfinite(image).all()


def test_an_untrained_network_leaves_the_wiener_image_as_it_is() -> None:
    raw, _ = recording(1, 64)
    optics = {"na": 1.2, "wavelength_um": 0.525}
    model = napari_recon.run("sim.train", params={**SMALL, "steps": 1, "learning_rate": 1e-12}).artifacts["model"]
    network = napari_recon.run("sim.network", raw, model=model, params=optics)["sr"]
    wiener = napari_recon.run("sim.wiener", raw, params=optics)["sr"]
    np.testing.assert_allclose(network, wiener, atol=1e-3 * float(np.asarray(wiener.data).max()))


def test_pairs_of_the_user_are_learned_from_and_one_is_held_out() -> None:
    pairs = [recording(n) for n in range(3)]
    raw, truth = [list(each) for each in zip(*pairs, strict=True)]
    result = napari_recon.run(
        "sim.train", inputs={"raw": raw, "truth": truth}, params={**SMALL, "na": 1.2, "wavelength_um": 0.525}
    )
    assert result.artifacts["model"]["card"]["options"]["front"] == "wiener"
    assert not result.warnings
    one = napari_recon.run("sim.train", inputs={"raw": raw[0], "truth": truth[0]}, params={**SMALL, "front": "frames"})
    assert any("one recording only" in sentence for sentence in one.warnings)


def test_images_can_be_what_simulated_recordings_show() -> None:
    stripes = ImageStack.of((np.indices((200, 150)).sum(0) % 12 < 3).astype(np.float32), "YX", "stripes")
    events: list[Any] = []
    napari_recon.run(
        "sim.train", inputs={"objects": stripes}, params={**SMALL, "calibration": "true"}, on_event=events.append
    )
    truth = next(e for e in events if isinstance(e, PreviewReady)).array[:, 256:]
    spectrum = np.abs(np.fft.rfft2(truth - truth.mean()))
    strongest = np.array(np.unravel_index(spectrum.argmax(), spectrum.shape))
    assert np.hypot(*np.minimum(strongest, [128, 128] - strongest)) == pytest.approx(128 * np.sqrt(2) / 12, abs=1.5)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"crop": 80}, "crop should be at most field"),
        ({"photons_from": 500, "photons_to": 100}, "exchange them"),
        ({"pixel_um": 0.2}, "sample the OTF"),
        ({"wavelength_um": 525}, "check the unit"),
        ({"pattern": "hexagonal"}, "only pattern=stripes"),
        ({"devices": 3, "batch_size": 4}, "multiple of devices"),
    ],
)
def test_parameters_that_do_not_fit_together_are_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        plan([], [], **values)


def test_pairs_that_do_not_fit_are_one_sentence() -> None:
    (raw, truth), (larger, _) = recording(0), recording(1, 80)
    optics = {"na": 1.2, "wavelength_um": 0.525}
    with pytest.raises(InputError, match="every recording needs its truth"):
        plan([raw], [])
    with pytest.raises(InputError, match="should have 160 x 160"):
        plan([larger], [truth], **optics)
    with pytest.raises(InputError, match="na is needed"):
        plan([raw], [truth])
    with pytest.raises(InputError, match="multiple of 3 angles x 5 phases"):
        plan([raw], [truth], phases=5, **optics)
    with pytest.raises(InputError, match="set a smaller crop"):
        plan([raw], [truth], crop=72, field=96, **optics)
    assert plan([raw], [truth], **optics).outputs[0].grid.shape == (128, 384)


# --- examples --------------------------------------------------------------------------------------------------------


def test_batches_depend_on_the_step_alone_and_ranks_share_them() -> None:
    task, other = SimTask(params(calibration="true"), 1), SimTask(params(calibration="true"), 1)
    for step in (5, 0, 1):
        other.batch(step, 0, 1)
    whole, again = task.batch(4, 0, 1), other.batch(4, 0, 1)
    assert torch.equal(whole["input"], again["input"]) and torch.equal(whole["target"], again["target"])
    assert whole["input"].shape == (2, CHANNELS, 24, 24) and whole["target"].shape == (2, 1, 48, 48)
    assert torch.equal(task.batch(4, 1, 2)["input"][0], whole["input"][1])
    assert not torch.equal(task.batch(5, 0, 1)["input"], whole["input"])


def test_the_target_added_to_the_base_is_the_truth_whatever_its_brightness() -> None:
    made = make_example(3, 1, (64, 64), BRIGHT)
    frames, truth = torch.from_numpy(made.raw), torch.from_numpy(made.truth)
    one, other = (shown(frames, t, made.calibration) for t in (truth, 5 * truth - 300))
    torch.testing.assert_close(one.target, other.target, atol=1e-4, rtol=1e-3)
    image = one.base + one.target
    correlation = np.corrcoef(image.flatten().numpy(), made.truth.ravel())[0, 1]
    assert correlation == pytest.approx(1, abs=1e-5)
    assert float(one.target.std()) < 0.2 * float(image.std())


def test_the_front_does_not_depend_on_brightness_or_offset_of_the_camera() -> None:
    made = make_example(3, 2, (64, 64), BRIGHT)
    frames = torch.from_numpy(made.raw)
    plain = wiener_input(frames, made.calibration)
    other = wiener_input(2.5 * frames + 100, made.calibration.model_copy(update={"camera_offset": 100.0}))
    torch.testing.assert_close(plain.channels, other.channels, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(2.5 * plain.base, other.base, atol=0.1, rtol=1e-3)
    assert other.scale == pytest.approx(2.5 * plain.scale, rel=1e-4)
    torch.testing.assert_close(plain.image(torch.zeros_like(plain.base)), plain.base)


def test_simulated_recordings_are_calibrated_blindly_and_held_out_ones_are_others() -> None:
    values = params(photons_from=500, photons_to=5000)
    first = simulated(values, 0, 0, ranges_of(values))
    assert first.channels.shape == (CHANNELS, 64, 64)
    held = held_out(values, 0)[0]
    assert not torch.equal(first.channels, held.channels)
    assert torch.equal(held.channels, held_out(values, 0)[0].channels)


def test_a_curriculum_begins_with_bright_recordings() -> None:
    values = params(photons_from=100, photons_to=10_000, curriculum=0.5)
    dimmest = [ranges_of(values, progress).photons[0] for progress in (0, 0.25, 0.5, 1)]
    assert dimmest == pytest.approx([10_000, 1000, 100, 100])


def test_ranges_follow_the_users_microscope() -> None:
    largest = 0.6 / (4 * 1.0)
    ranges = ranges_of(params(na=1.0, wavelength_um=0.6, pixel_um=0.1, period_from=0.6, period_to=0.7))
    assert ranges.sampling == pytest.approx((0.9 * 0.1 / largest, 1.1 * 0.1 / largest))
    assert (ranges.na, ranges.wavelength_um, ranges.period) == (1.0, 0.6, (0.6, 0.7))


def test_the_pool_draws_from_pairs_when_there_are_any() -> None:
    made = make_example(3, 1, (64, 64), BRIGHT)
    pair = shown(torch.from_numpy(made.raw), torch.from_numpy(made.truth), None)
    inputs, targets = Pool(params(front="frames"), 0, [pair]).patches(0, [0, 1])
    assert inputs.shape == (2, 9, 24, 24)
    places = [(y, x) for y in range(41) for x in range(41) if torch.equal(pair.patch(y, x, 24)[0], inputs[0])]
    assert len(places) == 1
    assert torch.equal(pair.patch(*places[0], 24)[1], targets[0, 0])


# --- losses ----------------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_psnr_loss_weighs_relative_improvements_alike(first: float, second: float) -> None:
    target = torch.zeros(2, 1, 8, 8)
    answer = torch.ones_like(target) * torch.tensor([first, second])[:, None, None, None]
    loss = float(loss_of(answer, target, "psnr"))
    halved = float(loss_of(answer * torch.tensor([0.5, 1.0])[:, None, None, None], target, "psnr"))
    assert loss - halved == pytest.approx(0.5 * np.log(2), rel=0.02)


@pytest.mark.parametrize("kind", ["psnr", "mse", "l1"])
def test_losses_are_least_for_the_target(kind: str) -> None:
    target = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    answer = target.clone().requires_grad_()
    noisy = target + 0.1
    for weight in (0.0, 0.5):
        assert float(loss_of(answer.detach(), target, kind, weight)) < float(loss_of(noisy, target, kind, weight))
    assert float(loss_of(noisy, target, kind, 0.5)) > float(loss_of(noisy, target, kind, 0.0))


def test_psnr_ignores_brightness_and_tells_the_gain() -> None:
    rng = torch.Generator().manual_seed(1)
    truth = torch.rand(64, 64, generator=rng)
    noise = torch.randn(64, 64, generator=rng)
    psnr, gain = psnr_gain(3 * (truth + 0.01 * noise) + 5, truth + 0.1 * noise, truth)
    assert psnr == pytest.approx(40, abs=0.7)
    assert gain == pytest.approx(20, abs=1.0)


def test_layouts_are_taken_into_the_network_and_its_card() -> None:
    task = SimTask(params(front="frames", angles=5, phases=3), 0)
    assert task.options["nch_in"] == Layout(5, 3).frames == task.card()["contract"]["frames"]
    assert "angles" not in SimTask(params(), 0).card()["contract"]
