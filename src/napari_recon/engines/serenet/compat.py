"""Tiles as the authors' scripts cut and blend them: kept to reproduce published results. No torch.

Tiles see zeros where their neighbours are, so the blended volume differs from the exact one by about 1 % of its maximum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError


@dataclass(frozen=True)
class Tiles:
    """How one script cuts and blends.

    Attributes
    ----------
    tile, overlap : int
        In light-field pixels; fine pixels with `fine`.
    fine : bool
        The volume is cut, not the light field.
    floor : float
        Added to the weight; with `fine` the weight's last row and column are set to it.
    clipped : bool
        Negatives are set to 0 in each tile instead of in the blended volume (and stay when nothing is cut).
    """

    tile: int = 126
    overlap: int = 15
    fine: bool = False
    floor: float = 1e-3
    clipped: bool = False

    def with_sizes(self, tile: int, overlap: int | str, scanning: int) -> Tiles:
        """Return these rules with other sizes; 0 and ``"auto"`` keep those of the script.

        Raises
        ------
        InputError
            Sizes that are not multiples of the scan steps, or an overlap that leaves no tile.
        """
        found = replace(self, tile=tile or self.tile, overlap=self.overlap if isinstance(overlap, str) else overlap)
        step = 1 if self.fine else scanning
        if found.tile % step or found.overlap % step or not 0 < found.overlap < found.tile:
            raise InputError(
                f"with compat=upstream, tile_size and overlap should be multiples of {step} with 0 < overlap < tile_size, "
                f"found {found.tile} and {found.overlap}; take {self.tile} and {self.overlap} for example"
            )
        return found

    def weight(self, upsampling: float) -> NDArray[np.float32]:
        """Return the weight of one tile on the fine grid."""
        scale = 1.0 if self.fine else upsampling
        width = round(self.overlap * scale)
        centre = width // 2 if self.clipped else None
        weight = blend_weight(self.tile, self.overlap, scale, self.floor, centre)
        if self.fine:
            weight[-1], weight[:, -1] = self.floor, self.floor
        return weight


SCRIPTS: Mapping[str, Tiles] = {
    "serenet": Tiles(),
    "fserenet": Tiles(),
    "rlnet": Tiles(546, 65, fine=True, floor=1e-9),
    "vcdnet": Tiles(clipped=True),
    "hylfmnet": Tiles(clipped=True),
    "vsnet": Tiles(81, 9),
}
"""Network -> what its script does."""


def tile_starts(extent: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles start along an axis; the last one is clipped at `extent`, not moved back."""
    step = tile - overlap
    return [i * step for i in range(max(0, math.ceil((extent - tile) / step)) + 1)]


def blend_weight(
    tile: int, overlap: int, upsampling: float, floor: float = 1e-3, centre: float | None = None
) -> NDArray[np.float32]:
    """Return the weight of one tile on the fine grid: sigmoid edges of the overlap's width around `centre`, plus `floor`."""
    width = round(overlap * upsampling)
    middle = (width - 1) / 2 if centre is None else centre
    edge = 1 / (1 + np.exp(-(np.arange(width) - middle) / width * 15))
    profile = np.concatenate([edge, np.full(max(0, round(tile * upsampling) - 2 * width), edge.max()), edge[::-1]])
    return np.asarray(np.outer(profile, profile) + floor, dtype=np.float32)
