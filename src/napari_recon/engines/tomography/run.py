"""Running tomography.sirt: what is automatic is decided once, then slab by slab along the axis of rotation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, MetricLogged, PreviewReady, Progress, Warned
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.tomography.iterate import Sirt, filtered_back_projection
from napari_recon.engines.tomography.params import angles_of_input
from napari_recon.engines.tomography.prepare import Lines, find_centre, lines_of, truncated
from napari_recon.engines.tomography.sirt import MOST_ITERATIONS, SirtParams
from napari_recon.optics.parallel_beam import ParallelBeam

#: Passes end when the deviance of views before they are used falls by less than this part per pass: noise stays.
STAGNATION, LOOK = {"sirt": 0.02, "subsets": 0.05, "sart": 0.05}, 3
#: Slices, spread over the volume, on which the number of iterations is decided.
PILOT = 16
#: Views of a subset where they are chosen automatically.
TOGETHER = 3
RELAXATION = {"sirt": 1.9, "subsets": 0.5, "sart": 0.3}
PREVIEW_SECONDS = 0.5


class SirtRun:
    """What the frames of one run share.

    Parameters
    ----------
    plan : Plan
    params : SirtParams
        Resolved, but for what is seen in the data.
    """

    def __init__(self, plan: Plan, params: SirtParams) -> None:
        self._plan, self._params = plan, params
        self._device = torch.device("cpu" if plan.compute.device == "mps" else plan.compute.device)
        self._angles: tuple[float, ...] = () if isinstance(params.angles, str) else params.angles
        self._centre = None if params.centre == "auto" else float(params.centre)
        self._flat, self._nonnegative = params.flat, None if params.nonnegative == "auto" else params.nonnegative
        self._iterations = None if params.iterations == "auto" and params.method != "fbp" else params.iterations
        self._decided = False

    @property
    def undecided(self) -> bool:
        """Whether something is left that the first frame decides."""
        return not self._decided and None in (self._centre, self._iterations, self._nonnegative)

    def decide(self, frame: Frame, token: CancelToken) -> Iterator[Event]:
        """Read off a recording's first frame what is automatic, and say it."""
        lines = self._lines(frame)
        found: dict[str, Any] = {}
        if isinstance(self._params.angles, str):
            found["angles"] = list(self._angles)
        if "flat" in lines.decided and self._params.flat == "auto":
            self._flat = found["flat"] = lines.decided["flat"]
        for sentence in lines.said:
            yield Warned(sentence)
        if self._nonnegative is None:
            self._nonnegative = found["nonnegative"] = lines.nonnegative
        if self._centre is None:
            cut = truncated(lines.values, self._params.axis)
            self._centre = 0.0 if cut else find_centre(lines.values, self._angles, self._params.axis, token.check)
            found["centre"] = self._centre
            if cut:
                yield Warned(
                    "the sample goes on beyond the projections' ends, so the place of the axis was not sought but taken to "
                    "be their middle; set centre where it is not"
                )
        if self._iterations is None:
            self._iterations = found["iterations"] = self._enough(lines, token)
        self._decided = True
        if found:
            yield Decided(found)

    def frame(self, frame: Frame, token: CancelToken) -> Iterator[Event]:
        """Yield the blocks of one frame."""
        if not self._decided:
            yield from self.decide(frame, token)
        lines, params, box = self._lines(frame), self._params, self._plan.box
        assert isinstance(box, Box)
        first, last = dict(box.items())[params.axis.upper()]
        step = self._plan.resources.tile[params.axis]
        beam = self._beam(lines.values.shape[1:])
        starts = range(first, last, step)
        last_deviance = float("nan")
        for number, start in enumerate(starts):
            token.check()
            stop = min(start + step, last)
            place = self._place(box, start - first, stop - first)
            part = _slices(lines.values, params.axis, start, stop)
            variance = lines.variance if lines.variance.ndim == 0 else _slices(lines.variance, params.axis, start, stop)
            slab = beam.of_slices(stop - start)
            if params.method == "fbp":
                volume = filtered_back_projection(slab, part, token.check)
                if self._nonnegative:
                    volume.clamp_min_(0)
            else:
                shown = time.monotonic()
                sirt = self._sirt(slab, part, variance, token)
                assert isinstance(self._iterations, int)
                for done in sirt.passes(self._iterations):
                    last_deviance = done.deviance
                    series = f"slab {number + 1}" if len(starts) > 1 else ""
                    yield MetricLogged("deviance", done.iteration, done.deviance, series)
                    yield Progress(
                        number * self._iterations + done.iteration, len(starts) * self._iterations, "pass", series
                    )
                    if time.monotonic() - shown > PREVIEW_SECONDS and done.iteration < self._iterations:
                        yield PreviewReady("volume", place, self._cut(done.volume, box), done.iteration)
                        shown = time.monotonic()
                    token.check()
                volume = sirt.volume
            yield BlockReady("volume", place, self._cut(volume, box))
        report: dict[str, Any] = {"method": params.method, "iterations": self._iterations if params.method != "fbp" else 0}
        report |= {"centre": self._centre, "nonnegative": self._nonnegative}
        if last_deviance == last_deviance:
            report["reduced_deviance"] = round(last_deviance, 4)
        yield ArtifactReady("report", "report", report)

    def _lines(self, frame: Frame) -> Lines:
        views = frame["views"]
        if not self._angles:
            self._angles = angles_of_input(frame["angles"], len(views))
        assert self._params.signal != "auto"  # resolved
        return lines_of(views, self._params.signal, self._flat, self._device)

    def _beam(self, detector_yx: Any) -> ParallelBeam:
        assert self._centre is not None
        planes = self._plan.whole["volume"].size("Z")
        height, width = (int(n) for n in detector_yx)
        return ParallelBeam(
            self._angles, (height, width), planes, axis=self._params.axis, centre=self._centre, device=self._device
        )

    def _sirt(self, beam: ParallelBeam, values: Tensor, variance: Tensor, token: CancelToken) -> Sirt:
        method, relaxation = self._params.method, self._params.relaxation
        views = len(self._angles)
        return Sirt(
            beam,
            values,
            variance,
            subsets={"sirt": 1, "sart": views}.get(method, max(1, views // TOGETHER)),
            relaxation=RELAXATION[method] if relaxation == "auto" else relaxation,
            nonnegative=bool(self._nonnegative),
            check=token.check,
        )

    def _enough(self, lines: Lines, token: CancelToken) -> int:
        """Return after how many passes some slices, spread over the volume, are explained."""
        dimension = 1 if self._params.axis == "y" else 2
        count = lines.values.shape[dimension]
        chosen = torch.linspace(0, count - 1, min(PILOT, count)).round().long().to(self._device)
        values = lines.values.index_select(dimension, chosen)
        variance = lines.variance if lines.variance.ndim == 0 else lines.variance.index_select(dimension, chosen)
        sirt = self._sirt(self._beam(values.shape[1:]), values, variance, token)
        history: list[float] = []
        falling = (1 - STAGNATION[self._params.method]) ** LOOK
        for done in sirt.passes(MOST_ITERATIONS):
            token.check()
            history.append(done.deviance)
            if len(history) > LOOK and history[-1] > history[-1 - LOOK] * falling:
                break
        return len(history)

    def _cut(self, volume: Tensor, box: Box) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the selected part of a slab."""
        along = self._params.axis.upper()
        place = tuple(slice(None) if axis == along else slice(*bounds) for axis, bounds in box.items())
        return np.ascontiguousarray(volume[place].cpu().numpy())

    def _place(self, box: Box, start: int, stop: int) -> tuple[slice, ...]:
        along = self._params.axis.upper()
        return tuple(slice(start, stop) if axis == along else slice(0, high - low) for axis, (low, high) in box.items())


def _slices(stack: Tensor, axis: str, start: int, stop: int) -> Tensor:
    return (stack[:, start:stop] if axis == "y" else stack[..., start:stop]).contiguous()
