"""Accelerated Richardson-Lucy iteration through any projector with an adjoint, one estimate at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
_CACHED = 2**18


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


def reduced_deviance(
    data: Tensor, model: Tensor, read_variance: float = READ_VARIANCE, known_variance: float | None = None
) -> float:
    """Return the mean of (data - model)^2 / (model + read variance): 1 when only photon and read noise are left.

    With a `known_variance` it is counted in parts of what the model expects, see :func:`iterate`.
    """
    found = float(((data - model).square_() / (model + read_variance)).mean())
    if known_variance is None:
        return found
    return found / max(float(((model + known_variance) / (model + read_variance)).mean()), 1e-30)


@dataclass(frozen=True, eq=False)
class Part:
    """Data that one update looks at.

    Attributes
    ----------
    projector : Projector
        Forward model in the data's unit.
    data : Tensor
        Measured values, background included.
    weight : Tensor
        Reciprocal sensitivity, see :func:`sensitivity_weight`; 0 where these data see nothing.
    left : Tensor or None
        1 where these data see nothing but others may: their update leaves such voxels alone. None: they are dark.
    relaxation : float
        How much of the update is taken; 1 is all of it.
    """

    projector: Projector
    data: Tensor
    weight: Tensor
    left: Tensor | None = None
    relaxation: float = 1.0


def richardson_lucy(projector: Projector, data: Tensor, *, weight: Tensor, **options: Any) -> Iterator[Estimate]:
    """Yield one estimate per iteration that looks at all data at once; see `Part` and :func:`iterate`."""
    return iterate([Part(projector, data, weight)], **options)


def iterate(
    parts: Sequence[Part],
    *,
    background: float,
    iterations: int,
    start: Tensor,
    read_variance: float = READ_VARIANCE,
    known_variance: float | None = None,
    stop: Callable[[Estimate], bool] | None = None,
    after_projection: Callable[[int, Tensor, Tensor], Any] | None = None,
    smoothing: Smoothing = no_smoothing,
    accelerated: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Estimate]:
    """Yield one estimate per iteration of Richardson-Lucy with Biggs-Andrews acceleration.

    Parameters
    ----------
    parts : sequence of Part
        Every part of the data updates the estimate once per iteration, in order; one part is the classical iteration.
    background : float
        Constant part of the data that no voxel explains.
    iterations : int
        Largest number of iterations.
    start : Tensor
        Non-negative first estimate.
    known_variance : float, optional
        What of the read variance the data are known to have. Squares are then counted in parts of what the model expects
        them to be, so that dark voxels without noise count nothing.
    stop : Callable, optional
        Called with every estimate; True ends the iteration after it.
    after_projection : Callable, optional
        ``(iteration, data, model)`` of each part, for example to refine view positions for the next one.
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
    # Three volumes are used in turn, a few planes at a time: allocating and passing through large arrays costs more than
    # the arithmetic. For the same reason the acceleration is judged on every fourth plane, and
    # the deviance of much data on every fourth piece.
    volume, before = start.clone(), torch.empty_like(start)
    guess = start.clone() if accelerated else volume
    check()
    change: dict[int, Tensor] = {}
    step, energy = 0.0, 0.0
    variances = (read_variance, read_variance if known_variance is None else known_variance)
    for iteration in range(1, iterations + 1):
        if not accelerated:
            guess = volume
        elif iteration > 1:
            for place in _plane_blocks(guess):
                torch.lerp(before[place], volume[place], 1.0 + step, out=guess[place]).clamp_min_(0)
                check()
        before, volume = volume, before
        residual, expected, source = 0.0, 0.0, guess
        for part in parts:
            model = part.projector.forward(source, check)
            ratio = model if after_projection is None else torch.empty_like(model)
            found = _compared(part.data, model, ratio, background, variances, check)
            residual, expected = residual + found[0], expected + found[1]
            _update(part, ratio, source, volume, smoothing, check)
            if after_projection is not None:
                after_projection(iteration, part.data, model)
            source = volume
        correlation, previous_energy, energy = 0.0, energy, 0.0
        if accelerated:
            for plane in range(0, volume.shape[0], _JUDGED):
                last = (volume[plane] - guess[plane]).reshape(-1)
                if plane in change:
                    correlation += float(torch.dot(last, change[plane]))
                energy += float(torch.dot(last, last))
                change[plane] = last
            step = acceleration(correlation, previous_energy)
        estimate = Estimate(iteration, volume, residual / max(expected, 1e-30))
        yield estimate
        if stop is not None and stop(estimate):
            return


def _compared(
    data: Tensor,
    model: Tensor,
    ratio: Tensor,
    background: float,
    variances: tuple[float, float],
    check: Callable[[], None],
) -> tuple[float, float]:
    """Add the background to `model`, write data over that into `ratio`, which may be `model`.

    Returns
    -------
    float, float
        The sum of squares over the allowed variance, and what is expected of it.
    """
    residual, expected = 0.0, 0.0
    allowed, known = variances
    blocks = list(zip(_planes(model), _planes(data), _planes(ratio), strict=True))
    for number, (one, measured, quotient) in enumerate(blocks):
        one.clamp_min_(TINY).add_(background)
        if number % _JUDGED == 0 or len(blocks) < 4 * _JUDGED:
            inverse = (one + allowed).reciprocal_()
            residual += float((measured - one).square_().mul_(inverse).sum())
            # (model + known) / (model + allowed)
            expected += one.numel() - (float(inverse.sum()) * (allowed - known) if known != allowed else 0.0)
        torch.div(measured, one, out=quotient)
        check()
    return residual, expected


def _update(
    part: Part, ratio: Tensor, source: Tensor, volume: Tensor, smoothing: Smoothing, check: Callable[[], None]
) -> None:
    """Write the update of `source` into `volume`, which may be the same."""
    smooth = smoothing is not no_smoothing
    mean = float(source.mean()) if smooth else 0.0
    if smooth and source is volume:
        source = source.clone()  # smoothing looks at neighbouring planes
    for place, planes in part.projector.adjoint_planes(ratio, check):
        if part.left is None:
            factor = planes * part.weight[place]
        else:
            factor = torch.addcmul(part.left[place], planes, part.weight[place])
        factor.clamp_min_(0)
        if part.relaxation != 1.0:
            factor.mul_(part.relaxation).add_(1.0 - part.relaxation)
        if smooth:
            factor *= smoothing(source, place, mean)
        torch.mul(factor, source[place], out=volume[place])


def acceleration(correlation: float, previous_energy: float) -> float:
    """Return how far to extrapolate: the correlation of the last two changes, between 0 and 1."""
    return min(max(correlation / previous_energy, 0.0), 1.0) if previous_energy > 0 else 0.0


def _planes(stack: Tensor) -> tuple[Tensor, ...]:
    """Return a stack of planes piece by piece: on a CPU so few that they stay in its cache."""
    images = stack.reshape(-1, *stack.shape[-2:])
    return torch.split(images, planes_at_once(images))


def _plane_blocks(volume: Tensor) -> Iterator[slice]:
    size = planes_at_once(volume)
    for first in range(0, volume.shape[0], size):
        yield slice(first, first + size)


def planes_at_once(images: Tensor) -> int:
    """Return how many planes of a stack are worked on together: on a CPU few, all on a GPU."""
    return max(1, _CACHED // images[0].numel()) if images.device.type == "cpu" else len(images)
