"""Recordings, volumes and PSF to learn from: checked from headers, then read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import Inputs, InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.frames import read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef
from napari_recon.core.token import CancelToken
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.serenet.intensity import prepare
from napari_recon.engines.serenet.training.params import FROM_VIEWS, SerenetTrainParams
from napari_recon.optics.lightfield_geometry import MEDIUM_INDEX, LightFieldGeometry, geometric_psf_shift
from napari_recon.optics.psf_shift import other_pixel_um

if TYPE_CHECKING:
    from torch import Tensor

    from napari_recon.engines.serenet.training.examples import Recording

VIEWS = InputSpec(
    name="views",
    axes="VYX",
    loops="T",
    required=False,
    many=True,
    description="light fields to learn from, realigned to one page per view; none: they are simulated",
)
VOLUME = InputSpec(
    name="volume",
    axes="ZYX",
    loops="T",
    required=False,
    many=True,
    description="the volume of each light field, for networks that learn from volumes",
)
PSF = InputSpec(
    name="psf",
    axes="VZYX",
    loops="",
    required=False,
    accepts=("psf",),
    description="the full PSF in fine pixels; without one, the optics are rays (psf_shift)",
)
Refs = Mapping[str, Sequence[InputRef]]


def geometry_for(params: SerenetTrainParams) -> LightFieldGeometry:
    """Return the microscope of a training run, with the planes of its examples.

    Raises
    ------
    InputError
        An unknown or unfit psf_shift, planes that it has not.
    """
    geometry = load_optics(params.psf_shift)
    planes = params.planes
    if "planes" not in params.model_fields_set and planes > geometry.planes:
        planes = 0  # the usual number of planes is more than there are
    geometry = geometry.with_planes(planes)
    return all_pages(geometry) if params.all_pages else geometry


def check_inputs(refs: Refs, params: SerenetTrainParams, geometry: LightFieldGeometry) -> tuple[int, int]:
    """Return the light-field pixels (y, x) that every recording has at least.

    Raises
    ------
    InputError
        Views of another Nnum or microscope, too small recordings, volumes that do not belong to them, another PSF.
    """
    step = geometry.scanning if params.network != "vsnet" else 3
    if params.crop % step:
        raise InputError(
            f"crop should be a multiple of {step} (the scan steps), found {params.crop}; "
            f"choose {params.crop // step * step or step}"
        )
    views, volumes = refs["views"], refs["volume"]
    if refs["psf"]:
        check_psf(refs["psf"][0], geometry)
    if params.network in FROM_VIEWS and volumes:
        raise InputError(f"{params.network} learns from views alone, found volumes too; leave them out")
    if not views:
        if volumes:
            raise InputError("volumes belong to light fields, found volumes alone; give each its light field")
        return params.field, params.field
    if volumes and len(volumes) != len(views):
        raise InputError(
            f"every light field needs its volume, found {len(views)} of views and {len(volumes)} of volume; give as many "
            "--input volume=FILE as light fields, in the same order"
        )
    if params.supervised and not volumes:
        raise InputError(
            f"{params.network} learns from volumes, found light fields alone; give each its volume (--input volume=FILE), "
            "leave both out to simulate them, or train network=serenet, which needs none"
        )
    for ref in views:
        _check_views(ref, params, geometry)
    for ref, volume in zip(views, volumes, strict=False):
        _check_volume(ref, volume, geometry)
    return min(_grid(r, "views", "VYX").size("Y") for r in views), min(_grid(r, "views", "VYX").size("X") for r in views)


def check_psf(ref: InputRef, geometry: LightFieldGeometry) -> None:
    """Raise an InputError when a PSF is not one of this microscope."""
    grid = _grid(ref, "psf", "VZYX")
    views, planes = grid.size("V"), grid.size("Z")
    if views not in (geometry.views, geometry.nnum**2) or planes < geometry.planes:
        raise InputError(
            f"the PSF should have the {geometry.views} views (or all {geometry.nnum**2}) and at least {geometry.planes} "
            f"planes of psf_shift {geometry.name}, found {views} views and {planes} planes; choose the PSF of this "
            "microscope, name its psf_shift, or set fewer planes"
        )
    found = other_pixel_um(grid, geometry.fine_pixel_um)
    if found is not None:
        raise InputError(
            f"the PSF should have pixels of {geometry.fine_pixel_um:.4g} um, the fine pixels of psf_shift {geometry.name}, "
            f"found {found:.4g} um; choose the PSF for this magnification"
        )


def read_psf(inputs: Inputs, geometry: LightFieldGeometry) -> Tensor | None:
    """Return the PSF (views, planes, H, W) of the views in use, each view and plane summing to one on average."""
    import torch

    from napari_recon.optics.psf_checks import mended_psf
    from napari_recon.optics.psf_projector import normalised_psf

    if not inputs.get("psf"):
        return None
    psf, _ = mended_psf(read_frame(inputs["psf"][0], PSF, {}))
    if psf.shape[0] != geometry.views:
        psf = psf[list(geometry.view_order)]
    first = psf.shape[1] // 2 - geometry.planes // 2
    return normalised_psf(torch.from_numpy(psf[:, first : first + geometry.planes]))


def read_recordings(
    inputs: Inputs, params: SerenetTrainParams, geometry: LightFieldGeometry, token: CancelToken
) -> Iterator[tuple[Recording, str]]:
    """Yield the user's recordings, and what is to be said about each ("" for nothing).

    Raises
    ------
    InputError
        A recording of one value.
    """
    import torch

    from napari_recon.engines.serenet.training.examples import Recording

    volumes = list(inputs.get("volume", ())) or [None] * len(inputs.get("views", ()))
    for stack, volume in zip(inputs.get("views", ()), volumes, strict=True):
        for time in range(stack.grid.size("T")):
            token.check()
            views = read_frame(stack, VIEWS, {"T": time})
            prepared = prepare(geometry.select(views), "auto")
            if prepared.bright <= 0:
                raise InputError(
                    f"a light field to learn from should show something, found one whose bright pixels are as dark as its "
                    f"background ({stack.name}); leave it out"
                )
            truth = None if volume is None else torch.from_numpy(_truth(read_frame(volume, VOLUME, {"T": time})))
            views = prepared.views_vyx - np.float32(pedestal(prepared.views_vyx))
            yield Recording(torch.from_numpy(views), False, truth), prepared.message()


def pedestal(views_vyx: NDArray[np.float32]) -> float:
    """Return how far the mean of dark pixels lies above the 1 % quantile, from how noise falls off below it.

    A volume that had to explain the noise's width as light would be hazy.
    """
    least, low, half = np.quantile(views_vyx, [0.001, 0.01, 0.5])
    sigma = (low - least) / (3.090 - 2.326)
    return float(min(2.326 * sigma, half - low))


def _truth(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    background = np.float32(np.quantile(volume, 0.01))
    above: NDArray[np.float32] = np.maximum(volume - background, 0)
    return above


def all_pages(geometry: LightFieldGeometry) -> LightFieldGeometry:
    """Return the microscope with every page in page order, by the sine condition, for networks that look at all."""
    pitch_um = geometry.fine_pixel_um * geometry.nnum * geometry.magnification
    shift = geometric_psf_shift(
        geometry.nnum,
        geometry.planes,
        geometry.z_step_um,
        geometry.magnification,
        geometry.na,
        pitch_um,
        medium_index=MEDIUM_INDEX,
    )
    return replace(geometry, psf_shift=shift, pages=tuple(range(geometry.nnum**2)))


def _check_views(ref: InputRef, params: SerenetTrainParams, geometry: LightFieldGeometry) -> None:
    grid = _grid(ref, "views", "VYX")
    geometry.page_indices(grid.size("V"))
    if min(grid.size("Y"), grid.size("X")) < params.crop:
        raise InputError(
            f"a light field to learn from should have at least crop={params.crop} pixels, found {grid.size('Y')} x "
            f"{grid.size('X')} ({ref.label}); give larger ones, or set a smaller crop"
        )
    expected = geometry.fine_pixel_um * geometry.upsampling
    found = other_pixel_um(grid, expected)
    if found is not None:
        raise InputError(
            f"the light field ({ref.label}) should have pixels of {expected:.4g} um, those of psf_shift {geometry.name}, "
            f"found {found:.4g} um; choose the psf_shift of its microscope"
        )


def _check_volume(ref: InputRef, volume: InputRef, geometry: LightFieldGeometry) -> None:
    field, grid = _grid(ref, "views", "VYX"), _grid(volume, "volume", "ZYX")
    wanted = (field.size("T"), geometry.planes, *geometry.volume_yx(field.size("Y"), field.size("X")))
    found = tuple(grid.size(a) for a in "TZYX")
    if found != wanted:
        raise InputError(
            f"the volume of a light field of {field.size('Y')} x {field.size('X')} pixels should have {wanted[1:]} voxels "
            f"and as many times, found {found[1:]} at {found[0]} times ({volume.label}); resample it, or set planes"
        )


def _grid(ref: InputRef, name: str, axes: str) -> Grid:
    if ref.grid is None or set(axes) - set(ref.grid.axes):
        found = ref.grid.axes if ref.grid else "no image"
        raise InputError(f"{name} should have the axes {axes}, found {found} ({ref.label})")
    return ref.grid
