"""What a camera makes of light. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def record(
    clean: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    photon_noise: bool = True,
    gain: float = 1.0,
    background: float = 0.0,
    read_noise: float = 3.0,
    bits: int = 16,
) -> NDArray[np.uint16]:
    """Return what a camera records of an image given in photons, as uint16 counts, at most what `bits` can hold."""
    photons = np.maximum(clean, 0.0).astype(np.float64)
    counts = gain * (rng.poisson(photons) if photon_noise else photons) + background
    if read_noise:
        counts = counts + rng.normal(0.0, read_noise, photons.shape)
    recorded: NDArray[np.uint16] = np.clip(np.round(counts), 0, 2**bits - 1).astype(np.uint16)
    return recorded
