"""One calibration for a series: on its average where the pattern stays, else followed from image to image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import calibrate, refine
from napari_recon.engines.sim.classical.offset import with_offset
from napari_recon.engines.sim.classical.otf import Transfer
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics

CalibrateOn = Literal["auto", "average", "first", "each"]
#: Phases that differ by more than this from the average's have moved.
MOVED_RAD = math.radians(20)


class Found(NamedTuple):
    """A calibration, and whether it is to be fitted again to each image."""

    calibration: Calibration
    each: bool


def calibrated_series(
    sets: Sequence[Tensor] | Sequence[NDArray[np.float32]],
    optics: Optics,
    layout: Layout,
    *,
    transfer: Transfer,
    calibrate_on: CalibrateOn = "auto",
    camera_offset: float | Literal["auto"] = "auto",
    given: Calibration | None = None,
    token: CancelToken | None = None,
) -> Found:
    """Find the pattern of a series, or take over a given one.

    Parameters
    ----------
    sets : sequence of Tensor or ndarray
        Raw sets (N, Y, X) that stand for the series; may be read when they are asked for, and are one by one.
    calibrate_on : {"auto", "average", "first", "each"}
        auto looks whether the phases of the first, a middle and the last set are the average's.
    given : Calibration, optional
        Of a file; the optics, and a camera offset that is not automatic, win over its own.

    Raises
    ------
    InputError
        See `calibrate`; where the average shows no pattern, none of the sets may either.
    """
    if given is not None:
        offset = given.camera_offset if camera_offset == "auto" else camera_offset
        known = {"camera_offset": offset, "na": optics.na, "wavelength_um": optics.wavelength_um}
        return Found(given.model_copy(update=known), calibrate_on == "each")

    def on(frames: Tensor) -> Calibration:
        found = calibrate(frames, optics, layout, camera_offset=camera_offset, transfer=transfer, token=token)
        return with_offset(found, frames, transfer) if camera_offset == "auto" else found

    if len(sets) == 1 or calibrate_on == "first":
        return Found(on(torch.as_tensor(sets[0])), calibrate_on == "each")
    try:
        found = on(_mean(sets))
    except InputError as problem:
        # a pattern that moves may leave nothing in the average
        alone = [c for c in (_tried(on, frames) for frames in map(torch.as_tensor, sets)) if c is not None]
        if not alone:
            raise problem
        found = max(alone, key=_clearness)
    if calibrate_on != "auto":
        return Found(found, calibrate_on == "each")
    looked_at = (torch.as_tensor(sets[n]) for n in (0, len(sets) // 2, len(sets) - 1))
    moves = sorted(_moved(found, refine(found, frames, transfer=transfer, steps=0, token=token)) for frames in looked_at)
    return Found(found, moves[1] > MOVED_RAD)


def _mean(sets: Sequence[Tensor] | Sequence[NDArray[np.float32]]) -> Tensor:
    total = torch.as_tensor(sets[0]).clone()
    for number in range(1, len(sets)):
        total += torch.as_tensor(sets[number])
    return total / len(sets)


def _tried(on: Callable[[Tensor], Calibration], frames: Tensor) -> Calibration | None:
    try:
        return on(frames)
    except InputError:
        return None


def _clearness(calibration: Calibration) -> float:
    """Return how clear the least clear carrier is."""
    return min(carrier.peak_to_noise for group in calibration.groups for carrier in group.carriers)


def _moved(a: Calibration, b: Calibration) -> float:
    """Return the largest difference of a phase, in rad."""
    pairs = [
        (p, q)
        for one, other in zip(a.groups, b.groups, strict=True)
        for first, second in zip(one.carriers, other.carriers, strict=True)
        for p, q in zip(first.phases_rad, second.phases_rad, strict=True)
    ]
    return max(abs(math.remainder(p - q, 2 * math.pi)) for p, q in pairs)
