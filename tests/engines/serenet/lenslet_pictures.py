"""Pictures behind a microlens array whose grid is known: rays through balls and shells, pupils, vignetting, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.serenet.realigning.lenslets import LensletGrid
from napari_recon.engines.serenet.realigning.scan import cells_of
from tests.contract.examples import Example

SCENES = ("even", "shell", "beads", "balls")
#: Lateral lenslets a ray at the pupil's edge moves per lenslet of depth.
SLOPE = 1.2


@dataclass(frozen=True)
class Ball:
    """Light from within a ball, or from a shell of it; lengths are lenslets, places are counted from the grid's centre."""

    zyx: tuple[float, float, float]
    radius: float
    light: float = 1.0
    shell: float = 0.0

    def along(self, y: np.ndarray, x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
        """Return the light along rays through (y, x) at z = 0 that move by (dy, dx) per z."""
        z0, y0, x0 = self.zyx
        ay, ax = y + dy * z0 - y0, x + dx * z0 - x0
        long = 1 + dy * dy + dx * dx
        square = ay * ay + ax * ax - (ay * dy + ax * dx) ** 2 / long
        chord = np.sqrt(np.clip(self.radius**2 - square, 0, None))
        if self.shell:
            chord = chord - np.sqrt(np.clip((self.radius - self.shell) ** 2 - square, 0, None))
        return self.light * chord


def scene_of(name: str, rng: np.random.Generator, extent: float) -> tuple[list[Ball], float]:
    """Return balls within `extent` lenslets of the middle, and the even light everywhere."""
    place = lambda depth: (rng.uniform(-depth, depth), *rng.uniform(-0.8 * extent, 0.8 * extent, 2))  # noqa: E731
    if name == "even":
        return [], 1.0
    if name == "shell":
        return [Ball(place(3), rng.uniform(0.3, 0.7) * extent, 1.0, 1.0)], 0.25
    if name == "beads":
        return [Ball(place(6), 0.8, rng.uniform(1, 4)) for _ in range(40)], 0.01
    return [Ball(place(6), rng.uniform(1.5, 5), rng.uniform(0.2, 1)) for _ in range(14)], 0.05


def lenslet_picture(
    shape_yx: tuple[int, int],
    grid: LensletGrid,
    balls: list[Ball],
    even: float,
    *,
    stretch: float = 1.0,
    vignetting: float = 0.0,
    fill: float = 0.97,
    offset_yx: tuple[float, float] = (0.0, 0.0),
    samples: int = 3,
) -> np.ndarray:
    """Return the noise-free picture, float64 (Y, X), 1 being even light of 1 in a pupil's middle.

    `offset_yx` moves the scene, in lenslets (what a scan does); `fill` is the pupil's diameter over the pitch.
    """
    total = np.zeros(shape_yx)
    for sub_y in range(samples):
        for sub_x in range(samples):
            y, x = (np.arange(n) + (sub + 0.5) / samples - 0.5 for n, sub in zip(shape_yx, (sub_y, sub_x), strict=True))
            at = grid.lenslets(np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1))
            lens = np.rint(at)
            dy, dx = np.moveaxis(at - lens, -1, 0)
            row, column = np.moveaxis(lens, -1, 0)
            light = np.full(shape_yx, even)
            for ball in balls:
                light += ball.along(row - offset_yx[0], column - offset_yx[1], 2 * SLOPE * dy, 2 * SLOPE * dx)
            edge = (np.hypot(dy, dx) - fill / 2) * grid.pitch_px
            total += light / (1 + np.exp(np.clip(edge / 0.35, -30, 30)))
    middle = [(n - 1) / 2 for n in shape_yx]
    far = ((np.arange(shape_yx[0]) - middle[0])[:, None] ** 2 + (np.arange(shape_yx[1]) - middle[1])[None] ** 2) / (
        middle[0] ** 2 + middle[1] ** 2
    )
    return total / samples**2 * (1 - vignetting * far)


def photographed(picture: np.ndarray, rng: np.random.Generator, photons: float, read_noise: float = 2.0) -> np.ndarray:
    """Return counts: `photons` at the brightest thousandth, an offset of 100."""
    light = picture * (photons / np.percentile(picture, 99.9))
    return rng.poisson(light) + rng.normal(100, read_noise, picture.shape)


def scanned(shape_yx: tuple[int, int], grid: LensletGrid, order: str, scanning: int = 3, moved: float = 0.0) -> np.ndarray:
    """Return the noise-free frames (N, Y, X) of a scan of a vesicle and balls, in the order of the scan."""
    balls = [Ball((0.5, -0.4, 0.6 + moved), 2.6, 1.0, 0.8), Ball((-1.0, 1.7, -2.0), 0.9, 2.0)]
    frames = []
    for cell in cells_of(order, scanning):
        row, column = (n - (scanning - 1) / 2 for n in divmod(cell, scanning))
        offset = (-row / scanning, -column / scanning)
        frames.append(lenslet_picture(shape_yx, grid, balls, 0.3, offset_yx=offset, samples=2))
    return np.stack(frames)


@cache
def _counts(scanning: int) -> np.ndarray:
    grid = LensletGrid(7.13, 0.8, (31.0, 36.5))
    frames = [scanned((58, 66), grid, "snake" if scanning > 1 else "raster", scanning, moved) for moved in (0.0, 0.8)]
    return np.rint(300 * np.concatenate(frames)).astype(np.uint16)


def example(**params: object) -> Example:
    """Return two time points of a small recording, for the contract of all engines."""
    scanning = int(params.get("scanning", 1))  # type: ignore[call-overload]
    raw = ImageStack.of(_counts(scanning), "TYX", "raw", scale={"T": 0.5}, units={"T": "second"})
    tilings = ({"tile_size": 1}, {"tile_size": 3})
    return Example(
        registry.get("serenet.realign"), {"raw": raw}, {"nnum": 7, "pitch_px": 7.13, **params}, tilings, reshaped="YX"
    )
