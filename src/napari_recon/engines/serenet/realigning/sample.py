"""From a raw picture to views: one interpolation at the directions behind every lenslet, wide enough not to alias. numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_recon.engines.serenet.realigning.lenslets import LensletGrid

Check = Callable[[], None]
Bounds = tuple[int, int]

_CUBIC = -0.5  # sharpness of cubic convolution, R. Keys 1981, doi 10.1109/TASSP.1981.1163711
_BLOCK = 1 << 18  # samples at a time
#: Part of the brightest view's light that is added to views before they divide, so that dark ones do not amplify noise.
DARKEST = 0.05


def sampled_views(
    picture: NDArray[np.floating],
    grid: LensletGrid,
    nnum: int,
    first: tuple[int, int],
    rows: Bounds,
    columns: Bounds,
    check: Check = lambda: None,
) -> NDArray[np.float32]:
    """Return the views (nnum squared, rows, columns) of a part of the lenslets.

    Parameters
    ----------
    picture : ndarray
        (Y, X).
    grid : LensletGrid
    nnum : int
        Samples per lenslet and axis; page ``u nnum + v`` holds the one in row u and column v of each lenslet.
    first : (int, int)
        Row and column (from the grid's centre) of lenslet (0, 0).
    rows, columns : (int, int)
        Half-open bounds, counted from `first`.

    Notes
    -----
    Cubic convolution with as many pixels per sample as the picture has; beyond the picture's edge its last pixels repeat.
    """
    image = np.ascontiguousarray(picture, dtype=np.float32)
    scale = max(1.0, grid.pitch_px / nnum)
    taps = math.ceil(4 * scale)
    angle = (np.arange(nnum) - nnum // 2) / nnum
    across = columns[0] + first[1] + np.arange(columns[1] - columns[0])
    views = np.empty((nnum, nnum, rows[1] - rows[0], columns[1] - columns[0]), np.float32)
    at_once = max(1, _BLOCK // (nnum * nnum * len(across)))
    for start in range(rows[0], rows[1], at_once):
        check()
        down = first[0] + np.arange(start, min(start + at_once, rows[1]))
        row = angle[:, None, None, None] + down[None, None, :, None]
        column = angle[None, :, None, None] + across[None, None, None, :]
        axes = grid.axes
        y = grid.centre[0] + row * axes[0, 0] + column * axes[1, 0]
        x = grid.centre[1] + row * axes[0, 1] + column * axes[1, 1]
        views[:, :, start - rows[0] : start - rows[0] + len(down)] = _interpolated(image, y, x, scale, taps)
    return views.reshape(nnum * nnum, *views.shape[2:])


def _interpolated(
    image: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64], scale: float, taps: int
) -> NDArray[np.float32]:
    """Return the image at places (y, x) with a cubic kernel that is `scale` pixels wide."""
    low_y, low_x = (np.floor(p - taps / 2).astype(np.int64) + 1 for p in (y, x))
    weight_y = [_kernel((low_y + n - y) / scale) for n in range(taps)]
    weight_x = [_kernel((low_x + n - x) / scale) for n in range(taps)]
    all_x = sum(weight_x)
    at_x = [np.clip(low_x + n, 0, image.shape[1] - 1) for n in range(taps)]
    flat, total, all_y = image.ravel(), np.zeros(y.shape, np.float32), np.zeros(y.shape, np.float32)
    for n, weight in enumerate(weight_y):
        at_y = np.clip(low_y + n, 0, image.shape[0] - 1) * image.shape[1]
        line = np.zeros(y.shape, np.float32)
        for place, share in zip(at_x, weight_x, strict=True):
            line += share * flat[at_y + place]
        total += weight * line
        all_y += weight
    return total / (all_y * all_x)


def _kernel(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    t = np.abs(distance)
    inner = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t**2 + 1
    outer = ((_CUBIC * t - 5 * _CUBIC) * t + 8 * _CUBIC) * t - 4 * _CUBIC
    return np.where(t < 1, inner, np.where(t < 2, outer, 0.0)).astype(np.float32)


def flat_field(white_views: NDArray[np.floating], kind: str) -> NDArray[np.float32]:
    """Return the factors (V, Y, X) that make views of something even, even.

    Parameters
    ----------
    white_views : ndarray
        (V, Y, X) of an even fluorescent layer, all lenslets.
    kind : str
        ``field``: across each view, which keeps how bright views are against each other, as a PSF says it too; ``views``:
        also between views, up to where the pupil is dark.
    """
    white = np.clip(np.asarray(white_views, dtype=np.float64), 0, None)
    means = white.mean(axis=(1, 2), keepdims=True)
    added = DARKEST * float(means.max())
    bright = means[:, 0, 0] > 0.3 * means.max()
    lenses = white[bright].mean(axis=0) / means[bright].mean()
    factor = (means + added) / (white + added * lenses)
    if kind == "views":
        factor *= (float(means.max()) + added) / (means + added)
    result: NDArray[np.float32] = factor.astype(np.float32)
    return result
