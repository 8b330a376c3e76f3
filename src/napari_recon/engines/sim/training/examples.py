"""What a SIM network is shown: simulated recordings, or the user's pairs, as network inputs with their targets."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import calibrate
from napari_recon.engines.sim.networks.wiener_front import wiener_input
from napari_recon.engines.sim.params import Optics
from napari_recon.engines.sim.simulator.examples import Ranges, make_example
from napari_recon.engines.sim.training.params import SimTrainParams

HELD_OUT_SEED = 0x5151
FOUND_WITHIN = 0.5
"""Fourier pixels by which a carrier may be off and still count as found."""
ATTEMPTS = 20
"""Simulated recordings that are tried until one has a pattern that can be found."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One recording as the network sees it.

    Attributes
    ----------
    channels : Tensor
        (C, Y, X).
    target : Tensor
        (2 Y, 2 X), what the network shall answer.
    base : Tensor
        (2 Y, 2 X), to be added to the answer (in its units); zero for the front `frames`.
    """

    channels: Tensor
    target: Tensor
    base: Tensor

    def patch(self, y: int, x: int, size: int) -> tuple[Tensor, Tensor]:
        """Return the raw square at (y, x) and its target."""
        fine = slice(2 * y, 2 * (y + size)), slice(2 * x, 2 * (x + size))
        return self.channels[:, y : y + size, x : x + size], self.target[fine]


def shown(frames: Tensor, truth: Tensor, calibration: Calibration | None) -> Shown:
    """Return a recording as a network sees it.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X), counts.
    truth : Tensor
        (2 Y, 2 X); brightness and background may differ from those of the frames.
    calibration : Calibration or None
        None shows the frames themselves, each scaled to 0..1.
    """
    if calibration is None:
        low, high = frames.amin((1, 2), keepdim=True), frames.amax((1, 2), keepdim=True)
        target = (truth - truth.min()) / (truth.max() - truth.min()).clamp_min(1e-9)
        return Shown((frames - low) / (high - low).clamp_min(1e-9), target, torch.zeros_like(target))
    front = wiener_input(frames, calibration)
    target = (_matched(truth, front.base) - front.base) / front.scale
    return Shown(front.channels, target, front.base / front.scale)


def ranges_of(params: SimTrainParams, progress: float = 1.0) -> Ranges:
    """Return what recordings are drawn from when `progress` (0..1) of the run is done."""
    na, wavelength = params.simulated_na, params.simulated_wavelength_um
    largest = wavelength / (4 * na)
    sampling = (0.5, 1.0) if not params.pixel_um else tuple(min(1.0, params.pixel_um / largest * f) for f in (0.9, 1.1))
    ease = max(0.0, 1 - progress / params.curriculum) if params.curriculum else 0.0
    dimmest = params.photons_from * (params.photons_to / params.photons_from) ** ease
    return Ranges(
        angles=params.angles,
        phases=params.phases,
        na=na,
        wavelength_um=wavelength,
        sampling=(sampling[0], sampling[1]),
        period=(params.period_from, params.period_to),
        modulation=(params.modulation_from, params.modulation_to),
        photons=(dimmest, params.photons_to),
        background=(0.0, params.background),
    )


def simulated(
    params: SimTrainParams, seed: int, index: int, ranges: Ranges, objects: Sequence[NDArray[np.float32]] = ()
) -> Shown:
    """Return recording `index` of the series `seed`; one without a pattern that can be found is replaced.

    Parameters
    ----------
    objects : sequence of ndarray
        Images (Y, X) that are looked at instead of phantoms.

    Raises
    ------
    InputError
        When no pattern can be found in any of many recordings.
    """
    optics = Optics(params.simulated_na, params.simulated_wavelength_um, (0.0, 0.0))
    for attempt in range(ATTEMPTS):
        made = make_example(seed, index * ATTEMPTS + attempt, (params.field, params.field), ranges, objects)
        frames, truth = torch.from_numpy(made.raw), torch.from_numpy(np.ascontiguousarray(made.truth))
        if params.front == "frames":
            return shown(frames, truth, None)
        true = made.calibration
        if params.calibration == "true":
            return shown(frames, truth, true)
        try:
            found = calibrate(frames, optics._replace(pixel_um=true.pixel_um), params.layout, camera_offset=0.0)
        except InputError:
            continue
        if _same_pattern(found, true):
            return shown(frames, truth, found)
    raise InputError(
        f"patterns should be found in simulated recordings, found none in {ATTEMPTS} in a row; simulate more photons, more "
        "modulation or larger fields, or set calibration=true"
    )


class Pool:
    """The latest recordings of an endless series; which ones are in it depends on the step alone.

    Parameters
    ----------
    params : SimTrainParams
    seed : int
    pairs : sequence of Shown
        The user's recordings; with any of them nothing is simulated.
    objects : sequence of ndarray
        See `simulated`.
    """

    def __init__(
        self,
        params: SimTrainParams,
        seed: int,
        pairs: Sequence[Shown] = (),
        objects: Sequence[NDArray[np.float32]] = (),
    ) -> None:
        self._params, self._seed, self._pairs, self._objects = params, seed, pairs, objects
        self._kept: OrderedDict[int, Shown] = OrderedDict()

    def patches(self, step: int, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the patches `numbers` of step `step`: (B, C, y, x) and (B, 1, 2 y, 2 x)."""
        drawn = [self._patch(step, number) for number in numbers]
        return torch.stack([patch for patch, _ in drawn]), torch.stack([target[None] for _, target in drawn])

    def _patch(self, step: int, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self._seed, step, number])
        if self._pairs:
            recording = self._pairs[int(rng.integers(len(self._pairs)))]
        else:
            oldest = step // self._params.renewal
            recording = self._recording(oldest + int(rng.integers(self._params.pool)))
        size = min(self._params.crop, *recording.channels.shape[1:])
        y, x = (int(rng.integers(n - size + 1)) for n in recording.channels.shape[1:])
        return recording.patch(y, x, size)

    def _recording(self, index: int) -> Shown:
        if index not in self._kept:
            progress = max(0, index - self._params.pool) * self._params.renewal / self._params.steps
            ranges = ranges_of(self._params, progress)
            self._kept[index] = simulated(self._params, self._seed, index, ranges, self._objects)
            while len(self._kept) > 2 * self._params.pool:
                del self._kept[min(self._kept)]
        return self._kept[index]


def held_out(params: SimTrainParams, seed: int, objects: Sequence[NDArray[np.float32]] = ()) -> list[Shown]:
    """Return recordings that no training sees, with photons spread evenly over their (logarithmic) range."""
    made = []
    low, high = math.log(params.photons_from), math.log(params.photons_to)
    for index in range(params.held_out):
        photons = math.exp(low + (high - low) * (index + 0.5) / params.held_out)
        ranges = ranges_of(params)
        fixed = Ranges(**{**vars(ranges), "photons": (photons, photons)})
        made.append(simulated(params, seed + HELD_OUT_SEED, index, fixed, objects))
    return made


def _same_pattern(found: Calibration, true: Calibration) -> bool:
    """Return whether every carrier was found where it is, up to its sign (a wrong one can't be mended by any network)."""
    if any(len(one.carriers) != len(other.carriers) for one, other in zip(found.groups, true.groups, strict=True)):
        return False
    apart = [
        min(math.hypot(a.k_per_um[0] - sign * b.k_per_um[0], a.k_per_um[1] - sign * b.k_per_um[1]) for sign in (1, -1))
        for one, other in zip(found.groups, true.groups, strict=True)
        for a, b in zip(one.carriers, other.carriers, strict=True)
    ]
    return max(apart) < FOUND_WITHIN / (found.shape_yx[0] * found.pixel_um[0])


def _matched(truth: Tensor, image: Tensor) -> Tensor:
    """Return a * truth + b with the brightness and background of `image` (least squares)."""
    centred = truth - truth.mean()
    factor = (centred * (image - image.mean())).sum() / centred.square().sum().clamp_min(1e-12)
    return factor * centred + image.mean()
