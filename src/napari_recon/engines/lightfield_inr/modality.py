"""What kind of recording a fit is of, and how that fills its parameters. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Resources
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.engines.tomography.params import check_pixels, resolved_angles, size_zyx

if TYPE_CHECKING:
    from napari_recon.engines.lightfield_inr.fit_params import FitParams

TOMOGRAPHY = {"opt": "emission", "cryo_et": "density", "projection": "density"}
"""Modalities whose views are projections, and what their values are where nothing else is said."""


def told(params: FitParams, refs: Refs) -> FitParams:
    """Return parameters whose modality is not automatic.

    A preset says it; else angles speak of projections, and a PSF of a light field.

    Raises
    ------
    InputError
        Nothing says it, or inputs of one kind come with parameters of another.
    """
    modality = params.modality
    if modality == "auto":
        angles = bool(refs["angles"]) or (params.angles != "" and len(params.angles) > 0)
        if params.preset in TOMOGRAPHY:
            modality = "cryo_et" if params.preset == "cryo_et" else "opt"
        elif params.preset == "fpm" or (params.leds != "" and len(params.leds) > 0):
            modality = "fpm"
        else:
            modality = "projection" if angles and not refs["psf"] else "lightfield"
    if modality != "lightfield" and refs["psf"]:
        raise InputError(f"modality={modality} takes no psf, found one; leave it out, or choose modality=lightfield")
    if modality == "lightfield" and (refs["angles"] or params.angles != ""):
        raise InputError("angles belong to tomography, found a light field; choose modality=opt, cryo_et or projection")
    if modality == "lightfield" and not refs["psf"]:
        raise InputError(
            "the fit of a light field needs the input psf (PSF per view and plane, sampled at the views' pixels); give one, "
            "or choose the modality of projections (opt, cryo_et, projection) with their angles"
        )
    return params.model_copy(update={"modality": modality})


def beam_resources(views: int, volume: Grid, params: FitParams, compute: Compute) -> Resources:
    """Return what a fit of projections takes: weights, volumes, and pairs of them as far as the memory goes."""
    planes, *field = volume.shape
    voxels, across = planes * field[0] * field[1], field[1] if params.axis == "y" else field[0]
    weights = min(32 * views * planes * across, 3 << 29)
    steps = 60 if params.iterations == "auto" else params.iterations
    work, details = float(voxels) * views * 8 * (steps + 20), {}
    around = 2**28 + weights + 48 * voxels + 16 * views * field[0] * field[1]
    if params.method == "fast":
        pairs = int(min(8, max(2, (compute.memory_bytes - around) // (8 * voxels))))
        around, details = around + 8 * pairs * voxels, {"pairs": pairs}
    else:
        layers, points = params.layers, min(voxels, max(3 * planes * across, 1 << 16))
        per_point = 4 * (3 * layers.width * layers.depth + 3 * layers.encoded)
        around, details = around + per_point * points, {"points_at_once": 0}
        work = 6.0 * layers.width**2 * layers.depth * points * steps
    return Resources(tile={"y": field[0], "x": field[1]}, tiles=steps, memory_bytes=around, work=work, details=details)


def resolved_projections(params: FitParams, refs: Refs, views: Grid) -> dict[str, Any]:
    """Return the tomographic parameters with nothing automatic but what is seen in the data.

    Raises
    ------
    InputError
        Angles that are missing or of another number, settings that belong to light fields, or too small a volume.
    """
    check_pixels(params, views)
    others = {"refine_views": False, "psf_width": "auto", "psf_aberrations": "auto", "objective": "counts"}
    others["field"] = "voxels"
    for name, usual in others.items():
        if getattr(params, name) != usual:
            raise InputError(f"{name} belongs to light fields, found projections; leave it out")
    planes, height, width = size_zyx(params, views)
    if min(planes, height, width) < 3:
        raise InputError(
            f"a fit needs three planes, rows and columns at least, found {planes} x {height} x {width}; crop less, or use "
            "tomography.sirt"
        )
    signal = TOMOGRAPHY[params.modality] if params.signal == "auto" else params.signal
    centre = 0.0 if params.centre == "auto" and params.modality == "cryo_et" else params.centre
    found: dict[str, Any] = {"angles": resolved_angles(params.angles, refs, views), "signal": signal, "centre": centre}
    if params.method == "upstream":
        if params.preset == "auto" and not params.config and not params.init:
            found["preset"] = "cryo_et" if params.modality == "cryo_et" else "opt"
        usual = FitSettings()
        plain = {"amplitude": 0.0, "similarity": 0.0, "smoothness": 1e-3, "coarse_steps": 0}
        changed = {name: value for name, value in plain.items() if getattr(params.upstream, name) == getattr(usual, name)}
        found["upstream"] = params.upstream.model_copy(update=changed)
    return found
