"""What the runs of all ways to fit projections share: angles, axis and signal, decided once per recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.events import Decided, Event, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.tomography.params import angles_of_input
from napari_recon.engines.tomography.prepare import Lines, find_centre, lines_of, truncated
from napari_recon.optics.parallel_beam import ParallelBeam

Array = NDArray[np.float32]


class Projections:
    """The projections of a run: what their first frame decides, and a beam.

    Parameters
    ----------
    plan : Plan
    params : FitParams
        Resolved, but for what is seen in the data.
    first : ndarray
        Projections (v, y, x) of the recording's first frame.
    angles : object
        What came in as the input angles; None when parameters say them.
    device : torch.device
    """

    def __init__(self, plan: Plan, params: FitParams, first: Array, angles: Any, device: torch.device) -> None:
        self.params, self._first, self.device = params, first, device
        self._planes = plan.whole["volume"].size("Z")
        said = params.angles
        self.angles = angles_of_input(angles, len(first)) if isinstance(said, str) else said
        self.centre = 0.0 if params.centre == "auto" else float(params.centre)
        self.flat = params.flat
        self.signed: bool | None = None

    @property
    def signal(self) -> str:
        """What the values are."""
        return self.params.signal

    def decide(self, token: CancelToken) -> Iterator[Event]:
        """Read off the first frame what is automatic, and say it."""
        lines = self.lines(self._first)
        found: dict[str, Any] = {}
        if isinstance(self.params.angles, str):
            found["angles"] = list(self.angles)
        if self.flat == "auto" and "flat" in lines.decided:
            self.flat = found["flat"] = lines.decided["flat"]
        for sentence in lines.said:
            yield Warned(sentence)
        if self.params.centre == "auto":
            if truncated(lines.values, self.params.axis):
                yield Warned(
                    "the sample goes on beyond the projections' ends, so the place of the axis was not sought but taken to "
                    "be their middle; set centre where it is not"
                )
            else:
                self.centre = find_centre(lines.values, self.angles, self.params.axis, token.check)
            found["centre"] = self.centre
        self.signed = not lines.nonnegative
        if found:
            yield Decided(found)

    def lines(self, views: Array) -> Lines:
        """Return what projections sum up, with or without a sign as the first frame says."""
        assert self.params.signal != "auto"  # resolved
        lines = lines_of(views, self.params.signal, self.flat, self.device)
        if self.signed is None:
            return lines
        return Lines(lines.values, lines.variance, not self.signed, lines.decided, lines.said)

    def beam(self) -> ParallelBeam:
        """Return the projector of the whole volume."""
        height, width = self._first.shape[1:]
        return ParallelBeam(
            self.angles,
            (height, width),
            self._planes,
            axis=self.params.axis,
            centre=self.centre,
            device=self.device,
        )

    def geometry(self) -> str:
        """Return what a checkpoint must share to be gone on with."""
        params = self.params
        return repr((self.angles, self.centre, params.axis, self._planes, params.signal, self.flat, self.signed))
