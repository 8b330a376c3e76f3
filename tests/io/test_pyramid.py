"""Coarser levels lie where the finest one does and are its means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack, pyramid, write_stack
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


@settings(max_examples=20)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_means_keep_constants(shape: tuple[int, int]) -> None:
    assert (pyramid._means(np.full(shape, 7, np.uint8), (2, 2)) == 7).all()
