"""serenet.train: what every network learns from, what init brings, and what is refused in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, MetricLogged, PreviewReady, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.train import Train
from napari_recon.engines.serenet.training.examples import Recording, patch_of
from napari_recon.engines.serenet.training.inputs import geometry_for, pedestal
from napari_recon.engines.serenet.training.params import SerenetTrainParams, network_options
from napari_recon.engines.serenet.training.tasks import task_of
from napari_recon.hub import check, load_state
from napari_recon.jobs.planning import input_ref
from napari_recon.training.loop import train

TINY: dict[str, Any] = {
    **{
        "steps": 2,
        "planes": 3,
        "crop": 12,
        "field": 12,
        "pool": 1,
        "held_out": 1,
        "validate_every": 2,
        "checkpoint_every": 2,
    },
    **{"warmup": 0.0, "photons_from": 500.0},
}
PUBLISHED_49 = 49


def views(size: int = 18, pages: int = PUBLISHED_49, seed: int = 0, **named: Any) -> ImageStack:
    """Return a light field of blobs that move with the view."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    places = rng.uniform(3, size - 3, (6, 2))
    image = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 3) for a, b in places)
    data = rng.poisson(300 * np.broadcast_to(image, (pages, size, size))).astype(np.uint16)
    return ImageStack.of(data, "VYX", "views", **named)


def volume(size: int = 18, planes: int = 3) -> ImageStack:
    """Return a volume that belongs to `views`."""
    fine = round(size * 13 / 3)
    return ImageStack.of(np.random.default_rng(1).random((planes, fine, fine)).astype(np.float32) * 100, "ZYX", "volume")


def trained(tmp_path: Path, **params: Any) -> tuple[Path, list[Event]]:
    """Return the model file of a run, and its events."""
    events: list[Event] = []
    inputs = params.pop("inputs", None)
    out = tmp_path / f"{params.get('network', 'serenet')}.safetensors"
    values = {**TINY, "checkpoint_folder": str(tmp_path / "checkpoints"), **params}
    napari_recon.train("serenet.train", out=out, params=values, inputs=inputs, on_event=events.append, seed=1, threads=1)
    return out, events


def refused(params: dict[str, Any], **stacks: ImageStack | list[ImageStack]) -> str:
    """Return the sentence with which a plan is refused."""
    refs = [
        input_ref(name, one) for name, given in stacks.items() for one in (given if isinstance(given, list) else [given])
    ]
    with pytest.raises(InputError) as caught:
        Train().plan(refs, {**TINY, **params}, compute=Compute(device="cpu", threads=1))
    return str(caught.value)


def params_of(**params: Any) -> SerenetTrainParams:
    return SerenetTrainParams.model_validate({**TINY, **params})


@pytest.mark.parametrize("network", ["serenet", "renet", "rlnet", "vcdnet", "hylfmnet", "vsnet", "twnet"])
def test_every_network_is_trained_on_simulated_recordings_and_recognised(tmp_path: Path, network: str) -> None:
    file, events = trained(tmp_path, network=network, checkpoint_every=100)
    report = check(file)
    assert report.fits and report.architecture == params_of(network=network).architecture
    assert report.engine == (f"serenet.{network}" if network in ("vsnet", "twnet") else "serenet.reconstruct")
    curves = {event.name: event.value for event in events if isinstance(event, MetricLogged)}
    assert all(np.isfinite(value) for value in curves.values())
    assert {"loss", "validation"} <= curves.keys()
    preview = next(event for event in events if isinstance(event, PreviewReady))
    assert preview.array.shape == ((1, 12, 36) if network in ("vsnet", "twnet") else (3, 52, 156))
    assert preview.array.min() >= 0


def test_fserenet_takes_what_serenet_learnt_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    first, _ = trained(tmp_path)
    second, _ = trained(tmp_path, network="fserenet", init=str(first), steps=3, validate_every=3, averaging=0.0)
    before, after = load_state(first), load_state(second)
    shared = [name for name in before if name in after]
    assert {name for name in shared if name.endswith("weight")} == {f"fusion.{n}.weight" for n in (0, 2, 4, 6, 9, 11)}
    for name in shared:
        torch.testing.assert_close(after[name], before[name])
    fresh = task_of(
        params_of(network="fserenet", freeze=False), geometry_for(params_of()), 1, *options("fserenet")
    ).network()
    drawn = dict(fresh.network.named_parameters())  # type: ignore[union-attr]
    assert any(not torch.equal(after[name], drawn[name].detach()) for name in after if name.startswith("decoder"))


def options(network: str, **params: Any) -> tuple[dict[str, Any], bool]:
    values = params_of(network=network, freeze=False, **params)
    return network_options(values, geometry_for(values))


def test_serenet_learns_the_views_of_a_recording(tmp_path: Path) -> None:
    """On one recording, the loss on its views falls below half of what it was within twenty steps."""
    kept = {"steps": 20, "validate_every": 10, "learning_rate": 3e-3, "averaging": 0.0, "dimmest": 1.0}
    model, events = trained(tmp_path, inputs={"views": [views()]}, **kept)
    loss = [event.value for event in events if isinstance(event, MetricLogged) and event.name == "loss"]
    assert np.mean(loss[-3:]) < 0.5 * np.mean(loss[:3])
    assert not any(isinstance(event, Warned) for event in events)  # judged by views that the loss never saw
    # at a rate that ruins it, the network that it started from is the best; the run ends early and keeps that one
    ruined = {"init": str(model), "learning_rate": 0.01, "clip": 0.0, "warmup": 0.0, "validate_every": 1, "patience": 2}
    kept_model, events = trained(tmp_path / "ruined", inputs={"views": [views()]}, **{**kept, **ruined})
    assert any(isinstance(event, Warned) and "that of step 0 is kept" in event.message for event in events)
    for name, tensor in load_state(model).items():
        torch.testing.assert_close(load_state(kept_model)[name], tensor)


def test_withheld_views_are_never_compared() -> None:
    values = params_of(views_per_step=60)
    given = [Recording(torch.from_numpy(views().data.astype(np.float32)), False)]
    task = task_of(values, geometry_for(values), 1, *options("serenet"), given, given)
    compared = task.batch(0, 0, 1)["chosen"][0]
    assert len(compared) == PUBLISHED_49 - 7 and 0 in compared
    assert not np.isin(compared.numpy(), task.withheld).any()  # type: ignore[attr-defined]
    assert len(task_of(values, geometry_for(values), 1, *options("serenet")).batch(0, 0, 1)["chosen"][0]) == PUBLISHED_49


def test_a_model_reconstructs_what_training_saw(tmp_path: Path) -> None:
    """The volume of serenet.reconstruct is that of validation, in the data's unit, whatever that is."""
    model, _ = trained(tmp_path)
    stack = views()
    values = params_of(read_noise=0.0)
    task = task_of(values, geometry_for(values), 1, *options("serenet"))
    network = task.network()
    network.network.load_state_dict(load_state(model))  # type: ignore[operator,union-attr]
    recording = Recording(torch.from_numpy(stack.data.astype(np.float32)), False)
    patch = patch_of(recording, task.geometry, values, np.random.default_rng(0), 0, True)
    with torch.no_grad():
        expected = task.answer(network, patch).numpy()
    for factor in (1.0, 1e-3):
        data = ImageStack.of(stack.data.astype(np.float32) * np.float32(factor), "VYX", "views")
        found = napari_recon.run("serenet.reconstruct", data, model=model, params={"planes": 3}, threads=1)["volume"]
        np.testing.assert_allclose(found.data, factor * expected, atol=2e-3 * factor * expected.max())


def test_pairs_are_learnt_from_in_their_order(tmp_path: Path) -> None:
    stacks = {"views": [views(seed=n) for n in range(2)], "volume": [volume(), volume()]}
    _, events = trained(tmp_path, network="renet", inputs=stacks)
    assert {"PSNR", "MIP PSNR"} <= {event.name for event in events if isinstance(event, MetricLogged)}


def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    inputs = {"views": [views()]}
    whole, _ = trained(tmp_path / "a", inputs=inputs, steps=4, checkpoint_every=2)
    first = sorted((tmp_path / "a" / "checkpoints").glob("step-*.pt"))[0]
    rest, _ = trained(tmp_path / "b", inputs=inputs, steps=4, checkpoint_every=2, resume=str(first))
    one, other = load_state(whole), load_state(rest)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_full_psf_is_learnt_through(tmp_path: Path) -> None:
    """With a PSF that is the geometry's, the loss is nearly that through the geometry; upstream's is another."""
    geometry = geometry_for(params_of())
    psf = np.zeros((49, 3, 25, 25), np.float32)
    y, x = np.mgrid[-12:13, -12:13]
    for view, plane in np.ndindex(49, 3):
        dy, dx = geometry.psf_shift[view, plane]
        psf[view, plane] = np.exp(-((y - dy) ** 2 + (x - dx) ** 2) / 8)
    psf /= psf.sum(axis=(2, 3), keepdims=True)
    recording = Recording(torch.from_numpy(views().data.astype(np.float32)), False)
    loss = {}
    for name, given, compat in (("rays", None, "none"), ("psf", psf, "none"), ("published", psf, "upstream")):
        values = params_of(compat=compat, size="small", negative=0.0, similarity=0.0, views_per_step=49)
        task = task_of(values, geometry, 1, *options("serenet"), [recording], [recording],
                       None if given is None else torch.from_numpy(given))  # fmt: skip
        torch.manual_seed(0)
        loss[name] = task.loss(task.network(), task.batch(0, 0, 1)).item()
    assert loss["psf"] == pytest.approx(loss["rays"], rel=0.05)
    assert np.isfinite(loss["published"])
    out, _ = trained(tmp_path, inputs={"views": [views()], "psf": [ImageStack.of(psf, "VZYX", "psf")]})
    assert check(out).fits


def test_published_settings_are_those_of_the_paper() -> None:
    values = SerenetTrainParams.model_validate({"compat": "upstream"})
    assert (values.steps, values.crop, values.batch_size, values.views_per_step) == (72_000, 99, 1, 13)
    assert (values.learning_rate, values.schedule, values.averaging, values.dimmest) == (1e-4, "constant", 0.0, 0.1)
    assert SerenetTrainParams.model_validate({"compat": "upstream", "crop": 48}).crop == 48
    assert network_options(values, geometry_for(values)) == (
        {"views": 49, "second_up": 2.0, "channels": [64, 32, 32, 16, 16, 8, 8, 4]},
        False,
    )


def test_patches_are_where_their_views_and_truth_are() -> None:
    geometry = geometry_for(params_of())
    y = torch.arange(18.0)
    fine = (torch.arange(78.0) + 0.5) / (13 / 3) - 0.5
    recording = Recording((y[:, None] * 100 + y).expand(49, 18, 18), False, (fine[:, None] * 100 + fine).expand(3, 78, 78))
    values = params_of(dimmest=1.0, read_noise=0.0)
    for seed in range(5):
        patch = patch_of(recording, geometry, values, np.random.default_rng(seed), 12, True)
        assert patch.truth is not None
        coarse = torch.nn.functional.interpolate(patch.truth[None], (12, 12), mode="bilinear", antialias=True)[0]
        inner = (slice(None), slice(1, -1), slice(1, -1))
        torch.testing.assert_close(coarse[0][1:-1, 1:-1], patch.views[inner][0], rtol=0, atol=3.0)
        top, left = patch.corner_yx
        seen = patch.noisy[:, top : top + 12, left : left + 12] / patch.scale + recording.views.quantile(0.01)
        torch.testing.assert_close(seen, patch.views, rtol=1e-3, atol=2.0)


def test_noise_is_not_taken_for_light() -> None:
    rng = np.random.default_rng(0)
    dark = rng.normal(100, 3, (49, 30, 30)).astype(np.float32)
    assert np.quantile(dark, 0.01) + pedestal(dark) == pytest.approx(100, abs=1)
    assert pedestal(np.maximum(dark - 100, 0)) < 1.5
    assert pedestal(np.zeros((49, 9, 9), np.float32)) == 0


# --- what is refused -----------------------------------------------------------------------------------------------------


def test_views_of_another_nnum_or_microscope_are_refused() -> None:
    assert "should have 169 views" in refused({}, views=views(pages=225))
    micrometre = {"scale": {"Y": 1.0, "X": 1.0}, "units": {"Y": "micrometer", "X": "micrometer"}}
    assert "choose the psf_shift of its microscope" in refused({}, views=views(**micrometre))


def test_a_psf_of_another_shape_or_magnification_is_refused() -> None:
    psf = np.ones((49, 3, 9, 9), np.float32)
    assert "should have the 49 views" in refused({}, views=views(), psf=ImageStack.of(psf[:20], "VZYX", "psf"))
    assert "found 49 views and 1 planes" in refused({}, views=views(), psf=ImageStack.of(psf[:, :1], "VZYX", "psf"))
    coarse = ImageStack.of(psf, "VZYX", "psf", scale={"Y": 0.3, "X": 0.3}, units={"Y": "micrometer", "X": "micrometer"})
    assert "for this magnification" in refused({}, views=views(), psf=coarse)


def test_too_few_and_unpaired_data_are_refused() -> None:
    assert "at least crop=12 pixels" in refused({}, views=views(9))
    assert "leave both out to simulate" in refused({"network": "renet"}, views=views())
    assert "give each its light field" in refused({"network": "renet"}, volume=volume())
    assert "found 2 of views and 1 of volume" in refused({"network": "renet"}, views=[views(), views()], volume=volume())
    assert "should have (3, 78, 78) voxels" in refused({"network": "renet"}, views=views(), volume=volume(planes=5))
    assert "learns from views alone" in refused({"network": "vsnet"}, views=views(pages=169), volume=volume())
    assert "should have 169 views" in refused({"network": "vsnet"}, views=views())


def test_constant_recordings_are_refused(tmp_path: Path) -> None:
    flat = ImageStack.of(np.full((49, 18, 18), 7, np.uint16), "VYX", "flat")
    flat.data[0, 0, 0] = 8
    with pytest.raises(InputError, match="should show something"):
        trained(tmp_path, inputs={"views": [flat]})


def test_unfit_parameters_are_refused(tmp_path: Path) -> None:
    assert "a multiple of 3" in refused({"crop": 11})
    assert "crop should be at most field" in refused({"crop": 15})
    assert "an odd number" in refused({"planes": 4})
    assert "crop should be at least" in refused({"planes": 101, "crop": 30, "field": 45})
    assert "F-SeReNet refines a SeReNet" in refused({"network": "fserenet"})
    assert "LPIPS needs the weights" in refused({"perceptual": 1.0})
    assert "photons_from should be at most" in refused({"photons_from": 2000.0})
    model, _ = trained(tmp_path)
    assert "init should be a rlnet" in refused({"network": "rlnet", "init": str(model)})
    assert "is for 49 views" in refused({"init": str(model), "psf_shift": "geometric-15", "crop": 24, "field": 24})


def test_a_diverging_loss_ends_the_run_with_the_weights_from_before(tmp_path: Path) -> None:
    task = task_of(params_of(steps=6, validate_every=2), geometry_for(params_of()), 1, *options("serenet"))

    class Broken(type(task)):  # type: ignore[misc]
        def loss(self, network: Any, batch: Any) -> Any:
            loss = super().loss(network, batch)
            return loss * float("nan") if int(batch["step"]) == 3 else loss

    task.__class__ = Broken
    events = list(train(task, task.params, Compute(device="cpu", seed=1), tmp_path, CancelToken()))
    assert any(isinstance(event, Warned) and "not finite at step 4" in event.message for event in events)
    state = events[-1].payload["state"]  # type: ignore[union-attr]
    assert all(np.isfinite(array).all() for array in state.values())


def test_every_device_gets_its_own_part_of_the_same_examples() -> None:
    values = params_of(batch_size=2)
    task = task_of(values, geometry_for(values), 1, *options("serenet"))
    whole = task.batch(0, 0, 1)
    copies = [pickle.loads(pickle.dumps(task_of(values, task.geometry, 1, *options("serenet")))) for _ in range(2)]
    for rank, copy in enumerate(copies):
        part = copy.batch(0, rank, 2)
        assert torch.equal(part["features"][0], whole["features"][rank])
        assert torch.equal(part["views"][0], whole["views"][rank])
