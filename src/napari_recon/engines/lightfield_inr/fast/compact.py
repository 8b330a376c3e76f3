"""A fitted scene or sequence in few numbers: splines as coarse as the data can't tell from the voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import Projector
from napari_recon.fields.spline import SplineField

#: Pieces per voxel and per time point that are tried, the coarsest first.
DENSITIES, DENSITIES_T = (0.35, 0.5, 0.6, 0.7, 0.85, 1.0), (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
#: Variance that a coarser field may add to the views, relative to their noise.
ADDED = 0.05
#: Time points whose views are looked at.
JUDGED = 4


@dataclass(frozen=True)
class Noise:
    """What a change of the model views is compared with: counts per unit of the volumes, background, read variance."""

    scale: float
    background: float
    read_variance: float


class Compaction:
    """Looks for the coarsest splines.

    Parameters
    ----------
    volumes : Callable
        Returns the volume (z, y, x) of a time point.
    shape_tzyx : tuple of int
    projector : Projector
        Of volumes with a margin around, or none.
    shape_zyx : tuple of int
        With the margin.
    noise : Noise
    check : Callable
        Called often; raises to cancel.
    """

    def __init__(
        self,
        volumes: Callable[[int], NDArray[np.float32]],
        shape_tzyx: tuple[int, ...],
        projector: Projector,
        shape_zyx: tuple[int, ...],
        noise: Noise,
        check: Callable[[], None],
    ) -> None:
        self._volumes, self._shape, self._projector, self._noise, self._check = volumes, shape_tzyx, projector, noise, check
        self._margins = [(whole - own) // 2 for whole, own in zip(shape_zyx, shape_tzyx[1:], strict=True)]
        count = shape_tzyx[0]
        self._judged = sorted({round(i * (count - 1) / max(JUDGED - 1, 1)) for i in range(JUDGED)})
        self._seen = {frame: self._views(self._volume(frame)) for frame in self._judged}

    def densities(self, density: float | None, density_t: float | None) -> tuple[float, float]:
        """Return the given densities, or the lowest that the views can't tell from the voxels."""
        if density is None:
            # each judged time point by itself: what time adds comes after
            tries = (each for each in DENSITIES if self._alike(each, 1.0, alone=True))
            density = next(tries, DENSITIES[-1])
        if density_t is None:
            tries = (each for each in DENSITIES_T if self._alike(density, each))
            density_t = 1.0 if self._shape[0] == 1 else next(tries, DENSITIES_T[-1])
        return density, density_t

    def field(self, density: float, density_t: float) -> SplineField:
        """Return the splines closest to the volumes."""
        return SplineField.fitted(self._all(), self._shape, density, density_t)

    def added(self, field: SplineField, frame: int, place: int | None = None) -> float:
        """Return the variance that a field adds to the views of a time point, relative to their noise."""
        time, (z, y, x) = torch.tensor([frame if place is None else place]), (torch.arange(n) for n in self._shape[1:])
        views, noise = self._views(field.evaluate_lattice(time, z, y, x, self._check)[0]), self._noise
        seen = self._seen[frame]
        return float(((views - seen).square() / (seen + noise.background + noise.read_variance)).mean())

    def _alike(self, density: float, density_t: float, alone: bool = False) -> bool:
        if not alone:
            field = self.field(density, density_t)
            return all(self.added(field, frame) <= ADDED for frame in self._judged)
        single = (1, *self._shape[1:])
        fields = ((frame, SplineField.fitted([self._volume(frame)], single, density)) for frame in self._judged)
        return all(self.added(field, frame, 0) <= ADDED for frame, field in fields)

    def _all(self) -> Iterator[Tensor]:
        for frame in range(self._shape[0]):
            self._check()
            yield self._volume(frame)

    def _volume(self, frame: int) -> Tensor:
        return torch.as_tensor(self._volumes(frame))

    def _views(self, volume: Tensor) -> Tensor:
        depth, height, width = self._margins
        padded = F.pad(volume * self._noise.scale, (width, width, height, height, depth, depth))
        return self._projector.forward(padded, self._check).clamp_min_(0)
