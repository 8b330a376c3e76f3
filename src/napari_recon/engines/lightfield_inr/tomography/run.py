"""The fast fit of projections as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import Event, PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.run import FastRun
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.fit_run import Volume
from napari_recon.engines.lightfield_inr.tomography.prepared import Projections
from napari_recon.engines.lightfield_inr.tomography.scene import BeamFit, BeamOptics, Sums
from napari_recon.engines.tomography.iterate import filtered_back_projection


class BeamRun(FastRun):
    """Fits of projections: filtered back projection at once, then as for light fields."""

    scene = BeamFit
    suspects, advice = "angles, axis or signal", "check them, and centre"

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume], first: Volume, angles: Any) -> None:
        device = torch.device("cpu" if plan.compute.device == "mps" else plan.compute.device)
        self._projections = Projections(plan, params, first, angles, device)
        super().__init__(plan, params, frames, None)
        self._device = device

    def events(self, token: CancelToken) -> Iterator[Event]:
        """See `FastRun.events`."""
        yield from self._projections.decide(token)
        self._optics = self._made_optics()
        yield from super().events(token)

    def _made_optics(self) -> Optics:
        return BeamOptics(self._projections.beam())

    def _counts(self) -> Counts:
        views = self._frames[self._frame]
        if self._projections.signal == "emission":
            return Counts.of(views, self._device)
        assert isinstance(self._optics, BeamOptics)
        return Sums.of_lines(self._projections.lines(views), self._projections.signal, self._optics.beam)

    def _first_look(self, counts: Counts, token: CancelToken) -> PreviewReady:
        assert isinstance(self._optics, BeamOptics)
        lines = self._projections.lines(self._frames[self._frame])
        volume = filtered_back_projection(self._optics.beam, lines.values, token.check)
        if lines.nonnegative:
            volume.clamp_min_(0)
        return PreviewReady("volume", *self._placed(self._cropped(self._optics.inner(volume).cpu().numpy())), 0)

    def _of_field(self, volume: Tensor, counts: Counts) -> NDArray[np.float32]:
        pedestal = counts.pedestal if isinstance(counts, Sums) else 0.0
        return super()._of_field(volume - pedestal if pedestal else volume, counts)

    def _scaled_to_judge(self, counts: Counts) -> bool:
        return counts.scale != 1.0 and not isinstance(counts, Sums)

    def _settings(self, frame: int) -> str:
        return f"{super()._settings(frame)} {self._projections.geometry()}"
