"""What counts as a recording, and what its result is called."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack, write_stack
from napari_recon.jobs.batch.items import find_items, result_paths

IMAGE = ImageStack.of(np.zeros((4, 6), np.float32), "YX", "image")


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_stack(path, IMAGE)


def test_files_are_sorted_as_people_count(tmp_path: Path) -> None:
    for name in ("cell10.ome.tif", "cell2.ome.tif", "deep/cell1.npy"):
        _image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    items = find_items(tmp_path)
    assert [item.label for item in items] == ["cell2", "cell10", "deep/cell1"]
    paths = result_paths(items, tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in paths.values()] == [
        "cell2.ome.zarr",
        "cell10.ome.zarr",
        "deep/cell1.ome.zarr",
    ]


def test_folders_of_files_are_series(tmp_path: Path) -> None:
    for name in ("a/t1.tif", "a/t2.tif", "b/t1.tif", "b/t2.tif"):
        _image(tmp_path / name)
    assert [item.label for item in find_items(tmp_path)] == ["a", "b"]
    assert len(find_items(tmp_path, "file")) == 4
    assert [i.label for i in find_items(tmp_path / "*" / "t1.tif")] == ["a/t1", "b/t1"]
    assert open_stack(find_items(tmp_path)[0].source).grid.axes == "TYX"


def test_positions_of_a_plate_are_recordings(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "plate.zarr", zarr_format=3, attributes={"ome": {"version": "0.5", "plate": {}}})
    for well in ("A/1/0", "B/10/0", "B/2/0"):
        write_stack(tmp_path / "plate.zarr" / f"{well}.zarr", IMAGE).rename(tmp_path / "plate.zarr" / well)
    for row in "AB":
        zarr.open_group(tmp_path / "plate.zarr" / row, mode="a")
    for well in ("A/1", "B/10", "B/2"):
        zarr.open_group(tmp_path / "plate.zarr" / well, mode="a")
    items = find_items(tmp_path)
    assert [item.position for item in items] == ["A/1/0", "B/2/0", "B/10/0"]
    assert open_stack(items[0].source).grid.shape == (4, 6)
    assert result_paths(items, tmp_path)[items[0].id].name == "plate_A_1_0.ome.zarr"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{stem}.doc", "should end in one of"),
        ("{when}.tif", r"may hold \{folder\}"),
        ("../{stem}.tif", "should lie below"),
        ("same.tif", r"found same.tif for a.tif and for b.tif; .* 'same_\{index\}.tif'"),
    ],
)
def test_patterns_that_can_not_be_are_one_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    for file in ("a.tif", "b.tif"):
        _image(tmp_path / file)
    with pytest.raises(InputError, match=sentence):
        result_paths(find_items(tmp_path), tmp_path / "out", name)


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="should hold images"):
        find_items(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    _image(tmp_path / "day" / "cell.npy")
    (tmp_path / "day" / "back").symlink_to(tmp_path)
    assert [item.label for item in find_items(tmp_path, "file")] == ["day/cell"]
