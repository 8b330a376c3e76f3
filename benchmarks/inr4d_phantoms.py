"""Moving cells with a known truth, by recipes of our own: what constants were not tuned to.

`tissue`: solid, textured nuclei of several brightnesses in a flow that swirls, stretches and pulsates, under another noise.
`shells`: hollow cells that drift along arcs on their own, turn, and one that divides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Movie = NDArray[np.float32]


def tissue(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 52, 44), cells: int = 40) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x)."""
    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij"))
    middle = (np.array(size) - 1) / 2
    centres = random.uniform(2, np.array(size) - 3, (cells, 3)) - middle
    radii, light = random.uniform(2.2, 4.0, cells), random.uniform(0.25, 0.8, cells)
    waves = random.normal(0, 1.3, (cells, 3, 3))
    phases = random.uniform(0, 2 * np.pi, (cells, 3))
    spin, stretch = random.uniform(0.05, 0.09) * random.choice([-1, 1]), random.uniform(0.02, 0.04)
    movie = np.full((times, *size), 0.04)
    for t in range(times):
        s = t - (times - 1) / 2
        for number in range(cells):
            z, y, x = centres[number]
            angle = spin * s * (1 + 0.4 * np.cos(np.hypot(y, x) / 12)) + 0.01 * s * s * spin / 0.07
            c, n = np.cos(angle), np.sin(angle)
            grow = 1 + stretch * np.sin(1.1 * s + 0.3)
            place = np.array([z + 0.9 * np.sin(0.5 * s + y / 15), grow * (c * y - n * x), (c * x + n * y) / grow])
            offset = grid - (place + middle)[:, None, None, None]
            turned = np.stack([offset[0], c * offset[1] + n * offset[2], c * offset[2] - n * offset[1]])
            wavy = zip(waves[number], phases[number], strict=True)
            texture = np.mean([np.cos(np.tensordot(w, turned, 1) + p) for w, p in wavy], 0)
            distance = np.sqrt((turned**2).sum(0)) / radii[number]
            body = light[number] * (0.75 + 0.35 * texture) / (1 + np.exp((distance - 1) * 6))
            movie[t] = np.maximum(movie[t], body)
    return movie.clip(0, 1).astype(np.float32)


def shells(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 46, 50), cells: int = 14) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x)."""
    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij"))
    centres = random.uniform([3, 6, 6], np.array(size) - [4, 7, 7], (cells, 3))
    radii = random.uniform(3.5, 6.0, cells)
    squeeze = random.uniform(0.8, 1.2, (cells, 3))
    speed, bend = random.normal(0, 0.5, (cells, 3)), random.normal(0, 0.06, (cells, 3))
    common = random.normal(0, 0.35, 3)
    divides = int(random.integers(cells))
    movie = np.full((times, *size), 0.03)
    for t in range(times):
        s = t - (times - 1) / 2
        for number in range(cells):
            place = centres[number] + (speed[number] + common) * s + bend[number] * s * s
            pulse = 1 + 0.06 * np.sin(0.8 * t + number)
            parts = [place]
            if number == divides and s > 0:
                parts = [place + np.array([0, 1, 0]) * 0.7 * s, place - np.array([0, 1, 0]) * 0.7 * s]
            for part in parts:
                offset = (grid - part[:, None, None, None]) * squeeze[number][:, None, None, None]
                distance = np.sqrt((offset**2).sum(0)) - radii[number] * pulse * (0.85 if len(parts) > 1 else 1)
                shell = 0.6 * np.exp(-0.5 * (distance / 0.9) ** 2) + 0.08 / (1 + np.exp(distance / 0.7))
                movie[t] += shell
    return (0.95 * movie / movie.max()).astype(np.float32)


def noisy(movie: Movie, seed: int, photons: float = 400.0, read: float = 0.01) -> Movie:
    """Return a movie as counted light: `photons` at 1, and a camera's noise."""
    random = np.random.default_rng(seed)
    counted = random.poisson(movie * photons) / photons + random.normal(0, read, movie.shape)
    return counted.clip(0, 1).astype(np.float32)
