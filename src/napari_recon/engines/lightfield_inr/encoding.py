"""Coordinates of a lattice and their encoding by sines and cosines of doubled frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_recon.engines.lightfield_inr.field import Encoding

SIGNS = {"x": 1.0, "y": -1.0, "z": -1.0}
"""y and z of a field run against the voxel index."""


def axis_coordinates(axis: str, positions: ArrayLike, shape_zyx: Sequence[int]) -> Tensor:
    """Return the field's coordinate at voxel `positions` along one axis.

    Parameters
    ----------
    axis : {"x", "y", "z"}
    positions : array
        Voxel indices on the whole lattice, fractions allowed.
    shape_zyx : sequence of int
        The lattice. All axes have the step ``2 / (max(H, W) - 1)``, and the origin is voxel ``n // 2``.

    Returns
    -------
    Tensor
        float32, rounded as the published program rounds: its fastest octave multiplies an error by hundreds.
    """
    size = dict(zip("zyx", shape_zyx, strict=True))
    longest = max(size["y"], size["x"], 2)
    step, centre = np.float32(2 / (longest - 1)), np.float32(2 * (size[axis] // 2) / (longest - 1))
    places = np.asarray(positions, dtype=np.float32) * step - centre
    return torch.from_numpy(np.asarray(np.float32(SIGNS[axis]) * places, dtype=np.float32))


def lattice_coordinates(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the points (z, y, x, 3) of a lattice from its axes' coordinates, each in the order (x, y, z)."""
    grid_z, grid_y, grid_x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([grid_x, grid_y, grid_z], dim=-1)


def encode(points: Tensor, encoding: Encoding) -> Tensor:
    """Return the encoded points (..., `encoding.length`) of points (..., 3) in the order (x, y, z)."""
    if encoding.encoder == "none":
        return points
    if encoding.encoder == "positional":
        return _octaves(points, points, encoding.octaves, 1.0)
    xy, z = points[..., :2], points[..., 2:]
    along_z = _octaves(z, z, encoding.octaves_z, 1.0)
    if encoding.encoder == "anisotropic":
        return torch.cat([_octaves(xy, xy, encoding.octaves, 1.0), along_z], dim=-1)
    angles = torch.arange(4, dtype=torch.float32, device=points.device) * (math.pi / 4)
    projected = xy[..., :1] * torch.sin(angles) + xy[..., 1:] * torch.cos(angles)
    return torch.cat([_octaves(xy, projected, encoding.octaves, math.pi), along_z], dim=-1)


def _octaves(kept: Tensor, values: Tensor, octaves: int, factor: float) -> Tensor:
    parts = [kept]
    for k in range(octaves):
        angle = values * (factor * 2.0**k)
        parts += [torch.sin(angle), torch.cos(angle)]
    return torch.cat(parts, dim=-1)


def separated(encoding: Encoding) -> list[tuple[str, Tensor]]:
    """Return the groups of columns of an encoded point that depend on different axes: ("x", columns), ...

    The encoding acts on each axis alone (x and y together when it is radial), so a linear layer of it is a sum of one
    table per group.
    """
    columns = torch.arange(encoding.length)
    if encoding.encoder in ("positional", "none"):
        return [(axis, columns[i::3]) for i, axis in enumerate("xyz")]
    split = encoding.length - 1 - 2 * encoding.octaves_z
    plane, along_z = columns[:split], columns[split:]
    if encoding.encoder == "radial":
        return [("xy", plane), ("z", along_z)]
    return [("x", plane[0::2]), ("y", plane[1::2]), ("z", along_z)]
