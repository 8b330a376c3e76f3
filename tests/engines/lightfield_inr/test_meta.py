"""`lightfield_inr.meta`: what it learns, exact resumption, means of sequences, and fits that start from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Finished, MetricLogged, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.checkpoint import load_training, save_sequence
from napari_recon.engines.lightfield_inr.meta_engine import Meta
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.upstream.losses import dissimilarity, hessian, objective
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.hub import check
from napari_recon.jobs.artifacts import model_file

from .scenes import META, TINY, meta_example, psf, stacks, views


def run(frames: int = 3, **params: Any) -> list[Any]:
    one = meta_example(frames, **params)
    return one.events(one.plan())


def artifact(events: list[Any]) -> Any:
    return next(e.payload for e in events if isinstance(e, ArtifactReady))


def test_a_learnt_start_is_better_after_as_many_steps_than_a_fresh_one(tmp_path: Path) -> None:
    data = stacks(4)
    learnt = {**META, "steps": 60, "inner_steps": 5, "width": 16, "validate_every": 60, "learning_rate": 5e-3}
    result = napari_recon.run("lightfield_inr.meta", inputs=data, params=learnt)
    fit = {**TINY, "width": 16, "iterations": 5}
    scene = ImageStack.of(stacks(5)["views"].read("TVYX")[4], "VYX", "views")
    fresh = napari_recon.run("lightfield_inr.fit", scene, data["psf"], params=fit)
    taken = {**fit, "init": str(model_file(result.artifacts["model"]))}
    begun = napari_recon.run("lightfield_inr.fit", scene, data["psf"], params=taken)
    assert begun.curves["loss"][-1][1] < 0.5 * fresh.curves["loss"][-1][1]


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = run(checkpoint_folder=str(tmp_path / "whole"))
    one = meta_example(checkpoint_folder=str(tmp_path / "cut"))
    token, seen = CancelToken(), []
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        if isinstance(event, MetricLogged) and event.name == "loss" and event.step == 3:
            token.cancel()
    assert isinstance(seen[-1], Finished) and seen[-1].partial
    saved = [e.path for e in seen if isinstance(e, CheckpointSaved)][-1]
    again = one.events(one.plan(resume=saved))
    for name, values in artifact(whole)["state"].items():
        np.testing.assert_array_equal(artifact(again)["state"][name], values)


def test_the_gradient_is_where_the_start_was_minus_where_the_fit_led() -> None:
    from napari_recon.engines.lightfield_inr.meta_task import MetaTask

    plan = meta_example().plan()
    engine = Meta()
    scene = (views() / views().max()).numpy()
    task = MetaTask(engine.params_of(plan), plan, psf().numpy(), [scene], [scene])
    torch.manual_seed(0)
    network = task.network()
    assert isinstance(network, FieldNetwork)
    batch = task.batch(0, 0, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loss = task.loss(network, batch)
    loss.backward()
    fitter, value = task._fitted(network, task._learned[0], int(batch["scenes"][0, 1]))
    assert float(loss.detach()) == pytest.approx(value)
    for (name, start), end in zip(network.named_parameters(), fitter.network.parameters(), strict=True):
        assert torch.equal(start, before[name]), "the start itself is moved by the loop alone"
        torch.testing.assert_close(start.grad, start - end)


def test_the_objective_has_the_published_terms() -> None:
    make = torch.Generator().manual_seed(3)
    volume, seen, made = torch.rand(3, 21, 21, generator=make), views(), torch.rand(4, 21, 21, generator=make)
    quiet = FitSettings(similarity=0.0, amplitude=0.3, smoothness=0.0)
    plain = float(objective(made, seen, volume, quiet))
    assert plain == pytest.approx(float((made - seen).square().mean() + 0.3 * volume.mean()), rel=1e-5)
    rough, alike = quiet.model_copy(update={"smoothness": 0.5}), quiet.model_copy(update={"similarity": 0.2})
    assert float(objective(made, seen, volume, rough)) == pytest.approx(plain + 0.5 * float(hessian(volume)), rel=1e-5)
    more = 0.2 * float(dissimilarity(made, seen))
    assert float(objective(made, seen, volume, alike)) == pytest.approx(plain + more, rel=1e-5)
    soft = [float(hessian(volume, each)) for each in (1e-1, 1e-2, 1e-4)]
    assert soft == sorted(soft) and soft[-1] == pytest.approx(float(hessian(volume)), rel=1e-3)


def test_the_mean_of_a_sequence(tmp_path: Path) -> None:
    from napari_recon.engines.lightfield_inr.field import Encoding, Layers

    encoding = Encoding(encoder="positional", octaves=3)
    networks = [FieldNetwork(Layers(depth=2, width=8, encoded=21), encoding).state_dict() for _ in range(3)]
    path = save_sequence(tmp_path / "cp_4DWeights.tar", networks)
    result = napari_recon.run("lightfield_inr.meta", model=path)
    assert check(model_file(result.artifacts["model"])).architecture == "nerf"
    step, state, moments = load_training(model_file(result.artifacts["model"]))
    assert (step, moments) == (0, {})
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, torch.stack([network[name] for network in networks]).mean(dim=0))


def test_the_mean_of_voxels_is_read_by_queries_and_starts_no_fit(tmp_path: Path) -> None:
    data = stacks(2)
    fitted = napari_recon.run("lightfield_inr.fit", data["views"], data["psf"], params={"iterations": 2})
    path = tmp_path / "mean.safetensors"
    napari_recon.train("lightfield_inr.meta", model=fitted.artifacts["model"], out=path)
    mean = napari_recon.run("lightfield_inr.query", model=path)["volume"]
    np.testing.assert_allclose(mean, np.mean(fitted["volume"], axis=0), rtol=1e-5, atol=1e-6)
    with pytest.raises(CheckpointError, match="a network to start from, found voxels"):
        load_training(path)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    data = stacks(2)
    with pytest.raises(InputError, match="found neither; give --input views=FILE"):
        napari_recon.run("lightfield_inr.meta")
    with pytest.raises(InputError, match="one device, found devices=2"):
        meta_example(devices=2, batch_size=2).plan()
    small = ImageStack.of(np.ones((4, 9, 9), np.float32), "VYX", "small")
    with pytest.raises(InputError, match=r"one size, found \(21, 17\) and \(9, 9\)"):
        napari_recon.run("lightfield_inr.meta", inputs={**data, "views": [data["views"], small]}, params=META)
    scene = napari_recon.run("lightfield_inr.fit", stacks()["views"], data["psf"], params=TINY).artifacts["model"]
    with pytest.raises(CheckpointError, match="takes the mean over a fitted sequence"):
        napari_recon.run("lightfield_inr.meta", model=scene)
    with pytest.raises(InputError, match="found both; drop one"):
        napari_recon.run("lightfield_inr.meta", inputs=data, model=scene)
    said = [e.message for e in run(1) if isinstance(e, Warned)]
    assert any("one scene only" in sentence for sentence in said)
