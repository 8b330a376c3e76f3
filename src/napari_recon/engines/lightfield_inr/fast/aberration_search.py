"""Aberrations of single views, found and judged on two copies of the views as the PSF's width is: see `psf_search`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import richardson_lucy, sensitivity_weight
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.psf_search import Copies, Fitted

#: Largest part of a PSF's transfer functions that a pupil may leave unexplained; other PSFs are not such a microscope's.
KNOWN = 0.02
#: Gauss-Newton steps, iterations of Richardson-Lucy between them, waves that a step and an expected aberration may have.
ROUNDS, BETWEEN = 5, 8
FARTHEST, USUAL = 0.25, 0.3


class AberrationSearch:
    """Looks for defocus and astigmatism of each view, besides those that all views share.

    Parameters
    ----------
    copies : Copies
        Of the views.
    counts : Counts
        Of the views; only their background and read variance are used.
    given : Fitted
        A short fit to the first copy through `optics`.
    optics : Optics
        As they are, displacements of views included.
    check : Callable
        Called between blocks of work; raises to cancel.
    """

    def __init__(
        self, copies: Copies, counts: Counts, given: Fitted, optics: Optics, check: Callable[[], None] = lambda: None
    ) -> None:
        self._copies, self._counts, self._given, self._optics, self._check = copies, counts, given, optics, check
        self.iterations = 0
        """Iterations of Richardson-Lucy that the search took."""

    def waves(self) -> Tensor | None:
        """Return the aberrations (views, 3) in waves; None where a first step gains nothing for sure."""
        optics = self._optics
        if optics.pupil.miss > KNOWN:
            return None
        volume, found = self._given.volume, torch.zeros(len(self._copies.first), 3, dtype=torch.float64)
        for number in range(ROUNDS):
            if number:
                volume = self._deconvolved(optics, volume)
            model, step, change = self._step(optics, volume, found)
            if not number and not self._copies.surely(model, model + change):
                return None
            found = found + step.clamp(-FARTHEST, FARTHEST)
            found = found - found.median(dim=0).values  # what views share can't be told from the volume; most are right
            optics = self._optics.aberrated(found)
        return found

    def _deconvolved(self, optics: Optics, start: Tensor) -> Tensor:
        projector, data = optics.projector(), self._copies.first
        weight, _ = sensitivity_weight(projector, data, self._check)
        estimates = richardson_lucy(
            projector,
            data,
            background=self._counts.background,
            read_variance=self._counts.read_variance,
            iterations=BETWEEN,
            weight=weight,
            start=start,
            check=self._check,
        )
        *_, last = estimates
        self.iterations += last.iteration
        return last.volume

    def _step(self, optics: Optics, volume: Tensor, waves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return model views, the Gauss-Newton step of the aberrations (views, 3), and how it changes the views."""
        model = optics.projector().forward(volume, self._check).clamp_min_(0).add_(self._counts.background)
        slopes = torch.stack([each.forward(volume, self._check) for each in self._optics.slopes(waves)], dim=1)
        weight, left = 1 / self._copies.variance, self._copies.first - model
        normal = torch.einsum("vpyx,vyx,vqyx->vpq", slopes, weight, slopes).double().cpu()
        right = torch.einsum("vpyx,vyx,vyx->vp", slopes, weight, left).double().cpu() - waves / USUAL**2
        step = torch.linalg.solve(normal + torch.eye(3, dtype=torch.float64) / USUAL**2, right)
        return model, step, torch.einsum("vpyx,vp->vyx", slopes, step.to(slopes))
