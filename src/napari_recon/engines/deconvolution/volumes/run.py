"""The run of deconvolution.rl and fusion.multiview_rl: frame by frame, window by window, early estimates shown."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, MetricLogged, PreviewReady, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.damping import Snapshots, damped
from napari_recon.engines.deconvolution.noise import (
    ROUNDING,
    Dark,
    counts_scale,
    estimate_dark,
    measured_read_variance,
    without_fill,
)
from napari_recon.engines.deconvolution.ordered_subsets import parts_of
from napari_recon.engines.deconvolution.richardson_lucy import (
    AutomaticStop,
    Estimate,
    Part,
    flat_start,
    iterate,
    no_smoothing,
    sensitivity_weight,
)
from napari_recon.engines.deconvolution.setup import USUAL_ITERATIONS
from napari_recon.engines.deconvolution.total_variation import smoothing_factor
from napari_recon.engines.deconvolution.volumes import upstream
from napari_recon.engines.deconvolution.volumes.projector import VolumeViews
from napari_recon.engines.deconvolution.volumes.psf import Psf, margin_of, trimmed
from napari_recon.engines.deconvolution.windows import Bounds, axis_pieces, overlap

if TYPE_CHECKING:
    from napari_recon.engines.deconvolution.rl_params import RLParams

MOST_ITERATIONS = 200
#: The reduced deviance at which data are explained; automatic runs go on from there for half as many iterations. Measured on
#: beads and lines at photon numbers of 20 and 200: within 0.5 dB of the best number of iterations.
TARGET_DEVIANCE = 1.0
BEYOND = 1.5
#: Smallest background of the model, in counts, where the darkest places show no noise.
LEAST_LIGHT = 0.01
#: Planes per view that background and brightness are measured on.
LOOKED_AT = 24

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """One piece of work per axis: what is delivered, and what it is solved from."""

    core: tuple[Bounds, ...]
    read: tuple[Bounds, ...]

    def cut(self, volume: Any) -> Any:
        """Return the part of a volume that is read."""
        return volume[tuple(slice(*bounds) for bounds in self.read)]


@dataclass(eq=False)
class Frame:
    """What holds for all windows of one frame, in counts of light.

    Attributes
    ----------
    views : list of ndarray
        Without the camera's offset.
    scale : float
        Counts per unit of the data.
    background, known_variance : float
        See `iterate`.
    """

    views: list[Volume]
    gains: list[float]
    scale: float
    background: float
    known_variance: float
    levels: list[float]


class VolumeRun:
    """One run: keeps the transfer functions and what was decided from frame to frame.

    Parameters
    ----------
    plan : Plan
    params : RLParams
    psfs : sequence of ndarray
        One (z, y, x) per view, sum 1.
    said : sequence of str
        What is to be said of them.
    """

    def __init__(self, plan: Plan, params: RLParams, psfs: Sequence[Psf], said: Sequence[str]) -> None:
        self._plan, self._params, self._said = plan, params, list(said)
        whole = plan.whole[plan.outputs[0].name]
        self._field = tuple(whole.size(axis) for axis in "ZYX")
        box = plan.box
        assert box is not None  # resolved while planning
        self._box = tuple(box.bounds(axis, n) for axis, n in zip("ZYX", self._field, strict=True))
        self._flat = "Z" not in whole.axes
        self._given = list(psfs)
        fitted = [trimmed(psf, self._field) for psf in psfs]
        self._psfs = [psf for psf, _ in fitted]
        for number, (_, beyond) in enumerate(fitted, 1):
            if beyond > 0.01:
                self._said.append(
                    f"PSF {number} is larger than the volume, and {100 * beyond:.2g} % of it reaches farther than the "
                    "volume is long; that light counts as lost"
                )
        self._margin = margin_of(self._psfs)
        self._windows = self._lattice()
        self._iterations = None if isinstance(params.iterations, str) else params.iterations
        automatic = self._iterations is None
        self._accelerated = automatic if params.update == "auto" else params.update == "accelerated"
        self._damping = (None if automatic else 0.0) if isinstance(params.damping, str) else params.damping
        self._projector: VolumeViews | None = None

    @property
    def undecided(self) -> bool:
        """Whether the number of iterations is still automatic."""
        return self._iterations is None and self._params.compat == "none"

    def decide(self, views: Sequence[Volume], token: CancelToken) -> Iterator[Event]:
        """Fix the automatic number of iterations on a frame without delivering anything of it."""
        frame = self._frame(views)
        yield from self._solve(frame, self._brightest(frame), 0, 1, False, token)

    def frame(self, views: Sequence[Volume], index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one frame."""
        if index == 0:
            yield from (Warned(sentence) for sentence in self._said)
        yield PreviewReady("volume", self._place(self._box), self._shaped(self._mean(views)), step=0)
        token.check()
        if self._params.compat == "upstream":
            yield from self._published(views, token)
            return
        frame = self._frame(views)
        if index == 0 and frame.scale != 1.0:
            yield Warned(
                f"the values do not look like camera counts; they were multiplied by {frame.scale:.4g} to judge the noise "
                "and the result was scaled back"
            )
        wanted = [window for window in self._windows if self._target(window)]
        pilot = self._brightest(frame)
        if pilot in wanted:
            wanted.remove(pilot)
            wanted.insert(0, pilot)
        elif self.undecided:
            yield from self._solve(frame, pilot, 0, 1, False, token)
        report: dict[str, Any] = {}
        for number, window in enumerate(wanted):
            report = yield from self._solve(frame, window, number, len(wanted), True, token)
        yield ArtifactReady("report", "report", {"frame": index, **report})

    def _lattice(self) -> list[Window]:
        """Return the windows of the whole field: a box meets the same ones, and so gets the same voxels."""
        tile = self._plan.resources.tile
        axes = [axis_pieces(n, m, tile[a]) for n, m, a in zip(self._field, self._margin, "zyx", strict=True)]
        return [Window(tuple(p[0] for p in place), tuple(p[1] for p in place)) for place in product(*axes)]

    def _frame(self, views: Sequence[Volume]) -> Frame:
        params = self._params
        looked = [view[:: max(1, len(view) // LOOKED_AT)] for view in views]
        for number, view in enumerate(views, 1):
            if not view.any():
                raise InputError(
                    f"view {number} should show something, found zeros alone; leave it out or choose other data"
                )
        scale = counts_scale(np.stack([view.reshape(-1, view.shape[-1]) for view in looked]))
        darks = [estimate_dark(without_fill(view)) for view in looked]
        given = params.background
        levels = [dark.level if isinstance(given, str) else float(given) for dark in darks]
        noise = max(float(np.mean([dark.variance for dark in darks])) * scale**2, LEAST_LIGHT)
        level = min(levels) * scale
        light = min(level, noise) if level >= LEAST_LIGHT else noise
        dark = Dark(level, noise)
        found = [view * np.float32(scale) - np.float32(one * scale - light) for view, one in zip(views, levels, strict=True)]
        totals = [max(float(view.mean(dtype=np.float64)) - light, 1e-9) for view in found]
        gains = [total / float(np.mean(totals)) for total in totals] if params.balance else [1.0] * len(found)
        return Frame(found, gains, scale, light, max(measured_read_variance(dark, light) - ROUNDING, 0.0), levels)

    def _solve(
        self, frame: Frame, window: Window, number: int, count: int, deliver: bool, token: CancelToken
    ) -> Generator[Event, None, dict[str, Any]]:
        """Iterate one window and return a report."""
        device = self._plan.compute.device
        cut = [np.ascontiguousarray(window.cut(view)) for view in frame.views]
        data = torch.from_numpy(np.stack(cut)).to(device)
        projector = self._projector_for(frame, (data.shape[1], data.shape[2], data.shape[3]))
        weight, seen = sensitivity_weight(projector, data, token.check)
        parts = self._parts(projector, data, weight, token)
        stop = AutomaticStop(TARGET_DEVIANCE, beyond=BEYOND if self._damping != 0.0 else 1.0) if self.undecided else None
        limit = self._iterations or MOST_ITERATIONS
        snapshots = Snapshots(stop.earliest_end if stop and self._damping is None else lambda n: n if stop else limit)
        estimate: Estimate | None = None
        piece = f"window {number + 1}/{count}" if count > 1 else ""
        strength = self._params.tv
        for estimate in iterate(
            parts,
            background=frame.background,
            iterations=limit,
            start=flat_start(data, frame.background, seen) * len(seen),
            known_variance=frame.known_variance,
            stop=stop,
            smoothing=partial(smoothing_factor, strength=strength) if strength else no_smoothing,
            accelerated=self._accelerated,
            check=token.check,
        ):
            if self._damping != 0.0:
                snapshots.keep(estimate.iteration, estimate.volume)
            yield MetricLogged("deviance", estimate.iteration, estimate.deviance, series=piece)
            if deliver and shown(estimate.iteration):
                yield PreviewReady("volume", *self._block(frame, window, projector, estimate.volume), estimate.iteration)
            usual = max(USUAL_ITERATIONS, estimate.iteration) if stop else limit
            yield Progress(number * usual + estimate.iteration, count * usual, "iteration", piece)
        assert estimate is not None
        volume, share = estimate.volume, self._damping
        if stop is not None and not stop.explained and share is None:
            share = self._damping = 0.0
        if share != 0.0:
            volume, self._damping, _ = damped(
                projector,
                data,
                frame.background,
                snapshots.early(estimate.iteration),
                volume,
                weight=share,
                light=None,
                target=TARGET_DEVIANCE,
                known_variance=frame.known_variance,
                check=token.check,
            )
        if stop is not None:
            self._iterations = estimate.iteration
            found = {"iterations": estimate.iteration, "damping": self._damping}
            yield Decided({**found, "update": "accelerated" if self._accelerated else "plain"})
        if deliver:
            yield BlockReady("volume", *self._block(frame, window, projector, volume))
        return {
            "iterations": estimate.iteration,
            "damping": self._damping,
            "reduced_deviance": round(estimate.deviance, 4),
            "background": [round(level, 6) for level in frame.levels],
            "brightness": [round(gain, 4) for gain in frame.gains],
            "psf_voxels": [list(psf.shape) for psf in self._psfs],
            "solved_voxels": list(projector.shape),
        }

    def _projector_for(self, frame: Frame, field: tuple[int, int, int]) -> VolumeViews:
        """Return the projector that all windows and frames share, for the brightness of this frame's views."""
        if self._projector is None:
            kernels = [torch.from_numpy(psf) for psf in self._psfs]
            self._projector = VolumeViews(
                kernels,
                field,
                importances=self._params.weights,
                margin=self._margin,
                device=self._plan.compute.device,
            )
        return self._projector.with_gains(frame.gains)

    def _parts(self, projector: VolumeViews, data: Tensor, weight: Tensor, token: CancelToken) -> list[Part]:
        if self._params.scheme == "additive" or projector.views == 1:
            return [Part(projector, data, weight)]
        weights = self._params.weights or (1.0,) * projector.views
        parts = parts_of(projector, data, projector.views, token.check)
        # what no view sees stays dark
        seen = weight > 0
        return [
            replace(part, left=None if part.left is None else part.left * seen, relaxation=one / max(weights))
            for part, one in zip(parts, weights, strict=True)
        ]

    def _published(self, views: Sequence[Volume], token: CancelToken) -> Iterator[Event]:
        """Repeat the published product iteration on the whole volume; `rl3` of its demonstration is three of them."""
        device, iterations = self._plan.compute.device, self._iterations or 3
        data = [torch.from_numpy(view / view.max()).to(device) for view in views]
        transfers = [upstream.transfer_of(torch.from_numpy(psf).to(device), self._field) for psf in self._given]
        for number, estimate in enumerate(upstream.product_loop(data, transfers, iterations, token.check), 1):
            block = estimate[tuple(slice(*bounds) for bounds in self._box)].cpu().numpy()
            if number == iterations:
                yield BlockReady("volume", self._place(self._box), self._shaped(block))
            elif shown(number):
                yield PreviewReady("volume", self._place(self._box), self._shaped(block), number)
            yield Progress(number, iterations, "iteration")
        if self._params.iterations == "auto":
            yield Decided({"iterations": iterations})

    def _mean(self, views: Sequence[Volume]) -> Volume:
        inside = tuple(slice(*bounds) for bounds in self._box)
        total = np.zeros([high - low for low, high in self._box], np.float32)
        for view in views:
            total += view[inside]
        return total / np.float32(len(views))

    def _brightest(self, frame: Frame) -> Window:
        """Return the window with the most light in its core: where noise is told best."""

        def light(window: Window) -> float:
            core = tuple(slice(*bounds) for bounds in window.core)
            return sum(float(view[core].sum(dtype=np.float64)) for view in frame.views)

        return self._windows[0] if len(self._windows) == 1 else max(self._windows, key=light)

    def _target(self, window: Window) -> tuple[Bounds, ...]:
        """Return what of the box a window delivers, empty when nothing."""
        common = [overlap(core, box) for core, box in zip(window.core, self._box, strict=True)]
        return tuple(bounds for bounds in common if bounds) if all(common) else ()

    def _place(self, bounds: Sequence[Bounds]) -> tuple[slice, ...]:
        place = tuple(slice(lo - box[0], hi - box[0]) for (lo, hi), box in zip(bounds, self._box, strict=True))
        return place[1:] if self._flat else place

    def _shaped(self, block: Volume) -> Volume:
        return block[0] if self._flat else block

    def _block(
        self, frame: Frame, window: Window, projector: VolumeViews, volume: Tensor
    ) -> tuple[tuple[slice, ...], Volume]:
        target = self._target(window)
        inside = tuple(slice(lo - read[0], hi - read[0]) for (lo, hi), read in zip(target, window.read, strict=True))
        block = projector.inner(volume)[inside].cpu().numpy() * np.float32(1.0 / frame.scale)
        return self._place(target), self._shaped(block)


def shown(iteration: int) -> bool:
    """Return whether an estimate is shown: often at first, when it changes most."""
    return iteration % 16 == 0 or iteration & (iteration - 1) == 0
