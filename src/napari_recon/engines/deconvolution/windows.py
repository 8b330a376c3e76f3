"""How a large light field is cut into windows that are solved one after the other (no torch).

The cut is a lattice of the whole field, so a region meets the same windows as the whole and gets the same voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Bounds = tuple[int, int]

#: Light-field pixels a window delivers per axis: the usual size, then those for little memory. Fields up to this plus a
#: halo on both sides are solved in one piece.
CORES = (99, 63, 36, 18)
CORE = CORES[0]

#: Sizes tried before, where a window's cost grows with its pixels alone.
LARGE_CORES = (1023, 511, 255)


@dataclass(frozen=True)
class Window:
    """One piece of work, in light-field pixels: ``core`` is delivered, ``read`` is reconstructed from."""

    core_yx: tuple[Bounds, Bounds]
    read_yx: tuple[Bounds, Bounds]

    def cut(self, views_vyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the views this window reads."""
        (top, bottom), (left, right) = self.read_yx
        return views_vyx[:, top:bottom, left:right]

    @property
    def read_shape(self) -> tuple[int, int]:
        """Pixels read per axis; the same for every window of a field."""
        (top, bottom), (left, right) = self.read_yx
        return bottom - top, right - left


def axis_pieces(size: int, halo: int, core: int = CORE) -> list[tuple[Bounds, Bounds]]:
    """Return (core, read) bounds along one axis; every read range has the same length and lies in the field."""
    length = core + 2 * halo
    if size <= length:
        return [((0, size), (0, size))]
    pieces = []
    for start in range(0, size, core):
        stop = min(start + core, size)
        low = min(max(start - halo, 0), size - length)
        pieces.append(((start, stop), (low, low + length)))
    return pieces


def windows_of(field_yx: tuple[int, int], halo: int, core: int = CORE) -> list[Window]:
    """Return the windows of a field in raster order; their cores cover it without overlap."""
    rows, columns = (axis_pieces(size, halo, core) for size in field_yx)
    return [Window((row[0], column[0]), (row[1], column[1])) for row, column in product(rows, columns)]


def fine_bounds(core: Bounds, pixels: int, fine: int) -> Bounds:
    """Return the fine voxels whose centres lie in light-field pixels ``core`` of an axis ``pixels`` long."""
    low, high = (int(np.ceil(edge * fine / pixels - 0.5)) for edge in core)
    return low, high


def overlap(first: Bounds, second: Bounds) -> Bounds | None:
    """Return the common part of two ranges, None when there is none."""
    low, high = max(first[0], second[0]), min(first[1], second[1])
    return (low, high) if low < high else None


def brightest(windows: list[Window], views_vyx: NDArray[np.float32]) -> Window:
    """Return the window with the most light in its core: where positions and noise are told best."""
    light = views_vyx.sum(axis=0, dtype=np.float64)
    return max(windows, key=lambda window: float(light[tuple(slice(*bounds) for bounds in window.core_yx)].sum()))
