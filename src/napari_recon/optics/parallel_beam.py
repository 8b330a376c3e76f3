"""Parallel-beam projection of volumes turned about an axis, and its exact transpose.

A voxel at distance u from the axis along the detector and z along the beam appears at ``u cos(angle) + z sin(angle)``.
Along a ray the volume is interpolated linearly in the direction that the ray crosses most steeply (Joseph's method). The
weight of a voxel in a detector pixel is then a triangle of half width ``m = max(|cos|, |sin|)`` and height ``1 / m``
around the voxel's place, so that rays (two voxels per crossed plane) and voxels (two pixels per angle) list the same
weights. Slices across the axis are independent and share them: a projection is a sum of rows of a table, for which torch
has a fast function on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Check = Callable[[], None]
#: Multiplications between two calls of ``check``, some tenths of them per nanosecond.
BLOCK_WORK = 1 << 28
#: Largest size of kept weights; above it they are made again at each pass.
WEIGHT_BYTES = 3 << 29
_BYTES_PER_WEIGHT = 8
Weights = tuple[Tensor, Tensor]
"""Indices into the rows of a table and what they are multiplied by, one line (sum) each; int32 and float."""


def weight_bytes(views: int, planes: int, width: int) -> int:
    """Return the size of all weights of both directions, for volumes of `planes` x `width` across the axis."""
    return 4 * _BYTES_PER_WEIGHT * views * planes * width


class ParallelBeam:
    """Projects volumes (z, y, x) to views (v, y, x).

    Parameters
    ----------
    angles_deg : sequence of float
    detector_yx : tuple of int
        Pixels of a view; a volume has as many slices along the axis.
    planes : int
        Voxels of a volume along the beam at angle 0; voxels and pixels have one size.
    axis : {"y", "x"}
        Axis of rotation.
    centre : float
        Where the axis appears on the detector, in pixels from its middle ((n - 1) / 2).
    margin : int
        Voxels by which a volume is wider than the detector on both sides, across the axis.
    dtype, device : torch.dtype, torch.device
    """

    def __init__(
        self,
        angles_deg: Sequence[float],
        detector_yx: tuple[int, int],
        planes: int,
        *,
        axis: str = "y",
        centre: float = 0.0,
        margin: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        height, width = detector_yx
        self.angles_deg, self.axis, self.centre, self.margin = tuple(angles_deg), axis, float(centre), margin
        self.detector_yx = detector_yx
        self._pixels, self._slices = (width, height) if axis == "y" else (height, width)
        self._planes, self._width = planes, self._pixels + 2 * margin
        self._dtype, self._device = dtype, torch.device(device)
        kept = weight_bytes(len(self.angles_deg), planes, self._width) <= WEIGHT_BYTES
        self._kept: dict[tuple[str, int], Weights] | None = {} if kept else None

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels of a volume."""
        across = (self._slices, self._width) if self.axis == "y" else (self._width, self._slices)
        return self._planes, *across

    def some(self, views: Sequence[int]) -> ParallelBeam:
        """Return the projector to some of the views."""
        return self._like([self.angles_deg[view] for view in views], self.detector_yx)

    def of_slices(self, count: int) -> ParallelBeam:
        """Return the projector of a volume with another number of slices along the axis."""
        height, width = self.detector_yx
        return self._like(self.angles_deg, (count, width) if self.axis == "y" else (height, count))

    def _like(self, angles_deg: Sequence[float], detector_yx: tuple[int, int]) -> ParallelBeam:
        return ParallelBeam(
            angles_deg,
            detector_yx,
            self._planes,
            axis=self.axis,
            centre=self.centre,
            margin=self.margin,
            dtype=self._dtype,
            device=self._device,
        )

    def forward(self, volume: Tensor, check: Check = lambda: None) -> Tensor:
        """Return the views (v, y, x) of a volume (z, y, x): sums along rays, in voxels."""
        table = self._turned(volume).reshape(self._planes * self._width, self._slices)
        count = len(self.angles_deg)
        step = self._step(count, 2 * self._pixels * self._planes)
        parts = []
        for first in range(0, count, step):
            check()
            parts.append(self._summed(table, "rays", first, min(first + step, count)))
        return self._turned(torch.cat(parts).view(count, self._pixels, self._slices)).contiguous()

    def adjoint_planes(self, data: Tensor, check: Check = lambda: None) -> Iterator[tuple[slice, Tensor]]:
        """Yield the transpose applied to views (v, y, x), some planes at a time: where they go, and (planes, y, x)."""
        table = self._turned(data).reshape(len(self.angles_deg) * self._pixels, self._slices)
        step = self._step(self._planes, 2 * self._width * len(self.angles_deg))
        for first in range(0, self._planes, step):
            check()
            last = min(first + step, self._planes)
            planes = self._summed(table, "voxels", first, last).view(last - first, self._width, self._slices)
            yield slice(first, last), self._turned(planes)

    def spread(self, data: Tensor, check: Check = lambda: None) -> Tensor:
        """Return at each voxel the sum of the views (v, y, x), interpolated linearly where it appears: (z, y, x)."""
        table = self._turned(data).reshape(len(self.angles_deg) * self._pixels, self._slices)
        step = self._step(self._planes, 2 * self._width * len(self.angles_deg))
        parts = []
        for first in range(0, self._planes, step):
            check()
            indices, weights = self._voxels(first, min(first + step, self._planes), interpolating=True)
            parts.append(F.embedding_bag(indices, table, mode="sum", per_sample_weights=weights))
        return self._turned(torch.cat(parts).view(self._planes, self._width, self._slices))

    def adjoint(self, data: Tensor, check: Check = lambda: None) -> Tensor:
        """Return the transpose applied to views (v, y, x), whole."""
        return torch.cat([planes for _, planes in self.adjoint_planes(data, check)])

    def _turned(self, stack: Tensor) -> Tensor:
        """Return a stack with the axis of rotation last, or the other way round."""
        return stack.transpose(1, 2).contiguous() if self.axis == "y" else stack

    def _step(self, count: int, weights_each: int) -> int:
        return max(1, min(count, BLOCK_WORK // (weights_each * max(self._slices, 16))))

    def _summed(self, table: Tensor, kind: str, first: int, last: int) -> Tensor:
        if self._kept is not None and (found := self._kept.get((kind, first))) is not None:
            indices, weights = found
        else:
            indices, weights = self._rays(first, last) if kind == "rays" else self._voxels(first, last)
            if self._kept is not None:
                self._kept[kind, first] = indices, weights
        return F.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)

    def _rays(self, first: int, last: int) -> Weights:
        """Return the voxels of each ray of some views (views, pixels), two per plane or column that it crosses."""
        indices, weights = [], []
        ray = torch.arange(self._pixels, dtype=torch.float64, device=self._device) - (self._pixels - 1) / 2 - self.centre
        z, u = self._places()
        longest = max(self._planes, self._width)
        for angle in self.angles_deg[first:last]:
            c, s = _cos_sin(angle)
            steep = abs(c) >= abs(s)
            along, across = (z, u) if steep else (u, z)
            slope, height = (s, c) if steep else (c, s)
            place = (ray[:, None] - slope * along[None]) / height - across[0]
            low = place.floor()
            share = place - low
            pairs = torch.stack([low, low + 1], dim=-1)
            values = torch.stack([1 - share, share], dim=-1) / abs(height)
            inside = (pairs >= 0) & (pairs < len(across))
            crossed = torch.arange(len(along), device=self._device)[None, :, None]
            pairs = pairs.clamp(0, len(across) - 1).long()
            flat = crossed * self._width + pairs if steep else pairs * self._width + crossed
            room = (0, 2 * (longest - len(along)))  # so that steep and flat rays are lines of one table
            indices.append(F.pad(flat.flatten(1).int(), room))
            weights.append(F.pad((values * inside).flatten(1).to(self._dtype), room))
        return torch.cat(indices), torch.cat(weights)

    def _voxels(self, first: int, last: int, interpolating: bool = False) -> Weights:
        """Return the pixels that see each voxel of some planes (planes, width), two per view.

        Their weights are those of the rays, or those of linear interpolation between the two.
        """
        z, u = self._places()
        c, s = (torch.tensor(each, dtype=torch.float64, device=self._device) for each in self._directions())
        place = (
            u[None, :, None] * c + z[first:last, None, None] * s + (self._pixels - 1) / 2 + self.centre
        )  # (planes, width, views)
        half = torch.ones_like(c) if interpolating else torch.maximum(c.abs(), s.abs())
        low = place.floor()
        pairs = torch.stack([low, low + 1], dim=-1)
        values = (1 - (pairs - place[..., None]).abs() / half[:, None]).clamp_min(0) / half[:, None]
        inside = (pairs >= 0) & (pairs < self._pixels)
        views = torch.arange(len(c), device=self._device)[:, None] * self._pixels
        flat = pairs.clamp(0, self._pixels - 1).long() + views
        lines = (last - first) * self._width
        return flat.view(lines, -1).int(), (values * inside).view(lines, -1).to(self._dtype)

    def _directions(self) -> tuple[list[float], list[float]]:
        pairs = [_cos_sin(angle) for angle in self.angles_deg]
        return [c for c, _ in pairs], [s for _, s in pairs]

    def _places(self) -> tuple[Tensor, Tensor]:
        """Return the distances from the axis along the beam and across it."""
        z, u = (torch.arange(n, dtype=torch.float64, device=self._device) - (n - 1) / 2 for n in (self._planes, self._width))
        return z, u


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    radians = math.radians(angle_deg)
    return math.cos(radians), math.sin(radians)
