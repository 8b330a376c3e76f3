"""Opening: formats of bare arrays, series, declared inputs, tables - and everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io import (
    open_inputs,
    open_stack,
    read_provenance,
    read_table,
    supported_suffixes,
    write_stack,
)

UM = dict.fromkeys("ZYX", "micrometer")
GRID = Grid.of("ZYX", (4, 6, 8), {"Z": 0.3, "Y": 0.1, "X": 0.1}, {"Z": -1.0, "Y": 0.5, "X": 0.0}, UM)
PIXELS = np.random.default_rng(0).normal(size=GRID.shape).astype("float32")
LIBRARY = {".h5": "h5py", ".mrc": "mrcfile", ".nii": "nibabel", ".nii.gz": "nibabel"}


def need(suffix):
    if suffix in LIBRARY:
        pytest.importorskip(LIBRARY[suffix])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".mrc", ".nii", ".nii.gz"])
def test_arrays_come_back_with_the_grid_beside_them(tmp_path, suffix):
    need(suffix)
    path = write_stack(tmp_path / f"a{suffix}", ImageStack(PIXELS, GRID), {"recipe": {"steps": ()}, "peak": np.float32(2)})
    stack = open_stack(path)
    assert stack.grid == GRID
    np.testing.assert_array_equal(np.asarray(stack.data), PIXELS)
    np.testing.assert_array_equal(stack.read(z=1, y=slice(2, 4)), PIXELS[1, 2:4])
    assert read_provenance(path) == {"recipe": {"steps": []}, "peak": 2.0}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".mrc"])
def test_arrays_keep_their_grid_without_a_recipe(tmp_path, suffix):
    need(suffix)
    path = write_stack(tmp_path / f"a{suffix}", ImageStack(PIXELS, GRID))
    assert open_stack(path).grid == GRID
    assert read_provenance(path) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float64"])
def test_nifti_keeps_the_type_of_its_values(tmp_path, dtype):
    need(".nii")
    pixels = (np.abs(PIXELS) * 50).astype(dtype)
    path = write_stack(tmp_path / "a.nii", ImageStack(pixels, GRID))
    found = open_stack(path)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(np.asarray(found.data), pixels)


@pytest.mark.parametrize(("suffix", "dtype"), [(".nii", "float16"), (".nii.gz", "bool"), (".mrc", "float64")])
def test_types_that_a_format_lacks_are_refused(tmp_path, suffix, dtype):
    need(suffix)
    with pytest.raises(InputError, match=f"holds .*found {dtype}"):
        write_stack(tmp_path / f"a{suffix}", ImageStack(PIXELS.astype(dtype), GRID))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".h5", ".mrc", ".nii"])
def test_voxel_sizes_inside_the_format(tmp_path, suffix):
    need(suffix)
    grid = open_stack(write_stack(tmp_path / f"a{suffix}", ImageStack(PIXELS, GRID))).grid
    assert grid.scale == pytest.approx(GRID.scale, rel=1e-5)
    assert grid.units == GRID.units


def test_nifti_order_on_disk_is_xyzt(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    on_disk = np.arange(2 * 3 * 4 * 5, dtype="int16").reshape(2, 3, 4, 5)
    image = nibabel.Nifti1Image(on_disk, np.diag([0.1, 0.2, 0.3, 1.0]))
    image.header.set_zooms((0.1, 0.2, 0.3, 1.5))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "a.nii.gz")
    stack = open_stack(tmp_path / "a.nii.gz")
    assert (stack.grid.axes, stack.grid.shape) == ("TZYX", (5, 4, 3, 2))
    assert stack.grid.scale == pytest.approx((1.5, 300.0, 200.0, 100.0))
    assert stack.read(t=4, z=3, y=2, x=1) == on_disk[1, 2, 3, 4]
    np.testing.assert_array_equal(np.asarray(stack.data), on_disk.T)


def test_names_choose_arrays(tmp_path):
    np.savez(tmp_path / "two.npz", views=PIXELS, truth=PIXELS + 1)
    assert open_stack(f"{tmp_path / 'two.npz'}::truth", axes="ZYX").read()[0, 0, 0] == PIXELS[0, 0, 0] + 1
    with pytest.raises(InputError, match=r"views, truth.*two\.npz::NAME"):
        open_stack(tmp_path / "two.npz", axes="ZYX")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["group/data"] = PIXELS
        file["other"] = PIXELS
    assert open_stack(f"{tmp_path / 'deep.h5'}::group/data", default_axes="ZYX").grid.shape == GRID.shape


def test_matlab_7_3_is_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["psf"] = PIXELS
    assert open_stack(tmp_path / "a.mat", default_axes="ZYX").grid.shape == GRID.shape


@pytest.fixture
def series(tmp_path):
    for t in (10, 2, 1):
        tifffile.imwrite(tmp_path / f"frame_{t}.tif", np.full((4, 6, 8), t, "uint16"), photometric="minisblack")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "*.tif", "frame_?*.tif"])
def test_folder_and_glob_are_one_series_in_natural_order(series, pattern):
    stack = open_stack(series / pattern if pattern else series, default_axes="VYX")
    assert (stack.grid.axes, stack.grid.shape) == ("TVYX", (3, 4, 6, 8))
    assert stack.read(v=0, y=0, x=0).tolist() == [1, 2, 10]
    assert open_stack(series, axes="ZYX").grid.axes == "TZYX"


def test_series_of_time_lapses_is_joined_along_time(tmp_path):
    for i in range(2):
        write_stack(tmp_path / f"{i}.ome.tif", ImageStack.of(np.full((2 + i, 3, 8, 8), i, "uint8"), "TZYX"))
    stack = open_stack(tmp_path)
    assert stack.grid.shape == (5, 3, 8, 8)
    assert stack.read(z=0, y=0, x=0).tolist() == [0, 0, 1, 1, 1]


def test_series_that_do_not_belong_together(series):
    tifffile.imwrite(series / "frame_3.tif", np.zeros((4, 6, 9), "uint16"), photometric="minisblack")
    with pytest.raises(InputError, match=r"one shape.*frame_3\.tif"):
        open_stack(series, default_axes="VYX")
    np.save(series / "a.npy", PIXELS)
    with pytest.raises(InputError, match="one kind"):
        open_stack(series, default_axes="VYX")
    for pattern in ("*.nothing", "none_*.tif"):
        with pytest.raises(InputError, match="found none"):
            open_stack(series / pattern)


TIFF = tifffile


def _bad_files(folder):
    good = folder / "good.tif"
    TIFF.imwrite(good, np.random.default_rng(0).integers(0, 999, (6, 30, 30)).astype("uint16"), compression="zlib")
    whole = good.read_bytes()
    np.save(folder / "good.npy", PIXELS)
    npy = (folder / "good.npy").read_bytes()
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "text.npy", np.array(["a", "b"]))
    return {
        "missing.tif": None,
        "empty.tif": b"",
        "empty.npy": b"",
        "text.tif": b"this is a text file that was renamed\n" * 20,
        "html.npy": b"<html>404</html>",
        "text.npz": b"this is a text file that was renamed\n" * 20,
        "text.mat": b"this is a text file that was renamed\n" * 20,
        "png.tif": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "tenth.tif": whole[: len(whole) // 10],
        "half.tif": whole[: len(whole) // 2],
        "almost.tif": whole[:-200],
        "header.tif": whole[:8],
        "half.npy": npy[: len(npy) // 2],
        "objects.npy": (folder / "objects.npy").read_bytes(),
        "text.npy": (folder / "text.npy").read_bytes(),
        "image.jpeg": b"\xff\xd8\xff",
        "noname": b"abc",
        "half.nii.gz": gzip.compress(bytes(1000))[:20],
    }


BAD = ["missing.tif", "empty.tif", "empty.npy", "text.tif", "html.npy", "text.npz", "text.mat", "png.tif", "tenth.tif",
       "half.tif", "almost.tif", "header.tif", "half.npy", "objects.npy", "text.npy", "image.jpeg", "noname"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence_naming_the_file(tmp_path, name, capfd):
    content = _bad_files(tmp_path)[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_stack(path, axes="ZYX").read()
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert "Traceback" not in text
    assert capfd.readouterr().err == ""


def test_damaged_pixels_are_one_sentence_too(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 999, (6, 30, 30)).astype("uint16"), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start, count = tif.pages[3].dataoffsets[0], tif.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = b"\xff" * count
    path.write_bytes(content)
    stack = open_stack(path, axes="ZYX")
    stack.read(z=0)
    with pytest.raises(InputError, match=r"a\.tif.*damaged"):
        stack.read(z=3)


def test_rgb_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16, 3), "uint8"), photometric="rgb")
    with pytest.raises(InputError, match="RGB"):
        open_stack(tmp_path / "a.tif", default_axes="VYX")


def test_missing_libraries_name_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(bytes(2000))
    (tmp_path / "a.czi").write_bytes(bytes(2000))
    for library in ("mrcfile", "nibabel", "bioio"):
        monkeypatch.setitem(sys.modules, library, None)
    for name in ("a.nii", "a.czi"):
        with pytest.raises(InputError, match=r'pip install "napari-recon\[io\]"'):
            open_stack(tmp_path / name)
    with pytest.raises(InputError, match="mrcfile"):
        write_stack(tmp_path / "b.mrc", ImageStack(PIXELS, GRID))


def test_vendor_formats_come_through_bioio(tmp_path, monkeypatch):
    (tmp_path / "a.nd2").write_bytes(b"x")
    sizes = SimpleNamespace(Z=0.3, Y=0.1, X=0.1)
    image = SimpleNamespace(dask_data=PIXELS[None, None], physical_pixel_sizes=sizes, time_interval=None)
    monkeypatch.setitem(sys.modules, "bioio", SimpleNamespace(BioImage=lambda path: image))
    stack = open_stack(tmp_path / "a.nd2")
    assert (stack.grid.axes, stack.grid.scale, stack.grid.units[0]) == ("ZYX", (0.3, 0.1, 0.1), "micrometer")

    def no_plugin(path):
        raise RuntimeError("no plugin supports this file")

    monkeypatch.setitem(sys.modules, "bioio", SimpleNamespace(BioImage=no_plugin))
    with pytest.raises(InputError, match="pip install bioio-nd2"):
        open_stack(tmp_path / "a.nd2")


def test_declared_inputs_open_as_declared(tmp_path):
    np.save(tmp_path / "views.npy", PIXELS)
    (tmp_path / "points.csv").write_text("z,y,name\n1,2.5,a\n3,4,b\n")
    (tmp_path / "net.pt").write_bytes(b"x")
    views = open_inputs(InputSpec(name="views", axes="VYX"), [tmp_path / "views.npy"])
    assert views[0].grid.axes == "VYX"
    rows = open_inputs(InputSpec(name="points", accepts=("table",)), [tmp_path / "points.csv"])[0]
    assert rows == [{"z": 1, "y": 2.5, "name": "a"}, {"z": 3, "y": 4, "name": "b"}]
    (tmp_path / "local.csv").write_text('z;y;name\n1;2,5;a\n3;4;"b;c"\n')
    assert read_table(tmp_path / "local.csv") == [{"z": 1, "y": 2.5, "name": "a"}, {"z": 3, "y": 4, "name": "b;c"}]
    spec = InputSpec(name="net", accepts=("file",), suffixes=(".pt",))
    assert open_inputs(spec, [tmp_path / "net.pt"]) == [tmp_path / "net.pt"]
    many = InputSpec(name="views", axes="VYX", many=True)
    assert len(open_inputs(many, [tmp_path / "views.npy"] * 2)) == 2
    with pytest.raises(InputError, match="points"):
        open_inputs(InputSpec(name="points", accepts=("table",)), [tmp_path / "net.pt"])
    with pytest.raises(InputError, match="exists"):
        open_inputs(spec, [tmp_path / "other.pt"])


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.csv", "", "header"),
        ("a.csv", "z,y\n1,2\n3\n", "line 3"),
        ("a.json", "{not json", "damaged"),
        ("a.yaml", "a: [1", "damaged"),
    ],
)
def test_malformed_tables(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=match):
        read_table(tmp_path / name)


def test_importing_loads_no_library():
    heavy = "tifffile zarr torch scipy h5py skimage nibabel mrcfile bioio ome_zarr_models"
    code = f"import sys, napari_recon.io; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_promised_suffix_is_there():
    assert {
        ".tif",
        ".tiff",
        ".ome.tif",
        ".ome.zarr",
        ".zarr",
        ".npy",
        ".npz",
        ".mrc",
        ".nii",
        ".nii.gz",
        ".mat",
        ".h5",
    } <= set(supported_suffixes())


@pytest.fixture
def pictures(tmp_path):
    """Planes of two volumes, as microscopes write them: a time point and a plane number in every name."""
    for time in (1, 2):
        for plane in range(1, 12):
            tifffile.imwrite(tmp_path / f"Emb_{time:03d}_p{plane}.tif", np.full((4, 5), 100 * time + plane, np.uint8))
    return tmp_path


def test_pictures_where_volumes_are_expected_are_planes(pictures):
    found = open_stack(pictures, default_axes="ZYX")
    assert (found.grid.axes, found.grid.shape) == ("TZYX", (2, 11, 4, 5))
    np.testing.assert_array_equal(found.read()[:, :, 0, 0], 100 * np.arange(1, 3)[:, None] + np.arange(1, 12))
    one = open_stack(str(pictures / "Emb_002_*.tif"), default_axes="ZYX")
    assert (one.grid.axes, one.grid.shape) == ("ZYX", (11, 4, 5))
    assert open_stack(pictures, default_axes="YX").grid.axes == "TYX"


def test_a_volume_that_lacks_planes_is_named(pictures):
    (pictures / "Emb_002_p3.tif").unlink()
    with pytest.raises(InputError, match=r"as many planes each, found Emb_001_p \(11\), Emb_002_p \(10\)"):
        open_stack(pictures, default_axes="ZYX")
