"""OME-Zarr: round trip, versions 0.4 and 0.5, chunked writing, plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ome_zarr_models.v05.image import Image

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io import create_output, open_stack, read_provenance, write_stack

AXES = st.sampled_from(["YX", "ZYX", "TYX", "TVYX", "TCVYX", "VYX", "APZYX", "TCZYX", "NYX", "VTYX", "ZCYX"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), axes=AXES, dtype=st.sampled_from(["uint8", "uint16", "int64", "float32", "bool"]))
def test_any_stack_comes_back(tmp_path, data, axes, dtype):
    shape = tuple(data.draw(st.integers(1, 5)) for _ in axes)
    scale = {a: data.draw(st.floats(1e-3, 1e3)) for a in axes}
    translate = {a: data.draw(st.floats(-1e3, 1e3)) for a in axes}
    units = {a: data.draw(st.sampled_from(["micrometer", "pixel"])) for a in axes if a in "ZYX"}
    units |= {a: "second" for a in axes if a == "T"}
    pixels = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    stack = ImageStack(pixels, Grid.of(axes, shape, scale, translate, units))
    provenance = {"recipe": {"schema": 1, "steps": []}, "partial": False}
    path = write_stack(tmp_path / "a.ome.zarr", stack, provenance)
    back = open_stack(path, default_axes="VYX")
    assert back.grid.only(axes) == stack.grid
    assert back.dtype == stack.dtype
    np.testing.assert_array_equal(back.read(axes), pixels)
    assert read_provenance(path) == provenance


def test_what_is_written_is_valid_version_0_5(tmp_path):
    grid = Grid.of("TVYX", (2, 3, 8, 9), {"T": 2.0, "Y": 0.1, "X": 0.1}, {"Y": 5.0}, {"T": "second", "Y": "micrometer"})
    path = write_stack(tmp_path / "a.ome.zarr", ImageStack(np.zeros(grid.shape, "float32"), grid))
    group = zarr.open_group(path, mode="r")
    multiscale = Image.from_zarr(group).attributes.ome.multiscales[0]
    assert [(a.name, a.type) for a in multiscale.axes] == [("t", "time"), ("v", "view"), ("y", "space"), ("x", "space")]
    assert multiscale.datasets[0].coordinateTransformations[1].translation == [0, 0, 5, 0]
    assert group["0"].metadata.dimension_names == ("t", "v", "y", "x")


def test_only_touched_chunks_are_stored(tmp_path):
    grid = Grid.of("TZYX", (4, 64, 512, 512))
    with create_output(tmp_path / "a.ome.zarr", OutputSpec(name="result", grid=grid)) as output:
        output.write((slice(2, 3), slice(0, 32), slice(0, 256), slice(256, 512)), np.ones((1, 32, 256, 256), "float32"))
        path = output.finish()
    chunks = [p for p in (path / "0" / "c").rglob("*") if p.is_file()]
    assert len(chunks) == 1
    assert open_stack(path).read(t=2, z=31, y=0).sum() == 256


def test_version_0_4_is_read(tmp_path):
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    for level, size in (("0", 8), ("1", 4)):
        group.create_array(level, shape=(2, size, size), dtype="uint16", chunks=(1, 4, 4))[...] = int(level)
    axes = [
        {"name": "z", "type": "space", "unit": "nanometer"},
        {"name": "y", "type": "space"},
        {"name": "x", "type": "space"},
    ]
    datasets = [
        {"path": p, "coordinateTransformations": [{"type": "scale", "scale": [500.0, f, f]}]}
        for p, f in (("0", 1.0), ("1", 2.0))
    ]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    stack = open_stack(tmp_path / "old.zarr")
    assert (stack.grid.axes, stack.grid.shape, stack.grid.step("Z")) == ("ZYX", (2, 8, 8), 0.5)
    assert not np.asarray(stack.data[...]).any()
    assert read_provenance(tmp_path / "old.zarr") is None


def test_plain_arrays_and_groups(tmp_path):
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name in ("raw", "truth"):
        group.create_array(name, shape=(3, 4, 5), dtype="float32", chunks=(1, 4, 5))[...] = 1
    assert open_stack(f"{tmp_path / 'g.zarr'}::truth", default_axes="VYX").grid.axes == "VYX"
    with pytest.raises(InputError, match=r"raw.*truth.*FILE::NAME"):
        open_stack(tmp_path / "g.zarr", axes="ZYX")
    with pytest.raises(InputError):
        open_stack(f"{tmp_path / 'g.zarr'}::none", axes="ZYX")


def test_axes_the_format_can_not_hold(tmp_path):
    stack = ImageStack.of(np.zeros((2, 2, 2, 2, 4, 4), "uint8"), "TCVZYX")
    with pytest.raises(InputError, match=r"axes TCVZYX.*\.npy"):
        write_stack(tmp_path / "a.ome.zarr", stack)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError):
        open_stack(tmp_path / "a.zarr", axes="YX")
