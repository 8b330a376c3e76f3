"""Fields of a fast fit: voxels, interpolated where a query asks between them, or splines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from napari_recon.core.errors import CheckpointError
from napari_recon.fields.spline import SplineField


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


class VoxelFrames(Sequence[Mapping[str, Tensor]]):
    """The volumes of a sequence in a safetensors file, read one at a time; each as the state of a `VoxelField`."""

    def __init__(self, path: str, frames: int) -> None:
        self._path, self._frames = path, frames

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, number: Any) -> Any:
        from safetensors import safe_open

        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._frames))]
        if not 0 <= number < self._frames:
            raise IndexError(number)
        with safe_open(self._path, "pt") as file:
            volume = file.get_slice("voxels")[number : number + 1][0]
        if not volume.isfinite().all():
            raise CheckpointError(
                f"{self._path} should hold finite values, found others at time point {number}; fit it again"
            )
        return {"voxels": volume}


class GridField:
    """One time of a field of splines, between time points too.

    Parameters
    ----------
    coefficients : Tensor
        (t, z, y, x)
    shape_tzyx : tuple of int
        Time points and voxels that they stand for.
    time : float
        Counted in time points.
    device : torch.device or str
    """

    def __init__(
        self, coefficients: Tensor, shape_tzyx: Sequence[int], time: float = 0.0, device: torch.device | str = "cpu"
    ) -> None:
        self._field = SplineField(coefficients.detach().to(torch.device(device)), shape_tzyx)
        self._time = torch.tensor([time])

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at positions along each axis, those outside moved in."""
        return self._field.evaluate_lattice(self._time, z, y, x, check)[0]
