"""The PSF of a light-sheet microscope: what its detection objective sees of what its sheet lights up. numpy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian over its standard deviation."""

#: Samples along an axis of the pupil and of the radial profile.
_PUPIL, _RADII = 256, 512


def frame(angle_deg: float, shape: tuple[int, int, int], step_um: tuple[float, float, float]) -> list[NDArray[np.float64]]:
    """Return the coordinates (along the axis, y, across) in um of an odd (z, y, x) array whose axis is tilted towards x."""
    z, y, x = (
        ((np.arange(n) - n // 2) * s).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, s) in enumerate(zip(shape, step_um, strict=True))
    )
    tilt = math.radians(angle_deg)
    return [z * math.cos(tilt) + x * math.sin(tilt), y + 0.0 * x, x * math.cos(tilt) - z * math.sin(tilt)]


def gaussian_psf(
    fwhm_um: float, fwhm_axial_um: float, step_um: tuple[float, float, float], angle_deg: float = 0.0
) -> NDArray[np.float32]:
    """Return a Gaussian PSF (z, y, x) of sum 1, four standard deviations to every side.

    Parameters
    ----------
    fwhm_um, fwhm_axial_um : float
        Full widths across and along the optical axis.
    step_um : tuple of float
        Voxel size (z, y, x).
    angle_deg : float
        Tilt of the optical axis from z towards x.
    """
    across, along = fwhm_um / FWHM, fwhm_axial_um / FWHM
    tilt = math.radians(angle_deg)
    reach = (
        math.hypot(along * math.cos(tilt), across * math.sin(tilt)),
        across,
        math.hypot(along * math.sin(tilt), across * math.cos(tilt)),
    )
    shape = tuple(2 * math.ceil(4 * r / s) + 1 for r, s in zip(reach, step_um, strict=True))
    axial, y, lateral = frame(angle_deg, shape, step_um)  # type: ignore[arg-type]
    psf: NDArray[np.float64] = np.exp(-0.5 * ((axial / along) ** 2 + (y**2 + lateral**2) / across**2))
    result: NDArray[np.float32] = (psf / psf.sum()).astype(np.float32)
    return result


def light_sheet_psf(
    na: float,
    wavelength_um: float,
    refractive_index: float,
    sheet_fwhm_um: float,
    step_um: tuple[float, float, float],
    angle_deg: float = 0.0,
) -> NDArray[np.float32]:
    """Return the PSF (z, y, x) of a detection objective focused on a Gaussian sheet across its axis; sum 1.

    The detection is the scalar Debye integral of an aplanatic objective; the sheet multiplies it along the axis.

    Parameters
    ----------
    na, wavelength_um, refractive_index : float
        Of the detection.
    sheet_fwhm_um : float
        Full width of the sheet's intensity.
    step_um : tuple of float
        Voxel size (z, y, x).
    angle_deg : float
        Tilt of the detection axis from z towards x.

    References
    ----------
    M. Gu, Advanced Optical Imaging Theory, 2000, doi 10.1007/978-3-540-48471-4.
    """
    sine = min(na / refractive_index, 0.999)
    # twice its width from the middle the sheet is 1.5e-5 of its brightest; six depths of focus away nothing is sharp
    depth = min(2.0 * sheet_fwhm_um, 6.0 * refractive_index * wavelength_um / na**2)
    spread = max(6 * 0.5 * wavelength_um / na, 1.2 * depth * sine)  # rings, or the cone where the sheet ends
    tilt = math.radians(angle_deg)
    reach = (
        depth * abs(math.cos(tilt)) + spread * abs(math.sin(tilt)),
        spread,
        depth * abs(math.sin(tilt)) + spread * abs(math.cos(tilt)),
    )
    shape = tuple(2 * math.ceil(r / s) + 1 for r, s in zip(reach, step_um, strict=True))
    axial, y, lateral = frame(angle_deg, shape, step_um)  # type: ignore[arg-type]
    radius = np.hypot(y, lateral)
    axial = np.broadcast_to(axial, radius.shape)
    depths = np.linspace(0.0, float(np.abs(axial).max()), max(2, math.ceil(8 * np.abs(axial).max() / wavelength_um)))
    radii = np.linspace(0.0, float(radius.max()), _RADII)
    table = _detection(na, wavelength_um, refractive_index, depths, radii)
    psf = _looked_up(table, np.abs(axial) / (depths[1] - depths[0]), radius / (radii[1] - radii[0]))
    psf *= np.exp(-0.5 * (axial / (sheet_fwhm_um / FWHM)) ** 2)
    result: NDArray[np.float32] = (psf / psf.sum()).astype(np.float32)
    return result


def _detection(
    na: float, wavelength_um: float, index: float, depths: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the intensity (depths, radii) around the focus of an aplanatic objective."""
    from scipy.special import j0

    edge = math.asin(min(na / index, 0.999))
    middle = (np.arange(_PUPIL) + 0.5) * edge / _PUPIL
    k = 2 * math.pi * index / wavelength_um
    pupil = np.sqrt(np.cos(middle)) * np.sin(middle)
    rings = j0(k * np.sin(middle)[:, None] * radii) * pupil[:, None]
    defocus = np.exp(1j * k * depths[:, None] * np.cos(middle))
    intensity: NDArray[np.float64] = np.abs(defocus @ rings) ** 2
    return intensity


def _looked_up(table: NDArray[np.float64], row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `table` between its samples, linearly."""
    from scipy.ndimage import map_coordinates

    found: NDArray[np.float64] = map_coordinates(table, [row, column], order=1, mode="nearest")
    return found
