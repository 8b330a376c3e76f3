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
    predicted : Callable
        ``predicted(width, views)``: model views after a short fit to `views` through the widened PSF.
    """

    def __init__(
        self, data: Tensor, model: Tensor, read_variance: float, predicted: Callable[[float, Tensor], Tensor]
    ) -> None:
        self._predicted = predicted
        self._variance = (model + read_variance) * noise_power(data, model, read_variance)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).to(data.device)
        noise *= self._variance.sqrt()
        self._first, self._second = data + ADDED * noise, data - noise / ADDED
        self._scores: dict[float, float] = {}
        self._models: dict[float, Tensor] = {}
        self.found = 1.0
        """Width that predicts best, relative to the given one, once the trials are done; 1 where none is surely better."""

    def trials(self) -> Iterator[Trial]:
        """Yield the trials: the given width, its neighbours, and on in the better direction."""
        for place in (0, -1, 1):
            yield self._tried(place)
        while (further := self._further()) is not None:
            yield self._tried(further)
        lowest = self._lowest(self._best())
        if abs(lowest) > NEAR:
            between = self._tried(lowest)
            yield between
            if self._scores[0] - self._scores[lowest] > SURE * self._spread(lowest):
                self.found = between.width
        self._models.clear()

    def _best(self) -> float:
        return min(self._scores, key=lambda place: self._scores[place])

    def _further(self) -> float | None:
        best = self._best()
        further = best + (best > 0) - (best < 0)
        return None if further in self._scores or abs(further) > FARTHEST else further

    def _tried(self, place: float) -> Trial:
        width = math.exp(math.log(RATIO) * place)
        model = self._predicted(width, self._first)
        score = float(((self._second - model).square() / self._variance).sum(dtype=torch.float64))
        self._scores[place], self._models[place] = score, model
        return Trial(width, score / model.numel() / (1 + 1 / ADDED**2))

    def _spread(self, place: float) -> float:
        """Return the standard deviation of a score's difference from that of the given PSF."""
        apart = (self._models[place] - self._models[0]).square() / self._variance
        return 2 * math.sqrt(float(apart.sum()) * (1 + 1 / ADDED**2))

    def _lowest(self, best: float) -> float:
        """Return where the parabola through the best trial and its neighbours is lowest."""
        below, here, above = (self._scores.get(best + step, math.inf) for step in (-1, 0, 1))
        if not math.isfinite(below + above):
            return best
        return best + (below - above) / (2 * (below + above - 2 * here))


def noise_power(data: Tensor, model: Tensor, read_variance: float) -> float:
    """Return the power of residuals above a third of the sampling frequency, where PSFs pass little, in that of photons."""
    residual = (data - model) / (model + read_variance).sqrt()
    power = torch.fft.fft2(residual).abs().square() / residual[0].numel()
    y, x = (torch.fft.fftfreq(n, device=data.device) for n in data.shape[-2:])
    return max(float(power[:, torch.hypot(y[:, None], x[None, :]) > 1 / 3].mean()), 0.1)
