"""File > Open Sample: cells that move, turn and divide; every second frame and plane is withheld: the hidden truth has it.

Hollow cells with a nucleus go round a common middle, each a little on its own way; one of them divides. All is drawn when
the sample is opened, from one seed, so nothing has to be stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.stack import ImageStack
from napari_recon.samples.layers import LayerData, layer

SEED = 11
SHAPE_TZYX = (9, 19, 56, 56)
STEP_UM, INTERVAL_S = 0.5, 30.0
"""Voxels of the truth along all axes, and the time between its frames; the recording has every second of both."""
CELLS, DIVIDING = 12, 3
PHOTONS, READ, COUNTS = 400.0, 0.01, 4095
"""Light at the brightest voxel, the camera's noise relative to it, and what that voxel is stored as."""
BACKGROUND = 0.03
_UNITS = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}


def moving_cells() -> list[LayerData]:
    """Return the layers of the sample.

    Returns
    -------
    list of (data, attributes, layer type)
        The recording (T, Z, Y, X) of every second frame and plane, noisy, and, hidden, the truth with all of them.
    """
    random = np.random.default_rng(SEED)
    truth = drawn(random)
    light = random.poisson(truth[::2, ::2] * PHOTONS) / PHOTONS
    seen = light + random.normal(0, READ, light.shape)
    return [
        _layer(seen, 2, "moving cells", colormap="gray"),
        _layer(truth, 1, "moving cells, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def drawn(random: np.random.Generator, shape_tzyx: tuple[int, ...] = SHAPE_TZYX) -> NDArray[np.float64]:
    """Return the truth (t, z, y, x), from `BACKGROUND` to about 1."""
    times, size = shape_tzyx[0], np.array(shape_tzyx[1:])
    middle = (size - 1) / 2
    outward = _spread(random, CELLS)
    reach = random.uniform(0.35, 0.72, (CELLS, 1)) * middle
    radii, light = random.uniform(4.2, 6.2, CELLS), random.uniform(0.6, 1.0, CELLS)
    own, bend = random.normal(0, 0.35, (CELLS, 3)), random.normal(0, 0.03, (CELLS, 3))
    movie = np.full(shape_tzyx, BACKGROUND)
    for frame in range(times):
        s = frame - (times - 1) / 2
        turned = outward @ _turn(0.055 * s + 0.0035 * s * s).T
        for number in range(CELLS):
            place = middle + turned[number] * reach[number] + own[number] * s + bend[number] * s * s
            radius = radii[number] * (1 + 0.05 * np.sin(0.7 * s + number))
            apart = 0.8 * max(0.0, s + 2) if number == DIVIDING else 0.0
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


def _layer(values: NDArray[np.float64], step: int, name: str, **look: object) -> LayerData:
    """Return the layer of values from 0 to 1 whose frames and planes are every `step`-th."""
    scale = {"T": INTERVAL_S * step, "Z": STEP_UM * step, "Y": STEP_UM, "X": STEP_UM}
    data = np.rint(values.clip(0, 1) * COUNTS).astype(np.uint16)
    made = layer(ImageStack.of(data, "TZYX", name, scale=scale, units=_UNITS), name, **look)
    made[1]["contrast_limits"] = (0.0, 0.8 * COUNTS)
    del made[1]["metadata"]["path"]  # it was never a file
    return made
