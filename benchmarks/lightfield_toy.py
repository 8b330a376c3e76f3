"""Small light fields for comparisons with the published fit: filaments seen by seven views, without noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from lightfield_inr_fast import directions, quality
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.lightfield_inr.upstream.losses import objective
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.engines.lightfield_inr.upstream.stage import Targets, normalised_psf
from napari_recon.optics.psf_convolution import PsfProjector

Array = NDArray[np.float32]
PROBLEMS = {"A": ((8, 40, 40), 15), "B": ((16, 64, 64), 25)}
FILAMENTS = 6


class Toy(NamedTuple):
    """A volume (z, y, x), the PSF (v, z, y, x) of its views, and these (v, y, x)."""

    truth: Array
    psf: Array
    views: Array

    @property
    def peak(self) -> float:
        """What the published program divides views by."""
        return float(self.views.max())

    @property
    def targets(self) -> Targets:
        """Views and PSF as the published program scales them."""
        return Targets(torch.from_numpy(self.views / np.float32(self.peak)), normalised_psf(torch.from_numpy(self.psf)))

    def judged(self, volume: Tensor, settings: FitSettings) -> tuple[float, float]:
        """Return the published objective of a volume in its units, and its PSNR (dB)."""
        targets = self.targets
        made = PsfProjector.same(targets.psf, targets.views.shape[1:]).forward(volume)
        return float(objective(made, targets.views, volume, settings)), float(quality(volume.numpy(), self.truth)[0])

    def published_units(self, volume: Array) -> Tensor:
        """Return the volume of a fast fit in the units of a published one."""
        return torch.from_numpy(volume / self.peak * (self.psf.sum() / len(self.psf))).float()


def toy(problem: str, seed: int = 0, moved: float = 0.0) -> Toy:
    """Return one sample; with `moved` its filaments' control points are displaced by so many pixels (rms per axis)."""
    shape, size = PROBLEMS[problem]
    make, drift = np.random.default_rng(seed), np.random.default_rng(1000 + seed)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(np.float32)
    truth, t = np.zeros(shape, np.float32), np.linspace(0, 1, 80)[:, None]
    for _ in range(FILAMENTS):
        ends = make.random((4, 3)) * (np.array(shape) - [2, 6, 6]) + [1, 3, 3]
        a, b, c, d = ends + moved * drift.normal(size=(4, 3)) * [0, 1, 1]
        curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        near = np.full(shape, np.inf, np.float32)
        for place in curve:
            near = np.minimum(near, ((points - place.astype(np.float32)) ** 2).sum(axis=-1))
        truth = np.maximum(truth, make.uniform(0.5, 1) * np.exp(-near / 2))
    truth = truth.astype(np.float32)
    psf = _psf(shape[0], size // 2)
    views = PsfProjector.same(torch.from_numpy(psf), shape[1:]).forward(torch.from_numpy(truth))
    return Toy(truth, psf, views.clamp_min(0).numpy())


def _psf(planes: int, reach: int) -> Array:
    depth, place = np.arange(planes) - (planes - 1) / 2, np.arange(-reach, reach + 1)
    width = np.sqrt(1 + (0.12 * depth) ** 2)
    centre = directions(7)[:, None] * (2 * (reach - 3) / planes) * depth[:, None]
    along = np.exp(-((place - centre[..., None]) ** 2) / (2 * width[:, None, None] ** 2))
    along /= along.sum(axis=-1, keepdims=True)
    return (along[:, :, 0, :, None] * along[:, :, 1, None, :]).astype(np.float32)
