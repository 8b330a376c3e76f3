"""The PSFs of volumes: from files, checked, resampled and trimmed, or from a model of the microscope. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.deconvolution.rl_params import PsfParams, voxel_um
from napari_recon.optics.light_sheet import gaussian_psf, light_sheet_psf
from napari_recon.optics.psf_checks import OFF_CENTRE, positive

if TYPE_CHECKING:
    from napari_recon.core.plan import InputRef

Psf = NDArray[np.float32]

#: Part of a PSF's light that may be cut off along each axis, to both sides together.
CUT = 1e-3

#: Part of it that may come from farther than the volume is continued beyond the data.
FAR = 1e-2


def measured(psf_zyx: Psf, grid: Grid, data: Grid, number: int) -> tuple[Psf, list[str]]:
    """Return a PSF from a file at the voxel size of the data, and what is to be said of it.

    Parameters
    ----------
    psf_zyx : ndarray
        (z, y, x) of any size; the origin is voxel n // 2.
    grid, data : Grid
        Of the PSF and of the views.
    number : int
        Of the view, from 1, for the sentences.
    """
    what = f"PSF {number}"
    psf, said = positive(psf_zyx, what)
    total = float(psf.sum(dtype=np.float64))
    if abs(total - 1) > 0.05:
        said.append(f"{what} sums to {total:.4g}, not to 1; it was scaled, so that the result is in the data's own unit")
    own, wanted = voxel_um(grid), voxel_um(data)
    if "Z" not in data.axes and len(psf) > 1:
        said.append(f"{what} has {len(psf)} planes where the data have one; its middle plane was taken")
        psf = psf[len(psf) // 2][None]
    if own and wanted and len(psf) == 1:
        own = (wanted[0], *own[1:])
    if own and wanted and not np.allclose(own, wanted, rtol=1e-3):
        psf = resampled(psf, tuple(w / o for w, o in zip(wanted, own, strict=True)))
        said.append(f"{what} was resampled from voxels of {_um(own)} to those of the data, {_um(wanted)}")
    elif wanted and not own:
        said.append(f"{what} has no voxel size; it was taken as sampled like the data ({_um(wanted)})")
    psf = psf / psf.sum(dtype=np.float64)
    offset = [float((np.arange(n) - n // 2) @ psf.sum(axis=_others(axis))) for axis, n in enumerate(psf.shape)]
    if max(map(abs, offset)) > OFF_CENTRE:
        said.append(
            f"{what} is off its centre by ({', '.join(f'{o:+.1f}' for o in offset)}) voxels (z, y, x); the result will be "
            "displaced, and views against each other, so centre it unless that is meant"
        )
    return psf.astype(np.float32), said


def modelled(params: PsfParams, views: int, data: Grid, ref: InputRef, channel: int = 0) -> list[Psf]:
    """Return one PSF per view from the parameters.

    Raises
    ------
    InputError
        What is missing: widths, optics, a voxel size, psfmodels.
    """
    step = voxel_um(data)
    if step is None:
        raise InputError(
            "the data should have a voxel size in micrometers for a PSF from a model, found none; give --voxel-size, or "
            "PSF files (--input psf=FILE)"
        )
    angles = params.psf_angle_deg if len(params.psf_angle_deg) == views else params.psf_angle_deg * views
    if len(angles) != views:
        raise InputError(
            f"psf_angle_deg should hold one number, or one for each of the {views} views, found "
            f"{len(params.psf_angle_deg)}; correct it"
        )
    flat = "Z" not in data.axes
    psfs = {angle: _model(params, step, angle, ref, channel, flat) for angle in set(angles)}
    return [psfs[angle] for angle in angles]


def _model(params: PsfParams, step: tuple[float, ...], angle: float, ref: InputRef, channel: int, flat: bool) -> Psf:
    z, y, x = step
    if params.psf_model == "gaussian":
        if not params.psf_fwhm_um:
            raise InputError(
                "a PSF is needed, found neither the input psf nor psf_fwhm_um; give PSF files (--input psf=FILE), the width "
                "of a Gaussian one (psf_fwhm_um), or psf_model and the optics"
            )
        psf = gaussian_psf(params.psf_fwhm_um, params.psf_fwhm_z_um or 3 * params.psf_fwhm_um, (z, y, x), angle)
    else:
        na, wavelength = (_optic(params, name, ref, channel) for name in ("na", "wavelength_um"))
        said = params.refractive_index
        index = said if said != "auto" else ref.optic("refractive_index", channel) or max(1.33, na)
        if na > index:
            raise InputError(
                f"na should not exceed the refractive index of the immersion ({index:g}), found {na:g}; correct na, or set "
                "refractive_index"
            )
        if params.psf_model == "light-sheet":
            psf = light_sheet_psf(na, wavelength, index, params.sheet_fwhm_um, (z, y, x), angle)
        else:
            psf = _of_psfmodels(params, na, wavelength, index, (z, y, x), angle)
    if flat:
        plane = psf[psf.shape[0] // 2][None]
        psf = plane / plane.sum()
    return psf


def _of_psfmodels(
    params: PsfParams, na: float, wavelength: float, index: float, step: tuple[float, float, float], angle: float
) -> Psf:
    """Return the PSF of a widefield or confocal microscope as psfmodels computes it."""
    try:
        import psfmodels
    except ImportError:
        raise InputError(
            f"psf_model={params.psf_model} needs psfmodels, found it not installed; run pip install psfmodels, or choose "
            "psf_model=gaussian or light-sheet"
        ) from None
    z, y, x = step
    if angle or not math.isclose(y, x, rel_tol=1e-3):
        raise InputError(
            f"psf_model={params.psf_model} is for an optical axis along z and square pixels, found psf_angle_deg={angle:g} "
            f"and pixels of {y:.4g} x {x:.4g} um; choose psf_model=gaussian or light-sheet, or give PSF files"
        )
    cone = 2.0 * math.tan(math.asin(min(na / index, 0.95)))
    planes = 2 * math.ceil(4 * 2 * index * wavelength / na**2 / z) + 1
    width = 2 * math.ceil(max(4 * wavelength / na, planes * z / 2 * cone / 2) / x) + 1
    same = {"dz": z, "dxy": x, "nx": width, "NA": na, "ni": index, "ni0": index, "ns": index, "model": "scalar"}
    if params.psf_model == "widefield":
        psf = psfmodels.make_psf(planes, wvl=wavelength, **same)
    else:
        excitation = params.excitation_um or 0.93 * wavelength
        psf = psfmodels.make_psf(planes, wvl=excitation, **same) * psfmodels.make_psf(planes, wvl=wavelength, **same)
    found: Psf = np.asarray(psf / psf.sum(), np.float32)
    return found


def _optic(params: PsfParams, name: str, ref: InputRef, channel: int) -> float:
    value = getattr(params, name)
    found = ref.optic(name, channel) if value == "auto" else value
    if found is None:
        raise InputError(
            f"psf_model={params.psf_model} needs {name}, and {ref.label or 'the file'} does not say it; set it, for example "
            f"{name}={'1.1' if name == 'na' else '0.525'}"
        )
    if name == "wavelength_um" and not 0.2 <= found <= 2:
        raise InputError(f"wavelength_um should be between 0.2 and 2 um, found {found:g}; check the unit")
    return float(found)


def resampled(psf_zyx: Psf, factors: Sequence[float]) -> Psf:
    """Return a PSF at voxels `factors` times as large, its origin again on a voxel; what falls into a voxel is averaged.

    Cubic convolution (R. Keys 1981, doi 10.1109/TASSP.1981.1163711), widened where voxels become larger.
    """
    result = psf_zyx.astype(np.float64)
    for axis, factor in enumerate(factors):
        n = psf_zyx.shape[axis]
        if n == 1 or math.isclose(factor, 1.0, rel_tol=1e-6):
            continue
        reach = math.ceil((n // 2) / factor)
        centres = n // 2 + np.arange(-reach, reach + 1) * factor
        matrix = _cubic((np.arange(n) - centres[:, None]) / max(factor, 1.0))
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
    return np.maximum(result, 0).astype(np.float32)


def trimmed(psf_zyx: Psf, field_zyx: Sequence[int]) -> tuple[Psf, float]:
    """Return a PSF of odd size without its dark outskirts, and the part of its light that lies outside what a field can see.

    Along each axis as much is kept as holds all but `CUT` of the light, and never more than twice the field: no two voxels
    of it are farther apart.
    """
    psf = psf_zyx
    beyond = 0.0
    for axis, n in enumerate(psf_zyx.shape):
        profile = psf.sum(axis=_others(axis), dtype=np.float64)
        middle, light = n // 2, float(profile.sum())
        reach = _reach(profile, CUT)
        limit = field_zyx[axis] - 1
        if reach > limit:
            reach = limit
            beyond = max(beyond, 1 - float(profile[max(middle - reach, 0) : middle + reach + 1].sum()) / light)
        short = (max(reach - middle, 0), max(reach - (n - 1 - middle), 0))
        psf = np.pad(psf, [short if k == axis else (0, 0) for k in range(3)])
        middle += short[0]
        psf = np.take(psf, np.arange(middle - reach, middle + reach + 1), axis=axis)
    scale = float(psf_zyx.sum(dtype=np.float64)) * (1 - beyond) / float(psf.sum(dtype=np.float64))
    return np.ascontiguousarray(psf * np.float32(scale)), beyond


def margin_of(psfs: Sequence[Psf]) -> tuple[int, int, int]:
    """Return how far a volume must be continued beyond the data per axis, for all but `FAR` of the light of odd PSFs."""
    z, y, x = (max(_reach(psf.sum(axis=_others(axis), dtype=np.float64), FAR) for psf in psfs) for axis in range(3))
    return z, y, x


def _reach(profile: NDArray[np.float64], cut: float) -> int:
    """Return the half width around the origin that holds all but `cut` of a profile."""
    middle = len(profile) // 2
    longest = max(middle, len(profile) - 1 - middle)
    for reach in range(longest):
        if float(profile[max(middle - reach, 0) : middle + reach + 1].sum()) >= (1 - cut) * float(profile.sum()):
            return reach
    return longest


def _cubic(position: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.abs(position)
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(k for k in range(3) if k != axis)


def _um(size: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in size) + " um"
