"""Parameters of Richardson-Lucy deconvolution of volumes, and the grids of its inputs (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import InputRef

Numbers = tuple[float, ...]
Optic = Annotated[float, Field(gt=0, le=3)] | Literal["auto"]


class PsfParams(EngineParams):
    """The PSF of each view, where no file says what it is."""

    psf_model: Literal["gaussian", "light-sheet", "widefield", "confocal"] = param(
        "gaussian",
        "PSF without the input psf: a Gaussian, a focus within a light sheet, or widefield and confocal by psfmodels.",
    )
    psf_fwhm_um: float = param(0.0, "Lateral full width at half maximum of a Gaussian PSF; 0: not given.", unit="um", ge=0)
    psf_fwhm_z_um: float = param(
        0.0, "Full width of a Gaussian PSF along its axis; 0: three times the lateral one.", unit="um", ge=0
    )
    psf_angle_deg: Numbers = param(
        (0.0,), "Tilt of each view's optical axis from z towards x; one number for all views, or one each.", unit="degree"
    )
    na: Optic = param("auto", "Numerical aperture of the detection; auto takes it from the file.")
    wavelength_um: Optic = param("auto", "Emission wavelength; auto takes it from the file.", unit="um")
    refractive_index: Annotated[float, Field(ge=1, le=2)] | Literal["auto"] = param(
        "auto", "Of the immersion medium; auto takes it from the file, else 1.33.", advanced=True
    )
    sheet_fwhm_um: float = param(1.0, "Full width of the light sheet.", unit="um", gt=0, advanced=True)
    excitation_um: float = param(
        0.0, "Excitation wavelength of a confocal microscope; 0: 0.93 of the emission's.", unit="um", ge=0, advanced=True
    )


class RLParams(PsfParams):
    """Parameters of `deconvolution.rl` and `fusion.multiview_rl`."""

    iterations: Annotated[int, Field(ge=1, le=2000)] | Literal["auto"] = param(
        "auto", "Number of iterations (at least 1), or auto: stop when what is left is noise (reduced deviance 1)."
    )
    scheme: Literal["sequential", "additive"] = param(
        "sequential", "Views update the estimate one after the other (quicker), or all at once."
    )
    tv: float = param(
        0.0,
        "Strength of total-variation smoothing: flattens noise and keeps edges; 0.001 to 0.02 are usual, 0 is none.",
        ge=0.0,
        le=0.15,
    )
    update: Literal["auto", "accelerated", "plain"] = param(
        "auto",
        "How an estimate becomes the next: extrapolated, or plain; auto extrapolates where the number of iterations is "
        "automatic, and takes a given number as the literature counts.",
        advanced=True,
    )
    background: Annotated[float, Field(ge=0.0)] | Literal["auto"] = param(
        "auto",
        "Constant part of the data that is not light from the sample; auto takes the darkest places of each view.",
        unit="counts",
    )
    damping: Annotated[float, Field(ge=0.0, le=0.9)] | Literal["auto"] = param(
        "auto",
        "Weight of an early estimate in the result (a geometric mean); auto takes 0 with a fixed number of iterations, else "
        "what the noise of the data allows.",
        advanced=True,
    )
    weights: Annotated[Numbers, Field(max_length=64)] = param(
        (), "What each view counts, largest for the most trusted; empty: all alike.", advanced=True
    )
    balance: bool = param(True, "Views may differ in brightness: each is modelled with its own, measured from its light.")
    tile_size: int = param(
        0,
        "Largest piece solved at once per axis, without its surroundings; 0 chooses.",
        unit="voxel",
        ge=0,
        le=4096,
        advanced=True,
    )
    compat: Literal["none", "upstream"] = param(
        "none", "upstream repeats the published product iteration, its centring and its scale (no tiles, no background)."
    )


def spatial(grid: Grid) -> Grid:
    """Return the Z Y X (or Y X) part of a grid."""
    return grid.only("".join(axis for axis in "ZYX" if axis in grid.axes))


def common_grid(refs: Sequence[InputRef]) -> Grid:
    """Return the grid of one frame that all views share.

    Raises
    ------
    InputError
        Views of different size, spacing or number of time points.
    """
    first = refs[0].grid
    assert first is not None  # checked with the axes
    for number, ref in enumerate(refs[1:], 2):
        assert ref.grid is not None
        one, other = spatial(first), spatial(ref.grid)
        if one.shape != other.shape:
            raise InputError(
                f"all views should have one size, found {one.shape} and {other.shape} ({one.axes.lower()}) in view "
                f"{number}; register or crop them to a common grid (fusion.split_views does)"
            )
        if not np.allclose(one.scale, other.scale, rtol=1e-3):
            raise InputError(
                f"all views should have one voxel size, found {_text(one.scale)} and {_text(other.scale)} in view {number}; "
                "resample them to a common grid, or correct the sizes (--voxel-size)"
            )
        for axis in "TC":
            if first.size(axis) != ref.grid.size(axis):
                what = "time points" if axis == "T" else "channels"
                raise InputError(
                    f"all views should have the same {what}, found {first.size(axis)} and {ref.grid.size(axis)} in view "
                    f"{number}; complete the series, or leave out what one of them misses"
                )
    return spatial(first)


def voxel_um(grid: Grid) -> tuple[float, ...] | None:
    """Return the voxel size (z, y, x; z is that of x for one plane) in um, None when the grid does not say."""
    if any(grid.unit(axis) != "micrometer" for axis in grid.axes if axis in "ZYX"):
        return None
    return tuple(abs(grid.step(axis if axis in grid.axes else "X")) for axis in "ZYX")


def _text(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
