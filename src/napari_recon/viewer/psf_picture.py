"""A PSF at a glance: maximum projections of its central and outermost views, as one small picture. No Qt here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP = 2
GAMMA = 0.5
"""Shows what is dim beside the focus."""
SHORTEST = 0.35
"""Height of a side view at least, as part of its width: thin stacks are stretched."""


def shown_views(shift_vz2: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the views farthest to the left, in the middle and farthest to the right.

    Parameters
    ----------
    shift_vz2 : ndarray
        (views, planes, 2), y first: where each view sees each plane.
    """
    along = shift_vz2[:, -1] - shift_vz2[:, 0]
    if len(shift_vz2) < 2 or not np.any(along):
        return 0, len(shift_vz2) // 2, len(shift_vz2) - 1
    aside = np.abs(along[:, 0])
    left, right = (int(np.argmin(sign * along[:, 1] + 0.1 * aside)) for sign in (1, -1))
    return left, int(np.argmin(np.hypot(*along.T))), right


def psf_picture(psf_vzyx: Any, views: tuple[int, ...], pixels: int = 92, z_over_x: float = 1.0) -> NDArray[np.uint8]:
    """Return (height, width) gray values: a column per view, seen along z (above) and along y (below), each to its maximum.

    Parameters
    ----------
    psf_vzyx : array
        (views, planes, rows, columns); read one view at a time.
    views : tuple of int
    pixels : int
        Width of a column.
    z_over_x : float
        Distance of planes over that of pixels.
    """
    planes, rows, columns = psf_vzyx.shape[1:]
    high = round(pixels * rows / columns)
    deep = round(min(max(pixels * planes * z_over_x / columns, SHORTEST * pixels), pixels))
    pictures = []
    for view in views:
        zyx = np.asarray(psf_vzyx[view], dtype=np.float32)
        parts = [_gray(zyx.max(axis=0), high, pixels), _gray(zyx.max(axis=1), deep, pixels)]
        pictures.append(np.vstack([parts[0], np.full((GAP, pixels), 255, np.uint8), parts[1]]))
    gap = np.full((pictures[0].shape[0], GAP), 255, np.uint8)
    return np.hstack([part for picture in pictures for part in (gap, picture)][1:])


def _gray(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Return `plane` in another size: the brightest of pixels that fall together, the nearest where there is room."""
    for axis, size in enumerate((height, width)):
        first = np.arange(size) * plane.shape[axis] // size
        plane = np.maximum.reduceat(plane, first, axis=axis) if size < plane.shape[axis] else plane.take(first, axis)
    brightest = float(plane.max())
    scaled = (np.maximum(plane, 0) / brightest) ** GAMMA if brightest > 0 else np.zeros_like(plane)
    return np.ascontiguousarray(np.round(255 * scaled).astype(np.uint8))
