"""Light-field geometry out of a whole PSF: where the light of each view lies at each depth. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ArrayLike
from napari_recon.optics.lightfield_geometry import (
    MICROMETERS,
    NNUMS,
    VIEW_ORDERS,
    LightFieldGeometry,
    centre_of_mass_shift,
    named_geometry,
)

#: Steps of a scan per lenslet that are looked for when pixel sizes say how fine a PSF is.
SCANS = (1, 2, 3, 4, 5)

#: Views from which a light field may be one of a microlens array in the image plane, and so scanned.
FEWEST = 20

#: Relative difference of pixel sizes up to which two magnifications count as one.
SAME = 0.02


def geometry_of_psf(
    psf_vzyx: ArrayLike, grid: Grid, name: str, optics: Mapping[str, Any] | None = None
) -> LightFieldGeometry:
    """Return the geometry of a light-field PSF: its centres of mass, its pixel and its plane distance.

    Parameters
    ----------
    psf_vzyx : array
        (views, planes, H, W) on fine pixels, views in the published order or all ``nnum**2`` in page order; read one by one.
    grid : Grid
        Of the PSF; where it has micrometers its pixel, plane distance and plane in focus (z = 0) are believed. Otherwise
        they are those of the named microscope with as many views, and the middle plane is in focus.
    name : str
    optics : dict, optional
        ``na`` of a file that says it.

    Raises
    ------
    InputError
        Another number of views; no plane in focus.
    """
    views, planes = grid.size("V"), grid.size("Z")
    if views not in NNUMS:
        known = ", ".join(str(n) for n in NNUMS)
        raise InputError(
            f"a PSF that stands for a psf_shift should have {known} views, found {views}; make it with simulate.lfm_psf, "
            "or give it as the input psf of deconvolution.lightfield_rl, which takes any views"
        )
    nnum = NNUMS[views]
    order = VIEW_ORDERS[nnum] if views == nnum * nnum else range(views)
    like = named_geometry(nnum)
    first, last = _around_focus(grid, planes)
    said = grid.unit("Y") in MICROMETERS
    fine_pixel_um = abs(grid.step("Y")) if said else like.fine_pixel_um
    shift = np.stack([_shift(psf_vzyx[page], first, last) for page in order])
    return replace(
        like,
        name=name,
        psf_shift=shift,
        fine_pixel_um=fine_pixel_um,
        z_step_um=abs(grid.step("Z")) if grid.unit("Z") in MICROMETERS else like.z_step_um,
        na=float((optics or {}).get("na", (like.na,))[0]),
        magnification=like.magnification * like.fine_pixel_um / fine_pixel_um,
        measured=said,
    )


def pixels_per_view_pixel(field: Grid, psf_pixel_um: float, views: int, what: str) -> float:
    """Return how many PSF pixels lie on a pixel of the light field, exactly where the number of views says the lenslet's.

    Parameters
    ----------
    field : Grid
        Of the light field, in micrometers.
    psf_pixel_um : float
    views : int
        Of the PSF.
    what : str
        The PSF's name in the sentence.

    Raises
    ------
    InputError
        The pixels fit no scan of the lenslets: the PSF is of another magnification.
    """
    found = abs(field.step("Y")) / psf_pixel_um
    if abs(found - 1) < 0.01:
        return 1.0
    if views not in NNUMS:
        return _finer(found, views, what)
    nnum = NNUMS[views]
    nearest = min((nnum / scan for scan in SCANS), key=lambda pixels: abs(pixels / found - 1))
    if abs(nearest / found - 1) <= SAME:
        return nearest
    usual = min((nnum / 3, float(nnum)), key=lambda pixels: abs(np.log(pixels / found)))
    raise InputError(
        f"{what} should be of the data's magnification: {nnum / 3:.4g} of its pixels (scanned 3 x 3) or {nnum} (not "
        f"scanned) on one of the data, found {found:.4g} ({psf_pixel_um:.4g} um and {abs(field.step('Y')):.4g} um), as with "
        f"{found / usual:.3g} times the magnification; choose the PSF of this microscope, or correct a pixel size"
    )


def _finer(found: float, views: int, what: str) -> float:
    """Return the factor of a PSF whose lenslets are unknown: a Fourier light field is not scanned, so it is whole."""
    if abs(round(found) / found - 1) <= SAME:
        return float(round(found))
    if views < FEWEST:
        raise InputError(
            f"{what} should be of the data's magnification: as large pixels, or smaller by a whole factor, found "
            f"a factor of {found:.4g}; choose the PSF of this microscope, or correct a pixel size"
        )
    return found


def scanned_as(geometry: LightFieldGeometry, field: Grid) -> LightFieldGeometry:
    """Return a geometry with the scan that the pixel size of the light field tells, where it tells one.

    Raises
    ------
    InputError
        A PSF of another magnification.
    """
    if field.unit("Y") not in MICROMETERS:
        return geometry
    if geometry.measured:
        found = pixels_per_view_pixel(field, geometry.fine_pixel_um, geometry.views, f"the PSF {geometry.name}")
    else:
        found = abs(field.step("Y")) / geometry.fine_pixel_um
    scanning = round(geometry.nnum / found)
    fits = scanning in (*SCANS, geometry.nnum) and abs(geometry.nnum / scanning / found - 1) <= SAME
    return replace(geometry, scanning=scanning) if fits else geometry


def other_pixel_um(grid: Grid, expected_um: float) -> float | None:
    """Return the pixel size of data that were taken at another magnification; None where it fits, or is not known."""
    found = abs(grid.step("Y"))
    return found if grid.unit("Y") in MICROMETERS and abs(found / expected_um - 1) > SAME else None


def check_field(geometry: LightFieldGeometry, field: Grid) -> None:
    """Raise an InputError when a PSF's pixels say that it is of another magnification than the data, or of another scan."""
    if not geometry.measured or field.unit("Y") not in MICROMETERS:
        return
    found = pixels_per_view_pixel(field, geometry.fine_pixel_um, geometry.views, f"the PSF {geometry.name}")
    if abs(found / geometry.upsampling - 1) > SAME:
        raise InputError(
            f"the light field should be scanned {geometry.scanning} x {geometry.scanning} for this method "
            f"({geometry.upsampling:.4g} PSF pixels per pixel), found {found:.4g} of them per pixel; interleave the scan, "
            "or correct a pixel size"
        )


def _around_focus(grid: Grid, planes: int) -> tuple[int, int]:
    """Return first and last-but-one of as many planes below focus as above it."""
    focus = planes // 2
    if grid.unit("Z") in MICROMETERS and grid.origin("Z"):
        focus = round(-grid.origin("Z") / grid.step("Z"))
    if not 0 <= focus < planes:
        raise InputError(
            f"the PSF's planes should include the one in focus (z = 0), found {grid.to_world('Z', 0):.4g} to "
            f"{grid.to_world('Z', planes - 1):.4g} um; give planes on both sides of focus"
        )
    half = min(focus, planes - 1 - focus)
    return focus - half, focus + half + 1


def _shift(psf_zyx: NDArray[Any], first: int, last: int) -> NDArray[np.float32]:
    """Return the centres of mass (planes, 2) of one view; planes without light stay in the middle."""
    part = np.maximum(np.asarray(psf_zyx[first:last], dtype=np.float32), 0)
    shift: NDArray[np.float32] = centre_of_mass_shift(part[None])[0]
    return shift
