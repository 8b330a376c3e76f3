"""Noise of a recording and its removal before motion is estimated: windows of 5 x 5 x 5 voxels in few cosines.

Light is counted, so the variance of a voxel grows with its value: ``gain * value + floor``. Both are read off the data;
after the square root that makes noise alike everywhere (Anscombe), cosines of all overlapping windows that are no larger
than noise are left out, and the windows averaged, those of few cosines more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

from napari_recon.engines.inr4d.fast.shares import drained

WINDOW = 5
#: Cosines below this many standard deviations of noise are left out.
THRESHOLD = 3.0
#: Voxels whose windows are treated together.
VOXELS = 1 << 17
BINS = 40
SAMPLE = 1 << 21
"""Voxels from which the noise is read, about."""


@dataclass(frozen=True)
class Noise:
    """Variance of a voxel: ``gain * value + floor``."""

    gain: float
    floor: float

    def at(self, value: float) -> float:
        """Return the standard deviation of a voxel of that value."""
        return math.sqrt(max(self.gain * value + self.floor, 0.0))

    def stabilised(self, values: Tensor) -> Tensor:
        """Return values whose noise has a standard deviation of 1."""
        if not self.gain:
            return values / math.sqrt(self.floor)
        return 2 / self.gain * (self.gain * values + self.floor + 0.375 * self.gain**2).clamp_min(0).sqrt()

    def restored(self, values: Tensor) -> Tensor:
        """Return what `stabilised` was made of; the mean of noisy values is kept."""
        if not self.gain:
            return values * math.sqrt(self.floor)
        return ((self.gain * values.clamp_min(0) / 2).square() - self.floor - self.gain**2 / 8) / self.gain


def noise_of(volumes: Tensor, check: Callable[[], None] = lambda: None) -> Noise:
    """Return the noise of volumes (n, z, y, x), from what changes fastest within 4 x 4 x 4 voxels."""
    size = min(4, *volumes.shape[1:])
    step = max(1, math.ceil(volumes.numel() / SAMPLE))
    part = volumes[::step] if step <= len(volumes) // 2 else volumes[:: max(1, len(volumes) // 2)]
    n = max(size, min(part.shape[3], math.ceil(SAMPLE / (part.numel() / part.shape[3]))))
    part = part[..., (part.shape[3] - n) // 2 :][..., :n]
    rows = _cosines(size)
    highest = [(a, b, c) for a in range(size) for b in range(size) for c in range(size) if a + b + c >= 3 * (size - 1) - 2]
    filters = torch.stack([torch.einsum("i,j,k->ijk", rows[a], rows[b], rows[c]) for a, b, c in highest])[:, None]
    means, changes = list[Tensor](), list[Tensor]()
    for volume in part[:, None, None]:
        check()
        means.append(conv3d(volume, torch.full_like(filters[:1], size**-3.0)).flatten())
        changes.append(conv3d(volume, filters).flatten(2)[0].abs())
    mean, fast = torch.cat(means), torch.cat(changes, dim=1)
    check()
    bins = mean.argsort().chunk(BINS)
    levels, variances = list[Tensor](), list[Tensor]()
    for index in bins:
        check()
        levels.append(mean[index].mean())
        variances.append((fast[:, index].median() / 0.6745).square())
    level, variance = torch.stack(levels).double(), torch.stack(variances).double()
    rise, base = _line(level, variance)
    if rise <= 0 or rise * float(level.max() - level.min()) < 1e-2 * max(base, 0.0):
        return Noise(0.0, float(variance.median()))
    return Noise(rise, base)


def _line(level: Tensor, variance: Tensor) -> tuple[float, float]:
    """Return slope and offset of a line through most of the points, relative deviations counting."""
    tiny = 1e-12 + 1e-6 * float(variance.median())
    weight = 1 / variance.clamp_min(tiny)
    design = torch.stack([level, torch.ones_like(level)], dim=1)
    found = torch.zeros(2, dtype=level.dtype)
    for _ in range(10):
        found = torch.linalg.lstsq(design * weight[:, None], (variance * weight)[:, None]).solution[:, 0]
        line = (design @ found).clamp_min(tiny)
        weight = 1 / line / (1 + 10 * ((variance - line) / line).abs()).sqrt()
    return float(found[0]), float(found[1])


def denoised(volumes: Tensor, noise: Noise, check: Callable[[], None] = lambda: None) -> Tensor:
    """Return what `denoising` returns in the end."""
    return drained(denoising(volumes, noise, check))


def denoising(volumes: Tensor, noise: Noise, check: Callable[[], None] = lambda: None) -> Generator[float, None, Tensor]:
    """Yield the share that is done; return volumes (n, z, y, x) without most of their noise."""
    if noise.floor <= 0 and noise.gain <= 0:
        return volumes.clone()
    planes, rows, columns = volumes.shape[1:]
    halo, out = WINDOW - 1, torch.empty_like(volumes)
    depth = max(1, VOXELS // (rows * columns))
    for number, volume in enumerate(volumes):
        padded = pad(noise.stabilised(volume)[None, None], [halo] * 6, mode="replicate")[0, 0]
        for start in range(0, planes, depth):
            stop = min(start + depth, planes)
            check()
            out[number, start:stop] = noise.restored(_thresholded(padded[start : stop + 2 * halo], check))
            yield (number + stop / planes) / len(volumes)
    return out


def _thresholded(padded: Tensor, check: Callable[[], None]) -> Tensor:
    """Return the denoised inside of a volume (z, y, x) with WINDOW - 1 more voxels on all sides."""
    rows = _cosines(WINDOW)
    found = padded[None]
    for axis in (1, 2, 3):
        found = torch.einsum("c...n,kn->kc...", found.unfold(axis, WINDOW, 1), rows).flatten(0, 1)
        check()
    keep = found.abs() > THRESHOLD
    keep[0] = True
    weight = 1 / keep.sum(dim=0).float()
    found = found * (keep * weight)
    for axis in (3, 2, 1):  # back, in the order of the channels: the last axis is the first of them
        check()
        found = found.reshape(WINDOW, -1, *found.shape[1:])
        found = torch.einsum("kc...n,kn->c...", found.unfold(axis + 1, WINDOW, 1), rows.flip(1))
    total = weight
    for axis in (0, 1, 2):
        total = total.unfold(axis, WINDOW, 1).sum(dim=-1)
    return found[0] / total


def _cosines(n: int) -> Tensor:
    """Return the orthonormal cosines (n, n) of a window, the constant first."""
    rows = torch.cos(math.pi * torch.arange(n)[:, None] * (torch.arange(n) + 0.5) / n) * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows
