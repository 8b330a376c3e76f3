"""`lightfield_inr.fit`: events, models that queries read, exact resumption, sequences, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Finished, MetricLogged
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.hub import check
from tests.contract.examples import collect

from .scenes import TINY, example, stacks


def run(frames: int = 1, **params: Any) -> list[Any]:
    one = example(frames, **params)
    return one.events(one.plan())


def artifact(events: list[Any], name: str) -> Any:
    return next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == name)


def test_the_volume_is_what_a_query_of_the_model_gives() -> None:
    data = stacks()
    result = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params=TINY)
    asked = napari_recon.run("lightfield_inr.query", model=result.artifacts["model"])
    assert result["volume"].std() > 0
    np.testing.assert_allclose(asked["volume"], result["volume"], rtol=1e-5)
    assert asked.outputs["volume"].grid.scale == result.outputs["volume"].grid.scale == (1.5, 0.5, 0.5)
    assert len(result.curves["loss"]) == 8


def test_the_published_layout_holds_the_same_field(tmp_path: Path) -> None:
    events = run()
    report = check(artifact(events, "checkpoint"))
    assert report.fits and report.architecture == "nerf"
    volume = collect(events, "volume")
    params = {"render_size": (21, 17, 3), "encoder": "positional", "post_processor": "leakyrelu"}
    asked = napari_recon.run("lightfield_inr.query", model=artifact(events, "checkpoint"), params=params)["volume"]
    farthest = np.abs(volume).max()
    assert farthest > 0
    np.testing.assert_allclose(asked * farthest / np.abs(asked).max(), volume, rtol=1e-4, atol=1e-4 * farthest)


def test_compat_upstream_is_the_published_method_in_its_own_numbers() -> None:
    data, settings = stacks(), {name: value for name, value in TINY.items() if name != "method"}
    plain = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params=TINY)
    result = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params={**settings, "compat": "upstream"})
    unit = float(np.asarray(data["views"].data).max()) / 3
    np.testing.assert_allclose(result["volume"] * unit, plain["volume"], rtol=1e-5, atol=1e-6)
    asked = napari_recon.run("lightfield_inr.query", model=result.artifacts["model"])
    np.testing.assert_allclose(asked["volume"], result["volume"], rtol=1e-5)
    with pytest.raises(InputError, match="compat=upstream is the published fit, found method=fast"):
        run(compat="upstream", method="fast")


def test_a_sequence_becomes_one_model_and_later_scenes_take_fewer_steps() -> None:
    data = stacks(3)
    result = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params=TINY)
    assert result["volume"].shape == (3, 3, 21, 17)
    steps = [step for step, _ in result.curves["loss"]]
    assert steps == [*range(1, 9), *range(1, 5), *range(1, 5)]
    asked = napari_recon.run("lightfield_inr.query", model=result.artifacts["model"], time=(1, 3))
    np.testing.assert_allclose(asked["volume"], result["volume"][1:], rtol=1e-5)


@pytest.mark.parametrize("stop", [3, 8, 10])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path: Path, stop: int) -> None:
    whole = run(2, **{"upstream.random_steps": 6}, checkpoint_folder=str(tmp_path / "whole"))
    one = example(2, **{"upstream.random_steps": 6}, checkpoint_folder=str(tmp_path / "cut"))
    token, seen, losses = CancelToken(), [], 0
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        losses += isinstance(event, MetricLogged)
        if losses == stop:
            token.cancel()
    assert isinstance(seen[-1], Finished) and seen[-1].partial
    assert check(artifact(seen, "checkpoint")).fits, "a cancelled run gives the field so far"
    saved = [e.path for e in seen if isinstance(e, CheckpointSaved)][-1]
    again = one.events(one.plan(resume=saved))
    curve = [e.value for e in whole if isinstance(e, MetricLogged)]
    assert [e.value for e in again if isinstance(e, MetricLogged)] == curve[-(len(curve) - losses) :]
    for name, values in artifact(whole, "model")["state"].items():
        np.testing.assert_array_equal(artifact(again, "model")["state"][name], values)


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    saved = [e.path for e in run(checkpoint_folder=str(tmp_path)) if isinstance(e, CheckpointSaved)][-1]
    one, other = example(), stacks()
    changed = {**other, "views": ImageStack(np.asarray(other["views"].data) + 1, other["views"].grid)}
    with pytest.raises(InputError, match="checkpoint of the same data, found one of other views"):
        list(one.engine.run(one.plan(resume=saved), {n: [s] for n, s in changed.items()}))
    with pytest.raises(InputError, match="one that a fit did not write"):
        one.events(one.plan(resume=artifact(run(), "checkpoint")))
    with pytest.raises(CheckpointError, match="wrong shape"):
        one.events(one.plan(init=saved, width=9))


def test_init_starts_from_weights_and_moments(tmp_path: Path) -> None:
    events = run(checkpoint_folder=str(tmp_path))
    saved = [e.path for e in events if isinstance(e, CheckpointSaved)][-1]
    follow = run(init=saved, iterations=10, checkpoint_folder=str(tmp_path / "next"))
    assert [e.step for e in follow if isinstance(e, MetricLogged)] == [9, 10]
    content = torch.load(saved, weights_only=True)
    assert {"global_step", "network_fn_state_dict", "optimizer_state_dict"} <= set(content) and content["global_step"] == 8


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    lines = ["--embeddertype=PositionalEncoder", "--multires=2", "--netdepth=3", "--netwidth=8", "--skips=1", "--N_steps=5"]
    (tmp_path / "config.cfg").write_text("\n".join([*lines, "--block_size=7", "--boundary_range=", "--lrate=1e-3"]))
    one = example()
    config = {"method": "upstream", "config": str(tmp_path / "config.cfg")}
    plan = one.engine.plan(one.plan().inputs, config, compute=one.plan().compute)
    params = plan.params
    assert (params["octaves"], params["depth"], params["width"], list(params["skips"])) == (2, 3, 8, [1])
    assert params["iterations"] == 5 and params["upstream"]["block"] == 7 and params["upstream"]["coarse_steps"] == 0
    assert params["config"] == "" and one.engine.plan(plan.inputs, params, compute=plan.compute) == plan
    (tmp_path / "config.cfg").write_text("--netdept=3")
    with pytest.raises(InputError, match="unknown key 'netdept'"):
        one.engine.plan(plan.inputs, config)


@pytest.mark.parametrize(
    ("change", "params", "sentence"),
    [
        ({"psf": np.ones((3, 3, 5, 5), np.float32)}, {}, r"one set of planes per view \(4\), found 3"),
        ({"psf": np.ones((4, 3, 5, 4), np.float32)}, {}, "odd"),
        ({"psf": np.ones((4, 2, 5, 5), np.float32)}, {}, "found 2 x 21 x 17; .* or use deconvolution.lightfield_rl"),
        ({}, {"skips": [1]}, r"layers from 0 to 0, found \[1\]"),
        ({}, {"init": "a.tar", "resume": "b.tar"}, "leave one out"),
        ({}, {"encoder": "radial", "octaves": 3}, "needs octaves and octaves_z"),
        ({}, {"iterations": 0}, "iterations"),
        ({}, {"preset": "fpm"}, "modality=fpm takes no psf"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(change: dict[str, Any], params: dict[str, Any], sentence: str) -> None:
    data = {**stacks(), **{name: ImageStack.of(array, "VZYX", name) for name, array in change.items()}}
    with pytest.raises(InputError, match=sentence) as caught:
        napari_recon.plan("lightfield_inr.fit", data["views"], data["psf"], params={**TINY, **params})
    assert "\n" not in str(caught.value)


def test_pixel_sizes_have_to_agree() -> None:
    data = stacks()
    grid = data["psf"].grid.model_copy(update={"scale": (1.0, 1.5, 0.4, 0.4)})
    with pytest.raises(InputError, match=r"one pixel size along y, found 0.4 and 0.5 um"):
        napari_recon.plan("lightfield_inr.fit", data["views"], ImageStack(data["psf"].data, grid), params=TINY)


def test_blocks_larger_than_the_memory_are_computed_in_parts() -> None:
    from napari_recon.core.compute import Compute
    from napari_recon.engines.lightfield_inr.fit_engine import Fit

    scene = example().plan()
    views, psf = scene.inputs
    large = views.model_copy(update={"grid": views.grid.model_copy(update={"shape": (4, 499, 499)})})
    planes = psf.model_copy(update={"grid": psf.grid.model_copy(update={"shape": (4, 51, 101, 101)})})
    roomy, tight = (
        Fit().plan([large, planes], {"method": "upstream"}, compute=Compute(memory_bytes=n << 30)) for n in (200, 4)
    )
    assert roomy.resources.details["points_at_once"] == 0 < tight.resources.details["points_at_once"]
    assert tight.resources.memory_bytes <= 4 << 30 < roomy.resources.memory_bytes
