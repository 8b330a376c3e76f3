"""One stack of projections made ready for a fit: optics, counts, and the strength of its penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.refine import Refinement
from napari_recon.engines.lightfield_inr.fast.scene import BRIGHT, SOFTNESS, SceneFit
from napari_recon.engines.tomography.prepare import Lines
from napari_recon.optics.parallel_beam import ParallelBeam

#: How far sums with even noise are scaled up: their variance as counts is this many times the largest sum.
EVEN = 30.0
#: Densities with a sign stand on this many times the largest absolute value of a first estimate.
PEDESTAL = 2.0
#: Residuals of neighbouring pixels that are more alike than this speak against angles, axis or signal.
ALIKE = 0.12
#: What the penalty's strength is multiplied by, so that the same number suits projections as light fields, also
#: those of densities with a sign, which nothing else keeps from following noise.
STRENGTH, SIGNED = 5.0, 8.0
#: Signal to noise of a bright voxel at which the penalty is just that; clearer ones need less, as the root.
CLEAR = 20.0


class BeamOptics(Optics):
    """Projectors of a beam in the manner of a light field's.

    Parameters
    ----------
    beam : ParallelBeam
    """

    def __init__(self, beam: ParallelBeam) -> None:
        self.beam = beam
        self.margin = beam.margin

    @property
    def slope_v2(self) -> Tensor:
        """Displacement per plane: none that could be refined."""
        return torch.zeros(len(self.beam.angles_deg), 2, dtype=torch.float64)

    def projector(self, views: list[int] | None = None, scale: Any = None) -> Any:
        """Return the projector to all views or some."""
        return self.beam if views is None else self.beam.some(views)

    def inner(self, volume: Tensor) -> Tensor:
        """Return the part (z, y, x) of a volume that lies on the detector."""
        m = self.margin
        if not m:
            return volume
        return volume[..., m:-m] if self.beam.axis == "y" else volume[:, m:-m]


@dataclass(frozen=True)
class Sums(Counts):
    """Sums along rays in a unit in which they are like counts.

    Counted light has a variance that grows with the light. Even noise is the same with much read variance; that of
    logarithms of transmitted light grows with them, as counts in the right unit do.

    Attributes
    ----------
    pedestal : float
        Density below every voxel, so that those with a sign are above zero.
    """

    pedestal: float = 0.0

    @classmethod
    def of_lines(cls, lines: Lines, signal: str, beam: ParallelBeam) -> Sums:
        """Return the sums of `lines` (density or transmission)."""
        top = max(float(lines.values.abs().max()), 1e-12)
        if signal == "transmission":
            floor = float(lines.variance.median() / lines.values.median().exp().clamp_max(1e6))
            scale = 1 / max(floor, 1e-12)
            return cls(lines.values * scale, scale, background=0.0, read_variance=scale)
        noise = max(float(lines.variance) ** 0.5, 1e-4 * top)
        pedestal, data = 0.0, lines.values
        if not lines.nonnegative:
            ones = data.new_ones(beam.shape_zyx)
            rays = beam.forward(ones)
            reach = beam.adjoint(data / rays.clamp_min(1.0)) / beam.adjoint(torch.ones_like(data)).clamp_min(1e-6)
            pedestal = PEDESTAL * float(reach.abs().max()) * data.shape[0] ** 0.5
            data = data + pedestal * rays
            top = float(data.max())
        scale = EVEN * top / noise**2
        variance = (noise * scale) ** 2
        return cls(data * scale, scale, background=0.0, read_variance=variance, pedestal=pedestal * scale)


class BeamFit(SceneFit):
    """`SceneFit` of projections, whose penalty follows from the noise that reaches a voxel.

    Residuals that stay alike raise no penalty here: edges that a lattice of voxels can't have leave some in any case.
    """

    def __init__(self, counts: Counts, optics: Optics, **settings: Any) -> None:
        super().__init__(counts, optics, **settings)
        self._beamed = optics

    def _standing(self) -> bool:
        return False

    @property
    def unlike_noise(self) -> bool:
        """Whether residuals of neighbouring pixels are more alike than edges make them."""
        return bool(self.likeness) and self.likeness[-1] > ALIKE

    def _refining_from(self, start: Tensor | None) -> Refinement:
        assert start is not None  # the deconvolution takes one iteration at least
        counts = self._counts
        pedestal = counts.pedestal if isinstance(counts, Sums) else 0.0
        inner = (self._beamed.inner(start) - pedestal).abs().flatten()
        level = max(float(np.quantile(inner[:: max(1, len(inner) // 10**6)].cpu().numpy(), 1 - BRIGHT)), 1e-6)
        model = self._projector.forward(start, self._check).clamp_min_(0).add_(counts.background + counts.read_variance)
        information = torch.cat([planes for _, planes in self._projector.adjoint_planes(model.reciprocal(), self._check)])
        precision = float(self._beamed.inner(information).mean()) ** 0.5
        usual = (SIGNED if pedestal else STRENGTH) * (CLEAR / max(level * precision, 1.0)) ** 0.5
        strength = self._strength * usual * precision
        return self._refinement_of(self._problem(strength * max(1.0, self._explained) ** 0.5, SOFTNESS * level), start)
