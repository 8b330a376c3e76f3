"""How far planes are apart in pixels as far as what is seen goes: read off how fast values change along each axis.

It is this, not the voxel size, that makes what is learnt in the planes hold through them: flat cells are finer along z than
their pixels say, and the blur of a microscope makes them coarser.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_recon.engines.inr4d.fit_params import LARGEST


def plane_distance(volumes: Tensor) -> int:
    """Return the distance of planes (t, z, y, x, without most of their noise) in pixels: a whole number from 1 to 8.

    Squared differences of neighbouring planes are compared with those of pixels further and further apart.
    """
    through = float(volumes.diff(dim=1).square().mean())
    before = 0.0
    for lag in range(1, min(LARGEST + 1, *volumes.shape[2:])):
        within = torch.stack(
            [(volumes.narrow(axis, lag, volumes.shape[axis] - lag) - volumes.narrow(axis, 0, volumes.shape[axis] - lag))
             .square().mean() for axis in (2, 3)]
        )  # fmt: skip
        value = float(within.mean())
        if value >= through:
            share = (through - before) / max(value - before, 1e-20)
            return max(1, round(lag - 1 + share))
        before = value
    return LARGEST
