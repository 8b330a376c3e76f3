"""Queries of neural fields: boxes, times, densities, and one sentence for everything that does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_recon
from napari_recon.core.compute import Compute
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import BlockReady
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.engines.lightfield_inr.engine import Query
from napari_recon.engines.lightfield_inr.field import Layers
from napari_recon.hub import check, import_model, resolve

from .fields import SMALL, example, model, scene

SIZE = (20, 23, 9)
COMPUTE = Compute(device="cpu", memory_bytes=2**30)  # plans can be compared: free memory changes from moment to moment


def plan(kind: str = "scene", selection: Selection = Selection(), **params: Any) -> Plan:
    return Query().plan([], {"render_size": SIZE, **params}, selection, model(kind), COMPUTE)


def test_parameters_are_complete_once_planned() -> None:
    params = plan(roi_xyzwhd="2,3,4,5,6,2").params
    assert (params["encoder"], params["octaves"], params["post_processor"]) == ("positional", 4, "relu")
    assert params["roi_xyzwhd"] is None
    whole = plan(roi_xyzwhd="2,3,4,5,6,2")
    assert Query().plan([], whole.params, whole.selection, model("scene"), COMPUTE) == whole


def test_numbers_from_one_are_a_region_from_zero() -> None:
    by_numbers = plan("sequence", roi_xyzwhd="2,3,4,5,6,2", t_range=[2, 3])
    box, time = Box(x=(1, 6), y=(2, 8), z=(3, 5)), TimeRange(start=1, stop=3)
    assert by_numbers == plan("sequence", Selection(box=box, time=time))
    assert by_numbers.outputs[0].grid.shape == (2, 2, 6, 5)
    finer = plan(roi_xyzwhd=[2, 3, 4, 5, 6, 2], scale=2)
    assert finer.selection.box == Box(x=(2, 12), y=(4, 16), z=(6, 10))


@pytest.mark.parametrize("kind", ["scene", "dense"])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_finer_lattice_holds_the_coarse_one(kind: str, scale: int) -> None:
    one = example(kind)
    coarse, fine = one.result(one.plan()), one.result(one.plan(scale=scale))
    assert fine.shape == tuple(scale * n for n in coarse.shape)
    np.testing.assert_allclose(fine[::scale, ::scale, ::scale], coarse, atol=3e-6 * np.abs(coarse).max())
    between = np.abs(fine[:, :, 1::scale] - fine[:, :, ::scale]).max()
    assert between > 1e-4, "the voxels between are not copies"


@given(st.floats(0.3, 3.0), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_samples_are_the_multiples_inside_the_field(scale: float, size: int) -> None:
    made = Query().plan([], {"render_size": (size, size, size), "scale": scale}, model=model("scene"))
    grid = made.outputs[0].grid
    assert grid.to_world("X", grid.size("X") - 1) < size <= grid.to_world("X", grid.size("X")) + 1e-5
    assert grid.origin("X") == 0


def test_density_per_axis_and_voxel_size() -> None:
    grid = plan(scale="1,2,0.5", voxel_um="0.3,0.1,0.1").outputs[0].grid
    assert grid.shape == (9, 40, 12)
    assert grid.scale == pytest.approx((0.3, 0.05, 0.2)) and set(grid.units) == {"micrometer"}


def test_slabs_come_from_the_middle_and_memory_does_not_grow_with_depth() -> None:
    one = example("scene")
    blocks = [e.slices[0] for e in one.events(one.plan(slab=1)) if isinstance(e, BlockReady)]
    assert blocks[0] == slice(4, 5) and len(blocks) == 9
    deep = {"render_size": (499, 499, 2000)}
    assert one.plan(**deep).resources.memory_bytes == one.plan(render_size=(499, 499, 50)).resources.memory_bytes < 2e8
    wide = one.plan(render_size=(20000, 20000, 3)).resources
    assert wide.memory_bytes < 4e8 and wide.tile["y"] < 20000


def test_sixteen_bits_per_frame_is_what_the_published_program_writes() -> None:
    one = example("sequence", post_processor="linear")
    values, stretched = one.result(one.plan()), one.result(one.plan(scaling="upstream"))
    assert one.plan(scaling="upstream").outputs[0].dtype == "uint16"
    for frame, bits in zip(np.maximum(values, 0), stretched, strict=True):
        expected = (frame - frame.min()) / (frame.max() - frame.min() + 1e-7) * 65535
        assert np.abs(bits - expected).max() <= 2 and bits.max() > 65000


def test_frames_of_a_sequence_differ_and_repeat() -> None:
    one = example("sequence")
    frames = one.result(one.plan())
    assert np.abs(frames[0] - frames[1]).max() > 0.1
    assert plan("sequence").outputs[0].grid.axes == "TZYX"


def test_an_imported_model_keeps_its_settings(tmp_path: Path) -> None:
    path = scene(tmp_path / "cp_000001.tar", Layers(depth=2, width=8, encoded=39))
    (tmp_path / "config.cfg").write_text(
        "--embeddertype=PositionalEncoder\n--multires=6\n--multiresZ=6\n--render_size=10,12,5\n--postprocessortype=linear\n"
    )
    card = import_model(path, "mine")
    params = Query().plan([], {}, model=card.ref()).params
    assert (params["encoder"], params["octaves"], params["octaves_z"]) == ("anisotropic", 6, 6)
    assert tuple(params["render_size"]) == (10, 12, 5) and params["post_processor"] == "linear"
    result = napari_recon.run("lightfield_inr.query", "mine")
    assert result["volume"].shape == (5, 10, 12) and result["volume"].min() < 0
    assert napari_recon.rerun(result)["volume"].shape == (5, 10, 12)


def test_an_unclear_encoder_offers_what_can_be_chosen(tmp_path: Path) -> None:
    path = scene(tmp_path / "cp_000001.tar", Layers(depth=2, width=8, encoded=39))
    report = check(path)
    assert report.fits and "encoder" not in report.options and any("cryo_et" in sentence for sentence in report.inferred)
    with pytest.raises(
        InputError, match=r"39 numbers per point.*positional encoder of 6 octaves.*choose a preset \(cryo_et\)"
    ):
        Query().plan([], {"render_size": SIZE}, model=resolve(path))
    chosen = {
        name: Query().plan([], {"render_size": SIZE, **p}, model=resolve(path)).params for name, p in _choices().items()
    }
    assert chosen["preset"]["encoder"] == chosen["named"]["encoder"] == "anisotropic"
    assert chosen["positional"]["octaves"] == 6


def _choices() -> dict[str, dict[str, Any]]:
    return {"preset": {"preset": "cryo_et"}, "named": {"encoder": "anisotropic"}, "positional": {"encoder": "positional"}}


@pytest.mark.parametrize(
    ("kind", "params", "sentence"),
    [
        ("scene", {"roi_xyzwhd": "0,1,1,4,4,4"}, r"x 1 to 23, found x 0 to 3; shrink"),
        ("scene", {"roi_xyzwhd": "1,18,1,4,4,4"}, r"y 1 to 20, found y 18 to 21"),
        ("scene", {"roi_xyzwhd": "1,1,1,4,4"}, r"roi_xyzwhd should be .*x,y,z,w,h,d.*found"),
        ("scene", {"render_size": "20,0,9"}, r"render_size should be .*height, width, planes.*found"),
        ("scene", {"t_range": "1,2"}, r"single scene; leave it out"),
        ("sequence", {"t_range": "2,4"}, r"inside 1 to 3 .* found 2 to 4; shorten"),
        ("sequence", {"t_range": "0,2"}, r"inside 1 to 3 .* found 0 to 2"),
        ("scene", {"preset": "opt"}, r"takes 27 numbers per point, a anisotropic encoder .* gives 47; choose"),
        ("scene", {"encoder": "radial", "octaves": 2, "octaves_z": 2}, r"27 numbers per point.*gives 23"),
        ("scene", {"preset": "fpm"}, r"feature table"),
        ("dense", {"render_size": (5, 5, 5)}, r"fixed lattice \(45, 50, 12\)"),
        ("scene", {"render_size": None}, r"does not say how large its lattice is; set render_size"),
        ("scene", {"scale": 0}, r"scale"),
        ("scene", {"config": "/nowhere/config.cfg"}, r"readable settings file"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(kind: str, params: dict[str, Any], sentence: str) -> None:
    size = {} if kind == "dense" else {"render_size": SIZE}
    with pytest.raises(InputError, match=sentence) as caught:
        Query().plan([], {**size, **params}, model=model(kind))
    assert "\n" not in str(caught.value)


def test_a_region_is_given_once() -> None:
    with pytest.raises(InputError, match="give one of them"):
        plan(selection=Selection(box=Box(x=(0, 4))), roi_xyzwhd="1,1,1,4,4,4")
    with pytest.raises(InputError, match="give one of them"):
        plan("sequence", Selection(time=TimeRange(start=0, stop=1)), t_range="1,2")


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neural field, found x \(serenet\)"):
        Query().plan([], {}, model=model("scene").model_copy(update={"id": "x", "architecture": "serenet"}))
    with pytest.raises(InputError, match="needs a model"):
        Query().plan([], {})
    changed = Path(shutil.copy(model("scene").path, tmp_path / "cp.tar"))
    made = Query().plan([], {"render_size": SIZE}, model=resolve(changed))
    scene(changed, SMALL, seed=5)
    with pytest.raises(CheckpointError, match="checksum differs"):
        list(Query().run(made, {}))


def test_a_voxel_size_of_no_input_is_not_ignored() -> None:
    with pytest.raises(InputError, match="no input whose axes or voxel size"):
        napari_recon.plan("lightfield_inr.query", model=model("scene").path, voxel_size={"z": 1, "y": 1, "x": 1})


@pytest.mark.parametrize(("kind", "params"), [("grid", {"time_scale": 4}), ("sequence", {"render_size": (20, 23, 9)})])
def test_frames_of_the_result_can_be_asked_for_alone(kind: str, params: dict[str, Any]) -> None:
    whole = napari_recon.run("lightfield_inr.query", model=model(kind).path, params=params)
    alone = napari_recon.run("lightfield_inr.query", model=model(kind).path, params={**params, "frames": "1:2"})
    np.testing.assert_allclose(alone["volume"], whole["volume"][1:2], rtol=1e-5)
    assert alone.specs["volume"].grid.origin("T") == whole.specs["volume"].grid.to_world("T", 1)
