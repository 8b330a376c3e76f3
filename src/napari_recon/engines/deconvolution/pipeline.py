"""The run of deconvolution.lightfield_rl: frame by frame, window by window, an estimate every other iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    Decided,
    Event,
    MetricLogged,
    PreviewReady,
    Progress,
    Warned,
)
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.damping import Snapshots, damped
from napari_recon.engines.deconvolution.noise import (
    READ_VARIANCE,
    Dark,
    counts_scale,
    estimate_dark,
    measured_read_variance,
)
from napari_recon.engines.deconvolution.ordered_subsets import parts_of, subset_count
from napari_recon.engines.deconvolution.physics import Physics
from napari_recon.engines.deconvolution.richardson_lucy import (
    AutomaticStop,
    Estimate,
    Part,
    flat_start,
    iterate,
    no_smoothing,
    sensitivity_weight,
)
from napari_recon.engines.deconvolution.setup import USUAL_ITERATIONS, Setup
from napari_recon.engines.deconvolution.start import prepared, refocused
from napari_recon.engines.deconvolution.total_variation import smoothing_factor
from napari_recon.engines.deconvolution.view_positions import ViewPositions, align_views
from napari_recon.engines.deconvolution.windows import Window, brightest, fine_bounds
from napari_recon.optics.psf_convolution import PsfProjector
from napari_recon.optics.psf_projector import ViewProjector
from napari_recon.optics.refocus import Refocuser, combined

if TYPE_CHECKING:
    from napari_recon.engines.deconvolution.engine import LightFieldRLParams

#: Iterations after which an automatic run ends in any case.
MOST_ITERATIONS = 80
PREVIEW_EVERY = 2
#: The reduced deviance at which data are explained; automatic runs go on from there for half as many iterations, which
#: damping then turns into quality (see `damping`).
TARGET_DEVIANCE = 1.1
BEYOND = 1.5
#: A settled reduced deviance above this says that the model does not fit the data.
SUSPICIOUS_DEVIANCE = 2.5


@dataclass(eq=False)
class _FrameState:
    """What holds for all windows of one frame.

    Attributes
    ----------
    views : ndarray
        In counts, without the camera's offset.
    scale : float
        Counts per unit of the data.
    level, background : float
        Constant part of the data in their own unit; what of it the model takes for light, in counts.
    read_variance : float
        Variance of the data besides that of light, in squared counts.
    """

    views: NDArray[np.float32]
    start: NDArray[np.float32] | None
    scale: float
    level: float
    background: float
    read_variance: float = READ_VARIANCE
    offset_pixels: Tensor | None = None
    light: float | None = None
    deviance: float = float("nan")
    settled: bool = False


@dataclass(frozen=True)
class _Region:
    """What a window delivers: bounds (z, y, x) in fine voxels of the whole field, and their place in the output."""

    fine: tuple[tuple[int, int], ...]
    place: tuple[slice, ...]


class LightFieldRun:
    """One run: keeps projector and resolved iterations from frame to frame."""

    def __init__(self, plan: Plan, params: LightFieldRLParams, setup: Setup) -> None:
        self._plan, self._params, self._setup = plan, params, setup
        self._iterations = None if isinstance(params.iterations, str) else params.iterations
        given = params.damping
        self._damping = (None if self._iterations is None else 0.0) if isinstance(given, str) else given
        self._physics: Physics | None = None
        self._projector: ViewProjector | None = None
        self._weight: tuple[Tensor, Tensor] | None = None

    @property
    def undecided(self) -> bool:
        """Whether the number of iterations is still automatic."""
        return self._iterations is None

    def decide(self, frame: Frame, token: CancelToken) -> Iterator[Event]:
        """Fix the automatic number of iterations on ``frame`` without delivering anything of it."""
        state = self._state(frame)
        yield from self._solve_frame(state, [], 0, token)

    def frame(self, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one frame."""
        state = self._state(frame)
        token.check()
        if state.scale != 1.0 and index == 0:
            yield Warned(
                f"the values do not look like camera counts; they were multiplied by {state.scale:.4g} to judge the noise "
                "and the result was scaled back"
            )
        if index == 0:
            for sentence in self._physics_for(frame).said:
                yield Warned(sentence)
        wanted = [window for window in self._windows() if self._region(window)]
        if index == 0:
            yield from self._first_look(state, wanted[0], token)
        yield from self._solve_frame(state, wanted, index, token)
        yield from self._closing_words(state, index)

    def _state(self, frame: Frame) -> _FrameState:
        views = np.ascontiguousarray(frame["views"][list(self._setup.pages)], dtype=np.float32)
        given = self._params.background
        dark = estimate_dark(views)
        level = dark.level if isinstance(given, str) else float(given)
        scale = counts_scale(views - np.float32(min(level, 0.0)))
        dark = Dark(dark.level * scale, dark.variance * scale**2)
        offset, light = dark.split(level * scale)
        # dim views of few pixels: the usual allowance for read noise would end the iterations far too early
        read_variance = measured_read_variance(dark, light) if self._setup.convolves else READ_VARIANCE
        self._physics_for(frame)
        return _FrameState(
            views * np.float32(scale) - np.float32(offset), frame["start"], scale, level, light, read_variance
        )

    def _physics_for(self, frame: Frame) -> Physics:
        if self._physics is None:
            self._physics = Physics(self._setup, frame["psf"], self._plan.compute.device)
        return self._physics

    def _solve_frame(self, state: _FrameState, wanted: list[Window], index: int, token: CancelToken) -> Iterator[Event]:
        """Solve the windows, the brightest first: it decides positions and iterations for all of them."""
        windows = self._windows()
        pilot = brightest(windows, state.views)
        decides = self.undecided or self._params.refine_views or (bool(self._damping) and len(windows) > 1)
        sequence = [w for w in wanted if w is pilot or w == pilot] + [w for w in wanted if w != pilot]
        if decides and pilot not in wanted:
            sequence.insert(0, pilot)
        steps = len(sequence) * (self._iterations or USUAL_ITERATIONS)
        if self._params.refine_views:
            yield from self._align(state, pilot, steps, token)
        for number, window in enumerate(sequence):
            deliver = window in wanted
            joint = self._params.refine_views and window == pilot
            yield from self._solve_window(state, window, number, len(sequence), joint, deliver, index, token)
            token.check()

    def _windows(self) -> list[Window]:
        assert self._physics is not None
        return self._setup.windows(self._plan.resources.tile["y"], self._physics.halo)

    def _first_look(self, state: _FrameState, window: Window, token: CancelToken) -> Iterator[Event]:
        """Show the refocused views at once, with the light of the data: the projector alone takes seconds to make."""
        assert self._physics is not None
        region = self._region(window)
        assert region is not None
        (low, high), y, x = region.fine
        light = np.maximum(state.views - np.float32(state.background), 0) / np.float32(self._setup.planes * state.scale)
        refocuser = Refocuser(
            torch.from_numpy(light).to(self._physics.device), self._physics.psf_shift_vz2, self._setup.upsampling
        )
        size_yx = (self._setup.volume.size("Y"), self._setup.volume.size("X"))
        block = np.empty((high - low, y[1] - y[0], x[1] - x[0]), np.float32)
        for first in range(low, high, 4):
            token.check()
            last = min(first + 4, high)
            block[first - low : last - low] = combined(refocuser, (first, last), y, x, size_yx).cpu().numpy()
        yield PreviewReady("volume", region.place, block, step=0)

    def _align(self, state: _FrameState, pilot: Window, steps: int, token: CancelToken) -> Iterator[Event]:
        assert self._physics is not None
        physics = self._physics
        data = torch.from_numpy(pilot.cut(state.views)).to(physics.device)
        levels = align_views(
            lambda scale: physics.projector(pilot.read_shape, 1.0, scale),
            data,
            state.background,
            physics.slope_v2,
            token.check,
        )
        yield Progress(0, steps, "iteration", "aligning views")
        for offset in levels:
            state.offset_pixels = offset
            yield Progress(0, steps, "iteration", "aligning views")

    def _solve_window(
        self,
        state: _FrameState,
        window: Window,
        number: int,
        count: int,
        joint: bool,
        deliver: bool,
        index: int,
        token: CancelToken,
    ) -> Iterator[Event]:
        assert self._physics is not None
        data = torch.from_numpy(np.ascontiguousarray(window.cut(state.views))).to(self._physics.device)
        projector = self._projector_for(window, state, data, token)
        assert self._weight is not None
        token.check()
        positions = None
        if joint:
            positions = ViewPositions(projector, self._physics.slope_v2, state.offset_pixels)
        beyond = 1.0 if self._damping == 0.0 else BEYOND
        stop = AutomaticStop(TARGET_DEVIANCE, beyond=beyond) if self.undecided else None
        limit = self._iterations or MOST_ITERATIONS
        if stop is None:
            snapshots = Snapshots(lambda iteration: limit)
        else:
            snapshots = Snapshots(stop.earliest_end if self._damping is None else lambda iteration: iteration)
        estimate: Estimate | None = None
        start = self._start(state, window, projector, data, token)
        for estimate in self._iterate(projector, data, state, limit, start, stop, positions, token):
            if self._damping != 0.0:
                snapshots.keep(estimate.iteration, estimate.volume)
            usual = max(USUAL_ITERATIONS, estimate.iteration) if stop else limit
            piece = self._piece(number, count)
            yield MetricLogged("deviance", estimate.iteration, estimate.deviance, series=piece)
            if deliver and estimate.iteration % PREVIEW_EVERY == 1:
                place, block = self._block(state, window, projector, estimate.volume, token)
                yield PreviewReady("volume", place, block, estimate.iteration)
            yield Progress(number * usual + estimate.iteration, count * usual, "iteration", piece)
        assert estimate is not None
        state.deviance = estimate.deviance
        state.settled = stop is not None or estimate.iteration >= USUAL_ITERATIONS
        if positions is not None:
            state.offset_pixels = positions.offset_pixels
        volume = estimate.volume
        if stop is not None and not stop.explained and self._damping is None:
            self._damping = 0.0
        if self._damping != 0.0:
            volume, self._damping, state.light = damped(
                projector,
                data,
                state.background,
                snapshots.early(estimate.iteration),
                volume,
                weight=self._damping,
                light=state.light,
                target=TARGET_DEVIANCE,
                read_variance=state.read_variance,
                check=token.check,
            )
        if stop is not None:
            self._iterations = estimate.iteration
            yield Decided({"iterations": estimate.iteration, "damping": self._damping})
        if deliver:
            yield BlockReady("volume", *self._block(state, window, projector, volume, token))

    def _iterate(
        self,
        projector: ViewProjector,
        data: Tensor,
        state: _FrameState,
        iterations: int,
        start: Tensor,
        stop: AutomaticStop | None,
        positions: ViewPositions | None,
        token: CancelToken,
    ) -> Iterator[Estimate]:
        """Return the iteration that the parameters ask for."""
        assert self._weight is not None
        strength = self._params.tv
        smoothing = partial(smoothing_factor, strength=strength) if strength else no_smoothing
        weight, seen = self._weight
        parts = [Part(projector, data, weight)]
        if self._params.update == "subsets":
            assert isinstance(projector, PsfProjector)  # checked while planning
            parts, start = parts_of(projector, data, subset_count(len(data)), token.check), start * seen
        return iterate(
            parts,
            background=state.background,
            read_variance=state.read_variance,
            iterations=iterations,
            start=start,
            stop=stop,
            after_projection=positions,
            smoothing=smoothing,
            accelerated=self._params.update == "accelerated",
            check=token.check,
        )

    def _projector_for(self, window: Window, state: _FrameState, data: Tensor, token: CancelToken) -> ViewProjector:
        """Return the projector all windows share, its views displaced as found for this frame, and fit the weight."""
        assert self._physics is not None
        if self._projector is None:
            voxels_per_pixel = self._setup.voxels_per_pixel(self._params.voxel)
            self._projector = self._physics.projector(window.read_shape, voxels_per_pixel)
        self._projector.displace_views(state.offset_pixels)
        if self._weight is None or state.offset_pixels is not None:
            self._weight = sensitivity_weight(self._projector, data, token.check)
        return self._projector

    def _start(
        self, state: _FrameState, window: Window, projector: ViewProjector, data: Tensor, token: CancelToken
    ) -> Tensor:
        assert self._weight is not None and self._physics is not None
        seen = self._weight[1]
        if state.start is not None:
            fine = state.start[:, *(slice(*bounds) for bounds in self._fine(window))]
            volume = projector.grid.average(torch.from_numpy(np.ascontiguousarray(fine)).to(data.device))
        elif self._params.start == "refocus":
            shift = self._physics.psf_shift_vz2
            if state.offset_pixels is not None:
                shift = shift + state.offset_pixels[:, None] * self._setup.upsampling
            volume = refocused(data, shift, projector.grid, state.background, token.check)
        else:
            return flat_start(data, state.background, seen)
        return prepared(volume, seen, projector, data, state.background, token.check)

    def _fine(self, window: Window) -> list[tuple[int, int]]:
        """Return the fine voxels (y, x bounds) of what a window reads."""
        sizes = (self._setup.volume.size(axis) for axis in "YX")
        field = self._setup.field_yx
        return [fine_bounds(b, n, size) for b, n, size in zip(window.read_yx, field, sizes, strict=True)]

    def _block(
        self, state: _FrameState, window: Window, projector: ViewProjector, volume: Tensor, token: CancelToken
    ) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
        """Return the part of the selected box that a window delivers: where it goes, and its fine voxels."""
        region = self._region(window)
        assert region is not None
        (low, high), *yx = region.fine
        positions = []
        for axis, bounds, pixels, read in zip("YX", yx, self._setup.field_yx, window.read_yx, strict=True):
            fine = torch.arange(*bounds, dtype=torch.float64)
            positions.append((fine + 0.5) * (pixels / self._setup.volume.size(axis)) - read[0])
        block = np.empty([s.stop - s.start for s in region.place], np.float32)
        for first in range(0, high - low, 4):  # few planes at a time stay in the cache
            token.check()
            planes = volume[low + first : min(low + first + 4, high)]
            sampled = projector.grid.sample(planes, *positions)
            block[first : first + planes.shape[0]] = sampled.cpu().numpy()
        block *= np.float32(1.0 / state.scale)
        return region.place, block

    def _region(self, window: Window) -> _Region | None:
        """Return the part of the selected box that a window delivers, None when there is none."""
        box = self._plan.selection.box
        assert isinstance(box, Box)
        target = self._setup.target(window, box)
        if target is None:
            return None
        volume = self._setup.volume
        fine = (box.bounds("Z", self._setup.planes), *target)
        corner = [box.bounds(axis, volume.size(axis))[0] for axis in "ZYX"]
        return _Region(fine, tuple(slice(lo - c, hi - c) for (lo, hi), c in zip(fine, corner, strict=True)))

    def _closing_words(self, state: _FrameState, index: int) -> Iterator[Event]:
        report = {
            "frame": index,
            "iterations": self._iterations,
            "damping": self._damping,
            "reduced_deviance": round(state.deviance, 4),
            "background": round(state.level, 6),
            "verdict": "the model explains the data",
        }
        if state.deviance > SUSPICIOUS_DEVIANCE and not state.settled:
            report["verdict"] = (
                f"stopped early: the reduced deviance is {state.deviance:.3g} after {self._iterations} iterations, more of "
                "them would explain more of the data"
            )
        elif state.deviance > SUSPICIOUS_DEVIANCE:
            report["verdict"] = (
                f"the reduced deviance stays at {state.deviance:.3g} where about 1 is expected: the PSF or the view "
                "positions look wrong, or the camera's gain is far from one count per photon"
            )
            advice = "" if self._params.refine_views else "; try refine_views, or another psf_shift or psf_sigma"
            yield Warned(f"{report['verdict']}{advice}")
        if self._params.refine_views and state.offset_pixels is not None:
            rows = [
                {"frame": index, "view": page, "offset_y_fine": round(float(y), 4), "offset_x_fine": round(float(x), 4)}
                for page, (y, x) in zip(self._setup.pages, state.offset_pixels * self._setup.upsampling, strict=True)
            ]
            yield ArtifactReady("views", "table", rows)
        yield ArtifactReady("report", "report", report)

    @staticmethod
    def _piece(number: int, count: int) -> str:
        return f"window {number + 1}/{count}" if count > 1 else ""
