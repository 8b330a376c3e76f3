"""How likely each voxel is membrane: sharpened along z, evened out over depth, sheets brought forward (numpy, scipy).

References
----------
.. [1] Frangi et al., MICCAI 1998, 10.1007/BFb0056195 (structures from eigenvalues of the Hessian).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Shape = tuple[int, int, int]
_DARK_PERCENTILE, _BRIGHT_PERCENTILE = 1.0, 98.0
_DEPTH_SIGMA = 1.5
_DIMMEST = 0.1
_SMOOTHING = 0.7
_SHEETS, _SHEET_WEIGHT = (1.0, 1.5), 0.5
_PLANES_AT_ONCE = 16
_TINY = 1e-3


def isotropic(stack: Array, shape: Shape) -> Array:
    """Return the square root of a stack's light above the dark on `shape` voxels of the same extent (cubic splines).

    The square root makes the noise of counted light alike everywhere.
    """
    light = np.sqrt(np.clip(stack - np.percentile(stack, _DARK_PERCENTILE), 0, None))
    zoom = [a / b for a, b in zip(shape, stack.shape, strict=True)]
    found: Array = ndimage.zoom(light, zoom, order=3, mode="nearest", grid_mode=True)
    bright: Array = np.maximum(found, np.float32(_TINY), dtype=np.float32)
    return bright


def sharpened(volume: Array, sigma: tuple[float, float], steps: int, check: Callable[[], None]) -> Array:
    """Return a volume after Richardson-Lucy steps with a Gaussian; `sigma` is its width along z and in the plane, voxels."""
    widths = (sigma[0], sigma[1], sigma[1])
    estimate = volume.copy()
    for _ in range(steps):
        check()
        ratio = volume / np.maximum(ndimage.gaussian_filter(estimate, widths), _TINY)
        estimate *= ndimage.gaussian_filter(ratio, widths)
    return estimate


def likelihood(volume: Array, check: Callable[[], None] = lambda: None) -> Array:
    """Return how much each voxel looks like membrane; its standard deviation is about one."""
    bright = np.percentile(volume, _BRIGHT_PERCENTILE, axis=(1, 2))
    bright = ndimage.gaussian_filter1d(bright, _DEPTH_SIGMA, mode="nearest")
    even = (volume / np.maximum(bright, max(_DIMMEST * bright.max(), _TINY))[:, None, None]).astype(np.float32)
    smooth = ndimage.gaussian_filter(even, _SMOOTHING)
    found: Array = smooth / max(float(smooth.std()), _TINY)
    plates = np.zeros_like(even)
    for scale in _SHEETS:
        np.maximum(plates, sheets(even, scale, check), out=plates)
    found += _SHEET_WEIGHT * plates / max(float(plates.std()), _TINY)
    return found


def sheets(volume: Array, scale: float, check: Callable[[], None] = lambda: None) -> Array:
    """Return how much a volume bends downwards across one direction more than across the others, at a scale in voxels."""
    smooth = ndimage.gaussian_filter(volume, scale)
    found = np.empty_like(smooth)
    planes = len(smooth)
    for start in range(0, planes, _PLANES_AT_ONCE):
        check()
        stop = min(planes, start + _PLANES_AT_ONCE)
        low, high = max(0, start - 2), min(planes, stop + 2)
        bends = np.linalg.eigvalsh(_hessian(smooth[low:high]))[start - low : stop - low]
        found[start:stop] = np.clip(-bends[..., 0] - np.abs(bends[..., 1]), 0, None)
    scaled: Array = found * np.float32(scale**2)
    return scaled


def _hessian(volume: Array) -> Array:
    slopes = np.gradient(volume)
    found = np.empty((*volume.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            found[..., i, j] = found[..., j, i] = np.gradient(slopes[i], axis=j)
    return found
