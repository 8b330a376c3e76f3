"""Turning planes by a fixed angle: cubic splines, zero outside, as one sparse matrix that many planes share.

Equal to `scipy.ndimage.rotate` followed by a cut around the middle, without computing what is cut away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse, special

Array = NDArray[np.floating]
Size = tuple[int, int]
Place = tuple[float, float]
Pivots = tuple[Place, Place]
_AT_ONCE = 8
_CACHED = 8
"""Matrices that are kept: two orientations, there and back, of two sizes."""


class Turn:
    """Planes of one size turned by one angle.

    Parameters
    ----------
    size : tuple of int
        Of the planes.
    angle : float
        Degrees, counter-clockwise on an image shown with y down, as in `scipy.ndimage.rotate`.
    kept : tuple of int, optional
        Size of what is kept; None keeps the canvas that holds all of the turned plane.
    dtype : numpy.dtype
        float32 or float64, in which planes come and go.
    pivots : pair of places, optional
        The place (y, x) that is turned about, and where it lies in what is kept. None turns about the middle and cuts whole
        pixels of the canvas away, as the published program does, which may leave the middle half a pixel off.
    """

    def __init__(
        self, size: Size, angle: float, kept: Size | None, dtype: np.dtype[np.floating], pivots: Pivots | None
    ) -> None:
        cosine, sine = _exact(angle)
        canvas = turned_size(size, angle)
        self.size = kept or canvas
        if pivots is None:
            starts = [_start(c, k) for c, k in zip(canvas, self.size, strict=True)]
            pivots = middle(size), (middle(canvas)[0] - starts[0], middle(canvas)[1] - starts[1])
        (y, x), (kept_y, kept_x) = pivots
        rows = np.arange(self.size[0])[:, None] - kept_y
        columns = np.arange(self.size[1])[None] - kept_x
        down, across = cosine * rows + sine * columns + y, -sine * rows + cosine * columns + x
        self._matrix = _spline_matrix(down.ravel(), across.ravel(), size).astype(dtype)
        self._dtype = dtype

    def __call__(self, planes: Array) -> Array:
        """Return planes (n, y, x) turned, (n, H, W)."""
        found = np.empty((len(planes), *self.size), self._dtype)
        for start in range(0, len(planes), _AT_ONCE):
            part = planes[start : start + _AT_ONCE]
            splines = np.stack([ndimage.spline_filter(p, 3, output=self._dtype) for p in part], -1)
            turned = self._matrix @ splines.reshape(-1, len(part))
            found[start : start + len(part)] = turned.T.reshape(len(part), *self.size)
        return found


@lru_cache(maxsize=_CACHED)
def turn(size: Size, angle: float, kept: Size | None = None, dtype: str = "float32", pivots: Pivots | None = None) -> Turn:
    """Return a `Turn`; those used last are kept."""
    return Turn(size, angle, kept, np.dtype(dtype), pivots)


def middle(size: Size) -> Place:
    """Return the place in the middle of a plane."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def turned_size(size: Size, angle: float) -> Size:
    """Return the size of the canvas that holds a turned plane, as `scipy.ndimage.rotate` chooses it."""
    cosine, sine = _exact(angle)
    y, x = size
    corners = np.array([[cosine, sine], [-sine, cosine]]) @ np.array([[0, 0, y, y], [0, x, 0, x]])
    height, width = (int(extent) for extent in np.ptp(corners, axis=1) + 0.5)
    return height, width


def _exact(angle: float) -> tuple[float, float]:
    return float(special.cosdg(angle)), float(special.sindg(angle))


def _start(size: int, kept: int) -> int:
    return 0 if size == kept else max(0, round(size / 2) - kept // 2 - kept % 2)


def _spline_matrix(y: Array, x: Array, size: Size) -> sparse.csr_array:
    """Return the matrix from spline coefficients of a plane to its values at places (y, x); rows outside are empty."""
    inside = np.flatnonzero((y >= 0) & (y <= size[0] - 1) & (x >= 0) & (x <= size[1] - 1))
    (rows, row_weights), (columns, column_weights) = (_neighbours(c[inside], n) for c, n in zip((y, x), size, strict=True))
    where = rows[:, :, None] * size[1] + columns[:, None, :]
    weights = row_weights[:, :, None] * column_weights[:, None, :]
    starts = np.zeros(len(y) + 1, np.int64)
    starts[inside + 1] = 16
    return sparse.csr_array((weights.ravel(), where.ravel(), np.cumsum(starts)), (len(y), size[0] * size[1]))


def _neighbours(places: Array, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices and weights (n, 4) of the cubic B-splines around places; indices are mirrored about the end samples."""
    base = np.floor(places).astype(np.int64)
    t = places - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3], 1) / 6
    period = max(1, 2 * (size - 1))
    around = np.abs(base[:, None] + np.arange(-1, 3)) % period
    return np.where(around < size, around, period - around), weights
