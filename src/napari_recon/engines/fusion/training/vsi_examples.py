"""Patches for VSI-SR: where there is something to see, cut from stacks and their truth so that pixels meet exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
SEEN, LEARNT = 7, 3
"""Planes a network sees and makes."""
_SMALL, _LARGE = (10, 10.0), (100, 50.0)
"""Window (pixels) and sigma of the two Gaussians whose difference tells structure from haze."""
_THRESHOLD, _LOWER, _ENOUGH = 0.05, 0.8, 1000


class Recording(NamedTuple):
    """A stack with its truth and where patches may be cut.

    Attributes
    ----------
    stack : ndarray
        (z, y, x), 0 to 1.
    truth : ndarray
        (z, 1.5 y, 1.5 x), 0 to 1, blurred as labels are.
    places : ndarray
        (n, 3): first seen plane, first row, first column of possible patches; rows and columns are even.
    """

    stack: Array
    truth: Array
    places: NDArray[np.int64]


def recording(stack: Array, truth: Array, patch: int, label_blur: float) -> Recording:
    """Return a recording ready to be cut; places are where the truth shows structure."""
    fine = unit(truth)
    structure = contents(fine)
    if label_blur > 0:
        fine = np.stack([ndimage.gaussian_filter(plane, label_blur) for plane in fine])
    return Recording(unit(stack), fine, places_of(structure, stack.shape, patch))


def contents(truth: Array) -> NDArray[np.bool_]:
    """Return where a truth (z, y, x) in 0..1 shows structure: a narrow mean above a wide one, in at least 1000 voxels."""
    detail = np.stack([_blurred(plane, *_SMALL) - _blurred(plane, *_LARGE) for plane in truth])
    threshold, most = _THRESHOLD, float(detail.max())
    wanted = min(_ENOUGH, detail.size)
    while most > 0 and (detail >= threshold).sum() < wanted and threshold > 1e-6:
        threshold *= _LOWER
    return detail >= threshold


def places_of(structure: NDArray[np.bool_], shape: tuple[int, ...], patch: int) -> NDArray[np.int64]:
    """Return the corners of patches whose middle shows structure, every one once; all corners when none does."""
    planes, height, width = shape
    z, y, x = np.nonzero(structure)
    corners = np.stack([z - SEEN // 2, *(_even(c / 1.5 - patch / 2) for c in (y, x))], 1)
    limits = np.array([planes - SEEN, height - patch, width - patch])
    inside = ((corners >= 0) & (corners <= limits)).all(1)
    if inside.any():
        return np.unique(corners[inside], axis=0)
    steps = [np.arange(0, limit + 1, step) for limit, step in zip(limits, (1, 2, 2), strict=True)]
    return np.stack([g.ravel() for g in np.meshgrid(*steps, indexing="ij")], 1)


def cut(recording: Recording, place: NDArray[np.int64], patch: int) -> tuple[Array, Array]:
    """Return the seven planes (7, p, p) of a patch and the three to learn, (3, 1.5 p, 1.5 p)."""
    z, y, x = place
    first, fine = z + (SEEN - LEARNT) // 2, patch * 3 // 2
    seen = recording.stack[z : z + SEEN, y : y + patch, x : x + patch]
    row, column = y * 3 // 2, x * 3 // 2
    return seen, recording.truth[first : first + LEARNT, row : row + fine, column : column + fine]


def unit(volume: Array) -> Array:
    """Return a volume scaled to 0..1 by its extremes."""
    low, high = float(volume.min()), float(volume.max())
    found: Array = ((volume - low) / (high - low + 1e-7)).astype(np.float32)
    return found


def _even(places: NDArray[np.float64]) -> NDArray[np.int64]:
    return 2 * np.round(places / 2).astype(np.int64)


def _blurred(plane: Array, window: int, sigma: float) -> Array:
    at = np.arange(window) - (window - 1) / 2
    kernel = np.exp(-(at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        plane = ndimage.correlate1d(plane, kernel, axis, mode="nearest")
    return plane
