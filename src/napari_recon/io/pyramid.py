"""Coarser copies of a large image beside it, so that a viewer reads no more than it shows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.grid import Grid

#: An image whose sides are at most this long needs no coarser copy.
SMALL = 512


def coarser_grids(grid: Grid) -> list[Grid]:
    """Return the grids of the coarser levels, finest first: halved in y and x, in z where that is sampled as finely."""
    found: list[Grid] = []
    while "Y" in grid.axes and "X" in grid.axes and max(grid.size("Y"), grid.size("X")) > SMALL:
        finest = min(abs(grid.step(a)) for a in "YX")
        halved = [a for a in "YX" if grid.size(a) > 1]
        if "Z" in grid.axes and grid.size("Z") > 1 and abs(grid.step("Z")) < 1.5 * finest:
            halved.append("Z")
        grid = _halved(grid, halved)
        found.append(grid)
    return found


def fill(level: Any, finer: Any, labels: bool = False) -> None:
    """Write a level from the next finer one, chunk by chunk: means of neighbours, or for labels every other voxel.

    Parameters
    ----------
    level, finer : zarr.Array
        Sides of `level` are those of `finer`, or half of them, rounded up.
    """
    factors = tuple(1 if n == m else 2 for n, m in zip(level.shape, finer.shape, strict=True))
    for corner in _corners(level):
        stop = [min(c + k, n) for c, k, n in zip(corner, level.chunks, level.shape, strict=True)]
        place = tuple(slice(a, b) for a, b in zip(corner, stop, strict=True))
        block = np.asarray(finer[tuple(slice(a * f, b * f) for a, b, f in zip(corner, stop, factors, strict=True))])
        level[place] = _every_other(block, factors) if labels else _means(block, factors).astype(level.dtype)


def _halved(grid: Grid, axes: list[str]) -> Grid:
    def of(axis: str) -> tuple[int, float, float]:
        size, step, origin = grid.size(axis), grid.step(axis), grid.origin(axis)
        return (-(-size // 2), 2 * step, origin + step / 2) if axis in axes else (size, step, origin)

    shape, scale, translate = zip(*(of(a) for a in grid.axes), strict=True)
    return grid.model_copy(update={"shape": shape, "scale": scale, "translate": translate})


def _corners(array: Any) -> Iterator[tuple[int, ...]]:
    yield from product(*(range(0, n, k) for n, k in zip(array.shape, array.chunks, strict=True)))


def _every_other(block: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    return block[tuple(slice(None, None, f) for f in factors)]


def _means(block: NDArray[Any], factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Return means of neighbours; at an odd end the last one stands for both."""
    mean = block.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        if mean.shape[axis] % 2:
            last = mean[(slice(None),) * axis + (slice(-1, None),)]
            mean = np.concatenate([mean, last], axis=axis)
        pairs = mean.reshape(*mean.shape[:axis], -1, 2, *mean.shape[axis + 1 :])
        mean = pairs.mean(axis=axis + 1, dtype=np.float32)
    if block.dtype.kind in "ui":
        mean = np.rint(mean)
    return mean
