"""Whether a PSF is as wide as it is said to be, judged on noise that a fit has not seen.

The views alone cannot tell: a PSF that is too narrow explains them as well, with a volume that is blurred instead. So
noise is added to the views, and taken from a second copy of them such that the two copies' noise is independent. A short
fit to the first copy predicts the second one best with the right PSF: one that is too wide misses details, one that is
too narrow explains noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Noise added to the first copy, in units of the views' own.
ADDED = 0.5
#: Ratio of the widths of neighbouring trials, and how many lie on either side of the given width at most.
RATIO, FARTHEST = 1.2, 4
#: Trials less than this apart are alike; in such steps.
NEAR = 0.2
#: Standard deviations by which a changed PSF has to predict better than the one given.
SURE = 3.0
#: A width between trials is tried where it is expected to be better by this part of what would be sure.
HOPE = 0.5


@dataclass(frozen=True)
class Fitted:
    """What a short fit leaves: its volume (z, y, x), model views (v, y, x), and the refinement steps it took."""

    volume: Tensor
    views: Tensor
    steps: int


@dataclass(frozen=True)
class Trial:
    """A PSF's width relative to the one given, and the reduced deviance of the unseen copy."""

    width: float
    deviance: float


class WidthSearch:
    """Looks for the width of a PSF; see `Optics.widened`.

    Parameters
    ----------
    data, model : Tensor
        Views (v, y, x) in counts, and a first model of them, which says how large their noise is.
    read_variance : float
    fitted : Callable
        ``fitted(width, views)``: a short fit to `views` through the widened PSF.
    """

    def __init__(self, data: Tensor, model: Tensor, read_variance: float, fitted: Callable[[float, Tensor], Fitted]) -> None:
        self._fitted = fitted
        self._variance = (model + read_variance) * noise_power(data, model, read_variance)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).to(data.device)
        noise *= self._variance.sqrt()
        self._first, self._second = data + ADDED * noise, data - noise / ADDED
        self._scores: dict[float, float] = {}
        self._models: dict[float, Tensor] = {}
        self._volumes: dict[float, Tensor] = {}
        self.found = 1.0
        """Width that predicts best, relative to the given one, once the trials are done; 1 where none is surely better."""
        self.volume: Tensor | None = None
        """Volume (z, y, x) of the trial with that width: further than a deconvolution."""
        self.steps = 0
        """Refinement steps that all trials took."""

    def trials(self) -> Iterator[Trial]:
        """Yield the trials: the given width, its neighbours, on in the better direction, and what lies between."""
        yield self._tried(0)
        yield self._tried(-1)
        if not self._surely(-1):
            yield self._tried(1)
        while (further := self._further()) is not None:
            yield self._tried(further)
        lowest, expected = self._lowest(self._best())
        beside = self._best() or math.copysign(1, lowest)
        if abs(lowest) > NEAR and expected > HOPE * SURE * self._spread(beside) * abs(lowest / beside):
            between = self._tried(lowest)
            yield between
            if self._surely(lowest):
                self.found = between.width
        self.volume = self._volumes[0 if self.found == 1.0 else lowest]
        self._models.clear()
        self._volumes.clear()

    def _surely(self, place: float) -> bool:
        return self._scores[0] - self._scores[place] > SURE * self._spread(place)

    def _best(self) -> float:
        return min(self._scores, key=lambda place: self._scores[place])

    def _further(self) -> float | None:
        best = self._best()
        further = best + (best > 0) - (best < 0)
        return None if further in self._scores or abs(further) > FARTHEST else further

    def _tried(self, place: float) -> Trial:
        width = math.exp(math.log(RATIO) * place)
        fitted = self._fitted(width, self._first)
        score = float(((self._second - fitted.views).square() / self._variance).sum(dtype=torch.float64))
        self._scores[place], self._models[place] = score, fitted.views
        self._volumes = {at: self._volumes[at] for at in self._volumes if at == 0} | {place: fitted.volume}
        self.steps += fitted.steps
        return Trial(width, score / fitted.views.numel() / (1 + 1 / ADDED**2))

    def _spread(self, place: float) -> float:
        """Return the standard deviation of a score's difference from that of the given PSF."""
        apart = (self._models[place] - self._models[0]).square() / self._variance
        return 2 * math.sqrt(float(apart.sum()) * (1 + 1 / ADDED**2))

    def _lowest(self, best: float) -> tuple[float, float]:
        """Return where the parabola through the best trial and its neighbours is lowest, and how much is gained."""
        below, here, above = (self._scores.get(best + step, math.inf) for step in (-1, 0, 1))
        gained = self._scores[0] - here
        if not math.isfinite(below + above):
            return best, gained
        aside = (below - above) / (2 * (below + above - 2 * here))
        return best + aside, gained + (below + above - 2 * here) / 2 * aside**2


def noise_power(data: Tensor, model: Tensor, read_variance: float) -> float:
    """Return the power of residuals above a third of the sampling frequency, where PSFs pass little, in that of photons."""
    residual = (data - model) / (model + read_variance).sqrt()
    power = torch.fft.fft2(residual).abs().square() / residual[0].numel()
    y, x = (torch.fft.fftfreq(n, device=data.device) for n in data.shape[-2:])
    return max(float(power[:, torch.hypot(y[:, None], x[None, :]) > 1 / 3].mean()), 0.1)
