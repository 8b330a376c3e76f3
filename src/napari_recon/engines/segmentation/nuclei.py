"""Nuclei of a nucleus channel: bright blobs of one size, and the same name for what lies nearest in the next frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Array = NDArray[np.float32]
_NARROW = 1.6
"""A blob is brighter after a Gaussian of its size than after one so much wider."""
_OVER_NOISE = 5.0
"""Robust standard deviations from which a peak is no noise: among millions of voxels about one would be."""
_LEAST = 0.3
"""Of the usual contrast of what is over the noise."""
_FARTHEST = 1.0
"""Diameters that a nucleus moves from frame to frame at most."""


def found_nuclei(stack: Array, voxel: Sequence[float], diameter: float) -> list[tuple[float, float, float]]:
    """Return the middles of blobs in voxels (z, y, x), the clearest first.

    Parameters
    ----------
    stack : ndarray
        (z, y, x), nuclei bright.
    voxel : sequence of float
        Size of a voxel along z, y, x.
    diameter : float
        Of nuclei, in the unit of `voxel`; half of it to twice as much is found too.
    """
    sigma = np.array([diameter / 4 / size for size in voxel])
    light = np.sqrt(np.clip(stack - np.percentile(stack, 1), 0, None))
    blobs = ndimage.gaussian_filter(light, sigma) - ndimage.gaussian_filter(light, _NARROW * sigma)
    reach = np.maximum(np.rint(2 * sigma), 1).astype(int)
    peaks = blobs == ndimage.maximum_filter(blobs, footprint=_ellipsoid(reach))
    places = np.argwhere(peaks & (blobs > 0))
    if not len(places):
        return []
    contrast = blobs[tuple(places.T)]
    noise = 1.4826 * float(np.median(np.abs(blobs - np.median(blobs))))
    clear = contrast > _OVER_NOISE * noise
    if not clear.any():
        return []
    kept = places[clear & (contrast > _LEAST * float(np.median(contrast[clear])))]
    order = np.argsort(-blobs[tuple(kept.T)])
    return [_middle(blobs, place, stack.shape) for place in kept[order]]


def traced(
    frames: int,
    read: Callable[[int], Array],
    voxel: Sequence[float],
    diameter: float,
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Return one row per nucleus and frame (cell, time, z, y, x); who is nearest in the next frame keeps the name."""
    rows: list[dict[str, Any]] = []
    before: dict[str, tuple[float, float, float]] = {}
    count = 0
    for time in range(frames):
        check()
        places = found_nuclei(read(time), voxel, diameter)
        names = _linked(before, places, voxel, diameter)
        for i, place in enumerate(places):
            if i not in names:
                count += 1
                names[i] = f"cell{count}"
            rows.append({"cell": names[i], "time": time, **dict(zip("zyx", (round(p, 2) for p in place), strict=True))})
        before = {names[i]: place for i, place in enumerate(places)}
    return rows


def _linked(
    before: dict[str, tuple[float, float, float]],
    places: Sequence[tuple[float, float, float]],
    voxel: Sequence[float],
    diameter: float,
) -> dict[int, str]:
    if not before or not places:
        return {}
    size = np.asarray(voxel)
    away = cdist(np.array(list(before.values())) * size, np.array(places) * size)
    known = list(before)
    return {int(j): known[i] for i, j in zip(*linear_sum_assignment(away), strict=True) if away[i, j] < _FARTHEST * diameter}


def _middle(blobs: Array, place: NDArray[np.int64], shape: Sequence[int]) -> tuple[float, float, float]:
    """Return the peak to a part of a voxel: the top of a parabola along each axis."""
    found = []
    for axis, n in enumerate(shape):
        p = int(place[axis])
        if 0 < p < n - 1:
            a, b, c = (float(blobs[tuple(np.where(np.arange(3) == axis, p + d, place))]) for d in (-1, 0, 1))
            found.append(p + 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else float(p))
        else:
            found.append(float(p))
    return found[0], found[1], found[2]


def _ellipsoid(reach: NDArray[np.int64]) -> NDArray[np.bool_]:
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    inside: NDArray[np.bool_] = sum((g / r) ** 2 for g, r in zip(grid, reach, strict=True)) <= 1.01
    return inside
