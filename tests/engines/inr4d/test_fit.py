"""The published fit as a run: it learns, goes on exactly, stops at once, and writes what both programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Event, Finished, MetricLogged, PreviewReady, Warned
from napari_recon.core.region import Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.inr4d.checkpoint import load_folder
from napari_recon.engines.inr4d.upstream.fit import Fitter
from napari_recon.engines.inr4d.upstream.settings import PublishedSettings

from .recordings import NETWORKS, SMALL, fit_example, movie, published, recording


def settings(**changes: Any) -> PublishedSettings:
    return PublishedSettings.model_validate({**NETWORKS, "steps": 8, "batch": 64, **changes})


def model_of(events: list[Event]) -> dict[str, Any]:
    return next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "model")


def test_both_networks_learn() -> None:
    fitter = Fitter(movie().astype(np.float32), settings(rate=0.05, rate_end=0.05), 0, "cpu")
    encoder = [fitter.advance() for _ in range(60)]
    assert all(done.encoding for done in encoder) and encoder[-1].loss < 0.7 * encoder[0].loss
    fitter.freeze()
    kept = fitter.latents.clone()
    field = [fitter.advance().loss for _ in range(150)]
    assert np.mean(field[-20:]) < 0.7 * np.mean(field[:5])
    assert torch.equal(fitter.latents, kept) and fitter.step == 210


def test_the_curves_and_previews_of_a_run(tmp_path: Path) -> None:
    example = fit_example(checkpoint_folder=str(tmp_path / "save"), checkpoint_every=4, axes_checked=True)
    events = example.events(example.plan())
    series = {(e.name, e.series) for e in events if isinstance(e, MetricLogged)}
    assert series == {(name, part) for name in ("loss", "PSNR") for part in ("encoder", "field")}
    assert any(isinstance(e, PreviewReady) for e in events)
    said = [e.message for e in events if isinstance(e, Warned)]
    assert len(said) == 1 and "dB of 39 in 3 steps" in said[0]
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [4, 8]
    card = model_of(events)["card"]
    assert card["engine"] == "inr4d.query" and card["training"]["complete"]


def test_the_model_is_the_movie_and_the_save_folder(tmp_path: Path) -> None:
    """What the run shows, what its model gives, and what the published files give."""
    result = napari_recon.train(
        "inr4d.fit",
        recording(),
        out=tmp_path / "field.safetensors",
        params={**SMALL, "checkpoint_folder": str(tmp_path / "save")},
    )
    assert result is not None
    shown = napari_recon.run("inr4d.fit", recording(), params=SMALL)["movie"]
    asked = [
        napari_recon.run("inr4d.query", *inputs, model=str(tmp_path / name))["movie"]
        for name, inputs in (("field.safetensors", ()), ("save", (recording(),)))
    ]
    np.testing.assert_allclose(asked[0], shown, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(asked[1], asked[0], rtol=1e-4, atol=1e-2)


def test_the_published_program_reads_a_save_folder(tmp_path: Path) -> None:
    example = fit_example(checkpoint_folder=str(tmp_path))
    example.events(example.plan())
    content = torch.load(tmp_path / "current.pth", weights_only=True)
    latent = torch.load(tmp_path / "latent_code.pt", weights_only=True)
    assert content["step"] == 8 and {"model1_state_dict", "optimizer_state_dict"} <= set(content)
    assert set(content["model1_state_dict"]) == set(settings().layers.shapes())
    assert latent.dtype == torch.float32 and latent.shape == (7, 6, 2, 28)
    groups = content["optimizer_state_dict"]["param_groups"]
    assert len(groups) == 1 and len(groups[0]["params"]) > len(content["model1_state_dict"])


@pytest.mark.parametrize("stop", [2, 3, 6], ids=["encoder", "between", "field"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    folder = str(tmp_path / "save")
    example = fit_example(checkpoint_folder=folder)
    whole = model_of(example.events(example.plan()))["state"]
    token, seen = CancelToken(), []
    fresh = fit_example(checkpoint_folder=str(tmp_path / "other"))
    for event in fresh.engine.run(fresh.plan(), fresh.inputs, token):
        seen.append(event)
        if isinstance(event, MetricLogged) and event.step == stop:
            token.cancel()
    assert isinstance(seen[-1], Finished) and seen[-1].partial
    assert not model_of(seen)["card"]["training"]["complete"]
    saved = [e for e in seen if isinstance(e, CheckpointSaved)][-1]
    assert saved.step == stop
    again = model_of(fresh.events(fresh.plan(resume="auto")))["state"]
    for name, tensor in whole.items():
        np.testing.assert_array_equal(again[name], tensor)


def test_a_published_folder_is_gone_on_with(tmp_path: Path) -> None:
    """Only its field learns: the encoder is not in the files. Its moments are as many as those of both networks."""
    example = fit_example(checkpoint_folder=str(tmp_path / "ours"))
    example.events(example.plan())
    content, latent = load_folder(tmp_path / "ours")
    theirs = {name: content[name] for name in ("model1_state_dict", "optimizer_state_dict")}
    theirs["optimizer_state_dict"]["param_groups"][0]["lr"] = np.float64(5e-6)
    (tmp_path / "theirs").mkdir()
    torch.save({**theirs, "step": 6}, tmp_path / "theirs" / "current.pth")
    torch.save(latent, tmp_path / "theirs" / "latent_code.pt")
    events = example.events(example.plan(resume=str(tmp_path / "theirs"), checkpoint_folder=str(tmp_path / "new")))
    assert {e.series for e in events if isinstance(e, MetricLogged)} == {"field"}
    np.testing.assert_array_equal(model_of(events)["state"]["latent_code"], latent)


def test_folders_of_other_data_or_networks_are_refused(tmp_path: Path) -> None:
    example = fit_example(checkpoint_folder=str(tmp_path / "save"))
    example.events(example.plan())
    other = ImageStack(movie(seed=1), recording().grid, "other")
    with pytest.raises(InputError, match="same data, found one of other data"):
        list(example.engine.run(example.plan(resume="auto"), {"movie": [other]}))
    with pytest.raises(CheckpointError, match="wrong shape: coords_MLP"):
        example.events(example.plan(**{"resume": str(tmp_path / "save"), "upstream.width": 20}))
    with pytest.raises(CheckpointError, match="optimiser of these networks"):
        example.events(example.plan(resume=str(published(tmp_path / "drawn"))))
    with pytest.raises(CheckpointError, match="should be a save folder"):
        example.events(example.plan(resume=str(tmp_path)))


def test_an_encoder_that_never_arrives_is_said(tmp_path: Path) -> None:
    """As published, nothing else happens then."""
    example = fit_example(**{"compat": "upstream", "upstream.encoder_steps": 0, "axes_checked": True})
    events = example.events(example.plan())
    said = [e.message for e in events if isinstance(e, Warned)]
    assert len(said) == 1 and "the field itself was not trained" in said[0]
    reached = example.events(example.plan(**{"upstream.threshold": 1.0}))
    assert not [e for e in reached if isinstance(e, Warned)]
    assert [e.series for e in reached if isinstance(e, MetricLogged)][-1] == "field"


def test_with_compat_the_jitter_is_one_table_that_the_model_keeps(tmp_path: Path) -> None:
    table = np.random.default_rng(3).random((16, 4), np.float32)
    np.save(tmp_path / "jitter.npy", table)
    example = fit_example(**{"compat": "upstream", "upstream.jitter": str(tmp_path / "jitter.npy")})
    events = example.events(example.plan())
    np.testing.assert_allclose(model_of(events)["card"]["options"]["jitter"], table)


def test_a_region_is_fitted_alone() -> None:
    example = fit_example(region_only=True)
    selection = Selection(time=TimeRange(start=1, stop=4), box={"z": (1, 5), "y": (2, 10), "x": (0, 6)})  # type: ignore[arg-type]
    plan = example.plan(selection)
    events = example.events(plan)
    options = model_of(events)["card"]["options"]
    assert options["grid"] == plan.outputs[0].grid.model_dump(mode="json")
    assert options["recording"]["region"] == [[1, 4], [1, 5], [2, 10], [0, 6]]
    assert options["latent_xyz"] == [3, 4, 2]
    part = movie()[1:4, 1:5, 2:10, 0:6]
    assert options["recording"]["range"] == [part.min(), part.max()]


def test_finishing_early_keeps_the_field() -> None:
    example, token = fit_example(**{"upstream.steps": 500}), CancelToken()
    events = []
    for event in example.engine.run(example.plan(), example.inputs, token):
        events.append(event)
        if isinstance(event, MetricLogged) and event.step == 5:
            token.finish()
    assert isinstance(events[-1], Finished) and not events[-1].partial
    assert model_of(events)["card"]["training"]["steps"] < 20


def test_a_published_settings_file(tmp_path: Path) -> None:
    sizes = "model: {netD: 3, netW: 16, skips: [1], max_freq: 2}\nrcan: {n_feats: 4, reduction: 2}\n"
    (tmp_path / "config.yaml").write_text(f"max_iter: 12\nn_samples: 81\n{sizes}")
    example = fit_example()
    plan = example.engine.plan(
        example.plan().inputs,
        {"method": "upstream", "config": str(tmp_path / "config.yaml"), "upstream.steps": 9},
        Selection(),
    )
    made = plan.params["upstream"]
    assert (made["samples"], made["octaves"], made["features"], made["steps"]) == (81, 3, 4, 9)
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="should hold settings by name"):
        example.plan(config=str(tmp_path / "config.yaml"))
    with pytest.raises(InputError, match=r"upstream.skips should lie between 1 and 2"):
        example.plan(**{"upstream.skips": "3"})
    with pytest.raises(InputError, match=r"reduction should be at most"):
        example.plan(**{"upstream.reduction": 99})
