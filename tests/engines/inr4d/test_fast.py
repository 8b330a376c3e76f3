"""The fast fit: noise, motion between frames, planes between planes, and the field that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_recon
from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Decided, Event, Progress
from napari_recon.core.stack import ImageStack
from napari_recon.engines.inr4d.fast.denoise import denoised, noise_of
from napari_recon.engines.inr4d.fast.motion import MotionSettings, estimated
from napari_recon.engines.inr4d.fast.planes import PlaneFit, cubic_planes
from napari_recon.engines.inr4d.fast.spacing import plane_distance
from napari_recon.engines.inr4d.fast.together import joined
from napari_recon.fields.motion import MotionField

from .recordings import recording


def balls(times: list[float], shape: tuple[int, int, int] = (9, 24, 24), seed: int = 0) -> torch.Tensor:
    """Soft balls that drift along parabolas, values from 0 to about 1."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    found = np.zeros((len(times), *shape))
    starts = random.uniform(3, np.array(shape) - 3, (9, 3))
    for number, time in enumerate(times):
        place = np.array([0.2, 0.9, -0.7]) * time + np.array([0.0, 0.12, 0.1]) * time**2
        for start in starts:
            found[number] += 0.7 * np.exp(-(((grid - (start + place)[:, None, None, None]) ** 2).sum(0)) / 5)
    return torch.from_numpy(found.clip(0, 1).astype(np.float32))


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean())


@settings(max_examples=8, deadline=None)
@given(gain=st.sampled_from([0.0, 1e-3, 4e-3]), floor=st.sampled_from([1e-4, 4e-4]), seed=st.integers(0, 9))
def test_noise_is_read_off_the_data_and_removed(gain: float, floor: float, seed: int) -> None:
    clean = balls([0.0, 1.0], seed=seed)
    random = torch.Generator().manual_seed(seed)
    noisy = clean + (gain * clean + floor).sqrt() * torch.randn(clean.shape, generator=random)
    noise = noise_of(noisy)
    for value in (0.05, 0.5):
        assert noise.at(value) == pytest.approx((gain * value + floor) ** 0.5, rel=0.35)
    assert error(denoised(noisy, noise), clean) < 0.4 * error(noisy, clean)


def test_what_is_clean_stays() -> None:
    clean = balls([0.0])
    assert error(denoised(clean, noise_of(clean)), clean) < 1e-6


def test_motion_finds_frames_between() -> None:
    times = [-3.0, -1.0, 1.0, 3.0]
    frames, truth = balls(times), balls([-2.0, 0.0, 2.0])
    motion = estimated(frames, 1.0)
    lattice = [torch.arange(n) for n in frames.shape[1:]]
    moved, still = (
        MotionField(frames, each, frames.shape, order).evaluate_lattice(torch.tensor([0.5, 1.5, 2.5]), *lattice)
        for each, order in ((motion, 3), (None, 1))
    )
    assert error(moved, truth) < 0.2 * error(still, truth)
    quarter = MotionField(frames, motion, frames.shape).evaluate_lattice(torch.tensor([1.25]), *lattice)
    assert error(quarter, balls([-0.5])) < 0.25 * error(still[1:2], truth[1:2])


@pytest.mark.parametrize(("order", "moving"), [(1, False), (3, False), (3, True)])
def test_the_field_goes_through_its_frames_and_points_agree_with_lattices(order: int, moving: bool) -> None:
    frames = balls([0.0, 1.0, 2.0], (9, 10, 12))
    motion = 0.05 * torch.randn(2, 2, 3, 3, 5, 6, generator=torch.Generator().manual_seed(0)) if moving else None
    field = MotionField(frames, motion, (3, 5, 10, 12), order)
    places = [torch.tensor([0.0, 1.0, 2.0]), *(torch.arange(n).double() for n in (5, 10, 12))]
    assert torch.allclose(field.evaluate_lattice(*places), frames[:, ::2], atol=1e-5)
    places = [
        torch.tensor([0.0, 0.4, 1.75]),
        torch.tensor([0.3, 2.0]),
        torch.tensor([1.5, 9.0]),
        torch.tensor([0.0, 3.3, 11]),
    ]
    points = torch.stack([each.flatten() for each in torch.meshgrid(*places, indexing="ij")], dim=-1)
    assert torch.allclose(field.evaluate(points), field.evaluate_lattice(*places).flatten(), atol=5e-4)


def test_planes_learn_what_splines_miss() -> None:
    whole = balls([0.0, 1.0, 2.0], (25, 32, 32))
    fit = PlaneFit(whole[:, ::2], 2, 60, 0)
    while fit.step < 60:
        fit.advance()
    judged = fit.judged(lambda: None)
    assert judged is not None and judged.network < 0.7 * judged.cubic
    filled = torch.stack([fit.filled(volume, lambda: None) for volume in whole[:, ::2]])
    cubic = torch.stack([cubic_planes(volume, 2) for volume in whole[:, ::2]])
    assert torch.allclose(filled[:, ::2], whole[:, ::2], atol=1e-5)
    assert error(filled, whole) < 0.8 * error(cubic, whole)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_distance_of_planes_is_seen(factor: int) -> None:
    assert plane_distance(balls([0.0, 1.0], (31, 32, 32))[:, ::factor]) == factor


def test_motion_does_not_depend_on_the_direction_of_time() -> None:
    frames = balls([0.0, 2.0, 4.0])
    quick = MotionSettings(steps=(10, 10, 5))
    forth, back = estimated(frames, 1.0, quick), estimated(frames.flip(0), 1.0, quick).flip(1)
    assert torch.allclose(forth[0], -back[0], atol=0.02) and torch.allclose(forth[1], back[1], atol=0.02)


def small(**changes: Any) -> dict[str, Any]:
    return {"steps": 6, "plane_distance": 2, **changes}


def model_of(events: list[Event]) -> dict[str, Any]:
    return [e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "model"][-1]


def test_a_fit_is_queried(tmp_path: Path) -> None:
    stack = recording()
    fitted = napari_recon.train("inr4d.fit", stack, out=tmp_path / "field.safetensors", params=small())
    assert fitted.report["verdict"] and "between_frames_gain_db" in fitted.report
    asked = napari_recon.run("inr4d.query", model=str(tmp_path / "field.safetensors"), params={"scale": "t=2,z=2"})
    movie = np.asarray(asked["movie"].data)
    assert movie.shape == (7, 9, 12, 14)
    data = np.asarray(stack.data, np.float32)
    assert np.abs(movie[::2, ::2] - data).mean() < 0.03 * np.ptp(data)


def test_one_channel_of_several() -> None:
    values = np.stack([recording().data, recording(seed=1).data], axis=1)
    stack = ImageStack.of(values, "TCZYX", "two", scale={"Z": 1.0, "Y": 0.25, "X": 0.25}, units={"Z": "micrometer"})
    found = napari_recon.run("inr4d.fit", stack, params={"method": "linear", "channel": 1})["movie"]
    assert np.allclose(found, values[:, 1], atol=0.1)
    with pytest.raises(InputError, match="channel should be from 0 to 1, found 2; set channel"):
        napari_recon.run("inr4d.fit", stack, params={"method": "linear", "channel": 2})


def test_one_progress_from_start_to_end() -> None:
    heard: list[Event] = []
    napari_recon.run("inr4d.fit", recording(), params=small(), on_event=heard.append)
    told = [event for event in heard if isinstance(event, Progress)]
    assert {(event.total, event.unit) for event in told} == {(100.0, "%")} and told[-1].done == 100
    assert [event.done for event in told] == sorted(event.done for event in told)
    phases = list(dict.fromkeys(event.message.partition(",")[0] for event in told))
    assert phases == [*("noise", "first field", "planes", "planes between", "score", "motion", "neighbours", "recording")]


def test_torchs_optimisers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one imports torch's compiler, a second in which nobody could cancel."""
    monkeypatch.delattr(torch.optim.Optimizer, "__init__")
    estimated(torch.rand(2, 4, 6, 6), 1.0, MotionSettings(steps=(1, 1, 1)))
    PlaneFit(balls([0.0], (9, 24, 24)), 2, 4, 0).advance()


@pytest.mark.parametrize("method", ["linear", "cubic", "flow"])
def test_interpolations_are_at_hand(tmp_path: Path, method: str) -> None:
    napari_recon.train("inr4d.fit", recording(), out=tmp_path / "field.safetensors", params={"method": method})
    movie = napari_recon.run("inr4d.query", model=str(tmp_path / "field.safetensors"), params={"scale": "t=2"})["movie"]
    data = np.asarray(recording().data, np.float32)
    found = np.asarray(movie.data)
    assert np.abs(found[::2] - data).max() < 2e-3 * np.ptp(data)
    if method == "linear":
        assert np.abs(found[1::2] - (data[1:] + data[:-1]) / 2).max() < 2e-3 * np.ptp(data)


def test_fields_come_early_and_the_last_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_recon.engines.inr4d.fast import run

    from .recordings import fit_example

    monkeypatch.setattr(run, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(run, "PREVIEW_SHARE", 1e9)
    example = fit_example(method="fast", **small(judge=False))
    models = [e.payload for e in example.events(example.plan()) if isinstance(e, ArtifactReady) and e.name == "model"]
    steps = [(m["card"]["training"]["steps"], m["card"]["training"]["complete"]) for m in models]
    assert steps == [*((step, False) for step in range(6)), (6, True)]
    assert all(m["state"]["frames"].shape == (4, 9, 12, 14) and "motion" in m["state"] for m in models)
    measured = np.asarray(recording().data, np.float32)
    first = models[0]["state"]["frames"][:, ::2].astype(np.float32) * np.ptp(measured) + measured.min()
    assert np.abs(first - measured).mean() < 0.03 * np.ptp(measured)  # cubic splines go through the planes


def through_planes(times: list[float], shape: tuple[int, int, int] = (13, 20, 20)) -> torch.Tensor:
    """Small balls that sink by one plane of every two per time."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    starts = np.random.default_rng(3).uniform(3, np.array(shape) - 3, (6, 3))
    found = np.zeros((len(times), *shape))
    for number, time in enumerate(times):
        for start in starts:
            place = start + np.array([1.0, 0.3, -0.2]) * time
            found[number] += np.exp(-(((grid - place[:, None, None, None]) ** 2).sum(0)) / 2.5)
    return torch.from_numpy(found.clip(0, 1).astype(np.float32))


def test_neighbouring_frames_say_what_lies_between_planes() -> None:
    truth = through_planes([-1.0, 0.0, 1.0])
    start = torch.stack([cubic_planes(volume, 2) for volume in truth[:, ::2]])
    motion = torch.zeros(2, 2, 3, 2, 2, 2)
    motion[0] = torch.tensor([0.5, 0.15, -0.1]).view(1, 3, 1, 1, 1)
    found = joined(start, motion, 2)
    assert torch.equal(found[:, ::2], start[:, ::2])
    assert error(found, truth) < 0.5 * error(start, truth)
    motion[0] *= -8
    assert error(joined(start, motion, 2), truth) < 1.6 * error(start, truth)  # motion that is wrong


def test_planes_that_teach_nothing_leave_cubic_splines() -> None:
    volumes = balls([0.0], (9, 24, 24))
    fit = PlaneFit(volumes, 2, 4, 0)
    while fit.step < 4:
        fit.advance()
    assert not torch.equal(fit.filled(volumes[0], lambda: None), cubic_planes(volumes[0], 2))
    fit.forget()
    assert torch.equal(fit.filled(volumes[0], lambda: None), cubic_planes(volumes[0], 2))


def test_a_resumed_fit_is_the_uninterrupted_one(tmp_path: Path) -> None:
    from .recordings import fit_example

    def events(**changes: Any) -> list[Event]:
        example = fit_example(method="fast", **small(checkpoint_every=3, checkpoint_folder=str(tmp_path), **changes))
        return example.events(example.plan())

    whole = events()
    (tmp_path / "checkpoint.pth").rename(tmp_path / "last.pth")
    saved = [e.step for e in whole if isinstance(e, CheckpointSaved)]
    assert saved == [3, 6]
    example = fit_example(method="fast", **small(checkpoint_every=3, checkpoint_folder=str(tmp_path)))
    running = iter(example.engine.run(example.plan(), example.inputs))
    next(e for e in running if isinstance(e, CheckpointSaved))
    running.close()
    resumed = model_of(events(resume="auto"))
    for name, values in model_of(whole)["state"].items():
        assert np.array_equal(values, resumed["state"][name])
    with pytest.raises(InputError, match="another plane_distance"):
        events(resume=str(tmp_path / "last.pth"), denoise=False)


def test_the_distance_of_planes_is_read_off_the_data() -> None:
    stack = ImageStack.of(balls([0.0, 1.0], (31, 32, 32))[:, ::2].numpy(), "TZYX", "bare")
    heard: list[Event] = []
    napari_recon.run("inr4d.fit", stack, params={"steps": 2}, on_event=heard.append)
    assert next(e.params for e in heard if isinstance(e, Decided)) == {"plane_distance": 2}


def test_a_cancelled_fit_leaves_a_checkpoint_and_a_field(tmp_path: Path) -> None:
    from napari_recon.core.token import CancelToken

    token, heard = CancelToken(), list[Event]()
    field = tmp_path / "field.safetensors"

    def stop(event: Event) -> None:
        heard.append(event)
        if getattr(event, "message", "").startswith("planes, step 2 "):
            token.cancel()

    params = small(checkpoint_folder=str(tmp_path))
    try:
        napari_recon.train("inr4d.fit", recording(), out=field, params=params, token=token, on_event=stop)
    except Cancelled:
        pass
    assert [e.step for e in heard if isinstance(e, CheckpointSaved)] == [2]
    asked = napari_recon.run("inr4d.query", model=str(field), params={"scale": "z=2"})["movie"]
    assert np.asarray(asked.data).shape == (4, 9, 12, 14)


def test_a_fit_that_has_to_finish_is_whole() -> None:
    from napari_recon.core.token import CancelToken

    token, heard = CancelToken(), list[Event]()

    def finish(event: Event) -> None:
        heard.append(event)
        if getattr(event, "message", "").startswith("planes, step"):
            token.finish()

    result = napari_recon.run("inr4d.fit", recording(), params=small(steps=500), token=token, on_event=finish)
    assert not result.partial and model_of(heard)["card"]["training"]["complete"]
    assert {"steps": 1} in [e.params for e in heard if isinstance(e, Decided)]
