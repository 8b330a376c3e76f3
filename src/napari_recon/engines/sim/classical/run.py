"""The run of sim.wiener: calibrate once per channel, then image after image through one linear operator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import refine
from napari_recon.engines.sim.classical.filters import Filters
from napari_recon.engines.sim.classical.maps import modulation_contrast, noise_of, wide_field
from napari_recon.engines.sim.classical.noise import checked
from napari_recon.engines.sim.classical.otf import Transfer, transfer_of
from napari_recon.engines.sim.classical.recombine import Reconstructor
from napari_recon.engines.sim.classical.report import complaints, quality_report
from napari_recon.engines.sim.classical.series import calibrated_series
from napari_recon.engines.sim.classical.wiener_choice import choose_wiener
from napari_recon.engines.sim.params import resolved_optics
from napari_recon.engines.sim.wiener import SimWienerParams

Array = NDArray[np.float32]


@dataclass(eq=False)
class _Channel:
    """What is known of one channel.

    Attributes
    ----------
    sets : sequence of ndarray
        Raw sets that stand for what a Wiener parameter is chosen for.
    base, calibration : Calibration
        Of the series; of the latest image.
    each : bool
        Whether the calibration follows every image.
    chosen : dict
        Filters -> automatic Wiener parameter.
    latest : ndarray or None
        The latest raw set, whose bands are kept for another combination.
    """

    transfer: Transfer
    sets: Sequence[Array]
    base: Calibration
    each: bool
    calibration: Calibration
    reconstructor: Reconstructor
    chosen: dict[Filters, float] = field(default_factory=dict)
    latest: Array | None = None
    bands: Tensor | None = None


class WienerRun:
    """What a run or a live session keeps from image to image.

    Attributes
    ----------
    samples : callable or None
        Channel -> raw sets that stand for the whole series; without it the first image does.
    """

    def __init__(self, plan: Plan, params: SimWienerParams) -> None:
        self._plan, self._params = plan, params
        self._channels: dict[int, _Channel] = {}
        self.samples: Callable[[int], Sequence[Array]] | None = None

    def with_params(self, plan: Plan, params: SimWienerParams) -> WienerRun:
        """Return this run with other live parameters; calibrations and bands are shared."""
        other = copy.copy(self)
        other._plan, other._params = plan, params
        return other

    def frame(self, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one raw set: what was found and decided, then its image."""
        token.check()
        raw, number = frame["raw"], self._channel_of(index)
        channel = self._channels.get(number)
        if channel is None or raw is not channel.latest:
            yield Progress(0, 3, "step", "finding the pattern")
            remark = checked(torch.as_tensor(raw), self._params.layout)
            first = channel is None
            if channel is None:
                channel = self._channels[number] = self._found(number, frame, token)
            if channel.each and not (first and len(channel.sets) == 1):  # a single set was calibrated on itself
                self._follow(channel, torch.as_tensor(raw), token)
            yield Progress(1, 3, "step", "separating the bands")
            token.check()
            channel.latest, channel.bands = raw, channel.reconstructor.bands(torch.as_tensor(raw))
            if remark:
                yield Warned(remark)
            yield from self._told(number, channel, first)
        elif self._params.wiener == "auto" and self._channels_in_all == 1:  # other filters ask for another one
            yield Decided({"wiener": self._filters(channel).wiener})
        yield from self.combined(number, token)

    def combined(self, number: int, token: CancelToken) -> Iterator[Event]:
        """Yield the image of the latest raw set with the present filters."""
        channel = self._channels[number]
        assert channel.bands is not None and channel.latest is not None  # set with the first image
        yield Progress(2, 3, "step", "recombining")
        token.check()
        images = {"sr": channel.reconstructor.combine(channel.bands, self._filters(channel))}
        if self._params.mcnr:
            images["mcnr"] = modulation_contrast(torch.as_tensor(channel.latest), channel.calibration)
        if self._params.widefield:
            images["widefield"] = wide_field(torch.as_tensor(channel.latest), channel.calibration)
        for name, image in images.items():
            array = image[self._place(name)].contiguous().cpu().numpy()
            yield BlockReady(name, tuple(slice(0, n) for n in array.shape), array)
        yield Progress(3, 3, "step")

    def replaced(self, raw: Array, position: int) -> None:
        """Take a raw set of which one frame is new: only the bands that it has a part in are separated again."""
        channel = self._channels[self._channel_of(0)]
        assert channel.bands is not None  # a whole set came before
        channel.bands = channel.reconstructor.renewed(channel.bands, torch.as_tensor(raw), position)
        channel.latest = raw

    @property
    def calibrated(self) -> bool:
        """Whether an image was reconstructed already."""
        return self._channel_of(0) in self._channels

    def _found(self, number: int, frame: Frame, token: CancelToken) -> _Channel:
        """Calibrate a channel on the series, or take over a given calibration."""
        params = self._params
        raw = self._plan.inputs[0]
        given = Calibration.given(params.calibration)
        optics = resolved_optics(params, raw, number, given)
        psf = self._plan.input("psf")
        transfer = transfer_of(frame, psf.grid if psf else None, optics)
        sets: Sequence[Array] = self.samples(number) if self.samples else [frame["raw"]]
        found = calibrated_series(
            sets,
            optics,
            params.layout,
            calibrate_on=params.calibrate_on,
            camera_offset=params.camera_offset,
            transfer=transfer,
            given=given,
            token=token,
        )
        noise = median(noise_of(torch.as_tensor(frames), found.calibration) for frames in sets)
        calibration = found.calibration.model_copy(update={"noise_power": noise})
        reconstructor = self._reconstructor(calibration, transfer)
        return _Channel(transfer, sets, calibration, found.each, calibration, reconstructor)

    def _follow(self, channel: _Channel, raw: Tensor, token: CancelToken) -> None:
        """Fit the series' calibration to one image."""
        channel.calibration = refine(channel.base, raw, transfer=channel.transfer, token=token)
        channel.reconstructor = self._reconstructor(channel.calibration, channel.transfer)
        channel.sets = [raw.numpy()]
        channel.chosen.clear()

    def _filters(self, channel: _Channel) -> Filters:
        """Return the filters, an automatic Wiener parameter chosen: the median over the sets that stand for the series."""
        params = self._params
        filters = Filters(0.0, params.attenuation_strength, params.attenuation_fwhm, params.apodisation)
        if params.wiener != "auto":
            return filters._replace(wiener=params.wiener)
        if filters not in channel.chosen:
            choices = []
            for frames in map(torch.as_tensor, channel.sets or ([] if channel.latest is None else [channel.latest])):
                noise = noise_of(frames, channel.calibration)
                choices.append(choose_wiener(channel.reconstructor, frames, noise, filters))
            channel.chosen[filters] = median(choices)
            channel.sets = channel.sets if len(channel.sets) == 1 else []  # a series may be large
        return filters._replace(wiener=channel.chosen[filters])

    def _told(self, number: int, channel: _Channel, first: bool) -> Iterator[Event]:
        """Yield what was found out about a channel, and about each image where the calibration follows."""
        if not first and not channel.each:
            return
        filters, calibration = self._filters(channel), channel.calibration
        if first:
            for sentence in complaints(calibration):
                yield Warned(sentence)
            if self._channels_in_all == 1:
                decided = {"camera_offset": calibration.camera_offset}
                yield Decided(decided if channel.each else decided | {"wiener": filters.wiener})
            name = "calibration" if number == 0 else f"calibration_c{number}"
            yield ArtifactReady(name, "transform", calibration.model_dump(mode="json"))
        report = quality_report(calibration, filters.wiener)
        yield ArtifactReady("quality", "report", report if self._channels_in_all == 1 else {"channel": number, **report})

    def _reconstructor(self, calibration: Calibration, transfer: Transfer) -> Reconstructor:
        return Reconstructor(calibration, calibration.shape_yx, transfer, device=self._plan.compute.device)

    def _place(self, name: str) -> tuple[slice, ...]:
        """Return the selected part of an output's whole field."""
        plan = self._plan
        box, whole, grid = plan.box, plan.whole["sr"], plan.whole[name]
        assert box is not None  # plans resolve it
        return (box if grid == whole else box.mapped(whole, grid).clipped(grid)).slices("YX")

    @property
    def _channels_in_all(self) -> int:
        return self._plan.outputs[0].grid.size("C")

    def _channel_of(self, index: int) -> int:
        """Return the channel of a frame of the run."""
        return self._plan.place(index).get("C", 0)
