from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.engine import InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady
from napari_recon.core.provenance import InputSource, Recipe, RecipeModel, Step
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.io import write_stack
from napari_recon.jobs import collect, make_plan, run_plan
from napari_recon.jobs.recipes import differences, plan_of, prepare, read_recipe
from tests.toy_engine import ToySmooth


def _run(image_file: Path, out: Path, **options: object) -> napari_recon.jobs.Result:
    return napari_recon.run("toy.smooth", image_file, out=out, params={"radius": 2}, **options)


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr", ".npy"])
def test_a_result_file_runs_again_to_the_same_values(image_file: Path, tmp_path: Path, suffix: str) -> None:
    _run(image_file, tmp_path / f"a{suffix}", roi="y=5:30,x=7:50", time="1:3")
    again = napari_recon.rerun(tmp_path / f"a{suffix}")
    direct = napari_recon.run("toy.smooth", image_file, params={"radius": 2}, roi="y=5:30,x=7:50", time=(1, 3))
    np.testing.assert_array_equal(again["smooth"], direct["smooth"])
    assert again.warnings == [] and again.specs == direct.specs


def test_a_recipe_file_and_provenance_run_like_the_result(image_file: Path, tmp_path: Path) -> None:
    first = napari_recon.run("toy.smooth", image_file)
    (tmp_path / "a.recipe.yaml").write_text(Recipe.from_dict(first.provenance).to_yaml())
    for source in (tmp_path / "a.recipe.yaml", first.provenance, first.provenance["recipe"]):
        np.testing.assert_array_equal(napari_recon.rerun(source)["smooth"], first["smooth"])


def test_axes_and_voxel_size_given_by_hand_are_kept(tmp_path: Path, image: np.ndarray) -> None:
    np.save(tmp_path / "raw.npy", image)
    first = napari_recon.run("toy.smooth", tmp_path / "raw.npy", axes="CYX", voxel_size={"y": 0.3, "x": 0.4})
    again = napari_recon.rerun(first.provenance)
    assert again.specs == first.specs and again.specs["smooth"].grid.axes == "CYX"


def test_another_recording_without_axes_and_voxel_size_has_those_of_the_first(tmp_path: Path, image: np.ndarray) -> None:
    for name in ("raw", "other"):
        np.save(tmp_path / f"{name}.npy", image)
    scale, units = {"Y": 0.7, "X": 0.7}, {"Y": "micrometer", "X": "micrometer"}
    sized = write_stack(tmp_path / "sized.ome.tif", ImageStack.of(image, "TYX", scale=scale, units=units))
    first = napari_recon.run("toy.smooth", tmp_path / "raw.npy", axes="CYX", voxel_size={"y": 0.3, "x": 0.4})
    grid = first.specs["smooth"].grid
    for thing in (tmp_path / "other.npy", image):
        other = napari_recon.rerun(first.provenance, inputs={"image": [thing]}).specs["smooth"].grid
        assert other.scale[1:] == grid.scale[1:] and other.units[1:] == ("micrometer", "micrometer")
    told = napari_recon.rerun(first.provenance, inputs={"image": [sized]}).specs["smooth"].grid
    assert told.axes == "TYX" and told.step("X") == pytest.approx(grid.step("X") * 0.7 / 0.4)


def test_a_moved_file_is_given_by_name_without_a_complaint(image_file: Path, tmp_path: Path) -> None:
    first = _run(image_file, tmp_path / "a.ome.tif")
    moved = tmp_path / "moved.ome.tif"
    shutil.move(image_file, moved)
    with pytest.raises(InputError, match="exists"):
        napari_recon.rerun(tmp_path / "a.ome.tif")
    again = napari_recon.rerun(tmp_path / "a.ome.tif", inputs={"image": [moved]})
    assert again.warnings == [] and again.specs["smooth"] == first.specs["smooth"]


def test_another_file_is_named_with_both_fingerprints(image_file: Path, tmp_path: Path, image: np.ndarray) -> None:
    _run(image_file, tmp_path / "a.ome.tif")
    recorded = read_recipe(tmp_path / "a.ome.tif").steps[0].inputs["image"][0].fingerprint
    other = write_stack(tmp_path / "other.ome.tif", ImageStack.of(image + 1, "TYX"))
    again = napari_recon.rerun(tmp_path / "a.ome.tif", inputs={"image": [other]})
    assert len(again.warnings) == 1
    assert "image differs" in again.warnings[0] and recorded in again.warnings[0] and str(other) in again.warnings[0]


def test_an_array_or_layer_of_the_first_run_must_be_given_again(image: np.ndarray) -> None:
    first = napari_recon.run("toy.smooth", image)
    with pytest.raises(InputError, match="--input image=FILE"):
        napari_recon.rerun(first.provenance)
    np.testing.assert_array_equal(napari_recon.rerun(first.provenance, inputs={"image": [image]})["smooth"], first["smooth"])


def _two_steps(image_file: Path) -> Recipe:
    one = Step(id="first", engine="toy.smooth", params={"radius": 1}, inputs={"image": [InputSource(path=str(image_file))]})
    two = Step(
        id="second", engine="toy.smooth", params={"radius": 2}, inputs={"image": [InputSource(path="step:first.smooth")]}
    )
    return Recipe(steps=(one, two))


def test_steps_feed_one_another_and_the_result_carries_all_of_them(image_file: Path, tmp_path: Path) -> None:
    recipe = _two_steps(image_file)
    result = napari_recon.rerun(recipe, out=tmp_path / "a.ome.tif")
    middle = napari_recon.run("toy.smooth", image_file, params={"radius": 1})
    last = napari_recon.run("toy.smooth", middle.outputs["smooth"], params={"radius": 2})
    again = napari_recon.rerun(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(again["smooth"], last["smooth"])
    assert [step.id for step in Recipe.from_dict(result.provenance).steps] == ["first", "second"]
    assert again.specs["smooth"].grid.scale[1:] == (0.125, 0.125)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"path": "step:nowhere.smooth"}, "no earlier step"),
        ({"path": "step:first.nothing"}, "no earlier step"),
    ],
)
def test_a_reference_to_nothing_is_refused(image_file: Path, change: dict, words: str) -> None:
    one, two = _two_steps(image_file).steps
    broken = two.model_copy(update={"inputs": {"image": [InputSource(**change)]}})
    with pytest.raises(InputError, match=words):
        prepare(Recipe(steps=(one, broken)))


def test_an_unknown_replacement_lists_the_inputs(image_file: Path, tmp_path: Path) -> None:
    _run(image_file, tmp_path / "a.ome.tif")
    with pytest.raises(InputError, match="its inputs are: image"):
        napari_recon.rerun(tmp_path / "a.ome.tif", inputs={"imgae": ["x.tif"]})


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.recipe.yaml", "just: words", "none"),
        ("a.recipe.yaml", "a: [", "YAML"),
        ("a.recipe.yaml", "schema: 9\nsteps: []", "update"),
        ("a.recipe.yaml", "schema: 1\nsteps: [{id: 1, engine: toy.smooth, colour: red}]", "valid recipe"),
        ("a.yaml", b"\xff\xfe\x00", "YAML"),
        ("missing.yaml", None, "no file"),
    ],
)
def test_what_is_no_recipe_gets_one_sentence(tmp_path: Path, name: str, content: object, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else str(content).encode())
    with pytest.raises(InputError, match=words):
        read_recipe(tmp_path / name)


def test_an_image_without_provenance_is_no_recipe(image_file: Path) -> None:
    with pytest.raises(InputError, match="carry a recipe"):
        read_recipe(image_file)


def test_a_device_that_is_not_here_is_replaced_and_said(image_file: Path) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image_file]})
    step = Recipe.from_dict(collect(run_plan(plan, inputs)).provenance).steps[0]
    elsewhere = step.model_copy(update={"resolved": {**step.resolved, "device": "mps"}})
    replanned, _ = plan_of(elsewhere)
    assert "made on mps" in differences(elsewhere, replanned)[0]
    with pytest.raises(InputError):
        plan_of(elsewhere, device="cuda:77")


class _Fit(ToySmooth):
    """Makes a model whose card says how the query should use it."""

    info = ToySmooth.info.model_copy(
        update={"name": "toy.fit", "kind": "fit", "outputs": (OutputInfo(name="field", kind="model"),)}
    )

    def process_frame(self, plan, frame, index, token):
        card = {"engine": "toy.fit", "architecture": "field", "options": {"gain": 3.0}}
        yield ArtifactReady("field", "model", {"state": {"w": np.ones((2, 2), np.float32)}, "card": card})


class _Query(ToySmooth):
    info = ToySmooth.info.model_copy(update={"name": "toy.query", "needs_model": "required"})

    def process_frame(self, plan, frame, index, token):
        shape = plan.outputs[0].grid.shape[-2:]
        yield BlockReady("smooth", (slice(None), slice(None)), np.full(shape, plan.model.options["gain"], np.float32))


@pytest.fixture
def fit_and_query() -> Iterator[None]:
    registry.register("toy.fit", _Fit())
    registry.register("toy.query", _Query())
    yield
    registry.unregister("toy.fit")
    registry.unregister("toy.query")


@pytest.mark.usefixtures("fit_and_query")
def test_a_step_takes_the_model_of_an_earlier_one(image_file: Path, tmp_path: Path) -> None:
    source = {"image": [InputSource(path=str(image_file))]}
    fit = Step(id="fit", engine="toy.fit", inputs=source)
    query = Step(id="query", engine="toy.query", inputs=source, model=RecipeModel(path="step:fit.field"))
    result = napari_recon.rerun(Recipe(steps=(fit, query)))
    assert (result["smooth"] == 3.0).all()
    steps = Recipe.from_dict(result.provenance).steps
    assert steps[1].model is not None and steps[1].model.path == "step:fit.field"
    np.testing.assert_array_equal(napari_recon.rerun(result)["smooth"], result["smooth"])
    broken = query.model_copy(update={"model": RecipeModel(path="step:fit.smooth")})
    with pytest.raises(InputError, match="model made by a run was expected"):
        napari_recon.rerun(Recipe(steps=(fit, broken)))


@pytest.mark.usefixtures("fit_and_query")
def test_the_model_of_a_result_is_a_model(image: np.ndarray) -> None:
    field = napari_recon.run("toy.fit", image).artifacts["field"]
    assert (napari_recon.run("toy.query", image, model=field)["smooth"] == 3.0).all()


class _Tabled(ToySmooth):
    """Passes a table on; the second input is one."""

    info = ToySmooth.info.model_copy(
        update={
            "name": "toy.tabled",
            "inputs": (ToySmooth.info.inputs[0], InputSpec(name="rows", accepts=("table",), required=False)),
            "outputs": (*ToySmooth.info.outputs[:1], OutputInfo(name="rows", kind="table")),
        }
    )

    def process_frame(self, plan, frame, index, token):
        yield ArtifactReady("rows", "report", {"seen": frame["rows"]})


def test_a_table_of_an_earlier_step_stays_a_reference(image_file: Path) -> None:
    registry.register("toy.tabled", _Tabled())
    source = [InputSource(path=str(image_file))]
    first = Step(id="first", engine="toy.tabled", inputs={"image": source})
    second = Step(id="second", engine="toy.tabled", inputs={"image": source, "rows": [InputSource(path="step:first.rows")]})
    try:
        result = napari_recon.rerun(Recipe(steps=(first, second)))
        again = napari_recon.rerun(result)
        alone = napari_recon.run("toy.tabled", image_file, {"a": 1})
        with pytest.raises(InputError, match="was a layer or an array"):
            napari_recon.rerun(alone)
    finally:
        registry.unregister("toy.tabled")
    assert result.artifacts["rows"] == again.artifacts["rows"] == {"seen": {"seen": None}}
    assert Recipe.from_dict(again.provenance).steps[1].inputs["rows"][0].path == "step:first.rows"
