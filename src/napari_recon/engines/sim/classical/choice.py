"""Which of several peaks is the carrier: the one whose regression leaves least of the frames unexplained.

The height of a peak says that there is a pattern; an object with much structure raises others beside it, now and then above
it. The regression tells them apart by far, but a fit costs as much as the search, so that only peaks of similar height are
tried, and more where there is reason to doubt: much is left unexplained, or the angles disagree on the pattern's period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.sim.classical import quality
from napari_recon.engines.sim.classical.regression import Fit, Regression, Samples

Array = NDArray[np.float64]
#: Uncertainty of amplitudes from which on the centre of the object's spectrum is used, trustworthy or not.
STRUCTURELESS = 0.15
#: Misfit above which lower peaks are tried too.
DOUBTED = 2.0
#: A place is nearly as good as the best when it explains this share of what that one does, and leaves a misfit at most this
#: many times as large. The share alone is high next to the carrier of a smooth object, the ratio low for a weak pattern.
NEARLY, AS_WELL = 0.85, 1.05
#: Periods of one pattern differ by less, relatively; those that differ more are looked for where the others are.
SAME = 0.04


class Place(NamedTuple):
    """Where a carrier may be.

    Attributes
    ----------
    k : ndarray
        (2,), (kx, ky), cycles/um.
    height : float
        Of the peak there.
    carrier : int
        Which one of its group.
    """

    k: Array
    height: float
    carrier: int = 0


class Start(NamedTuple):
    """Where the regression of one group begins.

    Attributes
    ----------
    frames : list of int
    k : ndarray
        (C, 2).
    heights : list of float
        Of each carrier's peak.
    rivals : list of Place
        Other places to try.
    lower : callable, optional
        Gives further places at lower peaks; with a list of lengths (cycles/um), at the highest ones of these |k|.
    """

    frames: list[int]
    k: Array
    heights: list[float]
    rivals: list[Place] = []
    lower: Callable[[Sequence[float]], list[Place]] | None = None


class Choice:
    """The carriers of one group, better ones taking the place of worse.

    Attributes
    ----------
    problem : Regression
        Of the best places.
    fit : Fit
    heights : list of float
    """

    def __init__(self, samples: Samples, start: Start, order0: Array, o: Tensor, steps: int) -> None:
        self.samples, self.start = samples, start
        self._how = (order0, o, steps, 1)
        self.heights = list(start.heights)
        self.problem = Regression(samples, start.frames, start.k)
        self.fit = self.problem.fit(*self._how)
        if self.fit.uncertainty > STRUCTURELESS:
            # an even field shows the pattern itself, and nothing but it
            self.problem = Regression(samples, start.frames, start.k, centre=0.0)
            self.fit = self.problem.fit(*self._how)
        self._tried: list[Fit] = [self.fit]
        self._seen = [(c, k) for c, k in enumerate(start.k)]
        self.consider(start.rivals)
        if self.fit.residual > DOUBTED and start.lower:
            self.consider(start.lower([]))

    def consider(self, places: Sequence[Place]) -> bool:
        """Try other places, and return whether one of them is better."""
        before = self.fit
        for place in places:
            if any(c == place.carrier and self._same(place.k, k) for c, k in self._seen):
                continue
            self._seen.append((place.carrier, place.k))
            k = np.where(np.arange(len(self.fit.k))[:, None] == place.carrier, place.k, self.fit.k)
            problem = Regression(self.samples, self.start.frames, k, centre=self.problem.centre)
            fit = problem.fit(*self._how)
            self._tried.append(fit)
            if fit.residual < self.fit.residual:
                self.problem, self.fit, self.heights[place.carrier] = problem, fit, place.height
        return self.fit is not before

    @property
    def doubtful(self) -> bool:
        """Whether another place explains the frames nearly as well."""
        others = (f.residual for f in self._tried if not all(map(self._same, f.k, self.fit.k)))
        second, best = min(others, default=math.inf), self.fit.residual
        if second > AS_WELL * best:
            return False
        plain = Regression(self.samples, self.start.frames, np.zeros((0, 2))).fit(*self._how).residual
        return plain - second > NEARLY * (plain - best)

    def _same(self, a: Array, b: Array) -> bool:
        """Return whether two k are a fraction of a Fourier pixel apart."""
        return bool(min(np.abs(a - b).max(), np.abs(a + b).max()) < 0.3 * self.samples.lattice.step_per_um)


def chosen(samples: Samples, starts: Sequence[Start], order0: Array, o: Tensor, steps: int) -> list[Choice]:
    """Return the choice of every group; where periods disagree, those of the other groups are tried."""
    choices = [Choice(samples, start, order0, o, steps) for start in starts]
    single = [c for c in choices if len(c.fit.k) == 1 and c.start.lower]
    for _ in range(2):
        changed = False
        lengths = [float(np.hypot(*c.fit.k[0])) for c in single]
        for n, odd in enumerate(quality.odd(lengths, SAME)):
            lower = single[n].start.lower
            if odd and lower:
                changed |= single[n].consider(lower(lengths[:n] + lengths[n + 1 :]))
        if not changed:
            break
    return choices
