"""The lateral grids of a light-field reconstruction and the way between them; lengths in light-field pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.optics.support import next_smooth_size


@dataclass(frozen=True)
class VolumeGrid:
    """The solver's volume grid around a light field of ``field_yx`` pixels.

    Attributes
    ----------
    field_yx : tuple of int
        Light-field pixels (y, x).
    planes : int
        Depth planes.
    voxels_per_pixel : float
        Lateral voxels per light-field pixel (2 for half, 3 for third, S for fine).
    upsampling : float
        Fine voxels per light-field pixel, S.
    margin : int
        Light-field pixels reconstructed around the field on each side, so that light from outside the field that
        reaches edge pixels has somewhere to go.
    """

    field_yx: tuple[int, int]
    planes: int
    voxels_per_pixel: float
    upsampling: float
    margin: int

    @property
    def size_yx(self) -> tuple[int, int]:
        """Lateral voxels, margins included, rounded up to lengths FFTs are fast at."""
        size_y, size_x = (
            next_smooth_size(math.ceil((n + 2 * self.margin) * self.voxels_per_pixel - 1e-9)) for n in self.field_yx
        )
        return size_y, size_x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Volume shape (z, y, x) of the solver's grid."""
        return (self.planes, *self.size_yx)

    @property
    def length_yx(self) -> tuple[float, float]:
        """Lateral extent of the periodic domain in light-field pixels."""
        size_y, size_x = self.size_yx
        return size_y / self.voxels_per_pixel, size_x / self.voxels_per_pixel

    @property
    def fine_yx(self) -> tuple[int, int]:
        """Fine voxels of the field itself: round(h S), round(w S)."""
        return round(self.field_yx[0] * self.upsampling), round(self.field_yx[1] * self.upsampling)

    def centres(self, axis: int) -> Tensor:
        """Return voxel centre positions along y (0) or x (1), float64, in pixels from the field's corner."""
        index = torch.arange(self.size_yx[axis], dtype=torch.float64)
        return (index + 0.5) / self.voxels_per_pixel - self.margin

    def sample(self, volume_zyx: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Return the volume (Z, Y, X) interpolated linearly at positions ``y`` and ``x`` (pixels from the corner)."""
        rows, columns = self._neighbours(y, 0), self._neighbours(x, 1)
        part = volume_zyx[:, rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
        part = _interpolated(part, rows[2], rows[3]).transpose(1, 2)
        # gathering whole rows is much faster than gathering single voxels
        return _interpolated(part.contiguous(), columns[2], columns[3]).transpose(1, 2)

    def _neighbours(self, positions: Tensor, axis: int) -> tuple[int, int, Tensor, Tensor]:
        """Return the first and last voxel needed, and per position the lower voxel (from the first) and the fraction."""
        size = self.size_yx[axis]
        place = (positions.double() + self.margin) * self.voxels_per_pixel - 0.5
        low = place.floor().clamp(0, max(size - 2, 0))
        first, last = int(low.min()), min(int(low.max()) + 1, size - 1)
        return first, last, low.long() - first, (place - low).clamp(0, 1)

    def average(self, fine_zyx: Tensor) -> Tensor:
        """Return a volume given on the field's fine voxels averaged onto this grid; margins are zero."""
        result = fine_zyx
        for axis in (0, 1):
            count = fine_zyx.shape[axis + 1]
            per_pixel = count / self.field_yx[axis]
            width = per_pixel / self.voxels_per_pixel
            middle = self.centres(axis)[:, None] * per_pixel
            edge = torch.arange(count, dtype=torch.float64)[None, :]
            low = torch.maximum(middle - width / 2, edge)
            high = torch.minimum(middle + width / 2, edge + 1)
            weight = ((high - low).clamp_min(0) / width).to(fine_zyx.dtype).to(fine_zyx.device)
            result = torch.matmul(weight, result) if axis == 0 else torch.matmul(result, weight.T)
        return result


def _interpolated(volume: Tensor, low: Tensor, fraction: Tensor) -> Tensor:
    """Return ``volume`` (n, length, m) interpolated along its middle axis."""
    index = low.to(volume.device)
    part = fraction.to(volume.dtype).to(volume.device)[:, None]
    upper = (index + 1).clamp_max(volume.shape[1] - 1)
    return torch.lerp(volume.index_select(1, index), volume.index_select(1, upper), part)
