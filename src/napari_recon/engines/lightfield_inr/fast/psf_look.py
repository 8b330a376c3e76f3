"""Looks whether the PSF is the one that was given: its width, then aberrations of single views."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from napari_recon.engines.lightfield_inr.fast.aberration_search import AberrationSearch
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.psf_search import Copies, Fitted, Trial, WidthSearch


class PsfLook:
    """Tries other PSFs than the given one by short fits to a copy of the views, which have to predict another copy.

    Parameters
    ----------
    counts : Counts
    model : Tensor
        A first model (v, y, x) of the views, in counts.
    optics : Optics
        As given.
    offsets : Tensor or None
        Displacement of each view (views, 2), pixels.
    fitted : Callable
        ``fitted(optics, views, firmness)``: a short fit, the penalty so many times as strong.
    widths, aberrations : bool
        What to look for.
    check : Callable
        Raises to cancel.
    """

    def __init__(
        self,
        counts: Counts,
        model: Tensor,
        optics: Optics,
        offsets: Tensor | None,
        fitted: Callable[[Optics, Tensor, float], Fitted],
        widths: bool,
        aberrations: bool,
        check: Callable[[], None],
    ) -> None:
        self._counts, self._model, self._offsets, self._fitted, self._check = counts, model, offsets, fitted, check
        self._widths, self._aberrations = widths, aberrations
        self.optics = optics
        """What was found, without the displacements; the given ones where nothing is surely better."""
        self.volume: Tensor | None = None
        """Volume (z, y, x) of the short fit through them: further than a deconvolution."""
        self.steps = self.iterations = 0
        """Refinement steps, and iterations of Richardson-Lucy, that the trials took."""

    def trials(self) -> Iterator[Trial]:
        """Yield the trials."""
        given, copies = self.optics, Copies(self._counts.views, self._model, self._counts.read_variance)
        widths = WidthSearch(
            copies, lambda width, views, firmness: self._tried(given.widened(width, self._offsets), views, firmness)
        )
        if self._widths:
            yield from widths.trials()
        elif self._aberrations:
            yield widths.first()
        best, width = widths.best, widths.found
        if best is None:
            return
        self.volume = best.volume
        self.optics = found = given if width == 1.0 else given.widened(width)
        if not self._aberrations:
            return
        displaced = given.widened(width, self._offsets)
        search = AberrationSearch(copies, self._counts, best, displaced, self._check)
        waves = search.waves()
        self.iterations += search.iterations
        if waves is None:
            return
        other = self._tried(displaced.aberrated(waves), copies.first)
        yield Trial(width, copies.deviance(copies.score(other.views)))
        if copies.surely(best.views, other.views):
            self.optics, self.volume = found.aberrated(waves), other.volume

    def _tried(self, optics: Optics, views: Tensor, firmness: float = 1.0) -> Fitted:
        fitted = self._fitted(optics, views, firmness)
        self.steps, self.iterations = self.steps + fitted.steps, self.iterations + fitted.iterations
        return fitted
