"""Filtered back projection and the simultaneous iterations (SIRT, with ordered subsets down to SART)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.tomography.prepare import deviance
from napari_recon.optics.parallel_beam import ParallelBeam
from napari_recon.optics.support import next_smooth_size

Check = Callable[[], None]
#: Gaps between angles above this many times the median are no sampling but a missing wedge.
WEDGE = 3.0
#: Rays shorter than this part of the longest, and voxels seen by less than it, take no part.
SHORT = 1e-3
#: Variances below this part of their mean are judged as that: updates don't weigh pixels, so dark ones wait for bright ones.
EVEN = 0.25


@dataclass(frozen=True)
class Iterate:
    """The state after one pass over all views: its number, volume (z, y, x) and reduced deviance before its updates."""

    iteration: int
    volume: Tensor
    deviance: float


def view_weights(angles_deg: Sequence[float]) -> NDArray[np.float64]:
    """Return the angle in radians that each view stands for; half turns are alike, missing wedges count once."""
    turned = np.round(np.mod(np.asarray(angles_deg, dtype=float), 180.0), 6) % 180.0
    places, inverse, counts = np.unique(turned, return_inverse=True, return_counts=True)
    if len(places) == 1:
        return np.full(len(turned), math.pi / len(turned))
    gaps = np.diff(np.append(places, places[0] + 180.0))
    gaps = np.where(gaps > WEDGE * np.median(gaps), np.median(gaps), gaps)
    each = (gaps + np.roll(gaps, 1)) / 2 / counts
    return np.asarray(np.radians(each[inverse]))


def filtered_back_projection(beam: ParallelBeam, values: Tensor, check: Check = lambda: None) -> Tensor:
    """Return the volume (z, y, x) by filtered back projection, cut off at the sampling limit (Ram-Lak)."""
    across = -1 if beam.axis == "y" else -2
    count = values.shape[across]
    size = next_smooth_size(2 * count)
    place = np.fft.fftfreq(size, 1 / size)
    kernel = np.zeros(size)
    odd = place.astype(int) % 2 == 1
    kernel[odd] = -1 / (np.pi * place[odd]) ** 2
    kernel[0] = 0.25
    ramp = torch.from_numpy(np.fft.rfft(kernel).real).to(values)
    ramp = ramp if across == -1 else ramp[:, None]
    weights = torch.from_numpy(view_weights(beam.angles_deg)).to(values)[:, None, None]
    check()
    filtered = torch.fft.irfft(torch.fft.rfft(values * weights, size, dim=across) * ramp, size, dim=across)
    return beam.spread(filtered.narrow(across, 0, count).contiguous(), check)


def subsets_of(views: int, number: int) -> list[list[int]]:
    """Return the views in `number` interleaved groups, each far from the one before it."""
    groups = [list(range(first, views, number)) for first in range(number)]
    step = next((n for n in range(max(1, round(number * 0.381966)), number) if math.gcd(n, number) == 1), 1)
    return [groups[n * step % number] for n in range(number)]


class Sirt:
    """Simultaneous iterations for one stack of slices.

    Each update adds the residual of some views, divided by the lengths of their rays and smeared back, divided by how
    much of each voxel they see.

    Parameters
    ----------
    beam : ParallelBeam
    values : Tensor
        (v, y, x)
    variance : Tensor
        See `prepare.Lines`; it is judged by, not weighted with.
    subsets : int
        Groups of views that are used one after the other; 1 is SIRT, as many as views is SART.
    relaxation : float
    nonnegative : bool
    start : Tensor, optional
        (z, y, x)
    """

    def __init__(
        self,
        beam: ParallelBeam,
        values: Tensor,
        variance: Tensor,
        *,
        subsets: int = 1,
        relaxation: float = 1.0,
        nonnegative: bool = True,
        start: Tensor | None = None,
        check: Check = lambda: None,
    ) -> None:
        self._values, self._relaxation, self._nonnegative = values, relaxation, nonnegative
        self._variance = variance.clamp_min(EVEN * float(variance.mean()))
        self._check = check
        self._groups = subsets_of(len(values), subsets)
        self._beams = [beam] if subsets == 1 else [beam.some(group) for group in self._groups]
        self.volume = values.new_zeros(beam.shape_zyx) if start is None else start.clone()
        slices = values.new_ones(1)
        # slices across the axis are alike: lengths and sensitivities are those of one
        self._lengths, self._seen = [], []
        for one in (part.of_slices(1) for part in self._beams):
            lengths = one.forward(slices.expand(one.shape_zyx).contiguous(), check)
            seen = one.adjoint(slices.expand(lengths.shape).contiguous(), check)
            self._lengths.append(_reciprocal(lengths))
            self._seen.append(_reciprocal(seen))

    def passes(self, iterations: int) -> Iterator[Iterate]:
        """Yield the state after each pass over all views."""
        for iteration in range(1, iterations + 1):
            total = 0.0
            for group, beam, lengths, seen in zip(self._groups, self._beams, self._lengths, self._seen, strict=True):
                whole = len(self._beams) == 1
                wanted = self._values if whole else self._values[group]
                residual = wanted - beam.forward(self.volume, self._check)
                variance = self._variance if self._variance.ndim == 0 or whole else self._variance[group]
                total += deviance(residual, variance) * len(wanted) / len(self._values)
                residual *= lengths
                for place, planes in beam.adjoint_planes(residual, self._check):
                    part = self.volume[place]
                    part.add_(planes * seen[place], alpha=self._relaxation)
                    if self._nonnegative:
                        part.clamp_min_(0)
            yield Iterate(iteration, self.volume, total)


def _reciprocal(values: Tensor) -> Tensor:
    return torch.where(values > SHORT * values.max(), 1 / values.clamp_min(1e-30), torch.zeros_like(values))
