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

from napari_recon.engines.lightfield_inr.fast.residuals import noise_power

#: Noise added to the first copy, in units of the views' own.
ADDED = 0.5
#: Ratio of the widths of neighbouring trials, and how many lie on either side of the given width at most.
RATIO, FARTHEST = 1.2, 4
#: Trials less than this apart are alike; in such steps.
NEAR = 0.2
#: Standard deviations by which a changed PSF has to predict better than the one given.
SURE = 3.0
#: A PSF that is too wide smooths, which predicts better, too, where the penalty is weak: a stronger one with the given PSF
#: must not do as well. The place its trial is kept at.
FIRMER, FIRM = 4.0, math.inf
#: A width between trials is tried where it is expected to be better by this part of what would be sure.
HOPE = 0.5


@dataclass(frozen=True)
class Fitted:
    """What a short fit leaves: its volume (z, y, x) and model views (v, y, x); the iterations and steps it took."""

    volume: Tensor
    views: Tensor
    iterations: int
    steps: int


@dataclass(frozen=True)
class Trial:
    """A PSF's width relative to the one given, and the reduced deviance of the unseen copy."""

    width: float
    deviance: float


class Copies:
    """Two copies of views whose noise is independent.

    Parameters
    ----------
    data, model : Tensor
        Views (v, y, x) in counts, and a first model of them, which says how large their noise is.
    read_variance : float

    Attributes
    ----------
    first, second, variance : Tensor
        The copies, and the variance of the views' own noise.
    """

    def __init__(self, data: Tensor, model: Tensor, read_variance: float) -> None:
        self.variance = (model + read_variance) * noise_power(data, model, read_variance)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).to(data.device)
        noise *= self.variance.sqrt()
        self.first, self.second = data + ADDED * noise, data - noise / ADDED

    def score(self, views: Tensor) -> float:
        """Return how far a model of the first copy is from the second: squares in units of the views' own noise."""
        return float(((self.second - views).square() / self.variance).sum(dtype=torch.float64))

    def deviance(self, score: float) -> float:
        """Return the reduced deviance that a score means."""
        return score / self.variance.numel() / (1 + 1 / ADDED**2)

    def spread(self, views: Tensor, others: Tensor) -> float:
        """Return the standard deviation of the difference of two models' scores."""
        apart = (views - others).square() / self.variance
        return 2 * math.sqrt(float(apart.sum()) * (1 + 1 / ADDED**2))

    def surely(self, given: Tensor, other: Tensor) -> bool:
        """Return whether another model predicts the second copy surely better than a given one."""
        return self.score(given) - self.score(other) > SURE * self.spread(other, given)


class WidthSearch:
    """Looks for the width of a PSF; see `Optics.widened`.

    Parameters
    ----------
    copies : Copies
        Of the views.
    fitted : Callable
        ``fitted(width, views, firmness)``: a short fit through the widened PSF, with so many times the penalty.
    """

    def __init__(self, copies: Copies, fitted: Callable[[float, Tensor, float], Fitted]) -> None:
        self._copies, self._fitted = copies, fitted
        self._scores: dict[float, float] = {}
        self._fits: dict[float, Fitted] = {}
        self.found = 1.0
        """Width that predicts best, relative to the given one, once the trials are done; 1 where none is surely better."""
        self.best: Fitted | None = None
        """The short fit through that PSF."""

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
                if lowest > 0:
                    yield self._tried(0, FIRMER)
                if lowest < 0 or self._surely(lowest, FIRM):
                    self.found = between.width
        self.best = self._fits[0 if self.found == 1.0 else lowest]
        self._fits.clear()

    def first(self) -> Trial:
        """Try the given width only."""
        trial = self._tried(0)
        self.best = self._fits.pop(0)
        return trial

    def _surely(self, place: float, than: float = 0) -> bool:
        return self._copies.surely(self._fits[than].views, self._fits[place].views)

    def _spread(self, place: float) -> float:
        return self._copies.spread(self._fits[place].views, self._fits[0].views)

    def _best(self) -> float:
        return min(self._scores, key=lambda place: self._scores[place])

    def _further(self) -> float | None:
        best = self._best()
        further = best + (best > 0) - (best < 0)
        return None if further in self._scores or abs(further) > FARTHEST else further

    def _tried(self, place: float, firmness: float = 1.0) -> Trial:
        width = math.exp(math.log(RATIO) * place)
        fitted = self._fitted(width, self._copies.first, firmness)
        score = self._copies.score(fitted.views)
        if firmness == 1.0:
            self._scores[place] = score
        self._fits[place if firmness == 1.0 else FIRM] = fitted
        return Trial(width, self._copies.deviance(score))

    def _lowest(self, best: float) -> tuple[float, float]:
        """Return where the parabola through the best trial and its neighbours is lowest, and how much is gained."""
        below, here, above = (self._scores.get(best + step, math.inf) for step in (-1, 0, 1))
        gained = self._scores[0] - here
        if not math.isfinite(below + above):
            return best, gained
        aside = (below - above) / (2 * (below + above - 2 * here))
        return best + aside, gained + (below + above - 2 * here) / 2 * aside**2
