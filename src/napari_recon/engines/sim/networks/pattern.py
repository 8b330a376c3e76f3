"""The pattern of a series, for networks that see Wiener images: found once, or followed (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.events import ArtifactReady, Event, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import refine
from napari_recon.engines.sim.classical.otf import CircularOtf
from napari_recon.engines.sim.classical.report import complaints
from napari_recon.engines.sim.classical.series import Found, calibrated_series
from napari_recon.engines.sim.network import SimNetworkParams
from napari_recon.engines.sim.params import resolved_optics

Array = NDArray[np.float32]


class Pattern:
    """What a run or a live session keeps of the pattern from image to image, as `sim.wiener` finds it.

    Attributes
    ----------
    samples : callable or None
        Channel -> raw sets that stand for the whole series; without it the first image does.
    calibration : Calibration
        Of the latest image.
    """

    calibration: Calibration

    def __init__(self, plan: Plan, params: SimNetworkParams) -> None:
        self._plan, self._params = plan, params
        self._found: dict[int, Found] = {}
        self.samples: Callable[[int], Sequence[Array]] | None = None

    def of(self, raw: Array, index: int, token: CancelToken) -> Iterator[Event]:
        """Set `calibration` for the `index`-th image of the run, (N, Y, X), and yield what is to be said about it."""
        channel = self._plan.place(index).get("C", 0)
        first = channel not in self._found
        if first:
            self._found[channel] = self._calibrated(channel, raw, token)
        base, each = self._found[channel]
        frames = torch.from_numpy(raw)
        alone = first and self.samples is None
        self.calibration = refine(base, frames, token=token) if each and not alone else base
        if first:
            for sentence in complaints(base):
                yield Warned(sentence)
            name = "calibration" if channel == 0 else f"calibration_c{channel}"
            yield ArtifactReady(name, "transform", base.model_dump(mode="json"))

    def _calibrated(self, channel: int, raw: Array, token: CancelToken) -> Found:
        given = Calibration.given(self._params.calibration)
        optics = resolved_optics(self._params, self._plan.inputs[0], channel, given)
        sets: Sequence[Array] = self.samples(channel) if self.samples and given is None else [raw]
        return calibrated_series(
            sets,
            optics,
            self._params.layout,
            transfer=CircularOtf(optics.cutoff_per_um),
            camera_offset=self._params.camera_offset,
            given=given,
            token=token,
        )
