"""What lies under the simulated microscope: curves, dots and textures on the fine grid, drifting if asked to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Image = NDArray[np.float32]
Vector = NDArray[np.float64]
KINDS = ("filaments", "membranes", "dots", "folds", "cells", "clouds")


class Layer(Protocol):
    """Something that can be drawn at any time on a periodic canvas."""

    def spectrum(self, shape_yx: tuple[int, int], time: float) -> NDArray[np.complex64]:
        """Return the half spectrum (rfft2) of the layer at `time` (in frames)."""
        ...


@dataclass(frozen=True, eq=False)
class Points:
    """Many small blobs of one width: dots, or the samples of curves.

    Attributes
    ----------
    yx : numpy.ndarray
        (objects, points, 2) in fine pixels.
    weights : numpy.ndarray
        (objects,) light of each point.
    velocity : numpy.ndarray
        (objects, 2) fine pixels per frame.
    sigma : float
        Width in fine pixels.
    """

    yx: Vector
    weights: Vector
    velocity: Vector
    sigma: float

    def spectrum(self, shape_yx: tuple[int, int], time: float) -> NDArray[np.complex64]:
        """See `Layer.spectrum`."""
        moved = self.yx + self.velocity[:, None] * time
        weights = np.broadcast_to(self.weights[:, None], moved.shape[:2])
        image = splat(moved.reshape(-1, 2), weights.ravel(), shape_yx)
        spectrum: NDArray[np.complex64] = fft.rfft2(image) * np.exp(-2 * (math.pi * self.sigma * _radius(shape_yx)) ** 2)
        return spectrum


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture that covers the canvas and drifts as a whole.

    Attributes
    ----------
    image : numpy.ndarray
        (Y, X) of the canvas, float32, not negative.
    velocity : tuple of float
        Fine pixels per frame (y, x).
    """

    image: Image
    velocity: tuple[float, float] = (0.0, 0.0)

    def spectrum(self, shape_yx: tuple[int, int], time: float) -> NDArray[np.complex64]:
        """See `Layer.spectrum`."""
        # a little blur: sharp borders would ring where they lie between pixels
        spectrum: NDArray[np.complex64] = fft.rfft2(self.image) * np.exp(-2 * (0.7 * math.pi * _radius(shape_yx)) ** 2)
        if time:
            fy, fx = frequencies(shape_yx)
            ramp = fy * self.velocity[0] + fx * self.velocity[1]
            spectrum = (spectrum * np.exp(-2j * math.pi * ramp * time)).astype(np.complex64)
        return spectrum


@dataclass(frozen=True, eq=False)
class Scene:
    """All layers together."""

    shape_yx: tuple[int, int]
    layers: tuple[Layer, ...]

    def draw(self, time: float = 0.0) -> Image:
        """Return the object (Y, X) at `time`: float32, not negative, structures of brightness about 1."""
        total = sum((layer.spectrum(self.shape_yx, time) for layer in self.layers), np.complex64(0))
        drawn: Image = np.maximum(fft.irfft2(total, s=self.shape_yx), 0).astype(np.float32)
        return drawn


def random_scene(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    kinds: Sequence[str] = KINDS,
    density: float = 1.0,
    speed: float = 0.0,
) -> Scene:
    """Return a scene with one layer of every kind in `kinds`.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape_yx : tuple of int
        The canvas in fine pixels; it is periodic.
    kinds : sequence of str
        Any of `KINDS`.
    density : float
        Factor on the number of structures per area.
    speed : float
        Fastest drift in fine pixels per frame.
    """
    return Scene(shape_yx, tuple(_MAKERS[kind](rng, shape_yx, density, speed) for kind in kinds))


def frequencies(shape_yx: tuple[int, int], step: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the frequencies (Y, 1) and (1, X // 2 + 1) of a half spectrum in cycles per unit of `step`."""
    fy = fft.fftfreq(shape_yx[0], step)[:, None].astype(np.float32)
    return fy, fft.rfftfreq(shape_yx[1], step)[None].astype(np.float32)


def splat(yx: Vector, weights: Vector, shape_yx: tuple[int, int]) -> Image:
    """Return an image (Y, X) with every point shared among the four pixels around it; the canvas is periodic."""
    whole = np.floor(yx)
    part_y, part_x = (yx - whole).T
    index = whole.astype(np.int64)
    top, left = index[:, 0] % shape_yx[0], index[:, 1] % shape_yx[1]
    bottom, right = (top + 1) % shape_yx[0], (left + 1) % shape_yx[1]
    corners = (
        (top, left, (1 - part_y) * (1 - part_x)),
        (top, right, (1 - part_y) * part_x),
        (bottom, left, part_y * (1 - part_x)),
        (bottom, right, part_y * part_x),
    )
    flat = np.concatenate([y * shape_yx[1] + x for y, x, _ in corners])
    share = np.concatenate([weights * w for *_, w in corners])
    image: Image = np.bincount(flat, share, math.prod(shape_yx)).reshape(shape_yx).astype(np.float32)
    return image


def random_field(rng: np.random.Generator, shape_yx: tuple[int, int], size: float, slope: float = 6.0) -> Image:
    """Return a Gaussian random field (Y, X) of mean 0 and variance 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape_yx : tuple of int
    size : float
        Size of its largest features in pixels.
    slope : float
        How fast the power falls beyond: 2 is a cloud with detail at every scale, 6 is smooth.
    """
    white = fft.rfft2(rng.standard_normal(shape_yx, dtype=np.float32))
    shaped = white * (1 + (_radius(shape_yx) * size) ** 2) ** np.float32(-slope / 4)
    shaped[0, 0] = 0
    field = fft.irfft2(shaped, s=shape_yx)
    normalised: Image = field / (field.std() + np.float32(1e-12))
    return normalised


def _radius(shape_yx: tuple[int, int]) -> Image:
    fy, fx = frequencies(shape_yx)
    radius: Image = np.sqrt(fy * fy + fx * fx)
    return radius


def _several(rng: np.random.Generator, shape_yx: tuple[int, int], area: float, density: float) -> int:
    """Return how many structures of which each has `area` for itself fit on the canvas, at least one."""
    return max(1, round(math.prod(shape_yx) / area * density * rng.uniform(0.6, 1.4)))


def _anywhere(rng: np.random.Generator, shape_yx: tuple[int, int], count: int) -> Vector:
    places: Vector = rng.uniform(0, 1, (count, 2)) * np.array(shape_yx)
    return places


def _drift(rng: np.random.Generator, count: int, speed: float) -> Vector:
    angle = rng.uniform(0, 2 * math.pi, count)
    drift: Vector = speed * rng.uniform(0.3, 1, (count, 1)) * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return drift


def _filaments(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """Worm-like chains of one width: every step turns a little, and the whole has a bend."""
    count, step = _several(rng, shape_yx, 3000, density), 0.7
    steps = round(rng.uniform(80, 300) / step)
    turn = rng.normal(0, 0.02, (count, steps)) + rng.normal(0, 0.004, (count, 1))
    angle = rng.uniform(0, 2 * math.pi, (count, 1)) + np.cumsum(turn, axis=1)
    path = np.cumsum(step * np.stack([np.sin(angle), np.cos(angle)], axis=2), axis=1)
    sigma = rng.uniform(0.4, 1.3)
    weights = step * math.sqrt(2 * math.pi) * sigma * rng.uniform(0.3, 1, count)
    return Points(path + _anywhere(rng, shape_yx, count)[:, None], weights, _drift(rng, count, speed), sigma)


def _membranes(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """Closed curves: circles whose radius varies with the angle."""
    count, samples = _several(rng, shape_yx, 9000, density), 400
    angle = np.linspace(0, 2 * math.pi, samples, endpoint=False)
    radius = rng.uniform(6, 40, (count, 1))
    shape = np.ones((count, samples))
    for order in (2, 3, 4, 5):
        shape += rng.normal(0, 0.25 / order, (count, 1)) * np.cos(order * angle + rng.uniform(0, 2 * math.pi, (count, 1)))
    ring = (radius * shape)[..., None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    sigma = rng.uniform(0.4, 1.0)
    spacing = 2 * math.pi * radius[:, 0] / samples
    weights = spacing * math.sqrt(2 * math.pi) * sigma * rng.uniform(0.3, 1, count)
    return Points(ring + _anywhere(rng, shape_yx, count)[:, None], weights, _drift(rng, count, speed), sigma)


def _dots(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """Single points, some of them in pairs at the limit of resolution."""
    count = _several(rng, shape_yx, 300, density)
    offsets = rng.normal(0, 3.0, (count, 2, 2)) * (rng.random((count, 1, 1)) < 0.4)
    sigma = rng.uniform(0.5, 2.0)
    weights = math.pi * sigma**2 * rng.uniform(0.2, 1, count)
    return Points(_anywhere(rng, shape_yx, count)[:, None] + offsets, weights, _drift(rng, count, speed), sigma)


def _folds(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """Level lines of a smooth field: a network of sheets of varying width."""
    field = random_field(rng, shape_yx, rng.uniform(20, 60) / math.sqrt(density))
    image = np.exp(-((field / np.float32(rng.uniform(0.05, 0.2))) ** 2)).astype(np.float32)
    return Texture(np.float32(rng.uniform(0.3, 1)) * image, _one_drift(rng, speed))


def _cells(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """Regions with sharp borders, grainy inside."""
    field = random_field(rng, shape_yx, rng.uniform(40, 140) / math.sqrt(density))
    inside = 1 / (1 + np.exp(np.clip(-field * np.float32(12), -30, 30)))
    grain = np.exp(np.float32(rng.uniform(0.2, 0.8)) * random_field(rng, shape_yx, 12, 2.5))
    return Texture((np.float32(rng.uniform(0.1, 0.5)) * inside * grain).astype(np.float32), _one_drift(rng, speed))


def _clouds(rng: np.random.Generator, shape_yx: tuple[int, int], density: float, speed: float) -> Layer:
    """A background with detail at every scale."""
    field = random_field(rng, shape_yx, rng.uniform(60, 200) / math.sqrt(density), rng.uniform(2, 3.2))
    image = np.exp(np.float32(rng.uniform(0.3, 1.0)) * field)
    return Texture((np.float32(rng.uniform(0.02, 0.25)) * image).astype(np.float32), _one_drift(rng, speed))


def _one_drift(rng: np.random.Generator, speed: float) -> tuple[float, float]:
    y, x = _drift(rng, 1, speed)[0]
    return float(y), float(x)


_MAKERS = {
    "filaments": _filaments,
    "membranes": _membranes,
    "dots": _dots,
    "folds": _folds,
    "cells": _cells,
    "clouds": _clouds,
}
