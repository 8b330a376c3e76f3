"""What light-field networks are shown: simulated recordings, or the user's, cut into patches (torch)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.serenet.intensity import BACKGROUND_QUANTILE, BRIGHT_QUANTILE
from napari_recon.engines.serenet.training.params import SerenetTrainParams
from napari_recon.engines.serenet.training.sight import Sight
from napari_recon.engines.simulate.phantom import bubtub, room_of
from napari_recon.engines.simulate.phantom_kinds import Kind
from napari_recon.engines.simulate.phantom_kinds import phantom as phantom_of
from napari_recon.engines.simulate.scene import Canvas
from napari_recon.optics.lightfield_geometry import LightFieldGeometry

HELD_OUT_SEED = 0x5E7E
JUDGED_WITHIN = 2
"""Light-field pixels at the edges of a volume that say nothing about a network."""
ATTEMPTS = 10
"""Phantoms that are drawn until one can be seen."""
_CELLS, _LINES, _MIXED, _CLOUDY = 0.15, 0.1, 0.5, 0.2
"""Parts of the simulated volumes that are close-packed cells, and thin lines; of the rest, those that show two kinds of
structures, and those with clouds around them."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One light field to learn from.

    Attributes
    ----------
    views : Tensor
        (A, h, w) counts above background.
    exact : bool
        Whether `views` are expected photons, to which a camera's noise belongs; a real recording has it already.
    truth : Tensor or None
        (D, H, W) counts per fine voxel.
    """

    views: Tensor
    exact: bool
    truth: Tensor | None = None

    @property
    def field_yx(self) -> tuple[int, int]:
        """Light-field pixels."""
        return int(self.views.shape[-2]), int(self.views.shape[-1])

    def middle(self, size: int, geometry: LightFieldGeometry) -> Recording:
        """Return the middle `size` light-field pixels, or all where there are fewer; cut at whole scans."""
        step = geometry.scanning
        y, x = ((n - min(n, size)) // 2 // step * step for n in self.field_yx)
        h, w = (min(n, size) for n in self.field_yx)
        (top, left), fine = geometry.volume_yx(y, x), geometry.volume_yx(h, w)
        truth = None if self.truth is None else self.truth[:, top : top + fine[0], left : left + fine[1]]
        return Recording(self.views[:, y : y + h, x : x + w], self.exact, truth)


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a recording, as it is learnt from.

    Attributes
    ----------
    noisy : Tensor
        (A, h, w), the whole recording as the network sees it: with noise, above background, times `scale`.
    views : Tensor
        (A, c, c) counts of the patch.
    truth : Tensor or None
        (D, C, C) counts of the patch.
    scale, unit : float
        What `noisy` was multiplied with; what brings its bright pixels to one.
    corner_yx : tuple of int
    """

    noisy: Tensor
    views: Tensor
    truth: Tensor | None
    scale: float
    unit: float
    corner_yx: tuple[int, int]


def patch_of(
    recording: Recording,
    geometry: LightFieldGeometry,
    params: SerenetTrainParams,
    rng: np.random.Generator,
    crop: int,
    scaled: bool,
) -> Patch:
    """Return a random patch of `crop` pixels (0: the whole recording, as bright as it is), `scaled` to one or in counts."""
    factor = rng.uniform(params.dimmest, 1.0) if crop else 1.0
    views = recording.views * float(factor)
    noisy = recorded(views, recording.exact, params, rng)
    low, high = (float(torch.quantile(noisy.flatten()[:: 1 + noisy.numel() // 2**22], q)) for q in
                 (BACKGROUND_QUANTILE, BRIGHT_QUANTILE))  # fmt: skip
    unit = 1 / max(high - low, 1e-9)
    scale = unit if scaled else 1.0
    size = [min(crop, n) or n for n in recording.field_yx]
    step = geometry.scanning
    y, x = (
        int(rng.integers((n - c) // step + 1)) * step if crop else 0 for n, c in zip(recording.field_yx, size, strict=True)
    )
    truth = None
    if recording.truth is not None:
        top, left = geometry.volume_yx(y, x)
        fine = geometry.volume_yx(*size)
        truth = recording.truth[:, top : top + fine[0], left : left + fine[1]].float() * float(factor)
    return Patch((noisy - low) * float(scale), views[:, y : y + size[0], x : x + size[1]], truth, scale, unit, (y, x))


def recorded(views: Tensor, exact: bool, params: SerenetTrainParams, rng: np.random.Generator) -> Tensor:
    """Return what the network sees of views: photon noise where there is none yet, and the camera's."""
    found = views.numpy()
    if exact and params.photon_noise:
        found = rng.poisson(np.maximum(found, 0)).astype(np.float32)
    if params.read_noise:
        found = found + rng.normal(0, params.read_noise, found.shape).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))


class Simulator:
    """Makes recordings of random phantoms.

    Parameters
    ----------
    geometry : LightFieldGeometry
    sight : Sight
        Of volumes with `margin` light-field pixels around the field.
    margin : int
    params : SerenetTrainParams
    seed : int
    """

    def __init__(
        self, geometry: LightFieldGeometry, sight: Sight, margin: int, params: SerenetTrainParams, seed: int
    ) -> None:
        self._geometry, self._sight, self._margin = geometry, sight, margin
        self._params, self._seed = params, seed

    def recording(self, index: int, truth: bool, photons: float = 0.0) -> Recording:
        """Return recording `index` of the series; with `photons` in bright pixels, or any number within the range."""
        params, upsampling = self._params, self._geometry.upsampling
        rng = np.random.default_rng([self._seed, index])
        start, size = round(self._margin * upsampling), self._geometry.volume_yx(params.field, params.field)
        inside = slice(None), slice(start, start + size[0]), slice(start, start + size[1])
        edge = round(JUDGED_WITHIN * upsampling)
        for _ in range(ATTEMPTS):
            volume = self._phantom(rng)
            views = self._sight(volume).clamp_min(0)
            level = float(torch.quantile(views.flatten()[:: 1 + views.numel() // 2**22], BRIGHT_QUANTILE))
            # something must be seen where networks are judged, too, which is not at the very edge
            if level > 0 and bool(volume[inside][:, edge:-edge, edge:-edge].any()):
                break
        low, high = math.log(params.photons_from), math.log(params.photons_to)
        factor = (photons or math.exp(rng.uniform(low, high))) / max(level, 1e-9)
        return Recording(views * factor, True, (volume[inside] * factor).half() if truth else None)

    def _phantom(self, rng: np.random.Generator) -> Tensor:
        """Return a volume of the field with its margin."""
        geometry, field = self._geometry, self._params.field + 2 * self._margin
        shape = (geometry.planes, *geometry.volume_yx(field, field))
        return torch.from_numpy(phantom(shape, geometry.z_step_um / geometry.fine_pixel_um, rng))


def phantom(shape_zyx: tuple[int, int, int], plane_step: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a random volume: beads, bubbles or tubes, two of them together, clouds with some in them, cells, thin lines."""
    kind = rng.random()
    if kind < _CELLS + _LINES:
        name: Kind = "tissue" if kind < _CELLS else "lines"
        made = phantom_of(name, room_of(shape_zyx, plane_step), int(rng.integers(2**31)), density=rng.uniform(0.3, 1.0))
        return made.draw(Canvas(shape_zyx, plane_step), 0.0)
    volume = bubtub(shape_zyx, rng, plane_step=plane_step)
    if rng.random() < _MIXED:
        volume = volume + np.float32(rng.uniform(0.3, 2.0)) * bubtub(shape_zyx, rng, plane_step=plane_step)
    if rng.random() < _CLOUDY:
        volume = volume + np.float32(rng.uniform(0.02, 0.3) * volume.max()) * clouds(shape_zyx, plane_step, rng)
    return volume


def clouds(shape_zyx: tuple[int, int, int], plane_step: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return clouds with dark holes, 0 to 1, of random coarseness."""
    sigma = math.exp(rng.uniform(math.log(6), math.log(30)))
    frequency = [np.fft.fftfreq(shape_zyx[0]) / plane_step, np.fft.fftfreq(shape_zyx[1]), np.fft.rfftfreq(shape_zyx[2])]
    z, y, x = (np.exp(-2 * (math.pi * sigma * f) ** 2).astype(np.float32) for f in frequency)
    noise = torch.fft.rfftn(torch.from_numpy(rng.standard_normal(shape_zyx, dtype=np.float32)))
    smooth = torch.fft.irfftn(noise * torch.from_numpy(z[:, None, None] * y[:, None] * x), shape_zyx).numpy()
    cloud: NDArray[np.float32] = (
        np.clip(smooth / (smooth.std() + 1e-9) - rng.uniform(-0.5, 1.0), 0, 2).astype(np.float32) / 2
    )
    return cloud


class Pool:
    """The latest recordings of an endless series, or the user's; which ones are in it depends on the step alone."""

    def __init__(
        self, params: SerenetTrainParams, seed: int, given: Sequence[Recording], simulator: Simulator | None, truth: bool
    ) -> None:
        self._params, self._seed, self._given = params, seed, given
        self._simulator, self._truth = simulator, truth
        self._kept: OrderedDict[int, Recording] = OrderedDict()

    def patch(self, geometry: LightFieldGeometry, step: int, number: int, scaled: bool) -> tuple[Patch, np.random.Generator]:
        """Return patch `number` of step `step`, and the generator that it was drawn with."""
        params = self._params
        rng = np.random.default_rng([self._seed, step, number])
        if self._given:
            recording = self._given[int(rng.integers(len(self._given)))]
        else:
            recording = self._recording(step // params.renewal + int(rng.integers(params.pool)))
        return patch_of(recording, geometry, params, rng, params.crop, scaled), rng

    def _recording(self, index: int) -> Recording:
        assert self._simulator is not None
        if index not in self._kept:
            self._kept[index] = self._simulator.recording(index, self._truth)
            while len(self._kept) > 2 * self._params.pool:
                del self._kept[min(self._kept)]
        return self._kept[index]


def held_out(simulator: Simulator, params: SerenetTrainParams) -> list[Recording]:
    """Return recordings that no training sees, with photons spread evenly over their (logarithmic) range."""
    low, high = math.log(params.photons_from), math.log(params.photons_to)
    places = [(index + 0.5) / params.held_out for index in range(params.held_out)]
    return [simulator.recording(2**30 + n, True, math.exp(low + (high - low) * at)) for n, at in enumerate(places)]
