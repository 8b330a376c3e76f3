"""Coarser levels lie where the finest one does and are its means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io import omezarr, open_stack, pyramid, write_stack
from napari_recon.io.omezarr import ZarrOutput, read_levels


@given(size=st.tuples(st.integers(1, 70), st.integers(2, 3000), st.integers(2, 3000)), step=st.floats(0.5, 4))
def test_levels_halve_what_is_sampled_finest_and_keep_the_middle(size: tuple[int, int, int], step: float) -> None:
    grid = Grid.of("ZYX", size, scale={"Z": step})
    levels = pyramid.coarser_grids(grid)
    assert bool(levels) == (max(size[1:]) > pyramid.SMALL)
    for level in levels:
        for axis in "ZYX":
            assert level.origin(axis) - level.step(axis) / 2 == pytest.approx(grid.origin(axis) - grid.step(axis) / 2)
    flipped = pyramid.coarser_grids(Grid.of("ZYX", size, scale={"Z": -step, "Y": -1}))
    assert [level.shape for level in flipped] == [level.shape for level in levels]
    if levels:
        assert levels[0].size("Z") == (-(-size[0] // 2) if step < 1.5 else size[0])
        assert max(levels[-1].shape[1:]) <= pyramid.SMALL


def test_a_large_image_gets_levels_that_are_its_means(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 1000, (2, 3, 601, 530)).astype(np.uint16)
    stack = ImageStack.of(image, "TZYX", scale={"Z": 4.0})
    levels = read_levels(write_stack(tmp_path / "large.ome.zarr", stack))
    assert [level.shape for level in levels] == [(2, 3, 601, 530), (2, 3, 301, 265)]
    means = image[:, :, :600].reshape(2, 3, 300, 2, 265, 2).mean(axis=(3, 5))
    assert np.abs(np.asarray(levels[1])[:, :, :300] - means).max() <= 0.5
    np.testing.assert_array_equal(open_stack(tmp_path / "large.ome.zarr").data, image)


def test_labels_stay_whole_numbers(tmp_path: Path) -> None:
    labels = np.zeros((600, 600), np.int32)
    labels[:301, 7:] = 1000
    spec = OutputSpec(name="cells", kind="labels", grid=Grid.of("YX", labels.shape), dtype="int32")
    with ZarrOutput(tmp_path / "cells.ome.zarr", spec) as file:
        file.write((slice(None), slice(None)), labels)
        levels = read_levels(file.finish())
    assert set(np.unique(levels[1])) == {0, 1000}


class Chunked(np.ndarray):
    """An array in memory that says which chunks it has, as zarr does."""

    chunks: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Chunked:
        made = np.zeros(shape, np.uint16).view(cls)
        made.chunks = tuple(min(n, k) for n, k in zip(shape, chunks, strict=True))
        return made


SHAPE = (2, 5, 11, 14)
PLACES = st.lists(st.tuples(*(st.tuples(st.integers(0, n), st.integers(0, n)) for n in SHAPE)), max_size=6)


@settings(max_examples=20, deadline=None)
@given(places=PLACES, seed=st.integers(0, 9), labels=st.booleans())
def test_levels_follow_what_is_written_in_whatever_pieces(places: list[Any], seed: int, labels: bool) -> None:
    def levels() -> list[Chunked]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "SMALL", 4)
            grids = pyramid.coarser_grids(Grid.of("TZYX", SHAPE, scale={"Z": 1.6}))
        assert len(grids) == 2 and [grid.size("Z") for grid in grids] == [5, 3]
        return [Chunked.of(shape, (1, 2, 3, 3)) for shape in (SHAPE, *(grid.shape for grid in grids))]

    rng = np.random.default_rng(seed)
    arrays = levels()
    followed = pyramid.Levels(arrays, labels)
    for place in places:
        where = tuple(slice(min(p), max(p)) for p in place)
        arrays[0][where] = rng.integers(0, 1000, arrays[0][where].shape)
        followed.touch(where)
        if rng.random() < 0.5:
            followed.settle()
    followed.settle()
    expected = levels()
    expected[0][...] = arrays[0]
    at_once = pyramid.Levels(expected, labels)
    at_once.touch_all()
    assert followed.settled and not at_once.settled
    at_once.settle()
    for ours, theirs in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_frames_of_several_processes_share_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "SMALL", 4)
    image = np.random.default_rng(0).random((2, 6, 5)).astype(np.float32)
    spec = OutputSpec(name="a", grid=Grid.of("ZYX", image.shape))
    files = [ZarrOutput(tmp_path / "a.ome.zarr", spec, tmp_path / "g", alone="Z") for _ in image]
    monkeypatch.setattr(omezarr, "LEVELS_SHARE", -1.0)
    for z, file in enumerate(files):  # neither knows what the other writes
        file.write((slice(z, z + 1), slice(0, 6), slice(0, 5)), image[z : z + 1])
        assert not file.settled
        file.settle()
    (shared,) = read_levels(tmp_path / "g")[1:]
    assert shared.chunks == (1, 3, 3)
    np.testing.assert_allclose(np.asarray(shared)[0, :, :2], coarse(image))
    zarr.open(tmp_path / "g" / "1", mode="r+")[...] = 0  # one read before the other had written
    np.testing.assert_allclose(np.asarray(read_levels(files[0].finish())[1])[0, :, :2], coarse(image))


def coarse(image: np.ndarray) -> np.ndarray:
    return image[:, :, :4].mean(axis=0).reshape(3, 2, 2, 2).mean(axis=(1, 3))


def test_a_store_begun_without_levels_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OutputSpec(name="a", grid=Grid.of("YX", (8, 8)))
    ZarrOutput(tmp_path / "a.ome.zarr", spec, gathered_at=tmp_path / "g").write((slice(0, 8), slice(0, 8)), np.ones((8, 8)))
    monkeypatch.setattr(pyramid, "SMALL", 4)
    file = ZarrOutput(tmp_path / "a.ome.zarr", spec, gathered_at=tmp_path / "g")
    (tmp_path / "g" / "0" / "c" / "0" / "0.abc.partial").touch()  # a chunk that a killed process was writing
    levels = read_levels(file.finish())
    assert [level.shape for level in levels] == [(8, 8), (4, 4)] and np.asarray(levels[1]).all()
    assert not list(tmp_path.rglob("*.partial"))


@settings(max_examples=20)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_means_keep_constants(shape: tuple[int, int]) -> None:
    assert (pyramid._means(np.full(shape, 7, np.uint8), (2, 2)) == 7).all()
