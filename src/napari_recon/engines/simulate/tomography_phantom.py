"""Objects for tomography: a cell, the head of ellipsoids, a slab of ice with grains. No torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: The head of Shepp and Logan, contrast as modified: value, half axes (x, y, z), centre, turn in degrees.
HEAD = (
    (1.0, 0.69, 0.81, 0.92, 0.0, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.78, 0.874, 0.0, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.22, 0.31, 0.22, 0.0, 0.0, -18.0),
    (-0.2, 0.16, 0.28, 0.41, -0.22, 0.0, 0.0, 18.0),
    (0.1, 0.21, 0.41, 0.25, 0.0, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.05, 0.046, 0.0, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.05, 0.046, 0.0, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.05, 0.023, -0.08, 0.0, -0.605, 0.0),
    (0.1, 0.023, 0.02, 0.023, 0.0, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.02, 0.046, 0.06, 0.0, -0.605, 0.0),
)


def phantom(
    kind: str, shape_zyx: tuple[int, int, int], axis: str, rng: np.random.Generator, check: Callable[[], None]
) -> Array:
    """Return a phantom (z, y, x), values at most about 1, inside the cylinder around the axis (a slab reaches the ends)."""
    planes, height, width = shape_zyx
    slices, across = (height, width) if axis == "y" else (width, height)
    made = {"cell": _cell, "shepp_logan": _head, "slab": _slab}[kind]((planes, slices, across), rng, check)
    return np.ascontiguousarray(made if axis == "y" else made.transpose(0, 2, 1))


def _places(shape: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    """Return z, along, across in voxels from the middle, broadcastable."""
    z, y, x = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    return z[:, None, None], y[None, :, None], x[None, None, :]


def _soft(distance: NDArray[np.floating[Any]]) -> Array:
    """Return 1 inside (distances below 0), 0 outside, over one voxel."""
    return np.asarray(np.clip(0.5 - distance, 0, 1), dtype=np.float32)


def _head(shape: tuple[int, int, int], rng: np.random.Generator, check: Callable[[], None]) -> Array:
    z, y, x = _places(shape)
    radius = min(shape[0], shape[2]) / 2 - 1
    long = max(shape[1] / 2 / 0.81, radius)
    result = np.zeros(shape, np.float32)
    for value, a, b, c, x0, y0, z0, turn in HEAD:
        check()
        cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        u, v, w = x / radius - x0, y / long - y0, -z / radius - z0
        away = np.sqrt(((u * cosine + w * sine) / a) ** 2 + (v / b) ** 2 + ((w * cosine - u * sine) / c) ** 2)
        result += np.float32(value) * _soft((away - 1) * radius * min(a, c))
    return result


def _cell(shape: tuple[int, int, int], rng: np.random.Generator, check: Callable[[], None]) -> Array:
    z, y, x = _places(shape)
    radius = min(shape[0], shape[2]) / 2 - 2
    long = max(radius, 0.48 * shape[1])
    away = np.sqrt((x / radius) ** 2 + (z / (0.8 * radius)) ** 2 + (y / long) ** 2)
    body = (away - 1) * radius * 0.8
    result = 0.15 * _soft(body) + 0.45 * _soft(np.abs(body + 1.5) - 1.0)
    nucleus = np.sqrt((x - 0.2 * radius) ** 2 + (z + 0.1 * radius) ** 2 + (y * radius / long) ** 2) - 0.35 * radius
    result += 0.25 * _soft(nucleus) + 0.3 * _soft(np.abs(nucleus) - 0.7)
    inside = _soft(body + 3)
    for _ in range(10):
        check()
        centre = (rng.random(3) - 0.5) * 1.3 * np.array([0.8 * radius, long, radius])
        size = (0.05 + 0.08 * rng.random()) * radius + 0.8
        spot = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) - size
        result += (0.3 + 0.4 * rng.random()) * _soft(spot) * inside
    for _ in range(5):
        check()
        walk = np.cumsum(rng.normal(size=(6, 3)) * 0.35, axis=0) * np.array([0.5 * radius, 0.6 * long, 0.6 * radius])
        result = np.maximum(result, 0.8 * _soft(_tube(walk, (z, y, x), shape) - 0.9) * inside)
    return result.astype(np.float32)


def _tube(points: NDArray[np.float64], places: tuple[Array, Array, Array], shape: tuple[int, int, int]) -> Array:
    """Return the distance to a chain of straight pieces."""
    near = np.full(shape, np.inf, np.float32)
    for first, second in pairwise(points):
        along = second - first
        length = float(along @ along) or 1.0
        share = np.clip(sum((p - f) * a for p, f, a in zip(places, first, along, strict=True)) / length, 0, 1)
        squared = sum((p - f - share * a) ** 2 for p, f, a in zip(places, first, along, strict=True))
        near = np.minimum(near, np.sqrt(squared).astype(np.float32))
    return near


def _slab(shape: tuple[int, int, int], rng: np.random.Generator, check: Callable[[], None]) -> Array:
    z, y, x = _places(shape)
    inside = _soft(np.abs(z) - 0.4 * shape[0])
    result = np.zeros(shape, np.float32)
    count = max(4, shape[1] * shape[2] // 150)
    for _ in range(count):
        check()
        centre = (rng.random(3) - 0.5) * np.array([0.7 * shape[0], shape[1], shape[2]])
        size, shell = 1.0 + 2.0 * rng.random(), rng.random() < 0.5
        away = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) - size
        result += (0.5 + 0.5 * rng.random()) * _soft(np.abs(away) - 0.7 if shell else away)
    return (result * inside).astype(np.float32)
