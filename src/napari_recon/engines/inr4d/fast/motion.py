"""Motion between the frames of a recording: where what is seen halfway comes from and goes to, and how it accelerates.

The motion of a gap lives on the grid of the frame that is missing in its middle. What is at `x` there was at
``x - v + a / 4`` in the frame before and will be at ``x + v + a / 4`` in the frame after; the frames further out are met at
``x -+ 3 v + 9 a / 4``. Nothing prefers one direction of time, and the missing frame needs no inversion.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from napari_recon.engines.inr4d.fast.adam import Adam
from napari_recon.engines.inr4d.fast.shares import drained, within
from napari_recon.fields.motion import sampled


@dataclass(frozen=True)
class MotionSettings:
    """How motion is estimated.

    Attributes
    ----------
    smoothness : float
        Weight of the motion's gradient (pixels per pixel) against differences of frames scaled to a range of 1.
    bending : float
        Weight of the acceleration's gradient, relative to that of the velocity.
    outer : float
        Weight of the two frames further out.
    coupling : float
        Weight of what neighbouring gaps' velocities differ by more than their accelerations say.
    corner, corner_motion : float
        Differences of frames, gradients of motion, above which their costs grow linearly.
    scales : tuple of float
        Sizes at which the motion is estimated, coarse to fine.
    steps : tuple of int
        Steps at each.
    rate : float
        First step of Adam in pixels of the scale.
    """

    smoothness: float = 0.04
    bending: float = 0.7
    outer: float = 0.3
    coupling: float = 0.02
    corner: float = 0.03
    corner_motion: float = 0.05
    scales: tuple[float, ...] = (0.34, 0.5, 1.0)
    steps: tuple[int, ...] = (60, 60, 40)
    rate: float = 0.15


#: Optical flow as it is common: no acceleration, two frames only.
PLAIN = MotionSettings(bending=0.0, outer=0.0, coupling=0.0)
#: For a score: the finest scale is left out.
QUICK = MotionSettings(scales=(0.34, 0.5), steps=(60, 60))
QUICK_PLAIN = replace(PLAIN, scales=QUICK.scales, steps=QUICK.steps)
#: Voxels of all gaps together on the finest scale; larger recordings stop at a coarser one.
MOST_VOXELS = 1 << 21


def voxel_steps(gaps: int, voxels: int, settings: MotionSettings) -> float:
    """Return the voxels of all steps together, of which frames have so many each."""
    limit = _limit(gaps * voxels)
    return sum(
        steps * gaps * voxels * (scale * limit) ** 3 for scale, steps in zip(settings.scales, settings.steps, strict=True)
    )


def _limit(voxels: int) -> float:
    """Return the finest scale of gaps that have so many voxels together."""
    return min(1.0, float((MOST_VOXELS / voxels) ** (1 / 3)))


def estimated(
    frames: Tensor, plane_step: float, settings: MotionSettings = MotionSettings(), check: Callable[[], None] = lambda: None
) -> Tensor:
    """Return what `estimating` returns in the end."""
    return drained(estimating(frames, plane_step, settings, check))


def estimating(
    frames: Tensor, plane_step: float, settings: MotionSettings = MotionSettings(), check: Callable[[], None] = lambda: None
) -> Generator[float, None, Tensor]:
    """Yield the share that is done; return the motion (2, gaps, 3, z', y', x') in the gaps between frames (t, z, y, x).

    Velocity per half gap and acceleration per gap squared, in voxels along z, y, x, on a grid half as fine as the frames'.

    Parameters
    ----------
    frames : Tensor
        Scaled to a range of about 1.
    plane_step : float
        Distance of planes in pixels.
    settings : MotionSettings
    check : callable
        Called in every step; may raise to stop.
    """
    knots = tuple(max(2, (n + 1) // 2) for n in frames.shape[1:])
    motion = torch.zeros(2, len(frames) - 1, 3, *knots)
    limit = _limit((len(frames) - 1) * frames[0].numel())
    costs = [steps * scale**3 for scale, steps in zip(settings.scales, settings.steps, strict=True)]
    for number, (wanted, steps) in enumerate(zip(settings.scales, settings.steps, strict=True)):
        scale = wanted * limit
        size = tuple(max(min(4, n), round(n * scale)) for n in frames.shape[1:])
        own = tuple(min(a, b) for a, b in zip(knots, size, strict=True))
        small = _resized(frames[:, None], size)[:, 0]
        factors = torch.tensor([n / m for n, m in zip(frames.shape[1:], size, strict=True)])
        unit = torch.tensor([plane_step, 1.0, 1.0])
        refining = _refining(small, _spread(motion, own), factors, unit, steps, settings, check)
        motion = yield from within(refining, sum(costs[:number]) / sum(costs), costs[number] / sum(costs))
    return _spread(motion, knots)


def _spread(motion: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return motion (2, gaps, 3, ...) on another grid over the same span."""
    if tuple(motion.shape[3:]) == size:
        return motion
    found: Tensor = interpolate(motion.flatten(0, 1), size, mode="trilinear", align_corners=True)
    return found.reshape(*motion.shape[:3], *size)


def _places(shape_zyx: tuple[int, ...] | torch.Size) -> Tensor:
    """Return the positions (3, z, y, x) of a grid's voxels."""
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape_zyx), indexing="ij"))


def _resized(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return values on a coarser grid over the same span, smoothed to its spacing."""
    for axis, n in enumerate(size):
        before = values.shape[axis + 2]
        sigma = 0.5 * (before / n) if n < before else 0.0
        if sigma:
            reach = max(1, round(3 * sigma))
            taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
            index = (torch.arange(before)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, before - 1)
            matrix = torch.zeros(before, before).scatter_add_(1, index, (taps / taps.sum()).expand(before, -1))
            values = torch.tensordot(values, matrix, dims=([axis + 2], [1])).movedim(-1, axis + 2)
    found: Tensor = interpolate(values, size, mode="trilinear", align_corners=True)
    return found


def _refining(
    frames: Tensor,
    start: Tensor,
    factors: Tensor,
    unit: Tensor,
    steps: int,
    settings: MotionSettings,
    check: Callable[[], None],
) -> Generator[float, None, Tensor]:
    """Yield the share that is done; return velocity and acceleration (2, gaps, 3, z, y, x), in full voxels, of a scale.

    So many steps of Adam; the unknowns are in pixels of the scale, so that steps along all axes are alike.
    """
    voxel = (factors * unit / (factors * unit)[2]).view(3, 1, 1, 1)  # a voxel of the scale in its pixels
    pixel = float(factors[2])
    to_voxels = (1 / factors).view(3, 1, 1, 1)  # full voxels -> voxels of the scale
    unknown = (start * to_voxels * voxel).requires_grad_()
    optimiser = Adam([unknown], (0.9, 0.95))
    grid = _places(frames.shape[1:])
    gaps = len(frames) - 1
    before, after = frames[:-1, None], frames[1:, None]
    for step in range(steps):
        check()
        whole = _spread(unknown, tuple(frames.shape[1:]))
        if not settings.bending:
            whole = whole * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1, 1)
        velocity, acceleration = whole / voxel
        at = [
            sampled(before, grid - velocity + acceleration / 4),
            sampled(after, grid + velocity + acceleration / 4),
        ]
        loss = _cost(at[0] - at[1], settings.corner)
        check()
        if gaps > 1 and settings.outer:
            middle = 0.5 * (at[0] + at[1])
            early = sampled(before[:-1], (grid - 3 * velocity + 2.25 * acceleration)[1:])
            late = sampled(after[1:], (grid + 3 * velocity + 2.25 * acceleration)[:-1])
            outer = _cost(early - middle[1:], settings.corner) + _cost(late - middle[:-1], settings.corner)
            loss = loss + settings.outer * outer * (gaps - 1) / gaps
            change = unknown[0, 1:] - unknown[0, :-1] - 0.5 * (unknown[1, 1:] + unknown[1, :-1])
            loss = loss + settings.coupling * _cost(change * pixel, 0.1, joint=True)
        for part, weight in zip(whole, (1.0, settings.bending), strict=True):
            loss = loss + settings.smoothness * weight * _cost(_slopes(part, voxel), settings.corner_motion, joint=True)
        check()
        optimiser.step(loss, settings.rate * (1 - 0.9 * step / steps))
        yield (step + 1) / steps
    return unknown.detach() / voxel / to_voxels


def _cost(difference: Tensor, corner: float, joint: bool = False) -> Tensor:
    """Return the mean of a cost that is square below `corner` and linear above, of vectors (gaps, n, ...) if joint."""
    square = difference.square()
    if joint:
        square = square.sum(dim=1)
    return (square + corner**2).sqrt().mean()


def _slopes(values: Tensor, voxel: Tensor) -> Tensor:
    """Return the differences (gaps, 9, z, y, x) of neighbours per distance."""
    parts = []
    for axis in range(3):
        difference = values.diff(dim=axis + 2) / float(voxel[axis])
        pad = [0, 0] * 3
        pad[2 * (2 - axis) + 1] = 1
        parts.append(torch.nn.functional.pad(difference, pad))
    return torch.cat(parts, dim=1)
