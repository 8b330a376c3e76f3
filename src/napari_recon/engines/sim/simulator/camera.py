"""The camera: photons, their noise, read noise, gain and offset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_recon.engines.sim.simulator.objects import Image


@dataclass(frozen=True)
class Camera:
    """How light becomes counts: gain * Poisson(photons) + offset + read noise.

    Attributes
    ----------
    gain : float
        Counts per photon.
    read_noise : float
        Standard deviation in counts.
    offset : float
        Counts of a dark pixel.
    photon_noise : bool
    """

    gain: float = 1.0
    read_noise: float = 2.0
    offset: float = 100.0
    photon_noise: bool = True

    def record(self, photons: Image, rng: np.random.Generator) -> Image:
        """Return counts, float32 and not rounded, of an image in photons."""
        photons = np.maximum(photons, 0)
        arrived = rng.poisson(photons) if self.photon_noise else photons
        counts = np.float32(self.gain) * np.asarray(arrived, np.float32) + np.float32(self.offset)
        if self.read_noise:
            counts += np.float32(self.read_noise) * rng.standard_normal(photons.shape, dtype=np.float32)
        recorded: Image = counts
        return recorded


def as_counts(recorded: Image) -> np.ndarray:
    """Return whole numbers between 0 and 65535 as uint16."""
    counts: np.ndarray = np.clip(np.round(recorded), 0, 65535).astype(np.uint16)
    return counts


def photon_scale(frames: Image, photons: float) -> float:
    """Return the factor that gives the 99th percentile of noise-free frames the wanted number of photons."""
    brightest = float(np.percentile(frames, 99))
    return photons / brightest if brightest > 0 else 0.0
