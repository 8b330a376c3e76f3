"""Accelerated Richardson-Lucy iteration through any projector with an adjoint, one estimate at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.noise import READ_VARIANCE

#: Voxels seen with less than this part of the best sensitivity are left dark; the rest divide by at least twice that.
SENSITIVITY_CUT = 0.01
SENSITIVITY_FLOOR = 0.02

TINY = 1e-6
_JUDGED = 4


Smoothing = Callable[[Tensor, slice, float], Any]
"""``smoothing(volume, planes, mean)``: what an update of those planes is multiplied by; 1 for nothing."""


def no_smoothing(volume: Tensor, place: slice, mean: float) -> float:
    """Return 1: the update as the data ask for it."""
    return 1.0


class Projector(Protocol):
    """What the iteration needs: a linear map and its transpose, both calling ``check`` between blocks of work."""

    def forward(self, volume: Tensor, check: Callable[[], None] = ..., /) -> Tensor:
        """Return the data a volume predicts."""

    def adjoint_planes(self, data: Tensor, check: Callable[[], None] = ..., /) -> Iterator[tuple[slice, Tensor]]:
        """Yield the transpose applied to data, a few planes at a time: where they go, and the planes."""


@dataclass(frozen=True)
class Estimate:
    """The state after one iteration.

    Attributes
    ----------
    iteration : int
        Counted from 1.
    volume : Tensor
        Non-negative estimate. Its memory is used again two iterations later: copy it to keep it.
    deviance : float
        Reduced deviance of the model this iteration started from.
    """

    iteration: int
    volume: Tensor
    deviance: float


class AutomaticStop:
    """Decides from the reduced deviance when the data are explained.

    Parameters
    ----------
    target : float
        The data are explained once the reduced deviance is at or below this.
    stagnation : float
        Stop also when the deviance fell by less than this part per iteration, over the last three: what is left is
        then no noise of known size (another camera gain) or the model is wrong.
    beyond : float
        Go on to this multiple of the iteration at which the data were explained.
    """

    def __init__(self, target: float = 1.1, stagnation: float = 0.01, beyond: float = 1.0) -> None:
        self._target, self._stagnation, self._beyond = target, stagnation, beyond
        self._history: list[float] = []
        self._last: int | None = None

    @property
    def explained(self) -> bool:
        """Whether the target was reached."""
        return self._last is not None

    def earliest_end(self, iteration: int) -> int:
        """Return the lowest number at which the iterations may end, seen from ``iteration`` (not yet judged)."""
        return round(self._beyond * iteration) if self._last is None else self._last

    def __call__(self, estimate: Estimate) -> bool:
        """Return whether ``estimate`` is the last one needed."""
        self._history.append(estimate.deviance)
        if self._last is None and estimate.deviance <= self._target:
            self._last = round(self._beyond * estimate.iteration)
        if self._last is not None:
            return estimate.iteration >= self._last
        if len(self._history) < 8:
            return False
        return self._history[-1] > self._history[-4] * (1 - self._stagnation) ** 3


def sensitivity_weight(projector: Projector, like: Tensor, check: Callable[[], None]) -> tuple[Tensor, Tensor]:
    """Return the reciprocal sensitivity (0 where nothing is seen) and the mask of voxels that take part."""
    sensitivity = torch.cat([planes for _, planes in projector.adjoint_planes(torch.ones_like(like), check)])
    check()
    peak = sensitivity.max()
    seen = sensitivity >= SENSITIVITY_CUT * peak
    check()
    return seen / sensitivity.clamp_min_(SENSITIVITY_FLOOR * peak), seen


def flat_start(views: Tensor, background: float, seen: Tensor) -> Tensor:
    """Return a constant volume whose projections carry about the light of the data."""
    level = (views.mean() - background).clamp_min(TINY) / seen.shape[-3]
    return seen * level


def reduced_deviance(data: Tensor, model: Tensor, read_variance: float = READ_VARIANCE) -> float:
    """Return the mean of (data - model)^2 / (model + read variance): 1 when only photon and read noise are left."""
    return float(((data - model).square_() / (model + read_variance)).mean())


def richardson_lucy(
    projector: Projector,
    data: Tensor,
    *,
    background: float,
    iterations: int,
    weight: Tensor,
    start: Tensor,
    read_variance: float = READ_VARIANCE,
    stop: Callable[[Estimate], bool] | None = None,
    after_projection: Callable[[int, Tensor, Tensor], Any] | None = None,
    smoothing: Smoothing = no_smoothing,
    accelerated: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Estimate]:
    """Yield one estimate per iteration of Richardson-Lucy with Biggs-Andrews acceleration.

    Parameters
    ----------
    projector : Projector
        Forward model in the data's unit.
    data : Tensor
        Measured values, background included.
    background : float
        Constant part of the data that no voxel explains.
    iterations : int
        Largest number of iterations.
    weight : Tensor
        Reciprocal sensitivity, see :func:`sensitivity_weight`.
    start : Tensor
        Non-negative first estimate.
    stop : Callable, optional
        Called with every estimate; True ends the iteration after it.
    after_projection : Callable, optional
        ``(iteration, data, model)`` in each iteration, for example to refine view positions for the next one.
    smoothing : Callable, optional
        Multiplies every update, see `Smoothing`.
    accelerated : bool
        False takes each update as it is.
    check : Callable, optional
        Called between blocks of work; raises to cancel.

    References
    ----------
    W. H. Richardson, doi 10.1364/JOSA.62.000055; L. B. Lucy, doi 10.1086/111605;
    D. S. C. Biggs and M. Andrews, doi 10.1364/AO.36.001766.
    """
    # Three volumes are used in turn, a few planes at a time: allocating and passing through large arrays costs as much as
    # the arithmetic. For the same reason the acceleration is judged on every fourth plane.
    volume, before, guess = start.clone(), torch.empty_like(start), start.clone()
    check()
    change: dict[int, Tensor] = {}
    step = 0.0
    energy = 0.0
    for iteration in range(1, iterations + 1):
        if iteration > 1:
            for place in _plane_blocks(guess):
                torch.lerp(before[place], volume[place], 1.0 + step, out=guess[place]).clamp_min_(0)
                check()
        model = projector.forward(guess, check).clamp_min_(0).add_(background)
        deviance = reduced_deviance(data, model, read_variance)
        before, volume = volume, before
        correlation, previous_energy, energy = 0.0, energy, 0.0
        mean = 0.0 if smoothing is no_smoothing else float(guess.mean())
        for place, planes in projector.adjoint_planes(data / model.clamp_min(TINY), check):
            torch.mul(planes, weight[place], out=volume[place]).clamp_min_(0).mul_(guess[place])
            if smoothing is not no_smoothing:
                volume[place] *= smoothing(guess, place, mean)
            for plane in range(-(-place.start // _JUDGED) * _JUDGED, place.stop, _JUDGED):
                last = (volume[plane] - guess[plane]).reshape(-1)
                if plane in change:
                    correlation += float(torch.dot(last, change[plane]))
                energy += float(torch.dot(last, last))
                change[plane] = last
        step = acceleration(correlation, previous_energy) if accelerated else 0.0
        if after_projection is not None:
            after_projection(iteration, data, model)
        estimate = Estimate(iteration, volume, deviance)
        yield estimate
        if stop is not None and stop(estimate):
            return


def acceleration(correlation: float, previous_energy: float) -> float:
    """Return how far to extrapolate: the correlation of the last two changes, between 0 and 1."""
    return min(max(correlation / previous_energy, 0.0), 1.0) if previous_energy > 0 else 0.0


def _plane_blocks(volume: Tensor, size: int = 4) -> Iterator[slice]:
    for first in range(0, volume.shape[0], size):
        yield slice(first, first + size)
