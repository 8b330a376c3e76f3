"""Tiles as the authors' script cuts and blends them: kept to reproduce published results. No torch.

Tiles see zeros where their neighbours are, so the blended volume differs from the exact one by about 1 % of its maximum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

DEFAULT_TILE = 126


def check_tiles(tile: int, overlap: int, scanning: int) -> None:
    """Check that blended tiles meet on whole fine pixels.

    Raises
    ------
    InputError
        Sizes that are not multiples of the scan steps, or an overlap that leaves no tile.
    """
    if tile % scanning or overlap % scanning or not 0 < overlap < tile:
        raise InputError(
            f"with compat=upstream, tile_size and overlap should be multiples of {scanning} with 0 < overlap < tile_size, "
            f"found {tile} and {overlap}; take {DEFAULT_TILE} and 15 for example"
        )


def tile_starts(extent: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles start along an axis; the last one is clipped at `extent`, not moved back."""
    step = tile - overlap
    return [i * step for i in range(max(0, math.ceil((extent - tile) / step)) + 1)]


def blend_weight(tile: int, overlap: int, upsampling: float) -> NDArray[np.float32]:
    """Return the weight of one tile on the fine grid: sigmoid edges of the overlap's width, plus 0.001."""
    width = round(overlap * upsampling)
    edge = 1 / (1 + np.exp(-(np.arange(width) - (width - 1) / 2) / width * 15))
    profile = np.concatenate([edge, np.full(round(tile * upsampling) - 2 * width, edge.max()), edge[::-1]])
    return np.asarray(np.outer(profile, profile) + 1e-3, dtype=np.float32)
