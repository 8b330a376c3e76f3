"""Coordinates as published: every axis from -pi to pi, a small hypercube around every point, and the samples in it.

All is float32 in the published order of operations: the fastest octave multiplies a rounding error by a thousand.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RADIUS = 0.5
"""Half the edge of a hypercube, in steps of the grid in use."""
DOWNSAMPLE = 2
"""Voxels per latent along each spatial axis."""


def normalised(places: Tensor, count: int) -> Tensor:
    """Return the coordinate of places 0 ... count - 1 along an axis."""
    return -math.pi + places.float() / max(count - 1, 1) * 2 * math.pi


def rows(index: Tensor, shape_xyzt: tuple[int, ...], radius: float = RADIUS) -> Tensor:
    """Return coordinate rows (n, 12) of index (n, 4): x y z t, then the low and high end along each of them."""
    columns = [normalised(index[:, axis], n) for axis, n in enumerate(shape_xyzt)]
    for axis, n in enumerate(shape_xyzt):
        columns += [normalised(index[:, axis].float() + end, n) for end in (-radius, radius)]
    return torch.stack(columns, dim=1)


def fractions(samples: int) -> Tensor:
    """Return where samples lie in a hypercube (m^4, 4), from 0 to 1; x slowest, t fastest."""
    each = per_axis(samples)
    steps = torch.linspace(0, 1, each + 2)[1:-1]
    return torch.cartesian_prod(steps, steps, steps, steps).view(-1, 4)


def per_axis(samples: int) -> int:
    """Return the samples along each axis of a hypercube."""
    return max(1, round(math.sqrt(math.sqrt(samples))))


def sample_points(coordinates: Tensor, samples: int, jitter: Tensor | None) -> Tensor:
    """Return the samples (n, m^4, 4) of coordinate rows.

    Parameters
    ----------
    coordinates : Tensor
        (n, 12), see `rows`.
    samples : int
    jitter : Tensor or None
        (m^4, 4), or (n, m^4, 4): shrinks the fractions towards the low corner, as in training. None leaves them, which
        the published program does when asked: with two samples per axis all lie equally far from the middle, and what is
        rendered from them is rounding noise.
    """
    low, high = coordinates[:, None, 4::2], coordinates[:, None, 5::2]
    offset = fractions(samples).to(coordinates.device) * (high - low)
    return low + (offset if jitter is None else offset * jitter)


def half_extents(coordinates: Tensor) -> Tensor:
    """Return half the mean edge of the hypercubes of coordinate rows, along x, y, z, t."""
    return ((coordinates[:, 5::2] - coordinates[:, 4::2]) / 2).mean(dim=0)


def latent_index(places: Tensor, count: int) -> Tensor:
    """Return the latent that a voxel takes along an axis with `count` latents: the nearest at or below it."""
    return (places / DOWNSAMPLE).floor().long().clamp(0, count - 1)


def embed(points: Tensor, octaves: int) -> Tensor:
    """Return points (..., 4) followed by their sines and cosines at `octaves` doubled frequencies (..., 4 + 8 octaves)."""
    parts = [points]
    for k in range(octaves):
        parts += [torch.sin(points * 2.0**k), torch.cos(points * 2.0**k)]
    return torch.cat(parts, dim=-1)


def axis_points(places: Tensor, count: int, half: float, axis: int, samples: int, jitter: Tensor) -> Tensor:
    """Return the samples (n, m^4) along one axis of hypercubes around places on a regular grid; see `sample_points`."""
    low, high = (normalised(places.float() + end, count)[:, None] for end in (-half, half))
    return low + fractions(samples)[:, axis].to(places.device) * (high - low) * jitter[:, axis].to(places.device)


def axis_columns(axis: int, width: int) -> Tensor:
    """Return the columns of an embedded point that depend on one axis alone."""
    return torch.arange(axis, width, 4)
