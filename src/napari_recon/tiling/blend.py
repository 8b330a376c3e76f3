"""Weighted blending of overlapping tiles, as some published scripts do it. Exact tiling with halos needs none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Blender:
    """Accumulates ``sum(weight * tile) / sum(weight)``.

    Parameters
    ----------
    shape : tuple of int
        Shape of the blended volume; weights cover its last two axes.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._weight = np.zeros(shape[-2:], np.float32)

    def add(self, yx: tuple[slice, slice], tile: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
        """Add a tile; NaN and infinite values count as 0 and a clipped tile takes the weight's top-left part."""
        weight = weight[: tile.shape[-2], : tile.shape[-1]]
        self._sum[(..., *yx)] += weight * np.nan_to_num(tile, nan=0.0, posinf=0.0, neginf=0.0)
        self._weight[yx] += weight

    def result(self, yx: tuple[slice, slice] = (slice(None), slice(None))) -> NDArray[np.float32]:
        """Return the blended volume (or its part `yx`)."""
        weight = np.maximum(self._weight[yx], np.finfo(np.float32).tiny)
        blended: NDArray[np.float32] = np.asarray(self._sum[(..., *yx)] / weight, dtype=np.float32)
        return blended
