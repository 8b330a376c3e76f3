"""From parameters to the simulated microscope: which pages exist, which of them see light, and how much room they need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.simulate.params import LightFieldParams
from napari_recon.optics.lightfield_geometry import (
    GEOMETRY_IDS,
    MEDIUM_INDEX,
    LightFieldGeometry,
    geometric_psf_shift,
)

PUPIL = 5.0
"""Views farther out (in angular steps) stay dark: their rays are so steep that a real pupil passes almost nothing."""


@dataclass(frozen=True, eq=False)
class Rig:
    """The microscope of one simulation.

    Attributes
    ----------
    geometry : LightFieldGeometry
        With the asked scanning and planes.
    pages : int
        Pages of a raw frame.
    lit_pages : tuple of int
        The pages that see light, one per row of `shift_vz2`.
    shift_vz2 : numpy.ndarray
        (views, planes, 2) displacement (y, x) in fine pixels.
    margin : int
        Light-field pixels around the field from which light can reach it.
    canvas_zyx : tuple of int
        Fine voxels of the field with its margin.
    """

    geometry: LightFieldGeometry
    pages: int
    lit_pages: tuple[int, ...]
    shift_vz2: NDArray[np.float32]
    margin: int
    canvas_zyx: tuple[int, int, int]

    @property
    def centre(self) -> int:
        """Row of `shift_vz2` that is the centre view."""
        nnum = self.geometry.nnum
        return self.lit_pages.index(nnum * nnum // 2) if self.pages == nnum * nnum else 0


def rig_of(params: LightFieldParams) -> Rig:
    """Return the microscope that `params` describe.

    Raises
    ------
    InputError
        A size that is no whole number of microlenses, unfit planes, an unknown or unreadable psf_shift.
    """
    geometry = replace(load_optics(params.psf_shift).with_planes(params.planes), scanning=params.scanning)
    for name, size in (("height", params.height), ("width", params.width)):
        if size % params.scanning:
            raise InputError(
                f"{name} should be a multiple of scanning ({params.scanning}), found {size}; "
                f"choose {size // params.scanning * params.scanning or params.scanning}"
            )
    pages, lit, shift = geometry.views, tuple(range(geometry.views)), geometry.psf_shift
    if params.views == "all":
        pages = geometry.nnum**2
        lit, shift = _all_pages(params.psf_shift, geometry)
    margin = margin_of(shift, params.psf_sigma, geometry.upsampling, params.scanning)
    canvas_y, canvas_x = geometry.volume_yx(params.height + 2 * margin, params.width + 2 * margin)
    return Rig(geometry, pages, lit, shift, margin, (geometry.planes, canvas_y, canvas_x))


def margin_of(shift_vz2: NDArray[np.float32], psf_sigma: float, upsampling: float, scanning: int) -> int:
    """Return how many light-field pixels away light can start and still reach the field, a multiple of `scanning`."""
    reach = float(np.abs(shift_vz2).max()) + 4 * psf_sigma + upsampling
    return math.ceil(reach / upsampling / scanning) * scanning


def _all_pages(name: str, geometry: LightFieldGeometry) -> tuple[tuple[int, ...], NDArray[np.float32]]:
    if name not in GEOMETRY_IDS:
        return geometry.view_order, geometry.psf_shift
    nnum = geometry.nnum
    pages = np.arange(nnum * nnum)
    radius = np.hypot(pages // nnum - nnum // 2, pages % nnum - nnum // 2)
    lit = tuple(int(page) for page in pages[radius <= PUPIL * nnum / 13])
    shift = geometric_psf_shift(
        nnum,
        geometry.planes,
        z_step_um=geometry.z_step_um,
        magnification=geometry.magnification,
        na=geometry.na,
        pitch_um=geometry.fine_pixel_um * nnum * geometry.magnification,
        views=lit,
        medium_index=MEDIUM_INDEX,
    )
    return lit, shift
