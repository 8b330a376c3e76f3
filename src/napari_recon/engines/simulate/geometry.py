"""From parameters to the simulated microscope: which pages exist, which of them see light, and how much room they need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.simulate.params import LightFieldParams
from napari_recon.optics.lightfield_geometry import (
    GEOMETRY_IDS,
    MEDIUM_INDEX,
    MICROMETERS,
    NNUMS,
    LightFieldGeometry,
    geometric_psf_shift,
    named_geometry,
)
from napari_recon.optics.psf_checks import odd_size

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
        (views, planes, 2) displacement (y, x) in fine pixels; zero before the run where it follows from a PSF.
    margin : int
        Light-field pixels around the field from which light can reach it.
    canvas_zyx : tuple of int
        Fine voxels of the field with its margin.
    psf_planes : tuple of int, optional
        First and last-but-one plane used of a PSF.
    """

    geometry: LightFieldGeometry
    pages: int
    lit_pages: tuple[int, ...]
    shift_vz2: NDArray[np.float32]
    margin: int
    canvas_zyx: tuple[int, int, int]
    psf_planes: tuple[int, int] = (0, 0)

    @property
    def centre(self) -> int:
        """Row of `shift_vz2` that is the centre view: the one that moves least."""
        return int(np.abs(self.shift_vz2).sum(axis=(1, 2)).argmin())

    def page_number(self, page: int) -> int:
        """Return the page of the full stack, so that a view has the same noise whether the others are made or not."""
        whole = self.geometry.nnum == 1 or self.pages == self.geometry.nnum**2
        return page if whole else self.geometry.view_order[page]

    def camera_yx(self, params: LightFieldParams) -> tuple[int, int]:
        """Return the pixels of a camera on which all lenslets lie, but for what turning and displacing moves out."""
        pitch = params.pitch_px or self.geometry.nnum
        y, x = (math.ceil(n // self.geometry.scanning * pitch) for n in (params.height, params.width))
        return y, x


def rig_of(params: LightFieldParams, psf: Grid | None = None) -> Rig:
    """Return the microscope that `params`, and where there is one the grid of a PSF, describe.

    Raises
    ------
    InputError
        A size that is no whole number of microlenses, unfit planes, an unknown or unreadable psf_shift, a PSF that does not
        fit; lenslets of a microscope that has none, or without all their pages.
    """
    rig = _of_shift(params) if psf is None else _of_psf(params, psf)
    scanning = rig.geometry.scanning
    for name, size in (("height", params.height), ("width", params.width)):
        if size % scanning:
            raise InputError(
                f"{name} should be a multiple of scanning ({scanning}), found {size}; "
                f"choose {size // scanning * scanning or scanning}"
            )
    if (params.lenslets or params.scan_motion) and rig.geometry.nnum == 1:
        raise InputError("lenslets and scans need a microscope with a microlens array, found a PSF of 1 pixel per lens; "
                         "leave lenslets and scan_motion out")  # fmt: skip
    if params.lenslets and rig.pages != rig.geometry.nnum**2:
        raise InputError(
            f"the picture behind the lenslets needs all {rig.geometry.nnum**2} views, found {rig.pages}; choose views=all, "
            "or a PSF of all pages"
        )
    canvas_y, canvas_x = rig.geometry.volume_yx(params.height + 2 * rig.margin, params.width + 2 * rig.margin)
    return replace(rig, canvas_zyx=(rig.geometry.planes, canvas_y, canvas_x))


def _of_shift(params: LightFieldParams) -> Rig:
    geometry = replace(load_optics(params.psf_shift).with_planes(params.planes), scanning=params.scanning)
    pages, lit, shift = geometry.views, tuple(range(geometry.views)), geometry.psf_shift
    if params.views == "all":
        pages = geometry.nnum**2
        lit, shift = _all_pages(params.psf_shift, geometry)
    margin = margin_of(shift, params.psf_sigma, geometry.upsampling, params.scanning)
    return Rig(geometry, pages, lit, shift, margin, (0, 0, 0))


def _of_psf(params: LightFieldParams, psf: Grid) -> Rig:
    """Return the microscope of a PSF: on fine pixels where its views are those of lenslets, else on the camera's own."""
    views, depth = psf.size("V"), psf.size("Z")
    odd_size(psf.size("Y"), psf.size("X"))
    planes = params.planes or depth
    if planes > depth or (depth - planes) % 2:
        raise InputError(
            f"planes should be 0 or an {'odd' if depth % 2 else 'even'} number up to {depth} (the depth of the PSF), found "
            f"{planes}; choose fewer planes"
        )
    nnum, scanning = (NNUMS[views], params.scanning) if views in NNUMS else (1, 1)
    like = named_geometry(nnum if nnum > 1 else 13)
    fine_pixel_um = abs(psf.step("Y")) if psf.unit("Y") in MICROMETERS else like.fine_pixel_um
    shift = np.zeros((views, planes, 2), np.float32)
    geometry = replace(
        like,
        name="psf",
        nnum=nnum,
        scanning=scanning,
        fine_pixel_um=fine_pixel_um,
        z_step_um=abs(psf.step("Z")) if psf.unit("Z") in MICROMETERS else like.z_step_um,
        magnification=like.magnification * like.fine_pixel_um / fine_pixel_um if nnum > 1 else 0.0,
        psf_shift=shift,
    )
    reach = max(psf.size("Y"), psf.size("X")) // 2 + geometry.upsampling
    margin = math.ceil(reach / geometry.upsampling / scanning) * scanning
    first = (depth - planes) // 2
    return Rig(geometry, views, tuple(range(views)), shift, margin, (0, 0, 0), (first, first + planes))


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
