"""The fit of one scene, step by step: positions, Richardson-Lucy, refinement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import (
    AutomaticStop,
    Estimate,
    flat_start,
    reduced_deviance,
    richardson_lucy,
    sensitivity_weight,
)
from napari_recon.engines.deconvolution.view_positions import ViewPositions, align_views
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.psf_look import PsfLook
from napari_recon.engines.lightfield_inr.fast.psf_search import Fitted
from napari_recon.engines.lightfield_inr.fast.published import PublishedRefinement
from napari_recon.engines.lightfield_inr.fast.refine import Problem, Refined, Refinement
from napari_recon.engines.lightfield_inr.fast.residuals import likeness
from napari_recon.engines.lightfield_inr.fast.transfer import Before, Starts
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings

MOST_ITERATIONS, TARGET_DEVIANCE = 80, 1.1
#: Refinement steps, those of trials of the PSF included; and those that are left after many trials.
MOST_STEPS, LEAST_STEPS = 60, 30
#: Steps after which the objective is looked at, and the part it has to fall by to go on.
LOOK, ENOUGH = 5, 3e-4
#: The same part for a time point that starts from the one before and is nearly there.
ENOUGH_TRANSFERRED = 1e-3
#: Residuals of neighbouring pixels that are more alike than this are no noise: the model is wrong, or not yet there. It is
#: wrong when they stay alike, losing less than a part over some steps; the penalty is then raised, for details are made up.
ALIKE, FADING, FADED = 0.03, 10, 0.2
DOUBT = 4.0
#: Norms of second derivatives below this part of the bright voxels are noise in any case.
SOFTNESS = 0.01
#: Part of voxels that are brighter than the level that stands for the scene's brightness.
BRIGHT = 1e-3
#: Steps between two refinements of the views' positions.
POSITIONS_EVERY = 10
#: Views that move by less than so many pixels leave the objective as good as it was.
SETTLED = 0.02
#: Steps between two looks at the background while the data are not explained: the darkest places of a dense scene are not
#: dark. It is left where it would change by less than a part.
BACKGROUND_EVERY, CHANGED = 5, 0.01
#: Refinement steps of a fit that tries another PSF: which one predicts best no longer changes. A few more where the
#: deconvolution before them is short; where it is shorter than LEAST_LIGHT iterations, views are too dim to tell.
TRIAL_STEPS, TRIAL_LENGTH, LEAST_LIGHT = 6, 16, 6


@dataclass(frozen=True)
class Done:
    """One step of the fit.

    Attributes
    ----------
    stage : str
        ``"deconvolution"``, ``"psf"`` (trials of its width) or ``"refinement"``.
    step : int
        Counted from 1 within the stage.
    volume : Tensor
        (z, y, x) in counts, margins included; valid until the next step.
    deviance : float
        Reduced deviance of the views that are fitted, or of noise that the trial has not seen.
    residual : float
        Root mean square of data minus model, in counts; NaN while it is not computed.
    loss, held_out : float
        Objective of the refinement; reduced deviance of the view that is kept out. NaN where there is none.
    """

    stage: str
    step: int
    volume: Tensor
    deviance: float
    residual: float = float("nan")
    loss: float = float("nan")
    held_out: float = float("nan")


class SceneFit:
    """Fits one scene.

    Parameters
    ----------
    counts : Counts
    optics : Optics
    penalty : float
        Strength of the roughness penalty relative to the noise.
    steps : int or None
        Of the refinement; None stops by itself.
    refine_views : bool
    find_width, find_aberrations : bool
        Look whether the PSF is wider or narrower than given, and single views are aberrated, before the refinement.
    use_trials : bool
        Count the steps of such trials and go on from the best; else a fit that finds nothing is one that did not look.
    held_out : int or None
        View that is kept out and judges when to stop.
    memory : int
        See `Refinement`.
    published : FitSettings or None
        Refine under the published objective, with these weights, instead of a square-root data term and `penalty`.
    before : Before or None
        The frame before, from which to start where that is better than to start afresh.
    check : Callable
        Raises to cancel.
    """

    def __init__(
        self,
        counts: Counts,
        optics: Optics,
        *,
        penalty: float,
        steps: int | None = None,
        refine_views: bool = False,
        find_width: bool = False,
        find_aberrations: bool = False,
        use_trials: bool = True,
        held_out: int | None = None,
        memory: int = 8,
        published: FitSettings | None = None,
        before: Before | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._counts, self._optics, self._strength, self._most = counts, optics, penalty, steps or MOST_STEPS
        self._before, self._published = before, published
        self._automatic, self._memory, self._check = steps is None, memory, check
        views = range(len(counts.views))
        self._kept = kept = None if held_out is None else [view for view in views if view != held_out]
        self._data = counts.views if kept is None else counts.views[kept]
        self._projector = optics.projector(kept)
        check()
        self._positions: ViewPositions | None = None
        self._weighed_at: Tensor | None = None
        self._weigh()
        self._aside = None if held_out is None else (optics.projector([held_out]), counts.views[held_out : held_out + 1])
        self._refining, self._finding, self._use_trials = refine_views, (find_width, find_aberrations), use_trials
        self._refinement: Refinement | None = None
        self._last: Tensor | None = None
        self._ahead: Tensor | None = None  # of `_last`: a volume that is further
        self._losses: list[float] = []
        self._errors: list[float] = []
        self.iterations = 0
        self.trial_steps = self.trial_iterations = 0
        """Refinement steps, and iterations of Richardson-Lucy, that trials of the PSF took."""
        self.transferred = False
        """Whether the fit started from the frame before."""
        self.deviance = float("nan")
        self._explained = float("nan")
        self.doubtful = False
        """Whether residuals stayed alike from pixel to pixel, so that the penalty was raised."""
        self.likeness: list[float] = []
        """Correlation of neighbouring pixels' residuals after each refinement step."""

    @property
    def refinement_steps(self) -> int:
        """Steps of the refinement that were taken."""
        return 0 if self._refinement is None else self._refinement.step_number

    @property
    def optics(self) -> Optics:
        """The optics as they were found."""
        return self._optics

    @property
    def background(self) -> float:
        """Light that no voxel explains, in counts."""
        return self._counts.background if self._refinement is None else self._refinement.problem.background

    @property
    def offsets(self) -> Tensor | None:
        """Displacement of each view (views, 2) in pixels; None when positions are taken as given."""
        return None if self._positions is None else self._positions.offset_pixels

    def steps(self) -> Iterator[Done]:
        """Yield the fit's steps; after `restore`, those that are left."""
        if self._refinement is None:
            yield from self._deconvolved()
            if any(self._finding) and not self.transferred and self.iterations >= LEAST_LIGHT:
                yield from self._looked()
            self._refinement = self._refining_from(self._last)
        yield from self._refined(self._refinement)

    def state(self) -> dict[str, Any] | None:
        """Return all that `restore` needs to go on exactly; None before the refinement, which is soon repeated."""
        if self._refinement is None or self._refinement.step_number == 0:
            return None
        problem = self._refinement.problem
        return {
            "iterations": self.iterations,
            "trials": (self.trial_steps, self.trial_iterations),
            "most": self._most,
            "transferred": self.transferred,
            "explained": self._explained,
            "deviance": self.deviance,
            "doubtful": self.doubtful,
            "likeness": list(self.likeness),
            "penalty": problem.penalty,
            "background": problem.background,
            "softness": problem.softness,
            "offsets": self.offsets,
            "weighed_at": self._weighed_at,
            "losses": list(self._losses),
            "errors": list(self._errors),
            "refinement": self._refinement.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.iterations, self.deviance = int(state["iterations"]), float(state["deviance"])
        (self.trial_steps, self.trial_iterations), self._most = state["trials"], int(state["most"])
        self.transferred, self._explained = bool(state["transferred"]), float(state["explained"])
        if self.transferred:
            self._bound()
        self.doubtful, self.likeness = bool(state["doubtful"]), list(state["likeness"])
        self._losses, self._errors = list(state["losses"]), list(state["errors"])
        if self._refining and state["offsets"] is not None:
            self._positions = self._at(state["weighed_at"])
            self._weigh()
            self._positions = self._at(state["offsets"])
        root = state["refinement"]["root"].to(self._data.device)
        problem = replace(self._problem(state["penalty"], state["softness"]), background=state["background"])
        self._refinement = self._refinement_of(problem, root.square())
        self._refinement.restore(state["refinement"])

    def left(self, volume: Tensor) -> Before:
        """Return what the next frame can start from, given the last volume of `steps`."""
        iterations, steps = self.iterations, self.refinement_steps if self._ended else self._most
        if self.transferred and self._before is not None:
            iterations, steps = self._before.iterations, self._before.steps
        return Before(volume / self._counts.scale, self.offsets, iterations, steps, self._explained)

    def _deconvolved(self) -> Iterator[Done]:
        before = self._before
        if self._refining and before is not None and before.offsets is not None:
            self._positions = self._at(before.offsets)
            self._weigh()
        elif self._refining and self._positions is None:
            self._align()
        flat = flat_start(self._data, self._counts.background, self._seen)
        fresh = self._estimates(flat, MOST_ITERATIONS, AutomaticStop(TARGET_DEVIANCE))
        if before is not None and before.worthwhile:
            yield from self._transferred(before, fresh)
        if not self.transferred:
            yield from map(self._deconvolution, fresh)
            self._explained = self.deviance

    def _looked(self) -> Iterator[Done]:
        """Yield trials of other PSFs, and where one predicts surely better the deconvolution through it."""
        counts, volume, offsets = self._counts, self._last, self.offsets
        assert volume is not None  # the deconvolution takes one iteration at least
        model = self._projector.forward(volume, self._check).clamp_min_(0).add_(counts.background)
        widths, aberrations = self._finding
        look = PsfLook(counts, model, self._optics, offsets, self._tried, widths, aberrations, self._check)
        for number, trial in enumerate(look.trials()):
            yield Done("psf", number + 1, volume, trial.deviance)
        self.trial_steps, self.trial_iterations = look.steps, look.iterations
        self._ahead = look.volume if self._use_trials else None
        if look.optics is not self._optics:
            self._optics, self._projector = look.optics, look.optics.projector()
            if self._refining:
                self._positions = self._at(offsets)
            self._weigh()
            yield from self._deconvolved()
        if self._automatic and self._use_trials:
            self._most = max(self._most - self.trial_steps, LEAST_STEPS)

    def _tried(self, optics: Optics, views: Tensor, firmness: float = 1.0) -> Fitted:
        """Return a short fit to other views through another PSF, the penalty so many times as strong."""
        counts, steps = replace(self._counts, views=views), max(TRIAL_STEPS, TRIAL_LENGTH - self.iterations)
        strength = firmness * self._strength
        fit = SceneFit(counts, optics, penalty=strength, steps=steps, memory=self._memory, check=self._check)
        *_, last = fit.steps()
        model = fit._projector.forward(last.volume, self._check).clamp_min_(0).add_(counts.background)
        return Fitted(last.volume, model, fit.iterations, fit.refinement_steps)

    def _transferred(self, before: Before, fresh: Iterator[Estimate]) -> Iterator[Done]:
        """Yield the steps from the frame before, or the first of `fresh` where that explains the data better."""
        counts = self._counts
        starts = Starts(self._projector, self._data, counts.background, counts.read_variance, self._check)
        old = starts.scaled(before.volume.to(self._data.device) * counts.scale)
        self._last, self.deviance = old.volume, old.deviance
        self.transferred = old.deviance <= TARGET_DEVIANCE
        if not self.transferred:
            first = next(fresh)
            new = starts.scaled(first.volume)
            self.transferred = old.deviance < new.deviance
            if not self.transferred:
                yield self._deconvolution(first)
            else:
                mixed = starts.mixed(old, new)
                yield self._deconvolution(replace(first, volume=mixed.volume, deviance=mixed.deviance))
                for estimate in self._estimates(mixed.volume, before.brief, None):
                    yield self._deconvolution(replace(estimate, iteration=estimate.iteration + 1))
        if self.transferred:
            self._explained = before.deviance
            self._bound()

    def _bound(self) -> None:
        """Take no more steps than a fresh start took."""
        if self._automatic and self._before is not None:
            self._most = min(self._most, self._before.steps)

    def _estimates(self, start: Tensor, iterations: int, stop: AutomaticStop | None) -> Iterator[Estimate]:
        return richardson_lucy(
            self._projector,
            self._data,
            background=self._counts.background,
            read_variance=self._counts.read_variance,
            iterations=iterations,
            weight=self._weight,
            start=start,
            stop=stop,
            after_projection=self._positions,
            check=self._check,
        )

    def _deconvolution(self, estimate: Estimate) -> Done:
        self.iterations, self.deviance, self._last = estimate.iteration, estimate.deviance, estimate.volume
        return Done("deconvolution", estimate.iteration, estimate.volume, estimate.deviance)

    def _refined(self, refinement: Refinement) -> Iterator[Done]:
        while refinement.step_number < self._most and not refinement.ended and not self._enough():
            done = refinement.step(self._check)
            self.deviance = done.deviance
            residual = float((self._data - done.views).square().mean().sqrt())
            held_out = self._held_out(done.volume)
            self._losses.append(done.loss)
            self.likeness.append(likeness(self._data, done.views, self._counts.read_variance))
            if self._aside is not None:
                self._errors.append(held_out)
            if self._positions is not None and done.step % POSITIONS_EVERY == 0:
                self._move_views(self._positions, refinement, done)
            if done.step % BACKGROUND_EVERY == 0 and (self._explained > TARGET_DEVIANCE or self.unlike_noise):
                self._look_at_background(refinement, done.views)
            if not self.doubtful and self.unlike_noise and self._standing():
                self.doubtful = True
                refinement.problem = replace(refinement.problem, penalty=DOUBT * refinement.problem.penalty)
                refinement.forget()
                self._losses.clear()
            yield Done("refinement", done.step, done.volume, done.deviance, residual, done.loss, held_out)

    def _move_views(self, positions: ViewPositions, refinement: Refinement, done: Refined) -> None:
        """Refine the views' positions; the objective is another one where that moves them noticeably."""
        before = positions.offset_pixels
        positions(done.step, self._data, done.views)
        if float((positions.offset_pixels - before).abs().max()) < SETTLED:
            refinement.look_again()
        else:
            refinement.forget()
            self._losses.clear()  # those of other positions

    def _look_at_background(self, refinement: Refinement, model: Tensor) -> None:
        """Bring the background to what the model leaves, but not above what the darkest places say."""
        problem = refinement.problem
        weight = 1 / (model + problem.read_variance)
        left = float((weight * (self._data - model)).sum() / weight.sum())
        found = min(max(problem.background + left, 0.0), self._counts.background)
        if abs(found - problem.background) > CHANGED * problem.background:
            refinement.problem = replace(problem, background=found)
            refinement.forget()
            self._losses.clear()

    @property
    def unlike_noise(self) -> bool:
        """Whether residuals of neighbouring pixels are alike; the published penalties make them so by themselves."""
        if self._published is not None:
            return False
        bound = max(ALIKE, 4 / self._data.numel() ** 0.5)
        return bool(self.likeness) and self.likeness[-1] > bound

    def _standing(self) -> bool:
        recent = self.likeness[-1 - FADING :]
        return len(self.likeness) > 2 * FADING and recent[-1] > (1 - FADED) * recent[0]

    @property
    def _ended(self) -> bool:
        return self._refinement is not None and (self._refinement.ended or self._enough())

    def _enough(self) -> bool:
        """Return whether more steps would gain nothing: the held-out view got worse, or the objective stands still."""
        if not self._automatic:
            return False
        if len(self._errors) > LOOK and min(self._errors[-LOOK:]) > min(self._errors[:-LOOK]):
            return True
        least = ENOUGH_TRANSFERRED if self.transferred else ENOUGH
        return len(self._losses) > LOOK and self._losses[-1 - LOOK] - self._losses[-1] < least * self._losses[-1]

    def _held_out(self, volume: Tensor) -> float:
        if self._aside is None:
            return float("nan")
        projector, data = self._aside
        model = projector.forward(volume, self._check).clamp_min_(0).add_(self.background)
        return reduced_deviance(data, model, self._counts.read_variance)

    def _refining_from(self, start: Tensor | None) -> Refinement:
        assert start is not None  # the deconvolution takes one iteration at least
        inner = self._optics.inner(start).flatten()
        level = max(float(np.quantile(inner[:: max(1, len(inner) // 10**6)].cpu().numpy(), 1 - BRIGHT)), 1e-6)
        # noise of a bright voxel goes as sqrt(level / views), and as the root of a variance that photons do not explain
        strength = self._strength * (len(self._data) * max(1.0, self._explained) / level) ** 0.5
        return self._refinement_of(self._problem(strength, SOFTNESS * level), start if self._ahead is None else self._ahead)

    def _refinement_of(self, problem: Problem, start: Tensor) -> Refinement:
        if self._published is None:
            return Refinement(problem, start, self._memory)
        brightness = self.optics.brightness_v if self._kept is None else self.optics.brightness_v[self._kept]
        return PublishedRefinement(
            problem,
            start,
            self._memory,
            brightness_v=brightness,
            offset=self._counts.offset,
            margin=self.optics.margin,
            settings=self._published,
        )

    def _problem(self, penalty: float, softness: float) -> Problem:
        counts = self._counts
        return Problem(self._projector, self._data, counts.background, counts.read_variance, self._weight, penalty, softness)

    def _weigh(self) -> None:
        """Look how well voxels are seen from where the views are now."""
        self._weight, self._seen = sensitivity_weight(self._projector, self._data, self._check)
        self._weighed_at = self.offsets

    def _at(self, offsets: Tensor | None) -> ViewPositions:
        return ViewPositions(self._projector, self._optics.slope_v2, offsets)

    def _align(self) -> None:
        levels = align_views(
            lambda scale: self._optics.projector(scale=scale),
            self._data,
            self._counts.background,
            self._optics.slope_v2,
            self._check,
        )
        for offsets in levels:
            self._positions = self._at(offsets)
        self._weigh()
