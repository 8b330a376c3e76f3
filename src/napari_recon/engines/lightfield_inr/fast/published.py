"""Voxels refined under the published objective: what a network is trained to, reached without one.

The objective counts squared differences of views scaled to their maximum, their structural similarity, and absolute values
of voxels and of their second differences; the last are made smooth where they are tiny, so that curvature can be learnt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from napari_recon.engines.lightfield_inr.fast.refine import Check, Problem, Refined, Refinement
from napari_recon.engines.lightfield_inr.upstream.losses import objective
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings

#: Second differences below this part of the brightest voxel are counted as their squares are.
SOFTNESS = 0.01
#: Steps of the usual refinement before the first.
SHARPENING = 40


class PublishedRefinement(Refinement):
    """See `Refinement`; the problem's penalty and softness are left aside.

    Parameters
    ----------
    problem : Problem
    start_zyx : Tensor
    memory : int
    brightness_v : Tensor
        Sum of each view's PSF over planes and pixels, which the published program scales to one.
    offset : float
        What the camera added to the data, in counts: the published program takes views as they are.
    margin : int
        Voxels around the field, which stay dark: the published field ends with the views.
    settings : FitSettings
        Weights of the objective's terms.
    """

    def __init__(
        self,
        problem: Problem,
        start_zyx: Tensor,
        memory: int,
        *,
        brightness_v: Tensor,
        offset: float,
        margin: int,
        settings: FitSettings,
    ) -> None:
        self._field = slice(margin, start_zyx.shape[1] - margin), slice(margin, start_zyx.shape[2] - margin)
        inside = torch.zeros_like(problem.weight)
        inside[:, *self._field] = problem.weight[:, *self._field]
        self._usual = replace(problem, weight=inside)
        recorded = problem.data + offset
        peak = float(recorded.max())
        self._targets = recorded / peak
        unit = float(brightness_v.mean())
        self._of_views = (unit / brightness_v / peak).to(start_zyx.device)[:, None, None]
        self._of_volume = unit / peak
        self._softness = SOFTNESS * float(start_zyx.max()) * self._of_volume  # until the first step
        self._settings = settings
        #: The objective is a mean; as a sum in counts its first step is of a sensible size.
        self._factor = problem.data.numel() * peak
        super().__init__(replace(problem, weight=(inside > 0).to(inside.dtype)), start_zyx, memory)

    def step(self, check: Check = lambda: None) -> Refined:
        """See `Refinement.step`; the loss is the objective itself. The first step comes after some of the usual ones."""
        if self.step_number == 0:
            self._root = self._sharpened(check).sqrt_()
            self._softness = SOFTNESS * float(self._root.max()) ** 2 * self._of_volume
        done = super().step(check)
        return replace(done, loss=done.loss / self._factor)

    def _sharpened(self, check: Check) -> Tensor:
        """Return what steps of the usual refinement make of the start: from a sharp volume the objective ends lower."""
        usual = Refinement(self._usual, self._root.square())
        for _ in range(SHARPENING):
            usual.step(check)
        return usual.volume

    def state(self) -> dict[str, Any]:
        """See `Refinement.state`."""
        return {**super().state(), "published_softness": self._softness}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Refinement.restore`."""
        super().restore(state)
        self._softness = float(state["published_softness"])

    def _evaluated(self, root: Tensor, check: Check) -> tuple[float, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = root.detach().requires_grad_()
            volume = leaf.square()
            views = self.problem.projector.forward(volume, check)
            inner = volume[:, *self._field] * self._of_volume
            loss = objective(views * self._of_views, self._targets, inner, self._settings, self._softness)
            (gradient,) = torch.autograd.grad(self._factor * loss, leaf)
        made = views.detach().clamp_min(0).add_(self.problem.background)
        return self._factor * float(loss.detach()), gradient.mul_(self.problem.weight > 0), made
