"""A small Fourier light-field microscope."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "na": 1.0,
    "magnification": 100.0,
    "tube_um": 180000.0,
    "fourier_um": 100000.0,
    "microlens_um": 30000.0,
    "pitch_um": 650.0,
    "pixels_per_lens": 33,
    "wavelength_um": 0.51,
    "medium_index": 1.33,
    "sensor_pixels": 101,
    "samples": 255,
    "field_um": 51.1,
    "depth_step_um": 1.0,
    "depth_from_um": -1.0,
    "depth_to_um": 1.0,
}
"""Parameters of `simulate.flfm_psf`; three planes in a few milliseconds."""
