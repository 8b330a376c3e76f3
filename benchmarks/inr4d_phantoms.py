"""Moving cells with a known truth, by recipes of our own: what constants were not tuned to.

`tissue`: solid, textured nuclei of several brightnesses in a flow that swirls, stretches and pulsates, under another noise.
`shells`: hollow cells that drift along arcs on their own, turn, and one that divides.
`embryo`: rims on a ball that turns about a tilted axis and sinks; two cells divide.
`filaments`: bent fibres that sway in a shear. `puncta`: small spots in a stream, some of them on a random walk.
`texture`: cell walls everywhere, which stretch and bend, in a lamp that flickers.
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


def embryo(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 46, 50), cells: int = 16) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x): bright-rimmed cells on a ball that turns and sinks."""
    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    grid = _grid(size)
    middle = (np.array(size) - 1) / 2
    directions = random.normal(size=(cells, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places = directions * (random.uniform(0.35, 0.95, (cells, 1)) * (middle - 3))
    radii, light = random.uniform(3.0, 5.0, cells), random.uniform(0.4, 0.9, cells)
    axis = np.array([1.0, *random.normal(0, 0.35, 2)])
    axis /= np.linalg.norm(axis)
    spin, sink = random.uniform(0.05, 0.08), random.normal(0, 0.25, 3)
    dividing = random.choice(cells, 2, replace=False)
    movie = np.full((times, *size), 0.03)
    for t in range(times):
        s = t - (times - 1) / 2
        turn = _turn(axis, spin * s + 0.004 * s * s)
        for number in range(cells):
            at = turn @ places[number] + middle + sink * s
            apart = 0.8 * max(0.0, s + 1) if number in dividing else 0.0
            along = turn @ np.cross(directions[number], axis)
            for side in (-1, 1) if apart else (0,):
                offset = grid - (at + side * apart * along)[:, None, None, None]
                distance = np.sqrt((offset**2).sum(0)) - radii[number] * (0.85 if side else 1.0)
                movie[t] += light[number] * (np.exp(-0.5 * (distance / 0.9) ** 2) + 0.15 / (1 + np.exp(distance / 0.6)))
    return (0.95 * movie / movie.max()).astype(np.float32)


def filaments(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 48, 48), count: int = 26) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x): bent fibres in a shear that turns round, all of them swaying."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    fine = 2
    middle = (np.array(size) - 1) / 2
    starts = random.uniform(-1, 1, (count, 3)) * middle
    heading = random.normal(size=(count, 3)) * [0.5, 1, 1]
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    bend = random.normal(0, 0.012, (count, 3))
    light = random.uniform(0.4, 1.0, count)
    along = np.linspace(-30, 30, 600)
    shear, drift = random.uniform(0.02, 0.035), random.normal(0, 0.3, 3)
    movie = np.zeros((times, *size))
    for t in range(times):
        s = t - (times - 1) / 2
        volume = np.zeros([n * fine for n in size])
        for number in range(count):
            points = starts[number] + along[:, None] * heading[number] + (along**2)[:, None] * bend[number]
            points = points + 0.8 * np.sin(0.55 * s + points[:, [2, 0, 1]] / 9)
            points[:, 1] += shear * s * points[:, 2] + 0.5 * shear * s * points[:, 0]
            points[:, 0] += 0.5 * shear * s * points[:, 1]
            where = np.rint((points + middle + drift * s + 0.25) * fine).astype(int)
            inside = ((where >= 0) & (where < volume.shape)).all(1)
            np.add.at(volume, tuple(where[inside].T), light[number])
        smooth = gaussian_filter(volume, 1.1 * fine, mode="constant")
        movie[t] = smooth.reshape(size[0], fine, size[1], fine, size[2], fine).mean((1, 3, 5))
    return (0.03 + 0.9 * movie / np.quantile(movie, 0.9995)).clip(0, 1).astype(np.float32)


def puncta(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 48, 44), count: int = 110) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x): spots that stream and shake, some on a walk of their own."""
    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    grid = _grid(size)
    start = random.uniform(-2, np.array(size) + 1, (count, 3))
    sigma, light = random.uniform(1.2, 1.9, count), random.uniform(0.3, 1.0, count)
    flow = random.normal(0, 0.5, 3)
    swirl = random.uniform(0.02, 0.04)
    walk = random.normal(0, 0.6, (times, count, 3)).cumsum(0) * (np.arange(count) % 6 == 0)[None, :, None]
    shake = 0.12 * random.normal(size=(times, count, 3))
    middle = (np.array(size) - 1) / 2
    movie = np.full((times, *size), 0.05)
    for t in range(times):
        s = t - (times - 1) / 2
        angle = swirl * s * (1 + 0.5 * np.sin(start[:, 0] / 6))
        away = start - middle
        c, n = np.cos(angle), np.sin(angle)
        turned = np.stack([away[:, 0], c * away[:, 1] - n * away[:, 2], n * away[:, 1] + c * away[:, 2]], 1)
        places = turned + middle + flow * s + walk[t] + shake[t]
        for place, width, bright in zip(places, sigma, light, strict=True):
            movie[t] += bright * np.exp(-0.5 * ((grid - place[:, None, None, None]) ** 2).sum(0) / width**2)
    return (0.95 * movie / np.quantile(movie, 0.9998)).clip(0, 1).astype(np.float32)


def texture(seed: int, shape_tzyx: tuple[int, ...] = (9, 25, 48, 48)) -> Movie:
    """Return clean values from 0 to 1 (t, z, y, x): dense cell walls that stretch and bend, in a lamp that flickers."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    random = np.random.default_rng(seed)
    times, *size = shape_tzyx
    margin = 10
    big = [n + 2 * margin for n in size]
    first, second = (gaussian_filter(random.normal(size=big), 2.2) for _ in range(2))
    walls = np.exp(-0.5 * (first / first.std() / 0.28) ** 2) + np.exp(-0.5 * (second / second.std() / 0.28) ** 2)
    still = gaussian_filter(walls, 0.6)
    grid = _grid(size)
    spin, stretch, drift = random.uniform(0.02, 0.04), random.uniform(0.01, 0.02), random.normal(0, 0.4, 3)
    phase = random.uniform(0, 6, 3)
    middle = (np.array(size) - 1) / 2
    movie = np.empty((times, *size))
    for t in range(times):
        s = t - (times - 1) / 2
        z, y, x = grid - middle[:, None, None, None]
        c, n = np.cos(spin * s), np.sin(spin * s)
        y, x = (c * y - n * x) * (1 + stretch * s), (n * y + c * x) * (1 - stretch * s)
        z = z + 0.5 * np.sin(0.4 * s + x / 8 + phase[0])
        y = y + 0.7 * np.sin(0.35 * s + z / 7 + phase[1])
        places = np.stack([z, y, x]) + (middle + margin + drift * s)[:, None, None, None]
        movie[t] = map_coordinates(still, places, order=3, mode="nearest")
        movie[t] *= 1 + 0.04 * np.sin(2.1 * t + phase[2])
    return (0.04 + 0.85 * movie / np.quantile(movie, 0.9995)).clip(0, 1).astype(np.float32)


def _grid(size: list[int]) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij"))


def _turn(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Return the rotation about an axis."""
    cross = np.cross(np.eye(3), -axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


#: Recipe, photons at 1, camera's noise.
RECIPES = {
    "tissue": (tissue, 250.0, 0.015),
    "shells": (shells, 400.0, 0.01),
    "embryo": (embryo, 400.0, 0.01),
    "filaments": (filaments, 300.0, 0.012),
    "puncta": (puncta, 200.0, 0.02),
    "texture": (texture, 400.0, 0.01),
}
