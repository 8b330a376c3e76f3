"""Queries of published fields and of splines: the same numbers however they are asked for, in the recording's world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.inr4d.checkpoint import load_field, load_folder, recognise
from napari_recon.engines.inr4d.layers import FieldLayers
from napari_recon.engines.inr4d.upstream import coordinates
from napari_recon.engines.inr4d.upstream.field import Places, PublishedField, default_tables
from napari_recon.engines.inr4d.upstream.fit import rendered
from napari_recon.engines.inr4d.upstream.networks import FieldNetwork
from napari_recon.fields.spline import SplineField
from napari_recon.hub import import_model, load_state, resolve
from napari_recon.hub.state import read_card
from napari_recon.jobs.artifacts import write_artifact

from .recordings import LAYERS, SHAPE, model, movie, published, recording


def ask(kind: str, *inputs: object, **options: object) -> napari_recon.Result:
    params = {"shape_tzyx": SHAPE} if kind == "published" and not inputs else {}
    params |= options.pop("params", {})  # type: ignore[arg-type]
    return napari_recon.run("inr4d.query", *inputs, model=model(kind).path, params=params, **options)


@pytest.mark.parametrize("chunk", [16, 999, 100_000])
@pytest.mark.parametrize("layers", [LAYERS, FieldLayers(depth=1, width=8, skips=(), octaves=2)], ids=["skip", "one layer"])
def test_a_lattice_gives_what_points_give(tmp_path: Path, chunk: int, layers: FieldLayers) -> None:
    state, latent = load_field(resolve(published(tmp_path / "save", layers)))
    network, jitter = FieldNetwork(layers), default_tables(16, 1)[0]
    network.load_state_dict(state)
    shape = SHAPE[::-1]
    index = torch.cartesian_prod(*(torch.arange(n) for n in (*shape[:3], 1)))
    index[:, 3] = 2
    at = [coordinates.latent_index(index[:, axis], latent.shape[axis]) for axis in range(3)]
    with torch.no_grad():
        expected = rendered(network, coordinates.rows(index, shape), latent[tuple(at)], 16, jitter)
    places = [torch.arange(n) for n in shape[:3]] + [torch.tensor([2])]
    field = PublishedField(state, layers, latent, jitter[None], 16, chunk=chunk)
    found = field.values([Places(p, n, 0.5, p) for p, n in zip(places, shape, strict=True)])
    torch.testing.assert_close(found, expected.view(shape[:3]).permute(2, 1, 0), rtol=1e-3, atol=2e-5)


def test_whole_factors_pass_through_the_data_points() -> None:
    plain = ask("spline")["movie"]
    finer = ask("spline", params={"scale": "t=2,z=3,y=1,x=2"})["movie"]
    np.testing.assert_allclose(finer[::2, ::3, :, ::2], plain, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("kind", ["published", "spline"])
@pytest.mark.parametrize("grid", ["points", "area"])
def test_times_and_boxes_are_parts_of_the_whole(kind: str, grid: str) -> None:
    params = {"scale": "t=2.5,z=1.5,x=0.7", "grid": grid}
    whole = ask(kind, params=params)["movie"]
    box = {"z": (1, 4), "y": (2, 11), "x": (3, 6)}
    part = ask(kind, params=params, roi=box, time=(1, 3))
    first = 3 if grid == "points" else 2
    found = part["movie"]
    assert found.shape[1:] == (3, 9, 3)
    crop = whole[first : first + len(found), 1:4, 2:11, 3:6]
    np.testing.assert_allclose(found, crop, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_the_result_is_calibrated() -> None:
    plan = napari_recon.plan("inr4d.query", model=model("spline").path, params={"scale": "t=2,z=2,y=1.5"}, time=(1, 3))
    grid = plan.outputs[0].grid
    assert grid.shape == (3, 9, 17, 14) and grid.units == ("second", *["micrometer"] * 3)
    assert grid.scale == (15.0, 0.5, pytest.approx(0.25 / 1.5), 0.25)
    assert grid.translate == (30.0, 2.0, -3.0, 0.0)


def test_a_recording_gives_a_published_field_its_place_and_intensities() -> None:
    bare = ask("published")["movie"]
    plan = napari_recon.plan("inr4d.query", recording(), model=model("published").path)
    assert plan.outputs[0].grid == recording().grid
    found = ask("published", recording())["movie"]
    low, high = float(movie().min()), float(movie().max())
    np.testing.assert_allclose(found, low + (high - low) * bare, rtol=1e-5)


def test_splines_are_the_field_itself() -> None:
    field = SplineField(load_state(model("spline").path)["coefficients"], SHAPE)
    point = torch.tensor([[1.5, 2.0 / 1.5, 3.0, 7.0]])
    found = ask("spline", params={"scale": "t=2,z=1.5"})["movie"]
    assert found[3, 2, 3, 7] == pytest.approx(90 + 1000 * float(field.evaluate(point)), rel=1e-4)


def test_splines_may_stand_for_more_samples_than_the_recording_has(tmp_path: Path) -> None:
    """As those of a fit that made planes and frames in between; their ends lie on the recording's."""
    card = read_card(Path(model("spline").path))
    values = np.random.default_rng(0).random((2 * SHAPE[0] - 1, 3 * SHAPE[1] - 2, *SHAPE[2:]), np.float32)
    card["options"]["samples_tzyx"] = list(values.shape)
    finer = SplineField.fitted([torch.from_numpy(frame) for frame in values], values.shape, 1.0)
    write_artifact(
        tmp_path / "m.safetensors", "model", {"state": {"coefficients": finer.coefficients.numpy()}, "card": card}
    )
    asked = {"scale": "t=2,z=3"}
    found = napari_recon.run("inr4d.query", model=str(tmp_path / "m.safetensors"), params=asked)["movie"]
    np.testing.assert_allclose(found, 90 + 1000 * values, rtol=1e-3, atol=0.1)


def test_more_tables_are_a_mean_and_slabs_do_not_show() -> None:
    one, many = (ask("published", params={"tables": n})["movie"] for n in (1, 8))
    assert not np.allclose(one, many)
    slabs = ask("published", params={"tables": 8, "slab": 1})["movie"]
    np.testing.assert_allclose(slabs, many, rtol=1e-4, atol=1e-6)


def test_the_save_folder_as_a_model(tmp_path: Path) -> None:
    folder = published(tmp_path / "save")
    found = recognise(load_state(folder))
    assert found is not None and found.fits and found.engine == "inr4d.query"
    assert found.options["latent_xyz"] == [7, 6, 2] and found.options["skips"] == [1] and found.options["octaves"] == 3
    content, latent = load_folder(folder / "current.pth")
    assert content["step"] == 0 and latent.shape == (7, 6, 2, LAYERS.encoded)
    card = import_model(folder, "mine")
    asked = {"shape_tzyx": SHAPE}
    both = [napari_recon.run("inr4d.query", model=m, params=asked)["movie"] for m in (str(folder), card.id)]
    np.testing.assert_array_equal(*both)


def test_a_recogniser_says_what_does_not_fit(tmp_path: Path) -> None:
    state = load_state(published(tmp_path / "save"))
    other = {**state, "latent_code": state["latent_code"][..., :5]}
    found = recognise(other)
    assert found is not None and "latent_code should be (x, y, z, 28)" in found.problems[0]
    less = {name: tensor for name, tensor in state.items() if not name.endswith("1.bias")}
    found = recognise(less)
    assert found is not None and "missing: coords_MLP.1.bias" in found.problems[0]
    odd = {**state, "current.coords_MLP.0.weight": torch.zeros(16, 30)}
    found = recognise(odd)
    assert found is not None and "8 per octave, found 30" in found.problems[0]
    assert recognise({"latent_code": latent_of(state)}) is None


def latent_of(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["latent_code"]


def test_code_in_a_save_folder_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path / "save")
    torch.save({"model1_state_dict": {}, "step": Path("x")}, folder / "current.pth")
    with pytest.raises(CheckpointError, match="could run code"):
        resolve(folder)


@pytest.mark.parametrize(
    ("inputs", "params", "sentence"),
    [
        ((), {}, "does not say how large its recording was; give the recording"),
        ((), {"shape_tzyx": (4, 5, 12, 20)}, "should be the one that .* twice"),
        ((recording((4, 5, 12, 18)),), {}, "should be the one that .* twice"),
        ((recording(),), {"shape_tzyx": (5, 5, 12, 14)}, "leave one out"),
        ((), {"shape_tzyx": SHAPE, "scale": "c=2"}, "found c=2; write for example"),
        ((), {"shape_tzyx": SHAPE, "jitter": "nowhere.npy"}, "should be a table of jitter"),
    ],
)
def test_what_a_published_field_lacks_is_said(inputs: tuple[object, ...], params: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        napari_recon.run("inr4d.query", *inputs, model=model("published").path, params=params)


def test_a_field_of_another_recording_is_refused() -> None:
    with pytest.raises(InputError, match="fitted to, with axes TZYX of"):
        ask("spline", recording((4, 5, 12, 16)))
    other = recording()
    brighter = ImageStack(np.asarray(other.data) * 3, other.grid, "other")
    with pytest.raises(InputError, match=r"fitted to \(intensities .*; choose that recording"):
        ask("spline", brighter)
    np.testing.assert_array_equal(ask("spline", recording())["movie"], ask("spline")["movie"])


def test_a_table_of_another_size_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "jitter.npy", np.full((9, 4), 0.5))
    params = {"shape_tzyx": SHAPE, "jitter": str(tmp_path / "jitter.npy")}
    with pytest.raises(InputError, match="table of 16 samples x 4 axes"):
        ask("published", params=params)


def test_a_frame_between_time_points_can_be_asked_for_alone() -> None:
    params = {"scale": "t=4"}
    whole = ask("splines", params=params)
    alone = ask("splines", params={**params, "frames": "5:7"})
    np.testing.assert_array_equal(alone["movie"], whole["movie"][5:7])
    assert alone.specs["movie"].grid.origin("T") == whole.specs["movie"].grid.to_world("T", 5)
    again = napari_recon.rerun(alone.provenance)
    np.testing.assert_array_equal(again["movie"], alone["movie"])
    with pytest.raises(InputError, match="give one of them"):
        ask("splines", params={**params, "frames": "5:7"}, time="0:2")
