"""Hollow cells with a nucleus that go round a middle, each a little on its own way; one of them divides. numpy only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DIVIDING = 3
BACKGROUND = 0.03


def drawn(
    random: np.random.Generator, shape_tzyx: tuple[int, ...], cells: int = 12, check: Callable[[], None] | None = None
) -> NDArray[np.float64]:
    """Return a movie (t, z, y, x) from about `BACKGROUND` to 1, in which the fourth of the cells (or the last) divides."""
    times, size = shape_tzyx[0], np.array(shape_tzyx[1:])
    middle = (size - 1) / 2
    outward = _spread(random, cells)
    reach = random.uniform(0.35, 0.72, (cells, 1)) * middle
    radii, light = random.uniform(4.2, 6.2, cells), random.uniform(0.6, 1.0, cells)
    own, bend = random.normal(0, 0.35, (cells, 3)), random.normal(0, 0.03, (cells, 3))
    movie = np.full(shape_tzyx, BACKGROUND)
    for frame in range(times):
        if check is not None:
            check()
        s = frame - (times - 1) / 2
        turned = outward @ _turn(0.055 * s + 0.0035 * s * s).T
        for number in range(cells):
            place = middle + turned[number] * reach[number] + own[number] * s + bend[number] * s * s
            radius = radii[number] * (1 + 0.05 * np.sin(0.7 * s + number))
            apart = 0.8 * max(0.0, s + 2) if number == min(DIVIDING, cells - 1) else 0.0
            axis = np.array([0.2, *np.cos([0.05 * s, 0.05 * s - np.pi / 2])])
            for side in (-1, 1) if apart else (0,):
                _draw(movie[frame], place + side * apart * axis, radius * (0.85 if side else 1), light[number])
    movie /= movie.max()
    return movie


def _draw(volume: NDArray[np.float64], place: NDArray[np.float64], radius: float, light: float) -> None:
    """Add a cell (bright rim, dim inside, nucleus) to a volume (z, y, x), around its place only."""
    low = np.maximum(np.floor(place - radius - 4), 0).astype(int)
    high = np.minimum(np.ceil(place + radius + 5), volume.shape).astype(int)
    if (high <= low).any():
        return
    z, y, x = (np.arange(a, b) - p for a, b, p in zip(low, high, place, strict=True))
    distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    rim = np.exp(-0.5 * ((distance - radius) / 0.95) ** 2)
    inside = 0.12 / (1 + np.exp((distance - radius) / 0.6))
    nucleus = 0.4 / (1 + np.exp((distance - 0.42 * radius) / 0.5))
    volume[low[0] : high[0], low[1] : high[1], low[2] : high[2]] += light * (rim + inside + nucleus)


def _spread(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return directions (count, 3) that are spread evenly over a sphere, but for a little disorder."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    across = np.sqrt(1 - height**2)
    return np.stack([height, across * np.sin(angle), across * np.cos(angle)], 1) + random.normal(0, 0.08, (count, 3))


def _turn(angle: float) -> NDArray[np.float64]:
    """Return the rotation of (z, y, x) about an axis near z."""
    c, s, tilt = np.cos(angle), np.sin(angle), 0.25
    lean = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    found: NDArray[np.float64] = lean @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ lean.T
    return found
