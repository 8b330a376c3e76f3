"""Results appear whole or not at all; places that can't be written say so; naming of several outputs."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections import namedtuple

import numpy as np
import pytest

from napari_recon.core.errors import DiskFull, InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io import check_writable, create_output, open_stack, output_path, read_provenance, write_stack
from napari_recon.io.output import replace

SPEC = OutputSpec(name="volume", grid=Grid.of("ZYX", (3, 8, 9)))
WHOLE = (slice(0, 3), slice(0, 8), slice(0, 9))
FORMATS = [".ome.tif", ".tif", ".ome.zarr", ".npy", ".npz", ".mat"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_under_the_name_until_finished(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    output = create_output(path, SPEC)
    output.write(WHOLE, np.ones((3, 8, 9)))
    assert not path.exists()
    assert output.finish({"partial": True, "recipe": {}}) == path
    assert read_provenance(path)["partial"] is True
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, f"{path.name}.recipe.yaml"}
    assert open_stack(path).read().sum() == 216


@pytest.mark.parametrize("suffix", FORMATS)
def test_discard_keeps_the_older_result(tmp_path, suffix):
    path = write_stack(tmp_path / f"a{suffix}", ImageStack.of(np.full((3, 8, 9), 7.0), "ZYX"))
    before = sorted(tmp_path.iterdir())
    output = create_output(path, SPEC)
    output.write(WHOLE, np.ones((3, 8, 9)))
    output.discard()
    output.discard()
    assert sorted(tmp_path.iterdir()) == before
    assert open_stack(path, axes="ZYX").read().max() == 7


@pytest.mark.parametrize("suffix", FORMATS)
def test_finish_replaces_the_older_result(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for value in (1.0, 2.0):
        write_stack(path, ImageStack.of(np.full((3, 8, 9), value), "ZYX"), {"n": value})
    assert open_stack(path).read().max() == 2
    assert read_provenance(path)["n"] == 2
    write_stack(path, ImageStack.of(np.full((3, 8, 9), 3.0), "ZYX"))
    assert read_provenance(path) is None


def test_leaving_the_block_on_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), create_output(tmp_path / "a.ome.tif", SPEC):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made(tmp_path):
    assert check_writable(tmp_path / "new" / "er" / "a.ome.tif").parent.is_dir()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.czi", "a.png"])
def test_unknown_suffixes_list_the_known(tmp_path, name):
    with pytest.raises(InputError, match=r"\.ome\.tif"):
        create_output(tmp_path / name, SPEC)


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.ome.tif").mkdir()
    (tmp_path / "b.ome.zarr").mkdir()
    (tmp_path / "b.ome.zarr" / "precious.txt").touch()
    for name in ("a.ome.tif", "b.ome.zarr"):
        with pytest.raises(InputError, match="no result"):
            check_writable(tmp_path / name)


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"):
        check_writable(tmp_path / "file" / "a.ome.tif")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="may write"):
            check_writable(tmp_path / "a.ome.tif")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_place_nobody_can_write():
    with pytest.raises(InputError, match="can't be written"):
        check_writable("/proc/a.ome.tif")


@pytest.mark.parametrize("suffix", [".ome.tif", ".npy"])
def test_a_full_disk_is_said_before_the_run(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(10, 9, 1))
    with pytest.raises(DiskFull, match="free some or write elsewhere"):
        create_output(tmp_path / f"a{suffix}", SPEC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_a_disk_that_fills_during_the_run_keeps_what_was_finished(tmp_path, suffix):
    output = create_output(tmp_path / f"a{suffix}", SPEC)
    output.write((slice(0, 1), *WHOLE[1:]), np.ones((1, 8, 9)))

    def full(slices, array):
        raise OSError(errno.ENOSPC, "No space left on device")

    written, output._write = output._write, full
    with pytest.raises(DiskFull):
        output.write(WHOLE, np.ones((3, 8, 9)))
    output._write = written
    output.finish({"partial": True})
    assert open_stack(tmp_path / f"a{suffix}").read().sum() == 72


@pytest.mark.parametrize(
    ("out", "name", "first", "ext", "expected"),
    [
        ("r.ome.tif", "volume", True, ".ome.tif", "r.ome.tif"),
        ("r.ome.tif", "residual", False, ".ome.tif", "r.residual.ome.tif"),
        ("r.ome.zarr", "residual", False, ".ome.tif", "r.residual.ome.zarr"),
        ("r.ome.tif", "curve", False, ".csv", "r.curve.csv"),
        ("folder/", "volume", True, ".ome.tif", "folder/volume.ome.tif"),
        ("folder/", "curve", False, ".json", "folder/curve.json"),
        ("a.b.tif", "x", False, ".ome.tif", "a.b.x.tif"),
    ],
)
def test_where_outputs_go(out, name, first, ext, expected):
    assert output_path(out, name, first, ext).as_posix() == expected


def test_an_existing_folder_takes_outputs_but_a_store_is_a_file(tmp_path):
    assert output_path(tmp_path, "volume", True) == tmp_path / "volume.ome.tif"
    store = write_stack(tmp_path / "a.ome.zarr", ImageStack.of(np.zeros((3, 8, 9)), "ZYX"))
    assert output_path(store, "volume", True) == store


def test_the_older_result_stays_when_the_new_one_cannot_take_its_place(tmp_path):
    older = tmp_path / "a.ome.zarr"
    older.mkdir()
    (older / "zarr.json").touch()
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "gone.partial", older)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"] and (older / "zarr.json").exists()
