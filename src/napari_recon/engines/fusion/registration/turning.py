"""Sampling a volume along turned axes, slab by slab."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Voxels sampled at once.
SLAB = 2**22


def sampled(
    volume: Tensor,
    voxel_um: tuple[float, float, float],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    places: tuple[Tensor, Tensor, Tensor],
    check: Callable[[], None] = lambda: None,
    edge: float = 0.0,
) -> Tensor:
    """Return a volume at turned places: trilinear, 0 outside.

    Parameters
    ----------
    volume : Tensor
        (z, y, x) float32.
    voxel_um : tuple
        (z, y, x).
    matrix, offset : ndarray
        Take turned (x, y, z) to (x, y, z) around the middle of the volume, in micrometers.
    places : tuple of Tensor
        Turned z, y and x in micrometers, each (n,) float64.
    check : Callable
        Called before each slab; may raise.
    edge : float
        How far beyond the middle of its outermost voxels a volume reaches, in voxels: 0.5 is all of them. A shift by a
        small part of a voxel then leaves no empty row.

    Returns
    -------
    Tensor
        (z, y, x) float32, on the volume's device.
    """
    z, y, x = places
    out = volume.new_zeros(len(z), len(y), len(x))
    each = max(1, SLAB // max(1, len(y) * len(x)))
    for start in range(0, len(z), each):
        check()
        slab = z[start : start + each]
        grid, inside = [], None
        for row, (size, step) in enumerate(zip(volume.shape[::-1], voxel_um[::-1], strict=True)):
            place = (
                (matrix[row, 2] * slab)[:, None, None]
                + (matrix[row, 1] * y)[None, :, None]
                + (matrix[row, 0] * x)[None, None]
                + offset[row]
            ) / step + (size - 1) / 2
            within = (place > -edge - 1e-6) & (place < size - 1 + edge + 1e-6)
            inside = within if inside is None else inside & within
            grid.append(((2 * place / max(size - 1, 1)) - 1).to(volume))
        assert inside is not None
        found = torch.nn.functional.grid_sample(
            volume[None, None], torch.stack(grid, -1)[None], align_corners=True, padding_mode="border"
        )[0, 0]
        out[start : start + each] = found * inside.to(volume)
    return out


def turned_size(
    shape_zyx: tuple[int, int, int], voxel_um: tuple[float, float, float], turn: NDArray[np.float64]
) -> list[int]:
    """Return how many voxels of x's size hold the turned volume along turned z, y and x."""
    pitch = voxel_um[2]
    half = np.array([n * step / 2 for n, step in zip(shape_zyx[::-1], voxel_um[::-1], strict=True)]) / pitch
    extent = 2 * np.abs(turn) @ half
    return [math.ceil(round(float(n), 9)) for n in extent[::-1]]


def centred(size: int, pitch: float) -> Tensor:
    """Return `size` places around 0."""
    return (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * pitch
