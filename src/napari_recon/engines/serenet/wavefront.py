"""The wavefront over the pupil whose slopes the shifts of views are. numpy only.

A view looks through a place (row, column) of the pupil; with rho from -1 to 1 over the pupil, dW / d rho = NA * shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import polynomial as poly
from numpy.typing import NDArray

Array = NDArray[np.float64]

TERMS: dict[str, tuple[tuple[float, int, int], ...]] = {
    "defocus": ((2, 2, 0), (2, 0, 2), (-1, 0, 0)),
    "astigmatism 0": ((-1, 2, 0), (1, 0, 2)),
    "astigmatism 45": ((2, 1, 1),),
    "coma y": ((3, 3, 0), (3, 1, 2), (-2, 1, 0)),
    "coma x": ((3, 0, 3), (3, 2, 1), (-2, 0, 1)),
    "trefoil y": ((-1, 3, 0), (3, 1, 2)),
    "trefoil x": ((1, 0, 3), (-3, 2, 1)),
    "spherical": ((6, 4, 0), (12, 2, 2), (6, 0, 4), (-6, 2, 0), (-6, 0, 2), (1, 0, 0)),
}
"""Name -> (factor, power of y, power of x): Zernike polynomials of rows y and columns x, as far as views can tell."""
NORM = {"defocus": 3, "astigmatism 0": 6, "astigmatism 45": 6, "coma y": 8, "coma x": 8, "trefoil y": 8, "trefoil x": 8}
NORM["spherical"] = 5


def _matrix(name: str) -> Array:
    """Return the polynomial's coefficients by powers of y and x, root mean square 1 over the disc."""
    found = np.zeros((5, 5))
    for factor, y, x in TERMS[name]:
        found[y, x] += factor * np.sqrt(NORM[name])
    return found


@dataclass(frozen=True)
class Wavefront:
    """A wavefront as a sum of polynomials; `slope` is its derivative per fine pixel of shift, `nnum` views across."""

    coefficients: dict[str, float]
    nnum: int
    slope: float

    def parts(self) -> dict[str, float]:
        """Return name -> root mean square in um."""
        return dict(self.coefficients)

    def rms(self) -> float:
        """Return the root mean square over the pupil."""
        return float(np.sqrt(sum(value**2 for value in self.coefficients.values())))

    def slopes(self, angles: NDArray[np.int64]) -> Array:
        """Return the shifts (views, 2) in fine pixels that it means."""
        design = np.stack([_slopes(name, angles, self.nnum) for name in self.coefficients], axis=-1)
        return np.asarray(design @ np.array(list(self.coefficients.values())) / self.slope)

    def picture(self, shape_yx: tuple[int, ...]) -> NDArray[np.float32]:
        """Return it on the largest disc in a picture of a shape, zero around it."""
        radius = min(shape_yx) / 2
        y, x = ((np.arange(n) - (n - 1) / 2) / radius for n in shape_yx)
        surface = sum(value * _matrix(name) for name, value in self.coefficients.items())
        heights = poly.polygrid2d(y, x, surface)
        inside = y[:, None] ** 2 + x[None] ** 2 <= 1
        return np.where(inside, heights, 0).astype(np.float32)


def fitted(shifts: Array, confidence: Array, angles: NDArray[np.int64], nnum: int, slope: float) -> Wavefront:
    """Return the wavefront whose slopes come nearest to shifts (views, 2) in fine pixels, whatever view they count from.

    Parameters
    ----------
    confidence : numpy.ndarray
        Weight of each view.
    angles : numpy.ndarray
        Rows and columns of the views from the centre.
    nnum : int
        Views across the pupil.
    slope : float
        dW / d rho in um per fine pixel: NA times the fine pixel in um.
    """
    names = list(TERMS)[: max(1, min(len(TERMS), len(angles) - 3))]
    # a displacement of all views alike, which no picture tells, is fitted beside them
    tilts = np.broadcast_to(np.eye(2), (len(angles), 2, 2))
    design = np.concatenate([np.stack([_slopes(name, angles, nnum) for name in names], axis=-1), tilts], axis=-1)
    weight = np.sqrt(np.maximum(confidence, 0))[:, None]
    flat = (design * weight[..., None]).reshape(-1, len(names) + 2)
    values, *_ = np.linalg.lstsq(flat, (shifts * slope * weight).ravel(), rcond=None)
    return Wavefront(dict(zip(names, (float(v) for v in values), strict=False)), nnum, slope)


def defocus_of(shifts: Array, angles: NDArray[np.int64]) -> float:
    """Return the fine pixels per view that shifts grow by outwards, which is what a change of focus does."""
    return float((shifts * angles).sum() / max(1, (angles**2).sum()))


def _slopes(name: str, angles: NDArray[np.int64], nnum: int) -> Array:
    """Return the derivatives (views, 2) of a polynomial at the places of the views."""
    y, x = (2 * angles / nnum).T
    matrix = _matrix(name)
    parts = [poly.polyval2d(y, x, poly.polyder(matrix, axis=axis)) for axis in (0, 1)]
    return np.stack(parts, axis=-1)
