"""A field that is its voxels: what a fast fit leaves, interpolated where a query asks between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class VoxelField:
    """Gives values between voxels, linearly along each axis.

    Parameters
    ----------
    voxels_zyx : Tensor
    device : torch.device or str
    """

    def __init__(self, voxels_zyx: Tensor, device: torch.device | str = "cpu") -> None:
        self._voxels = voxels_zyx.detach().to(torch.device(device), torch.float32)

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at positions along each axis, those outside moved in."""
        out = torch.empty(len(z), len(y), len(x), device=self._voxels.device)
        for plane in range(len(z)):
            check()
            found = _between(self._voxels, z[plane : plane + 1], 0)[0]
            out[plane] = _between(_between(found, y, 0), x, 1)
        return out


def _between(values: Tensor, positions: Tensor, axis: int) -> Tensor:
    """Return values at fractional positions along one axis."""
    place = positions.to(values.device).clamp(0, values.shape[axis] - 1)
    low = place.floor().long()
    share = (place - low).view([-1 if a == axis else 1 for a in range(values.ndim)])
    high = (low + 1).clamp(max=values.shape[axis] - 1)
    return torch.lerp(values.index_select(axis, low), values.index_select(axis, high), share)
