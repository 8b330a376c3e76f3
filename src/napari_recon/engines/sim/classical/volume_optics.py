"""The optics of a three-beam stack (no torch)."""

from __future__ import annotations

import math
from typing import NamedTuple


class VolumeOptics(NamedTuple):
    """Optics of a stack: `pixel_um` is (z, y, x); `excitation_um` the wavelength that makes the pattern."""

    na: float
    wavelength_um: float
    excitation_um: float
    refractive_index: float
    pixel_um: tuple[float, float, float]

    @property
    def cutoff_per_um(self) -> float:
        """Largest lateral frequency, 2 NA / wavelength."""
        return 2.0 * self.na / self.wavelength_um

    @property
    def axial_cutoff_per_um(self) -> float:
        """Largest axial frequency, (n - sqrt(n^2 - NA^2)) / wavelength."""
        return (self.refractive_index - math.sqrt(max(self.refractive_index**2 - self.na**2, 0.0))) / self.wavelength_um

    def axial_shift_per_um(self, k1_per_um: float) -> float:
        """Return kz of the first order of three beams whose outer ones have the lateral frequency k1."""
        whole = self.refractive_index / self.excitation_um
        return whole - math.sqrt(max(whole**2 - k1_per_um**2, 0.0))
