"""Depths and grids that simulated point spread functions share (no torch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid

MOST_PLANES = 2001


def depths_of(first_um: float, last_um: float, step_um: float) -> NDArray[np.float64]:
    """Return the depths of planes in micrometers; the one in focus is exactly 0.

    Raises
    ------
    InputError
        A range that runs backwards or has too many planes.
    """
    count = round((last_um - first_um) / step_um) + 1
    if last_um < first_um or count > MOST_PLANES:
        raise InputError(
            f"depth_to_um should lie above depth_from_um by at most {MOST_PLANES - 1} steps, found {first_um:g} to "
            f"{last_um:g} in steps of {step_um:g}; choose other depths"
        )
    depths = first_um + np.arange(count) * step_um
    return np.where(np.abs(depths) < 1e-6 * step_um, 0.0, depths)


def psf_grid(depths_um: NDArray[np.float64], step_um: float, pixels: int, pixel_um: float) -> Grid:
    """Return the grid (ZYX) of a PSF of odd size whose point is the origin."""
    planes = Grid.of("Z", (len(depths_um),), {"Z": step_um}, {"Z": float(depths_um[0])}, {"Z": "micrometer"})
    corner = -(pixels // 2) * pixel_um
    size, place, unit = dict.fromkeys("YX", pixel_um), dict.fromkeys("YX", corner), dict.fromkeys("YX", "micrometer")
    return planes.joined(Grid.of("YX", (pixels, pixels), size, place, unit))
