"""A field of things that move: frames as cubic splines, and where what is between two of them comes from and goes to.

In a gap, what is at `x` in its middle is at ``x + 2 s v + s^2 a`` at a time `s` from -0.5 (frame before) to 0.5 (frame
after). A value at `y` and `s` looks for the `x` that is there, follows it into both frames and takes the mean by nearness
in time: any time has a picture as sharp as the frames. Without motion it is plain interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

#: Rounds in which the place in the middle of a gap is found.
ROUNDS = 4
#: Points that are evaluated together.
POINTS = 1 << 16


def sampled(volumes: Tensor, positions: Tensor) -> Tensor:
    """Return volumes (n, c, z, y, x) at positions (n, 3, z', y', x') in voxels, linearly; outside is the edge."""
    scale = positions.new_tensor([2 / max(size - 1, 1) for size in volumes.shape[2:]]).view(1, 3, 1, 1, 1)
    grid = (positions * scale - 1).flip(1).permute(0, 2, 3, 4, 1)
    found: Tensor = grid_sample(volumes, grid, padding_mode="border", align_corners=True)
    return found


def spline_coefficients(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the coefficients, one more at both ends, of the natural cubic B-spline through values along some axes."""
    for axis in axes:
        n = values.shape[axis]
        matrix = torch.zeros(n + 2, n + 2, dtype=torch.float64)
        rows = torch.arange(n)
        for offset, weight in enumerate((1 / 6, 4 / 6, 1 / 6)):
            matrix[rows + 1, rows + offset] = weight
        ends = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
        if n > 1:
            matrix[0, :3], matrix[-1, -3:] = ends, ends
        else:
            matrix = torch.eye(3, dtype=torch.float64)
            matrix[0], matrix[2] = torch.tensor([1.0, -1, 0]), torch.tensor([0.0, -1, 1])
        solution = torch.linalg.inv(matrix)[:, 1:-1].to(values.device, values.dtype)
        values = torch.tensordot(values, solution, dims=([axis], [1])).movedim(-1, axis)
    return values.contiguous()


class MotionField:
    """Values over time and space of a recording whose frames are joined by motion.

    Parameters
    ----------
    frames : Tensor
        (t, z', y', x') values on a grid at least as fine as the recording's, over the same span.
    motion : Tensor or None
        (2, gaps, 3, z'', y'', x'') velocity per half gap and acceleration, in voxels of the recording along z, y, x, on any
        grid over the same span; None interpolates each voxel by itself.
    shape_tzyx : tuple of int
        Samples of the recording along each axis; positions count these.
    order : int
        1 interpolates linearly, 3 with cubic splines.
    """

    def __init__(self, frames: Tensor, motion: Tensor | None, shape_tzyx: Sequence[int], order: int = 3) -> None:
        self.shape, self._order = tuple(shape_tzyx), order
        self._motion = None if motion is None else motion.float().movedim(1, 0).flatten(1, 2).contiguous()
        self._fine = frames.shape[1:]
        values = frames.float()
        self._cubic_time = order == 3 and motion is None and len(frames) > 2
        if order == 3:
            values = spline_coefficients(values, (0, 1, 2, 3) if self._cubic_time else (1, 2, 3))
        self._values = values

    def evaluate(self, points: Tensor) -> Tensor:
        """Return the values (n,) at points (n, 4): positions along t, z, y, x in samples."""
        out = torch.empty(len(points), device=self._values.device)
        points = points.to(out.device)
        gap = self._gap(points[:, 0])
        for each in sorted(set(gap.tolist())):
            index = (gap == each).nonzero().flatten()
            for part in torch.split(index, POINTS):
                own = points[part]
                time = (own[:, 0].clamp(0, self.shape[0] - 1) - each - 0.5).float()
                out[part] = self._at(each, time, own[:, 1:].float().T[:, :, None, None])[:, 0, 0]
        return out

    def evaluate_lattice(
        self, t: Tensor, z: Tensor, y: Tensor, x: Tensor, check: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return the values (t, z, y, x) on the lattice of positions along each axis.

        `check` is called between slabs and may raise to stop.
        """
        device = self._values.device
        out = torch.empty(len(t), len(z), len(y), len(x), device=device)
        z, y, x = (each.to(device, torch.float32) for each in (z, y, x))
        rows = min(len(y), max(1, POINTS // len(x)))
        depth = max(1, POINTS // (rows * len(x)))
        for frame, (time, gap) in enumerate(zip(t.tolist(), self._gap(t).tolist(), strict=True)):
            share = torch.tensor(min(max(time, 0.0), self.shape[0] - 1) - gap - 0.5, device=device)
            for plane in range(0, len(z), depth):
                for row in range(0, len(y), rows):
                    check()
                    ours = torch.meshgrid(z[plane : plane + depth], y[row : row + rows], x, indexing="ij")
                    out[frame, plane : plane + depth, row : row + rows] = self._at(gap, share, torch.stack(ours))
        return out

    def carried(self, frame: int, other: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of a neighbouring frame (one before or after) where what is at places of a frame is there.

        Parameters
        ----------
        frame, other : int
            Numbers that differ by 1.
        places : Tensor
            (3, z, y, x) in samples.

        Returns
        -------
        values : Tensor
            (z, y, x)
        places : Tensor
            Where they are in the other frame.
        """
        if self._motion is not None:
            ahead = other > frame
            time = torch.tensor(-0.5 if ahead else 0.5, device=places.device)
            places = self._followed(self._motion[min(frame, other)], time, places)[1 if ahead else 0]
        return self._frame(other, places), places

    def _gap(self, times: Tensor) -> Tensor:
        return times.double().floor().clamp(0, max(self.shape[0] - 2, 0)).long()

    def _at(self, gap: int, time: Tensor, places: Tensor) -> Tensor:
        """Return values (z, y, x) at places (3, z, y, x) at a time (any shape that fits) from -0.5 to 0.5 of a gap."""
        share = (time + 0.5).reshape(-1, 1, 1) if time.dim() else time + 0.5
        if self._cubic_time:
            weights = _cubic(share)
            around = [weight * self._frame(gap + each, places) for each, weight in enumerate(weights)]
            return sum(around[1:], around[0])
        if self.shape[0] == 1:
            return self._frame(0, places)
        if self._motion is None:
            before, after = places, places
        else:
            before, after = self._followed(self._motion[gap], share - 0.5, places)
        if time.dim() == 0 and float(share) in (0.0, 1.0):
            return self._frame(gap + int(share), places)
        return (1 - share) * self._frame(gap, before) + share * self._frame(gap + 1, after)

    def _followed(self, motion: Tensor, time: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return where what is at places lies in the frames before and after."""
        scale = _finer(motion.shape[1:], self.shape[1:]).to(places.device)
        middle = places
        for last in range(ROUNDS + 1):
            found = sampled(motion[None], (middle * scale)[None])[0]
            velocity, acceleration = found[:3], found[3:]
            if last < ROUNDS:
                middle = places - 2 * time * velocity - time**2 * acceleration
        return middle - velocity + acceleration / 4, middle + velocity + acceleration / 4

    def _frame(self, number: int, places: Tensor) -> Tensor:
        """Return a frame's (or coefficients') values at places (3, z, y, x) in samples."""
        fine = places * _finer(self._fine, self.shape[1:]).to(places.device)
        values = self._values[number][None, None]
        if self._order == 1:
            return sampled(values, fine[None])[0, 0]
        near: list[list[tuple[Tensor, Tensor]]] = []
        for place, n in zip(fine, self._fine, strict=True):
            inside = place.clamp(0, n - 1)
            low = inside.floor().clamp_max(max(n - 2, 0))
            w = _cubic(inside - low)
            first, second = w[0] + w[1], w[2] + w[3]  # two taps in one linear look-up
            near.append([(low + w[1] / first, first), (low + 2 + w[3] / second, second)])
        found = torch.zeros_like(places[0])
        for place_z, weight_z in near[0]:
            for place_y, weight_y in near[1]:
                for place_x, weight_x in near[2]:
                    at = torch.stack([place_z, place_y, place_x])[None]
                    found += weight_z * weight_y * weight_x * sampled(values, at)[0, 0]
        return found


def _cubic(u: Tensor) -> list[Tensor]:
    """Return the weights of the four coefficients around a place, `u` after the second."""
    return [(1 - u) ** 3 / 6, (3 * u**3 - 6 * u**2 + 4) / 6, (3 * (u + u**2 - u**3) + 1) / 6, u**3 / 6]


def _finer(shape: Sequence[int], samples: Sequence[int]) -> Tensor:
    """Return steps of a grid per sample along each axis, for positions (3, z, y, x)."""
    return torch.tensor([(a - 1) / max(b - 1, 1) for a, b in zip(shape, samples, strict=True)]).view(3, 1, 1, 1)
