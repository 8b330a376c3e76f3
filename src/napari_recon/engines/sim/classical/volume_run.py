"""The run of sim.wiener3d: each stack is calibrated on its mean over z, then put together in three dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import calibrate
from napari_recon.engines.sim.classical.filters import Filters
from napari_recon.engines.sim.classical.maps import noise_of
from napari_recon.engines.sim.classical.report import quality_report
from napari_recon.engines.sim.classical.volume import VolumeReconstructor
from napari_recon.engines.sim.classical.volume_optics import VolumeOptics
from napari_recon.engines.sim.classical.wiener_choice import choose_wiener
from napari_recon.engines.sim.params import Optics
from napari_recon.engines.sim.wiener3d import SimWiener3DParams

#: A second order weaker than this is none.
LEAST_AMPLITUDE = 0.02


def reconstruct(
    plan: Plan, params: SimWiener3DParams, optics: VolumeOptics, raw: NDArray[np.float32], token: CancelToken
) -> Iterator[Event]:
    """Yield the events of one stack, (N, Z, Y, X) float32 counts."""
    token.check()
    yield Progress(0, 4, "step", "finding the pattern")
    frames = torch.as_tensor(raw)
    flat = Optics(optics.na, optics.wavelength_um, optics.pixel_um[1:])
    calibration = calibrate(frames.mean(dim=1), flat, params.layout, camera_offset=params.camera_offset, token=token)
    if missing := [n + 1 for n, group in enumerate(calibration.groups) if not group.carriers]:
        raise InputError(
            f"a pattern was expected at every angle of the mean over z, found none at angle {missing[0]}; "
            "check the number of angles, frame_order, na and wavelength_um"
        )
    planes = sorted({0, raw.shape[1] // 2, raw.shape[1] - 1})
    noise = median(noise_of(frames[:, z], calibration) for z in planes)
    calibration = calibration.model_copy(update={"noise_power": noise})
    yield Progress(1, 4, "step", "separating the bands")
    token.check()
    shape = (int(raw.shape[1]), int(raw.shape[2]), int(raw.shape[3]))
    reconstructor = VolumeReconstructor(calibration, optics, shape, plan.compute.device)
    bands = reconstructor.bands(frames)
    token.check()
    reconstructor.measure(bands, noise)
    filters = Filters(0.0, params.attenuation_strength, params.attenuation_fwhm, params.apodisation)
    if params.wiener == "auto":
        yield Progress(2, 4, "step", "choosing the Wiener parameter")
        wiener = choose_wiener(reconstructor, frames, noise, filters)
    else:
        wiener = params.wiener
    if plan.frames == 1:
        yield Decided({"wiener": wiener, "camera_offset": calibration.camera_offset})
    yield ArtifactReady("quality", "report", report(calibration, reconstructor, wiener))
    yield Progress(3, 4, "step", "recombining")
    token.check()
    box = plan.box
    assert box is not None  # plans resolve it
    volume = reconstructor.combine(bands, filters._replace(wiener=wiener))
    array = volume[box.slices("ZYX")].contiguous().cpu().numpy()
    yield BlockReady("sr", tuple(slice(0, n) for n in array.shape), array)
    yield Progress(4, 4, "step")


def report(calibration: Calibration, reconstructor: VolumeReconstructor, wiener: float) -> dict[str, Any]:
    """Return the quality report: what was found on the mean, and each order's strength in three dimensions."""
    found = quality_report(calibration, wiener)
    weak = []
    for angle, row in enumerate(found["angles"]):
        first, second = (abs(reconstructor.amplitudes[1 + 2 * angle + order]) for order in (0, 1))
        row |= {"first_order": round(first, 4), "second_order": round(second, 4)}
        if min(first, second) < LEAST_AMPLITUDE:
            weak.append(angle + 1)
    found["verdict"] = (
        f"an order is hardly there at angle {weak[0]}; is the pattern one of three beams?" if weak else "clear"
    )
    return found
