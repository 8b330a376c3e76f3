"""Oblique sections of a volume, as they are compared with those that a light sheet measured (torch).

A light sheet measures sections along its sheet well and those across it badly. A fused volume is trained to look, along
directions that were measured badly, as it looks along those that were measured well.

References
----------
.. [1] Meta-rLLS-VSIM, 10.5281/zenodo.13486221.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SPARE = 10
"""Voxels that random places keep away from the end of x."""


class Kind(IntEnum):
    """Directions of sections; the sheet lies at `angle` to the first view's x axis and at minus that to the second's."""

    VIEW_A = 0
    VIEW_B = 1
    TURNED_A = 2
    TURNED_B = 3
    UPRIGHT = 4


class Cut(NamedTuple):
    """How sections are cut.

    Attributes
    ----------
    size : tuple of int
        Samples along the section's direction and along y.
    angle_deg, turn_deg : float
        Of the sheet, and by how much turned sections deviate from it.
    offset : float
        Fraction of a voxel by which all sections are moved along x.
    """

    size: tuple[int, int]
    angle_deg: float
    turn_deg: float
    offset: float

    def direction(self, kind: Kind) -> float:
        """Return a section's direction in degrees, from x towards z."""
        a, d = self.angle_deg, self.turn_deg
        return {0: 180 - a, 1: a, 2: a + d, 3: 180 - a + d, 4: 90.0}[int(kind)]

    def places(self, kind: Kind, width: int) -> int:
        """Return how far a section may be moved along x in a volume of that width."""
        if kind == Kind.UPRIGHT:
            return max(0, width - _SPARE)
        room = math.floor(width - self.size[0] * abs(math.cos(math.radians(self.direction(kind))))) - _SPARE
        return max(0, room)


def section(volume: Tensor, cut: Cut, kind: Kind, place: tuple[int, int]) -> Tensor:
    """Return a section (1, 1, y samples, samples along its direction) of a volume (z, y, x), trilinear, zero outside.

    `place` moves it by whole voxels along x and z.
    """
    along, across = cut.size
    angle = math.radians(cut.direction(kind))
    i = torch.arange(along, dtype=torch.float64)
    x, z = i * math.cos(angle), i * math.sin(angle)
    if cut.direction(kind) > 90:
        x = x - x.min()
    x, z = x + 1 + cut.offset + place[0], z + 1 + place[1]
    y = torch.arange(across, dtype=torch.float64) + 1
    depth, height, width = volume.shape
    grid = torch.stack(
        [
            (2 * x / (width - 1) - 1).expand(across, along),
            (2 * y / (height - 1) - 1)[:, None].expand(across, along),
            (2 * z / (depth - 1) - 1).expand(across, along),
        ],
        -1,
    )
    grid = grid.to(volume.device, volume.dtype)[None, None]
    return F.grid_sample(volume[None, None], grid, mode="bilinear", align_corners=True)[:, :, 0]


def random_place(cut: Cut, kind: Kind, width: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random place for a section: along x as far as it fits, along z 0 or 1."""
    return int(rng.integers(cut.places(kind, width) + 1)), int(rng.integers(2))
