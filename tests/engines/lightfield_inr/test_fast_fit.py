"""`lightfield_inr.fit`, method fast: what a run says, queries of its model, exact resumption, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, BlockReady, CheckpointSaved, Finished, MetricLogged, PreviewReady, Warned
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.hub import load_state
from tests.contract.examples import collect

from .scenes import FAST, fast_example, stacks


def run(frames: int = 1, **params: Any) -> list[Any]:
    one = fast_example(frames, **params)
    return one.events(one.plan())


def artifact(events: list[Any], name: str) -> Any:
    return next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == name)


def test_it_is_the_default_and_shows_something_before_it_iterates() -> None:
    data = stacks()
    plan = napari_recon.plan("lightfield_inr.fit", data["views"], data["psf"])
    assert plan.params["method"] == "fast"
    events = run()
    first = next(i for i, e in enumerate(events) if isinstance(e, PreviewReady))
    assert events[first].step == 0 and not any(isinstance(e, MetricLogged) for e in events[:first])
    curves = {e.name for e in events if isinstance(e, MetricLogged)}
    assert curves == {"deconvolution deviance", "psf deviance", "refinement deviance", "loss", "residual"}
    assert artifact(events, "report")["refinement_steps"] == 6
    assert "held-out view" in {e.name for e in run(held_out=1) if isinstance(e, MetricLogged)}


def test_an_automatic_run_ends_by_itself() -> None:
    events = run(iterations="auto")
    assert 0 < artifact(events, "report")["refinement_steps"] <= 60
    assert collect(events, "volume").min() >= 0


def test_the_volume_explains_the_views_in_counts() -> None:
    data = stacks()
    volume = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params={"iterations": 20})["volume"]
    assert volume.sum() * 4 == pytest.approx(np.asarray(data["views"].data, np.float64).sum(), rel=0.15)


def test_one_channel_of_several() -> None:
    data = stacks()
    views = data["views"]
    two = ImageStack(np.stack([0 * views.data + 1, views.data]), Grid.of("C", (2,)).joined(views.grid), "two")
    found, expected = (
        napari_recon.run("lightfield_inr.fit", each, data["psf"], params={"iterations": 1, "channel": 1})["volume"]
        for each in (two, views)
    )
    assert np.array_equal(found, expected)
    with pytest.raises(InputError, match=r"one channel is used, found C=2, .*; set channel to a number from 0 to 1"):
        napari_recon.plan("lightfield_inr.fit", two, data["psf"])


def test_queries_of_the_model_are_the_volume_and_interpolate_it() -> None:
    data = stacks(2)
    result = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params=FAST)
    model = result.artifacts["model"]
    asked = napari_recon.run("lightfield_inr.query", model=model)
    np.testing.assert_array_equal(asked["volume"], result["volume"])
    assert asked.outputs["volume"].grid.scale[1:] == (1.5, 0.5, 0.5)
    assert asked.outputs["volume"].grid == result.outputs["volume"].grid
    second = napari_recon.run("lightfield_inr.query", model=model, time=(1, 2), params={"scale": (1, 1, 2)})["volume"][0]
    np.testing.assert_allclose(second[..., ::2], result["volume"][1], rtol=1e-6)
    between = (result["volume"][1][..., 1:] + result["volume"][1][..., :-1]) / 2
    np.testing.assert_allclose(second[..., 1:-1:2], between, rtol=1e-5, atol=1e-4)
    with pytest.raises(InputError, match="has the lattice"):
        napari_recon.plan("lightfield_inr.query", model=model, params={"render_size": (5, 5, 5)})


@pytest.mark.parametrize(("stop", "params"), [(3, {}), (9, {"refine_views": True, "iterations": 14}), (5, {"held_out": 0})])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path: Path, stop: int, params: dict[str, Any]) -> None:
    whole = run(2, **params, checkpoint_folder=str(tmp_path / "whole"))
    one = fast_example(2, **params, checkpoint_folder=str(tmp_path / "cut"))
    token, seen, steps = CancelToken(), [], 0
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        steps += isinstance(event, MetricLogged) and event.name == "loss" and "2/2" in event.series
        if steps == stop:
            token.cancel()
    assert isinstance(seen[-1], Finished) and seen[-1].partial
    assert load_state(artifact(seen, "model"))["voxels"].shape == (2, 3, 21, 17)
    saved = [e.path for e in seen if isinstance(e, CheckpointSaved)][-1]
    again = one.events(one.plan(resume=saved))
    np.testing.assert_array_equal(collect(again, "volume"), collect(whole, "volume"))
    losses = [e.step for e in again if isinstance(e, MetricLogged) and e.name == "loss"]
    assert losses[0] == stop + 1


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    events = run(2, checkpoint_folder=str(tmp_path))
    saved = next(e.path for e in events if isinstance(e, CheckpointSaved))
    one, other = fast_example(2), stacks(2)
    changed = {**other, "views": ImageStack(np.asarray(other["views"].data) + 1, other["views"].grid)}
    with pytest.raises(InputError, match="checkpoint of the same data"):
        list(one.engine.run(one.plan(resume=saved), {n: [s] for n, s in changed.items()}))
    (tmp_path / "text.tar").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match="should be a checkpoint of a fit"):
        one.events(one.plan(resume=str(tmp_path / "text.tar")))


def test_a_psf_of_something_else_is_said() -> None:
    one = fast_example(iterations=20)
    assert not [e for e in one.events(one.plan()) if isinstance(e, Warned) and "look wrong" in e.message]
    turned = ImageStack(np.asarray(one.stacks["psf"].data)[::-1, ::-1, ::-1, :], one.stacks["psf"].grid)
    events = list(one.engine.run(one.plan(), {"views": [one.stacks["views"]], "psf": [turned]}))
    said = [e.message for e in events if isinstance(e, Warned)]
    assert any(sentence.startswith("PSF or positions look wrong") and "\n" not in sentence for sentence in said)
    assert artifact(events, "report")["verdict"] in said


def test_a_cancelled_run_delivers_no_block() -> None:
    one, token = fast_example(), CancelToken()
    seen = []
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        if isinstance(event, PreviewReady):
            token.cancel()
    assert not any(isinstance(e, BlockReady) for e in seen) and seen[-1].partial


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"init": "a.tar"}, "init belongs to the published fit"),
        ({"config": "a.cfg"}, "config belongs to the published fit"),
        ({"held_out": 4}, "held_out should be one of three views or more, 0 to 3"),
        ({"held_out": 1, "refine_views": True}, "no refined position"),
        ({"method": "upstream", "refine_views": True}, "belong to method=fast"),
    ],
)
def test_settings_that_do_not_go_together_get_one_sentence(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        fast_example().plan(**params)
    assert "\n" not in str(caught.value)


def finished_after(one: Any, steps: int) -> list[Any]:
    token, seen, done = CancelToken(), [], 0
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        done += isinstance(event, MetricLogged) and event.name == "loss"
        if done == steps:
            token.finish()
    return seen


def test_a_fit_that_is_good_enough_ends_whole_and_says_how_to_repeat_it() -> None:
    seen = finished_after(fast_example(iterations="auto"), 3)
    assert isinstance(seen[-1], Finished) and not seen[-1].partial
    assert seen[-1].provenance["recipe"]["steps"][-1]["params"]["iterations"] == 3
    np.testing.assert_array_equal(collect(seen, "volume"), collect(run(iterations=3), "volume"))
    assert artifact(seen, "report")["refinement_steps"] == 3


def test_of_a_sequence_the_time_points_that_are_done_are_kept() -> None:
    seen = finished_after(fast_example(2), 2)
    assert isinstance(seen[-1], Finished) and seen[-1].partial
    assert load_state(artifact(seen, "model"))["voxels"].shape[0] == 1
    assert len([e for e in seen if isinstance(e, BlockReady)]) == 1


def test_a_run_is_repeated_exactly_from_its_recipe_where_another_width_was_found(tmp_path: Path) -> None:
    import napari_recon
    from tests.engines.lightfield_inr.test_fast_numerics import psf, views

    narrow = psf()[..., 4:-4, 4:-4] ** 1.8
    np.save(tmp_path / "psf.npy", narrow / narrow.sum(axis=(-2, -1), keepdims=True))
    np.save(tmp_path / "views.npy", views(1000))
    first = napari_recon.run(
        "lightfield_inr.fit",
        tmp_path / "views.npy",
        tmp_path / "psf.npy",
        params={"iterations": 4},
        out=tmp_path / "first.npy",
    )
    assert first.artifacts["report"]["psf_width"] > 1.1
    napari_recon.rerun(tmp_path / "first.npy", out=tmp_path / "second.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "first.npy"), np.load(tmp_path / "second.npy"))
