from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.jobs import input_ref, make_plan
from napari_recon.jobs.planning import assign_inputs


def test_an_unlabelled_array_gets_the_declared_axes_with_time_in_front(image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]})
    assert plan.inputs[0].grid.axes == "TYX"
    assert plan.outputs[0].grid.shape == (3, 48, 64)
    assert inputs["image"][0].data is image


def test_a_file_a_stack_and_an_array_give_the_same_result_grid_shape(image: np.ndarray, image_file: Path) -> None:
    stack = ImageStack.of(image, "TYX")
    plans = [make_plan("toy.smooth", {"image": [thing]})[0] for thing in (image, stack, image_file, str(image_file))]
    assert {p.outputs[0].grid.shape for p in plans} == {(3, 48, 64)}
    assert plans[2].outputs[0].grid.scale[1:] == (0.25, 0.25)


def test_planning_a_file_reads_no_pixels(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageStack, "read", lambda *a, **k: pytest.fail("pixels were read"))
    make_plan("toy.smooth", {"image": [image_file]})


def test_relative_paths_become_absolute_so_that_recipes_work_from_anywhere(
    image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image_file.parent)
    plan, _ = make_plan("toy.smooth", {"image": [image_file.name]})
    assert plan.inputs[0].uri == str(image_file)


def test_voxel_size_and_axes_reach_the_main_input_only(image: np.ndarray) -> None:
    plan, _ = make_plan(
        "toy.smooth", {"image": [image], "background": [image[0]]}, axes="CYX", voxel_size_um={"y": 0.2, "x": 0.4}
    )
    assert plan.inputs[0].grid.axes == "CYX" and plan.inputs[0].grid.scale == (1, 0.2, 0.4)
    assert plan.inputs[1].grid.axes == "YX" and plan.inputs[1].grid.units == ("pixel", "pixel")


def test_fingerprints_follow_the_content_not_the_place(image: np.ndarray, image_file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.ome.tif"
    moved.write_bytes(image_file.read_bytes())
    changed = tmp_path / "changed.ome.tif"
    content = bytearray(image_file.read_bytes())
    content[-100] ^= 1
    changed.write_bytes(bytes(content))
    prints = [make_plan("toy.smooth", {"image": [f]})[0].inputs[0].fingerprint for f in (image_file, moved, changed)]
    assert prints[0] == prints[1] != prints[2]
    assert (
        input_ref("image", ImageStack.of(image, "TYX")).fingerprint
        != input_ref("image", ImageStack.of(image + 1, "TYX")).fingerprint
    )


def test_lists_and_tensors_are_arrays_too(image: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    for thing in (image.tolist(), torch.from_numpy(image)):
        plan, inputs = make_plan("toy.smooth", {"image": [thing]})
        assert plan.outputs[0].grid.shape == (3, 48, 64)
        np.testing.assert_array_equal(np.asarray(inputs["image"][0].data), image)


@pytest.mark.parametrize("thing", [np.zeros((3, 0, 5)), [[1, 2], [3]]], ids=["empty", "ragged"])
def test_what_is_no_image_is_refused_in_one_sentence(thing: object) -> None:
    with pytest.raises(InputError, match=r"image should (hold an image|be an array)"):
        make_plan("toy.smooth", {"image": [thing]})


def test_positional_inputs_fill_the_declared_ones_in_order() -> None:
    engine = registry.get("toy.smooth")
    assert assign_inputs(engine, ["a", "b"]) == {"image": ["a"], "background": ["b"]}
    assert assign_inputs(engine, ["a"], {"image": ["b"]}) == {"image": ["b"], "background": ["a"]}


@pytest.mark.parametrize(
    "positional, named, words",
    [
        (["a", "b", "c"], {}, "image, background"),
        (["a"], {"mask": ["b"]}, "no input 'mask'"),
    ],
)
def test_inputs_that_do_not_fit_the_declaration_are_refused(positional: list, named: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        assign_inputs(registry.get("toy.smooth"), positional, named)


def test_planning_imports_neither_torch_nor_qt() -> None:
    code = (
        "import sys, napari_recon\nfrom napari_recon import samples\n"
        "plan = napari_recon.plan('deconvolution.lightfield_rl', samples.path('lightfield.ome.tif'))\n"
        "assert plan.outputs and plan.resources.work > 1\n"
        "assert not {'torch', 'napari', 'qtpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
