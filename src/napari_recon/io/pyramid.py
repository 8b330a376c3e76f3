"""Coarser copies of a large image beside it, made while it is written, so that a viewer reads no more than it shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
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


class Levels:
    """The coarser levels of an array that is being written: always right where `settle` was called since.

    Parameters
    ----------
    arrays : sequence of zarr.Array
        All levels, finest first; sides are those of the next finer one, or half of them, rounded up.
    labels : bool
        Take every other voxel instead of means of neighbours.

    Attributes
    ----------
    seconds : float
        What `settle` took so far.
    """

    def __init__(self, arrays: Sequence[Any], labels: bool = False) -> None:
        self._arrays, self._labels = tuple(arrays), labels
        self._changed: list[set[tuple[int, ...]]] = [set() for _ in arrays]
        self.seconds = 0.0

    @property
    def settled(self) -> bool:
        """Whether all levels show what the finest one holds."""
        return not any(self._changed)

    def touch(self, place: Sequence[slice], finest: int = 0) -> None:
        """Note that level `finest` was written at `place`."""
        if finest + 1 >= len(self._arrays):
            return
        finer, level = self._arrays[finest : finest + 2]
        ranges = []
        for s, n, f, k in zip(place, finer.shape, _factors(level, finer), level.chunks, strict=True):
            start, stop, _ = s.indices(n)
            ranges.append(range(start // f // k, (stop - 1) // f // k + 1) if stop > start else range(0))
        self._changed[finest + 1].update(product(*ranges))

    def touch_all(self, finest: int = 0) -> None:
        """Note that level `finest` may be new everywhere."""
        self.touch([slice(None)] * len(self._arrays[finest].shape), finest)

    def settle(self) -> None:
        """Make anew what depends on what was written, chunk by chunk."""
        started = time.perf_counter()
        for number in range(1, len(self._arrays)):
            for chunk in sorted(self._changed[number]):
                self.touch(self._fill(number, chunk), number)
            self._changed[number].clear()
        self.seconds += time.perf_counter() - started

    def _fill(self, number: int, chunk: tuple[int, ...]) -> tuple[slice, ...]:
        finer, level = self._arrays[number - 1 : number + 1]
        factors = _factors(level, finer)
        sides = tuple((c * k, min((c + 1) * k, n)) for c, k, n in zip(chunk, level.chunks, level.shape, strict=True))
        block = np.asarray(finer[tuple(slice(a * f, b * f) for (a, b), f in zip(sides, factors, strict=True))])
        place = tuple(slice(a, b) for a, b in sides)
        level[place] = _every_other(block, factors) if self._labels else _means(block, factors).astype(level.dtype)
        return place


def _factors(level: Any, finer: Any) -> tuple[int, ...]:
    return tuple(1 if n == m else 2 for n, m in zip(level.shape, finer.shape, strict=True))


def _halved(grid: Grid, axes: list[str]) -> Grid:
    def of(axis: str) -> tuple[int, float, float]:
        size, step, origin = grid.size(axis), grid.step(axis), grid.origin(axis)
        return (-(-size // 2), 2 * step, origin + step / 2) if axis in axes else (size, step, origin)

    shape, scale, translate = zip(*(of(a) for a in grid.axes), strict=True)
    return grid.model_copy(update={"shape": shape, "scale": scale, "translate": translate})


def _every_other(block: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    return block[tuple(slice(None, None, f) for f in factors)]


def _means(block: NDArray[Any], factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Return means of neighbours; at an odd end the last one stands for both."""
    mean = block.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        before = (slice(None),) * axis
        first, second = mean[(*before, slice(None, None, 2))], mean[(*before, slice(1, None, 2))]
        pairs = first.copy()  # sums of slices take a third of the time of means over an axis of length two
        pairs[(*before, slice(0, second.shape[axis]))] = (first[(*before, slice(0, second.shape[axis]))] + second) / 2
        mean = pairs
    if block.dtype.kind in "ui":
        mean = np.rint(mean)
    return mean
