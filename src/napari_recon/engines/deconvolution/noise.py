"""What a light field says about its own background and scale, before anything is reconstructed (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Variance, in squared counts, added to the Poisson variance in the reduced deviance: camera read noise and rounding.
READ_VARIANCE = 5.0

#: Smallest background of the model, in counts: a model near zero under noise lets the estimate run away.
LEAST_LIGHT = 0.5

#: Variance of rounding to whole counts.
ROUNDING = 1 / 12

_WINDOW = 5
_DARKEST = 0.005
_MOST_FILL = 0.95
_MOST_DARK = 0.15


@dataclass(frozen=True)
class Dark:
    """The darkest places of a light field, in the unit of the data.

    Attributes
    ----------
    level : float
        Their mean; below zero where the data are.
    variance : float
        Their variance, which structures can only make larger.
    """

    level: float
    variance: float

    def split(self, level: float) -> tuple[float, float]:
        """Return ``level`` as (camera offset, light): light has a variance as large as itself, an offset has none.

        The light is what a Poisson model of the data can take for background. Where ``level`` is at or below zero it is
        the variance of the darkest places, so that the model never predicts zero ("shifted Poisson").
        """
        noise = max(self.variance, LEAST_LIGHT)
        light = min(level, noise) if level >= LEAST_LIGHT else noise
        return level - light, light


def measured_read_variance(dark: Dark, light: float) -> float:
    """Return what of the darkest places' variance is not that of the ``light`` there, at most :data:`READ_VARIANCE`."""
    return min(READ_VARIANCE, max(dark.variance - light, 0.0) + ROUNDING)


def estimate_dark(views_vyx: NDArray[np.float32]) -> Dark:
    """Return level and variance of the darkest places; values in camera counts make the variance comparable.

    The darkest five-pixel windows are found on one half of a checkerboard and measured on the other half, and the
    other way round: choosing by noisy values and measuring the same values would give the noise's lower tail.

    Parameters
    ----------
    views_vyx : ndarray
        Views (V, Y, X) in any intensity unit.
    """
    height, width = views_vyx.shape[-2:]
    side_y, side_x = min(_WINDOW, height), min(_WINDOW, width)
    checker = (np.add.outer(np.arange(height), np.arange(width)) % 2).astype(np.float32)
    halves = []
    for mask in (checker, 1 - checker):
        total = _window_sum(views_vyx * mask, side_y, side_x)
        total /= np.maximum(_window_sum(mask[None], side_y, side_x), 1)
        halves.append(total)
    count = max(1, int(_DARKEST * halves[0].size))
    levels, variances = [], []
    for chosen, measured, mask in ((*halves, 1 - checker), (*halves[::-1], checker)):
        darkest = np.argpartition(chosen.ravel(), count - 1)[:count]
        levels.append(float(measured.ravel()[darkest].mean(dtype=np.float64)))
        view, y, x = np.unravel_index(darkest, chosen.shape)
        at = (y[:, None] + np.repeat(np.arange(side_y), side_x), x[:, None] + np.tile(np.arange(side_x), side_y))
        counted = mask[at] > 0
        pixels = np.where(counted, views_vyx[view[:, None], *at].astype(np.float64), 0)
        number = counted.sum(axis=1)
        mean = pixels.sum(axis=1) / np.maximum(number, 1)
        squares = (np.where(counted, pixels - mean[:, None], 0) ** 2).sum(axis=1) / np.maximum(number - 1, 1)
        variances.append(float(squares.mean()))
    return Dark(sum(levels) / 2, sum(variances) / 2)


def without_fill(views_vyx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return views whose fill, what no camera measured, is bright, so that it is not taken for the darkest place.

    Deskewed or turned volumes hold exact zeros around their data, and hardly any within: a camera has an offset. Where
    zeros lie among the data too, these count photons or were clipped, and zero is what is dark in them.
    """
    side_y, side_x = (min(_WINDOW, n) for n in views_vyx.shape[-2:])
    empty = _window_sum((views_vyx != 0).astype(np.float32), side_y, side_x) == 0
    if not empty.any():
        return views_vyx
    filled = np.zeros(views_vyx.shape, bool)
    height, width = empty.shape[-2:]
    for y in range(side_y):
        for x in range(side_x):
            filled[..., y : y + height, x : x + width] |= empty
    among = np.count_nonzero((views_vyx == 0) & ~filled)
    if filled.mean() > _MOST_FILL or among > _MOST_DARK * np.count_nonzero(~filled):
        return views_vyx
    return np.where(filled | (views_vyx == 0), views_vyx.max(), views_vyx)


def counts_scale(views_vyx: NDArray[np.float32]) -> float:
    """Return the factor that brings a light field to camera counts.

    Whole numbers, and floats in the range cameras deliver, are taken as counts (factor 1). Anything else, such as data
    normalised to 0..1, is scaled so that its 99.9 percentile is 500 counts; only the automatic stop depends on it.
    """
    high = float(np.quantile(views_vyx[..., ::2, ::2], 0.999))
    whole_numbers = bool(np.all(views_vyx == np.round(views_vyx)))
    if (whole_numbers and high >= 5) or 20 <= high <= 70_000 or high <= 0:
        return 1.0
    return 500.0 / high


def _window_sum(views_vyx: NDArray[np.float32], side_y: int, side_x: int) -> NDArray[np.float32]:
    """Return the sums over all windows that lie inside the views."""
    height, width = views_vyx.shape[-2] - side_y + 1, views_vyx.shape[-1] - side_x + 1
    rows = views_vyx[..., :height, :].copy()
    for first in range(1, side_y):
        rows += views_vyx[..., first : first + height, :]
    summed = rows[..., :width].copy()
    for first in range(1, side_x):
        summed += rows[..., first : first + width]
    return summed
