"""TIFF: what others wrote is understood, what we write comes back exactly and opens elsewhere."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io import create_output, open_stack, read_provenance, write_stack

PROVENANCE = {"recipe": {"schema": 1, "steps": []}, "partial": True, "note": "µ < & > \" '"}


def volume(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)


AXES = st.sampled_from(["YX", "ZYX", "TYX", "VYX", "TVYX", "CVYX", "TCVYX", "APZYX", "TCZYX", "NYX", "ZCYX", "XYZ", "VZYX"])
FINITE = st.floats(-1e4, 1e4, allow_nan=False)


@st.composite
def stacks(draw):
    axes = draw(AXES)
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64", "int32"]))
    steps = {a: draw(st.floats(1e-3, 1e3)) for a in axes}
    units = {a: draw(st.sampled_from(["micrometer", "pixel"])) for a in axes if a in "ZYX"}
    grid = Grid.of(axes, shape, steps, {a: draw(FINITE) for a in axes}, units)
    return ImageStack(volume(*shape, dtype=dtype), grid, draw(st.text(max_size=8)) or "image")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stack=stacks(), suffix=st.sampled_from([".ome.tif", ".tif"]))
def test_any_stack_comes_back_exactly(tmp_path, stack, suffix):
    path = write_stack(tmp_path / f"a{suffix}", stack, PROVENANCE)
    back = open_stack(path)
    assert back.grid.only(stack.grid.axes) == stack.grid
    assert back.dtype == stack.dtype
    np.testing.assert_array_equal(back.read(stack.grid.axes), stack.data)
    assert read_provenance(path) == PROVENANCE


def test_views_open_elsewhere_as_a_plain_hyperstack(tmp_path):
    pixels = volume(2, 5, 16, 17)
    path = write_stack(tmp_path / "a.ome.tif", ImageStack.of(pixels, "TVYX"))
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert len(tif.pages) == 10
        np.testing.assert_array_equal(tif.asarray(), pixels)
        assert 'SizeT="10"' in tif.ome_metadata


def test_physical_sizes_are_readable_by_everybody(tmp_path):
    grid = Grid.of(
        "TZYX",
        (2, 3, 8, 8),
        {"T": 0.5, "Z": 0.2, "Y": 0.1, "X": 0.1},
        units={"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "nanometer"},
    )
    write_stack(tmp_path / "a.tif", ImageStack(volume(2, 3, 8, 8), grid))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeY"]) == (0.2, 0.1)
    assert pixels["PhysicalSizeX"] == pytest.approx(1e-4)
    assert pixels["TimeIncrement"] == 0.5


def test_imagej_metadata_are_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", volume(3, 4, 8, 9), imagej=True, resolution=(1 / 0.1, 1 / 0.2),
        metadata={"axes": "TZYX", "unit": "um", "spacing": 0.3, "finterval": 2.5},
    )  # fmt: skip
    grid = open_stack(tmp_path / "a.tif").grid
    assert grid.axes == "TZYX"
    assert grid.scale == pytest.approx((2.5, 0.3, 0.2, 0.1))
    assert grid.units == ("second", "micrometer", "micrometer", "micrometer")


def test_foreign_ome_units_become_micrometers(tmp_path):
    about = {
        "axes": "ZYX",
        "PhysicalSizeX": 100.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeZ": 0.001,
        "PhysicalSizeZUnit": "mm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", volume(3, 8, 9), metadata=about)
    grid = open_stack(tmp_path / "a.ome.tif").grid
    assert (grid.step("X"), grid.step("Z"), grid.unit("Y")) == (pytest.approx(0.1), pytest.approx(1.0), "pixel")


def test_voxel_size_argument_wins_and_is_checked(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", volume(3, 8, 9))
    stack = open_stack(tmp_path / "a.tif", axes="ZYX", voxel_size_um={"z": 0.3, "Y": 0.1})
    assert stack.grid.scale == (0.3, 0.1, 1.0)
    assert stack.grid.units == ("micrometer", "micrometer", "pixel")
    with pytest.raises(InputError, match="above 0"):
        open_stack(tmp_path / "a.tif", axes="ZYX", voxel_size_um={"z": 0})
    with pytest.raises(InputError, match="per axis z, y or x"):
        open_stack(tmp_path / "a.tif", axes="ZYX", voxel_size_um={"t": 1})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"bigtiff": True},
        {"imagej": True},
        {"byteorder": ">"},
        {"tile": (16, 16), "compression": "lzw"},
        {"rowsperstrip": 3, "compression": "zlib"},
    ],
)
def test_parts_read_like_numpy(tmp_path, options):
    pixels = volume(6, 20, 33)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **options)
    stack = open_stack(tmp_path / "a.tif", axes="ZYX")
    assert stack.dtype == np.dtype("uint16")
    for key in [np.s_[2], np.s_[1:5:2, 3, 4:9], np.s_[..., -1], np.s_[-1, ..., 0], np.s_[3:3], np.s_[:]]:
        np.testing.assert_array_equal(np.asarray(stack.data[key]), pixels[key])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_opening_reads_headers_only(tmp_path, options):
    with tifffile.TiffWriter(tmp_path / "big.tif") as tif:
        for _ in range(12):
            tif.write(np.zeros((2000, 2000), "uint16"), contiguous=not options, photometric="minisblack", **options)
    tracemalloc.start()
    stack = open_stack(tmp_path / "big.tif", axes="ZYX")
    assert stack.grid.shape == (12, 2000, 2000)
    part = stack.read(z=3, y=slice(0, 10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.shape == (10, 2000)
    assert peak < 25e6  # one page at most, of 96 MB


def test_authors_light_field_stacks_are_views(parity_dir):
    stack = open_stack(parity_dir / "serenet" / "serenet_small" / "lf_views169.tif", default_axes="VYX")
    assert (stack.grid.axes, stack.grid.shape, stack.dtype) == ("VYX", (169, 18, 18), np.dtype("uint16"))


def test_pages_appended_one_by_one_are_one_stack(tmp_path):
    pixels = volume(5, 8, 9)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in pixels:
            tif.write(page, compression="zlib", photometric="minisblack")
    stack = open_stack(tmp_path / "a.tif", default_axes="VYX")
    np.testing.assert_array_equal(stack.read("VYX"), pixels)


def test_another_series_and_one_that_is_not_there(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(volume(3, 8, 9), photometric="minisblack")
        tif.write(volume(5, 6, 7), photometric="minisblack")
    assert open_stack(f"{tmp_path / 'two.tif'}::1", axes="ZYX").grid.shape == (5, 6, 7)
    with pytest.raises(InputError, match="2 image series"):
        open_stack(f"{tmp_path / 'two.tif'}::2", axes="ZYX")


def test_values_that_do_not_fit_are_refused(tmp_path):
    stack = ImageStack.of(np.full((2, 4, 4), 2**40), "ZYX")
    with pytest.raises(InputError, match=r"write \.ome\.zarr"):
        write_stack(tmp_path / "a.ome.tif", stack)
    assert list(tmp_path.iterdir()) == []
    labels = ImageStack.of(np.arange(32).reshape(2, 4, 4), "ZYX")
    back = open_stack(write_stack(tmp_path / "a.ome.tif", labels))
    np.testing.assert_array_equal(np.asarray(back.data), labels.data)


def test_blocks_land_where_they_belong(tmp_path):
    grid = Grid.of("TZYX", (2, 4, 6, 8))
    expected = np.zeros(grid.shape, "float32")
    with create_output(tmp_path / "a.ome.tif", OutputSpec(name="result", grid=grid)) as output:
        for t, z, x in [(1, 0, 0), (0, 2, 4)]:
            slices = (slice(t, t + 1), slice(z, z + 2), slice(0, 6), slice(x, x + 4))
            block = np.random.default_rng(t).random((1, 2, 6, 4), dtype=np.float32)
            output.write(slices, block)
            expected[slices] = block
        output.finish()
    np.testing.assert_array_equal(np.asarray(open_stack(tmp_path / "a.ome.tif").data), expected)
