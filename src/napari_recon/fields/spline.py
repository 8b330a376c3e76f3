"""A field of smooth pieces: cubic B-splines on a grid coarser than the voxels it stands for, in time as in space.

The spline is that of the square root, so that values are at or above zero and noise of counted light is the same
everywhere. All is separable: fitting takes one small matrix per axis, and so does a lattice; one plane of 256 x 256 takes
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

#: Coefficients that a place sees along an axis.
ORDER = 4
#: Points of an evaluation that are gathered together.
POINTS = 1 << 14


@dataclass(frozen=True)
class Axis:
    """One axis: `samples` places 0, 1 ... of the data, and the coefficients that stand for them.

    As many coefficients as samples are the samples themselves, interpolated linearly.
    """

    samples: int
    coefficients: int

    @classmethod
    def of(cls, samples: int, density: float) -> Axis:
        """Return the axis with `density` pieces per sample, or its samples where that takes as many numbers."""
        pieces = max(1, round((samples - 1) * density))
        return cls(samples, min(samples, pieces + ORDER - 1))

    @property
    def linear(self) -> bool:
        """Whether the coefficients are the samples."""
        return self.coefficients == self.samples

    def weights(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first coefficient that each position sees, and the weights (positions, 4 or 2) from there on.

        Positions count samples, those outside are moved in.
        """
        place = positions.double().clamp(0, self.samples - 1)
        if self.linear:
            low = place.floor().clamp_max(max(self.samples - 2, 0))
            share = place - low
            weights = [1 - share, share] if self.samples > 1 else [torch.ones_like(share)]
        else:
            pieces = self.coefficients - ORDER + 1
            place = place * (pieces / (self.samples - 1))
            low = place.floor().clamp_max(pieces - 1)
            u = place - low
            weights = [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, 3 * (u + u**2 - u**3) + 1, u**3]
            weights = [each / 6 for each in weights]
        return low.long(), torch.stack(weights, dim=-1)

    def matrix(self, positions: Tensor) -> Tensor:
        """Return what makes values (positions) of coefficients."""
        first, weights = self.weights(positions)
        columns = first[:, None] + torch.arange(weights.shape[1])
        return torch.zeros(len(positions), self.coefficients, dtype=torch.float64).scatter_(1, columns, weights)

    @cached_property
    def inverse(self) -> Tensor:
        """What makes coefficients of samples, with least squares."""
        inverse: Tensor = torch.linalg.pinv(self.matrix(torch.arange(self.samples)))
        return inverse


class SplineField:
    """Values over time and space, at or above zero.

    Parameters
    ----------
    coefficients : Tensor
        (t, z, y, x) of the square root.
    shape_tzyx : tuple of int
        Samples along each axis that they stand for; positions count these.
    """

    def __init__(self, coefficients: Tensor, shape_tzyx: Sequence[int]) -> None:
        self.coefficients = coefficients
        self.axes = tuple(Axis(n, m) for n, m in zip(shape_tzyx, coefficients.shape, strict=True))

    @classmethod
    def fitted(
        cls, volumes: Iterable[Tensor], shape_tzyx: Sequence[int], density: float, density_t: float = 1.0
    ) -> SplineField:
        """Return the field closest to volumes (z, y, x) in their square roots; one volume is in memory at a time.

        Parameters
        ----------
        volumes : iterable of Tensor
            At or above zero, one per time point.
        shape_tzyx : tuple of int
        density, density_t : float
            Pieces per voxel along z, y and x, and per time point.
        """
        times, *inner = (Axis.of(n, d) for n, d in zip(shape_tzyx, (density_t, *[density] * 3), strict=True))
        total: Tensor | None = None
        for frame, volume in enumerate(volumes):
            part = volume.clamp_min(0).sqrt()
            for number, axis in enumerate(inner):
                if not axis.linear:
                    part = _along(axis.inverse, part, number)
            if total is None:
                total = torch.zeros(times.coefficients, *part.shape, device=part.device)
            for row, weight in enumerate(times.inverse[:, frame].tolist()):
                if abs(weight) > 1e-6:
                    total[row].add_(part, alpha=weight)
        assert total is not None
        return cls(total, shape_tzyx)

    def evaluate(self, points: Tensor) -> Tensor:
        """Return the values (n,) at points (n, 4): positions along t, z, y, x in samples."""
        parts = [self._at(part) for part in torch.split(points, POINTS)]
        return torch.cat(parts) if parts else points.new_zeros(0, dtype=torch.float32)

    def evaluate_lattice(
        self, t: Tensor, z: Tensor, y: Tensor, x: Tensor, check: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return the values (t, z, y, x) on the lattice of positions along each axis.

        `check` is called between planes and may raise to stop.
        """
        found, matrices = self.coefficients, []
        for number, (axis, positions) in enumerate(zip(self.axes, (t, z, y, x), strict=True)):
            matrix = axis.matrix(positions)
            columns = (matrix != 0).any(dim=0).nonzero().flatten()
            first, last = int(columns[0]), int(columns[-1]) + 1
            found = found.narrow(number, first, last - first)  # what the lattice sees
            matrices.append(matrix[:, first:last])
        found = found.float()
        for number, matrix in enumerate(matrices[:3]):
            check()
            found = _along(matrix, found, number)
        out = torch.empty(len(t), len(z), len(y), len(x), device=found.device)
        across = matrices[3].to(found.device, torch.float32).T.contiguous()
        for frame in range(len(t)):
            for plane in range(len(z)):
                check()
                torch.mm(found[frame, plane], across, out=out[frame, plane])
                out[frame, plane].square_()
        return out

    def _at(self, points: Tensor) -> Tensor:
        flat, strides = self.coefficients.flatten(), self.coefficients.stride()
        index, weight = torch.zeros(len(points), 1, dtype=torch.long), torch.ones(len(points), 1, dtype=torch.float64)
        for axis, stride, positions in zip(self.axes, strides, points.unbind(-1), strict=True):
            first, weights = axis.weights(positions.cpu())
            steps = (first[:, None] + torch.arange(weights.shape[1])) * stride
            index = (index[:, :, None] + steps[:, None]).flatten(1)
            weight = (weight[:, :, None] * weights[:, None]).flatten(1)
        values = flat[index.to(flat.device)].float()
        found: Tensor = (values * weight.to(flat.device, torch.float32)).sum(dim=1).square()
        return found


def _along(matrix: Tensor, values: Tensor, number: int) -> Tensor:
    """Return values with one axis multiplied by a matrix."""
    own = matrix.to(values.device, torch.float32)
    found: Tensor = torch.tensordot(values, own, dims=([number], [1])).movedim(-1, number).contiguous()
    return found
