"""The Python interface as a notebook uses it: forgiving in what it takes, one sentence for the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.region import Box, TimeRange
from napari_recon.jobs.planning import split_model
from tests.toy_engine import ToySmooth


def _same(plan: object, **options: object) -> bool:
    return plan.selection == napari_recon.plan("toy.smooth", np.ones((3, 24, 32)), **options).selection  # type: ignore[attr-defined]


def test_regions_and_times_in_every_form(image: np.ndarray) -> None:
    plan = napari_recon.plan("toy.smooth", image, roi="y=4:10", time="1:2")
    assert plan.selection.time == TimeRange(start=1, stop=2)
    for roi in ({"y": (4, 10)}, {"y": [4, 10]}, {"y": slice(4, 10)}, Box(y=(4, 10))):
        assert _same(plan, roi=roi, time=(1, 2))
    for time in (1, np.int64(1), slice(1, 2), [1, 2], TimeRange(start=1, stop=2)):
        assert _same(plan, roi="y=4:10", time=time)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roi": ((1, 4), (3, 9))}, "per axis"),
        ({"roi": {"y": "all"}}, "start and a stop"),
        ({"roi": {"y": slice(4, None)}}, "start and a stop"),
        ({"time": slice(0, 3, 2)}, "start and a stop"),
        ({"time": 1.5}, "start and a stop"),
        ({"voxel_size": 0.5}, "per axis"),
        ({"voxel_size": {"y": -1.0}}, "above 0"),
        ({"voxel_size": {"y": "0.1"}}, "above 0"),
        ({"voxel_size": {"q": 1.0}}, "z, y or x"),
        ({"radius": 3}, "params="),
    ],
)
def test_odd_options_are_one_sentence(image: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        napari_recon.plan("toy.smooth", image, **options)


def test_one_named_input_needs_no_list(image: np.ndarray, image_file: Path) -> None:
    for thing in (image, image_file, str(image_file)):
        named, counted = napari_recon.plan("toy.smooth", inputs={"image": thing}), napari_recon.plan("toy.smooth", thing)
        assert named.inputs == counted.inputs and named.outputs == counted.outputs
    with pytest.raises(InputError, match=r"dimensions YX .*, found shape \(5,\)"):
        napari_recon.run("toy.smooth", np.ones(5))
    with pytest.raises(InputError, match="found None"):
        napari_recon.run("toy.smooth", None)


def test_a_result_runs_again(image: np.ndarray) -> None:
    result = napari_recon.run("toy.smooth", image, params={"radius": 2})
    for source in (result, result.provenance, result.outputs["smooth"]):
        again = napari_recon.rerun(source, inputs={"image": image})
        np.testing.assert_array_equal(again["smooth"], result["smooth"])


def test_arrays_are_there_also_when_they_went_to_a_file(image: np.ndarray, tmp_path: Path) -> None:
    kept, written = (napari_recon.run("toy.smooth", image, out=out) for out in (None, tmp_path / "a.ome.tif"))
    np.testing.assert_array_equal(written["smooth"], kept["smooth"])


def test_a_result_says_in_one_line_what_it_holds(image: np.ndarray) -> None:
    result = napari_recon.run("toy.smooth", image, params={"training_steps": 1})
    assert repr(result) == "Result(smooth TYX 3x48x64 float32; brightness; gain)"
    with pytest.raises(InputError, match=r"no image 'volume', its images are: smooth"):
        result["volume"]
    with pytest.raises(InputError, match=r"artifacts\['gain'\]"):
        result["gain"]


def test_an_engine_without_inputs_takes_its_model_as_the_only_thing() -> None:
    class Query(ToySmooth):
        info = EngineInfo(
            name="toy.query", kind="query", title="", summary="", outputs=(OutputInfo(name="v"),), needs_model="required"
        )

    assert split_model(Query(), ["field.safetensors"], None) == ([], "field.safetensors")
    assert split_model(Query(), [], "field.safetensors") == ([], "field.safetensors")
    assert split_model(ToySmooth(), ["image.tif"], None) == (["image.tif"], None)


def test_a_field_among_the_inputs_of_a_query_is_its_model(tmp_path: Path) -> None:
    from napari_recon.engines import registry

    query = registry.get("inr4d.query")
    (tmp_path / "save").mkdir()
    (tmp_path / "save/current.pth").touch()
    save = str(tmp_path / "save")
    assert split_model(query, ["field.safetensors"], None) == ([], "field.safetensors")
    assert split_model(query, ["movie.nii.gz", save], None) == (["movie.nii.gz"], save)
    assert split_model(query, ["movie.nii.gz"], None) == (["movie.nii.gz"], None)
    assert split_model(query, ["movie.nii.gz"], save) == (["movie.nii.gz"], save)
    assert split_model(registry.get("serenet.reconstruct"), ["weights.pth"], None) == (["weights.pth"], None)


def test_packages_of_the_public_interface_need_no_import_of_their_own() -> None:
    code = "import napari_recon; napari_recon.hub.check, napari_recon.samples.path"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
