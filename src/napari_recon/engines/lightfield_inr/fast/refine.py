"""Refinement of a voxel field under a square-root data term and a roughness penalty.

Voxels are squares of the numbers that are optimised: they stay at or above zero, and one step size suits bright and dark
ones, since the curvature of counted light falls as one over intensity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import Projector, reduced_deviance
from napari_recon.engines.lightfield_inr.fast.penalty import roughness

Check = Callable[[], None]
#: Anscombe's constant; with it the square root of counted photons has the same variance at every level.
ANSCOMBE = 3 / 8
#: Part of the predicted decrease that a step has to reach, and attempts to get there.
DECREASE, ATTEMPTS = 1e-4, 6
#: Voxels start at this part of the brightest at least: a square has no slope at zero.
DARKEST = 1e-4


@dataclass(frozen=True)
class Problem:
    """What the field has to explain.

    Attributes
    ----------
    projector : Projector
    data : Tensor
        Views (v, y, x) in counts.
    background, read_variance : float
        Light that no voxel explains, and variance besides that of light; counts, squared counts.
    weight : Tensor
        Reciprocal sensitivity (z, y, x), zero where voxels are not seen.
    penalty : float
        Weight of the roughness.
    softness : float
        See `roughness`.
    """

    projector: Projector
    data: Tensor
    background: float
    read_variance: float
    weight: Tensor
    penalty: float
    softness: float


@dataclass(frozen=True)
class Refined:
    """The state after a step: its number, volume (z, y, x), objective, model views, and their reduced deviance."""

    step: int
    volume: Tensor
    loss: float
    views: Tensor
    deviance: float


class Refinement:
    """Steps of L-BFGS from a first volume.

    Parameters
    ----------
    problem : Problem
    start_zyx : Tensor
        Non-negative first estimate.
    memory : int
        Step pairs that are kept to estimate curvature, two volumes each.
    """

    def __init__(self, problem: Problem, start_zyx: Tensor, memory: int = 8) -> None:
        self.problem, self.step_number, self.ended, self._memory = problem, 0, False, memory
        seen = problem.weight > 0
        self._root = start_zyx.clamp_min(DARKEST * float(start_zyx.max())).mul_(seen).sqrt_()
        self._steps: list[Tensor] = []
        self._changes: list[Tensor] = []
        self._loss = float("nan")
        self._gradient: Tensor | None = None

    @property
    def volume(self) -> Tensor:
        """The estimate (z, y, x)."""
        return self._root.square()

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs to go on exactly."""
        return {
            "step": self.step_number,
            "ended": self.ended,
            "root": self._root.cpu(),
            "steps": [each.cpu() for each in self._steps],
            "changes": [each.cpu() for each in self._changes],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        device = self._root.device
        self.step_number, self.ended = int(state["step"]), bool(state["ended"])
        self._root = state["root"].to(device)
        self._steps = [each.to(device) for each in state["steps"]]
        self._changes = [each.to(device) for each in state["changes"]]
        self._gradient = None

    def forget(self) -> None:
        """Drop what was learnt of the curvature: the problem has changed."""
        self._steps.clear()
        self._changes.clear()
        self.look_again()

    def look_again(self) -> None:
        """Keep what was learnt: the problem has changed so little that only the objective itself has to be looked up."""
        self._gradient = None

    def step(self, check: Check = lambda: None) -> Refined:
        """Take one step; `ended` says that none made the objective smaller. A raising `check` leaves the state as it was."""
        if self._gradient is None:
            self._loss, self._gradient, _ = self._evaluated(self._root, check)
        gradient, root = self._gradient, self._root
        direction = self._direction(gradient)
        slope = _dot(direction, gradient)
        length = 1.0
        for _ in range(ATTEMPTS):
            trial = root + length * direction
            loss, new_gradient, views = self._evaluated(trial, check)
            if loss <= self._loss + DECREASE * length * slope:
                break
            length *= 0.3
        else:
            self.ended = not self._steps
            self.forget()
            self.step_number += 1
            loss, self._gradient, views = self._evaluated(root, check)
            return self._refined(loss, views)
        moved, changed = trial - root, new_gradient - gradient
        if _dot(moved, changed) > 1e-10 * _dot(moved, moved):
            self._steps, self._changes = [*self._steps, moved][-self._memory :], [*self._changes, changed][-self._memory :]
        self._root, self._gradient, self._loss = trial, new_gradient, loss
        self.step_number += 1
        return self._refined(loss, views)

    def _refined(self, loss: float, views: Tensor) -> Refined:
        deviance = reduced_deviance(self.problem.data, views, self.problem.read_variance)
        return Refined(self.step_number, self.volume, loss, views, deviance)

    def _evaluated(self, root: Tensor, check: Check) -> tuple[float, Tensor, Tensor]:
        """Return objective, gradient for the root (z, y, x), and model views."""
        problem = self.problem
        volume = root.square()
        views = problem.projector.forward(volume, check).clamp_min_(0).add_(problem.background)
        more = ANSCOMBE + problem.read_variance
        found, wanted = (views + more).sqrt_(), (problem.data + more).clamp_min(0).sqrt_()
        misfit, slope = (found - wanted).square_(), (1 - wanted / found).mul_(2)
        loss = 2 * float(misfit.sum(dtype=torch.float64))
        rough, gradient = roughness(volume, problem.softness, check)
        gradient.mul_(problem.penalty)
        for place, planes in problem.projector.adjoint_planes(slope, check):
            gradient[place] += planes
        gradient.mul_(root).mul_(2).mul_(problem.weight > 0)
        return loss + problem.penalty * rough, gradient, views

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return the L-BFGS direction; without pairs the sensitivity says the scale."""
        result, pairs = -gradient, []
        for moved, changed in zip(reversed(self._steps), reversed(self._changes), strict=True):
            curvature = _dot(moved, changed)
            share = _dot(moved, result) / curvature
            result.sub_(changed, alpha=share)
            pairs.append((moved, changed, curvature, share))
        scale = self.problem.weight / 4
        result.mul_(scale)
        if pairs:
            _, changed, curvature, _ = pairs[0]
            result.mul_(curvature / _dot(changed, changed * scale))
        for moved, changed, curvature, share in reversed(pairs):
            result.add_(moved, alpha=share - _dot(changed, result) / curvature)
        return result


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))
