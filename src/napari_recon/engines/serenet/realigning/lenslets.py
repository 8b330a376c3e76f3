"""The grid of lenslets on the camera as numbers. numpy only.

Places are (y, x) in camera pixels, whole numbers being the middles of pixels. A rotation turns the rows of lenslets from
the x axis towards the y axis, which is clockwise as pictures are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LensletGrid:
    """A square grid of lenslets.

    Attributes
    ----------
    pitch_px, rotation_deg : float
        Distance of neighbours in camera pixels; turn of the rows.
    centre : (float, float)
        Place (y, x) of the middle of one lenslet.
    stretch : float
        Pitch along rows over pitch across rows, their geometric mean being `pitch_px`; 1 for square lenslets and pixels.
    """

    pitch_px: float
    rotation_deg: float
    centre: tuple[float, float]
    stretch: float = 1.0

    @property
    def axes(self) -> NDArray[np.float64]:
        """From one lenslet to the next row (first line) and the next column (second), as (y, x) in pixels."""
        turn = math.radians(self.rotation_deg)
        cosine, sine = math.cos(turn) * self.pitch_px, math.sin(turn) * self.pitch_px
        wider = math.sqrt(self.stretch)
        return np.array([[cosine / wider, -sine / wider], [sine * wider, cosine * wider]])

    def places(self, lenslets: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the places (..., 2) of lenslets given as (row, column) from the one at `centre`, also between them."""
        found: NDArray[np.float64] = np.asarray(lenslets, dtype=np.float64) @ self.axes + self.centre
        return found

    def lenslets(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (row, column) of places; the inverse of `places`."""
        found: NDArray[np.float64] = (np.asarray(places, dtype=np.float64) - self.centre) @ np.linalg.inv(self.axes)
        return found

    def around(self, place: tuple[float, float]) -> LensletGrid:
        """Return the same grid, its `centre` being the lenslet nearest to `place`."""
        nearest = np.rint(self.lenslets(np.array(place)))
        y, x = self.places(nearest).tolist()
        return replace(self, centre=(y, x))

    def block(self, shape_yx: tuple[int, int], lenslets_yx: tuple[int, int]) -> tuple[int, int]:
        """Return (row, column) of the first of ``lenslets_yx`` lenslets that lie best on a picture of `shape_yx` pixels.

        The block whose middle is nearest to that of the picture; on a tie the upper and left one.
        """
        middle = self.lenslets(np.array([(n - 1) / 2 for n in shape_yx]))
        first = np.ceil(middle - (np.array(lenslets_yx) - 1) / 2 - 0.5 - 1e-6).astype(int)
        return int(first[0]), int(first[1])

    def outside(self, first: tuple[int, int], lenslets_yx: tuple[int, int], shape_yx: tuple[int, int]) -> int:
        """Return how many lenslets of a block are cut by the picture's edge by more than a sixth of their width."""
        rows, columns = (np.arange(n) + f for n, f in zip(lenslets_yx, first, strict=True))
        middles = self.places(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
        room = self.pitch_px / 3
        low = middles - room < -0.5
        high = middles + room > np.array(shape_yx) - 0.5
        return int((low | high).any(axis=-1).sum())


def fitted(points_yx: NDArray[np.floating], near: LensletGrid) -> LensletGrid:
    """Return the grid through points that somebody put on the middles of lenslets (least squares).

    Parameters
    ----------
    points_yx : ndarray
        (N, 2) in pixels, N at least 3 and not in a row.
    near : LensletGrid
        Says roughly which lenslet each point is on: pitch to 10 % between neighbouring points.

    Notes
    -----
    Points are numbered outward from the one nearest to their middle, the grid being fitted anew with each, so that a rough
    pitch suffices for points that lie close enough together.
    """
    points = np.asarray(points_yx, dtype=np.float64)
    start = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
    order = np.argsort(((points - points[start]) ** 2).sum(axis=1))
    grid = replace(near, centre=(float(points[start, 0]), float(points[start, 1])))
    for count in range(2, len(points) + 1):
        used = points[order[:count]]
        numbers = np.rint(grid.lenslets(used))
        if len(np.unique(numbers, axis=0)) > 1:
            grid = _similar(numbers, used, near.stretch)
    return grid


def _similar(numbers: NDArray[np.float64], places: NDArray[np.float64], stretch: float) -> LensletGrid:
    """Return the grid with which `numbers` lie nearest to `places`: a turn, a scale and a shift."""
    wider = math.sqrt(stretch)
    found, wanted = (a[:, 1] + 1j * a[:, 0] for a in (numbers * (1 / wider, wider), places))  # x + i y: a turn is a product
    middle, target = found.mean(), wanted.mean()
    factor = np.vdot(found - middle, wanted - target) / np.vdot(found - middle, found - middle)
    origin = target - factor * middle
    return LensletGrid(abs(factor), math.degrees(np.angle(factor)), (float(origin.imag), float(origin.real)), stretch)
