"""Sequences of fast fits: where a time point starts, what is carried over, what is read and kept; compact fields."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Decided, MetricLogged, PreviewReady
from napari_recon.core.stack import ImageStack
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.scene import SceneFit
from napari_recon.engines.lightfield_inr.fast.transfer import Starts
from napari_recon.engines.lightfield_inr.fast.volume_file import VolumeFile
from napari_recon.engines.lightfield_inr.frames import Frames
from napari_recon.hub import load_state
from napari_recon.optics.psf_convolution import PsfProjector

from .scenes import fast_example, stacks
from .test_fast_numerics import CPU, SIZE, psf, truth

FRAMES = 4


@cache
def movie(motion: int = 1, peak: float = 300.0) -> NDArray[np.float32]:
    """Views (t, v, y, x) of a scene that moves along x by so many pixels per time point."""
    projector = PsfProjector.same(torch.from_numpy(psf()), SIZE[1:])
    volumes = [np.roll(truth(), motion * t, axis=2) for t in range(FRAMES)]
    clean = np.stack([projector.forward(torch.from_numpy(v)).clamp_min(0).numpy() for v in volumes])
    return np.random.default_rng(2).poisson(clean / clean.max() * peak + 0.02 * peak).astype(np.float32)


def inputs(views: NDArray[np.float32]) -> list[ImageStack]:
    return [ImageStack.of(views, "TVYX", "views"), ImageStack.of(psf(), "VZYX", "psf")]


def fit(counts: Counts, before: Any = None, **options: Any) -> tuple[SceneFit, torch.Tensor]:
    optics = Optics(psf(), SIZE[1:], CPU, bool(options.get("refine_views")))
    made = SceneFit(counts, optics, penalty=0.02, before=before, **options)
    for done in made.steps():
        volume = done.volume
    return made, volume.clone()


def test_a_scene_that_stands_still_is_not_deconvolved_again() -> None:
    first, volume = fit(Counts.of(movie(0)[0], CPU))
    again, found = fit(Counts.of(movie(0)[1], CPU), first.left(volume))
    assert first.iterations >= 6 and not first.transferred
    assert again.transferred and again.iterations == 0 and again.refinement_steps <= first.refinement_steps
    assert again.left(found).iterations == first.iterations  # of the last fresh start


def test_a_transferred_scene_says_how_well_the_mixture_explains_the_views() -> None:
    first, volume = fit(Counts.of(movie(1)[0], CPU))
    again = SceneFit(Counts.of(movie(1)[1], CPU), Optics(psf(), SIZE[1:], CPU), penalty=0.02, before=first.left(volume))
    started = [done.deviance for done in again.steps() if done.stage == "deconvolution"]
    assert again.transferred and 0 < len(started) <= 1 + first.iterations // 6
    assert max(started) < 10  # a flat volume's is some tens


def test_another_scene_starts_afresh_and_exactly_as_by_itself() -> None:
    first, volume = fit(Counts.of(movie(0)[0], CPU))
    other = Counts.of(movie(0)[0][:, ::-1, ::-1].copy(), CPU)
    (alone, wanted), (after, found) = fit(other), fit(other, first.left(volume))
    assert not after.transferred and after.iterations == alone.iterations
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_positions_are_carried_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, volume = fit(Counts.of(movie(0)[0], CPU), refine_views=True)
    monkeypatch.setattr("napari_recon.engines.lightfield_inr.fast.scene.align_views", None)  # not searched again
    second, _ = fit(Counts.of(movie(0)[1], CPU), first.left(volume), refine_views=True)
    assert first.offsets is not None and second.offsets is not None
    assert float((first.offsets - second.offsets).abs().max()) < 0.1


def test_mixtures_explain_the_data_at_least_as_well_as_their_parts() -> None:
    counts = Counts.of(movie(0)[0], CPU)
    projector = Optics(psf(), SIZE[1:], CPU).projector()
    make = torch.Generator().manual_seed(0)
    starts = Starts(projector, counts.views, counts.background, counts.read_variance, lambda: None)
    one, other = (starts.scaled(torch.rand(projector.volume_shape, generator=make)) for _ in range(2))
    mixed = starts.mixed(one, other)
    torch.testing.assert_close(projector.forward(mixed.volume).clamp_min(0), mixed.views, rtol=1e-3, atol=1e-3)
    assert mixed.deviance <= 1.02 * min(one.deviance, other.deviance)  # weights are those of one of them
    assert starts.mixed(one, one).deviance == pytest.approx(one.deviance, rel=0.01)


def test_reports_say_where_time_points_started_and_curves_which_they_are() -> None:
    example = fast_example(3, held_out=1)
    events = example.events(example.plan())
    reports = [e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report"]
    assert reports[0]["start"] == "afresh" and len(reports) == 3
    for name in ("loss", "held-out view", "refinement deviance"):
        series = {e.series for e in events if isinstance(e, MetricLogged) and e.name == name}
        assert series == {f"time point {n}/3" for n in (1, 2, 3)}
    assert {e.slices[0].start for e in events if isinstance(e, PreviewReady)} >= {0}


def test_frames_are_read_when_they_are_needed_and_one_is_kept() -> None:
    read: list[int] = []
    frames = Frames(lambda n: (read.append(n), np.full((1,), n, np.float32))[1], 5)
    assert frames[2][0] == frames[2][0] == 2 and read == [2]
    assert [float(each[0]) for each in frames[3:]] == [3, 4] and len(frames) == 5
    with pytest.raises(IndexError):
        frames[5]


def test_a_file_of_volumes_grows_and_is_a_model_when_finished(tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).random((3, 2, 4, 5), np.float32)
    file = VolumeFile(tmp_path / "volumes.safetensors", volumes.shape)
    file[0], file[1] = volumes[0], volumes[1]
    again = VolumeFile(file.path, volumes.shape)  # as after a crash
    np.testing.assert_array_equal(again[1], volumes[1])
    with pytest.raises(CheckpointError, match="found fewer"):
        again[2]
    again.finished(2, {"engine": "any"})
    np.testing.assert_array_equal(load_state(file.path)["voxels"].numpy(), volumes[:2])
    with pytest.raises(CheckpointError, match="lie beside the checkpoint"):
        file.beside(tmp_path / "elsewhere" / "checkpoint.tar")


def test_resuming_elsewhere_takes_the_finished_volumes_along(tmp_path: Path) -> None:
    example = fast_example(3, checkpoint_folder=str(tmp_path / "one"))
    events = example.events(example.plan())
    saved = [e.path for e in events if isinstance(e, CheckpointSaved)][-1]
    again = example.events(example.plan(resume=saved, checkpoint_folder=str(tmp_path / "two")))
    model = next(e.payload for e in again if isinstance(e, ArtifactReady) and e.name == "model")
    first = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "model")
    assert Path(model).parent == tmp_path / "two"
    torch.testing.assert_close(load_state(model), load_state(first), rtol=0, atol=0)


def test_a_grid_is_small_and_queried_anywhere_in_space_and_time() -> None:
    result = napari_recon.run("lightfield_inr.fit", *inputs(movie()), params={"field": "grid", "iterations": 12})
    model = result.artifacts["model"]
    assert model["state"]["coefficients"].nbytes < result["volume"].nbytes / 3
    asked = napari_recon.run("lightfield_inr.query", model=model)
    assert asked["volume"].shape == result["volume"].shape
    close = np.square(asked["volume"] - result["volume"]).mean() ** 0.5
    assert close < 0.03 * result["volume"].max() and asked["volume"].min() >= 0
    between = napari_recon.run(
        "lightfield_inr.query", model=model, time=(1, 3), params={"time_scale": 2, "scale": (1, 1, 2)}
    )
    assert between["volume"].shape == (3, SIZE[0], SIZE[1], 2 * SIZE[2])
    np.testing.assert_allclose(between["volume"][::2, ..., ::2], asked["volume"][1:3], rtol=1e-4, atol=1e-3)
    grid = between.outputs["volume"].grid
    assert grid.step("T") == pytest.approx(0.5) and grid.origin("T") == pytest.approx(1.0)
    whole = napari_recon.run("lightfield_inr.query", model=model, params={"time_scale": 2})["volume"]
    assert len(whole) == 2 * (FRAMES - 1) + 1


def test_a_grid_is_as_coarse_as_the_views_allow_and_says_so() -> None:
    engine_events = fast_example(2, field="grid")
    events = engine_events.events(engine_events.plan())
    decided = next(e.params for e in events if isinstance(e, Decided) and "density" in e.params)
    assert 0 < decided["density"] <= 1 and 0 < decided["density_t"] <= 1
    example = fast_example(2, field="grid", **decided)
    again = example.events(example.plan())
    models = [
        next(e.payload for e in each if isinstance(e, ArtifactReady) and e.name == "model") for each in (events, again)
    ]
    np.testing.assert_array_equal(models[0]["state"]["coefficients"], models[1]["state"]["coefficients"])


def test_what_a_field_can_not_do_gets_one_sentence() -> None:
    model = napari_recon.run("lightfield_inr.fit", *stacks(2).values(), params={"iterations": 2}).artifacts["model"]
    with pytest.raises(InputError, match="between time points"):
        napari_recon.plan("lightfield_inr.query", model=model, params={"time_scale": 2})
    grid = napari_recon.run("lightfield_inr.fit", *stacks(2).values(), params={"iterations": 2, "field": "grid"})
    with pytest.raises(InputError, match="hold no sample"):
        napari_recon.plan("lightfield_inr.query", model=grid.artifacts["model"], time=(1, 2), params={"time_scale": 0.4})
    with pytest.raises(InputError, match="belong to method=fast"):
        fast_example(1, method="upstream", field="grid").plan()
    projections = ImageStack.of(np.ones((4, 9, 9), np.float32), "VYX", "views")
    with pytest.raises(InputError, match="field belongs to light fields"):
        napari_recon.plan("lightfield_inr.fit", projections, params={"angles": (0, 45, 90, 135), "field": "grid"})
