from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core import provenance
from napari_recon.core.compute import Compute, resolve_device
from napari_recon.core.errors import InputError
from napari_recon.core.plan import InputRef
from napari_recon.core.provenance import Recipe
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.engines import registry
from tests.toy_engine import ToySmooth


def test_reading_by_axis_names() -> None:
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    stack = ImageStack.of(data, "TVYX")
    np.testing.assert_array_equal(stack.read("XVY", t=1), data[1].transpose(2, 0, 1))
    np.testing.assert_array_equal(stack.read(t=0, y=slice(1, 3)), data[0, :, 1:3])


def test_the_fingerprint_follows_content_shape_and_axes() -> None:
    data = np.random.default_rng(0).random((4, 5, 6))
    same, other = data.copy(), data.copy()
    other[2, 3, 1] += 1
    first = ImageStack.of(data, "ZYX").fingerprint()
    assert first == ImageStack.of(same, "ZYX").fingerprint()
    assert first != ImageStack.of(other, "ZYX").fingerprint()
    assert first != ImageStack.of(data, "TYX").fingerprint()


def test_a_grid_of_another_shape_is_refused() -> None:
    stack = ImageStack.of(np.zeros((3, 4)), "YX")
    with pytest.raises(InputError, match="pass both alike"):
        ImageStack(np.zeros((4, 4)), stack.grid)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float64])
def test_every_number_type_becomes_float32(dtype: type) -> None:
    assert check_content(np.arange(6).astype(dtype), "x").dtype == np.float32


@pytest.mark.parametrize("array", [np.array([True, False]), np.array(["a", "b"]), np.array([1j, 2])])
def test_other_types_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="should hold intensities"):
        check_content(array, "x")


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert Compute(device="cpu").resolved().threads >= 1
    assert Compute(device="cpu").resolved().memory_bytes > 2**20
    assert Compute.headless("cpu", 3).threads >= 1
    with pytest.raises(InputError, match="device should be"):
        resolve_device("tpu")


def test_an_unknown_engine_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"serenet\.reconstruct"):
        registry.get("no.such")


def test_recipes_round_trip_and_refuse_other_things() -> None:
    grid = ImageStack.of(np.zeros((4, 6)), "YX").grid
    plan = ToySmooth().plan([InputRef(name="image", uri="a.tif", grid=grid, fingerprint="f")], {"radius": 3})
    recipe = Recipe.of(plan)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.to_dict()["schema"] == 1 and recipe.steps[0].inputs["image"][0].path == "a.tif"
    assert {"tile", "device", "threads", "seed"} <= set(recipe.steps[0].resolved)
    for text in ("", "3", "a: b", "schema: [1]\nsteps: []", "schema: 1\nsteps: [{}]", "a: [", "schema: 1"):
        with pytest.raises(InputError):
            Recipe.from_yaml(text)


@pytest.mark.parametrize("steps", [[], None])
def test_a_recipe_without_steps_is_refused(steps: object) -> None:
    with pytest.raises(InputError, match="at least one step"):
        Recipe.from_dict({"schema": 1, "steps": steps})


def test_an_older_schema_is_taken_to_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(provenance.MIGRATIONS, 0, lambda old: {"steps": [{"id": "a", "engine": old["engine"]}]})
    assert Recipe.from_dict({"schema": 0, "engine": "toy.smooth", "steps": ()}).steps[0].engine == "toy.smooth"
    with pytest.raises(InputError, match="schema 9, this version reads up to 1; update"):
        Recipe.from_dict({"schema": 9, "steps": []})
