"""Parameters that every structured-illumination engine shares, and the optics they stand for (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from napari_recon.core.errors import InputError
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import InputRef
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.layout import FrameOrder, Layout, Pattern

#: Refractive index of immersion oil: what an objective's NA can't exceed unless another index is given.
OIL = 1.518


class LayoutParams(EngineParams):
    """How raw frames are ordered."""

    angles: int = param(3, "Pattern orientations per image.", ge=1, le=5)
    phases: int = param(3, "Pattern positions per orientation.", ge=3, le=15)
    frame_order: FrameOrder = param(
        "ap", "Order of the pages from slowest to fastest: a angle, p phase, z plane; further sets are time points."
    )

    @property
    def layout(self) -> Layout:
        """Angles and phases."""
        return Layout(self.angles, self.phases)


class OpticsParams(LayoutParams):
    """The microscope, as far as physics needs it."""

    na: Annotated[float, Field(gt=0, le=2)] | Literal["auto"] = param(
        "auto", "Numerical aperture of the objective; auto takes it from the file."
    )
    wavelength_um: Annotated[float, Field(gt=0)] | Literal["auto"] = param(
        "auto", "Emission wavelength; auto takes it from the file.", unit="um"
    )
    refractive_index: Annotated[float, Field(ge=1, le=2)] | Literal["auto"] = param(
        "auto", "Of the immersion medium, an upper bound of the NA; auto takes it from the file, else oil.", advanced=True
    )
    pattern: Pattern = param(
        "stripes", "Stripes at several angles, or one hexagonal lattice moved in 7 (or more) phases.", advanced=True
    )

    @property
    def layout(self) -> Layout:
        """Angles and phases; a hexagonal pattern has one "angle" and at least 7 phases."""
        return Layout.of(self.angles, self.phases, self.pattern)


class Optics(NamedTuple):
    """Resolved optics of one channel."""

    na: float
    wavelength_um: float
    pixel_um: tuple[float, float]

    @property
    def cutoff_per_um(self) -> float:
        """Largest frequency the objective passes, 2 NA / wavelength."""
        return 2.0 * self.na / self.wavelength_um


def resolved_optics(params: OpticsParams, ref: InputRef, channel: int = 0, given: Calibration | None = None) -> Optics:
    """Return the optics from the parameters, else from a given calibration, else from what the file says.

    Raises
    ------
    InputError
        Missing NA, wavelength or pixel size; a wavelength in nanometers; an NA above the immersion index; pixels too
        coarse for the OTF.
    """
    if given is not None:
        known = {name: getattr(given, name) for name in ("na", "wavelength_um") if getattr(params, name) == "auto"}
        params = params.model_copy(update=known)
    na = _known(params.na, ref, "na", channel, "na=1.4")
    wavelength = _known(params.wavelength_um, ref, "wavelength_um", channel, "wavelength_um=0.525")
    if wavelength >= 10:
        raise InputError(
            f"wavelength_um should be in micrometers, found {wavelength:g}, which looks like nanometers; "
            f"set wavelength_um={wavelength / 1000:g}"
        )
    if not 0.2 <= wavelength <= 2:
        raise InputError(f"wavelength_um should be between 0.2 and 2 um, found {wavelength:g}; check the unit")
    said = params.refractive_index
    index = said if said != "auto" else ref.optic("refractive_index", channel) or OIL
    if na > index:
        raise InputError(
            f"na should not exceed the refractive index of the immersion ({index:g}), found {na:g}; "
            "correct na, or set refractive_index"
        )
    pixel = pixel_um(ref.grid, ref.name)
    limit = wavelength / (4 * na)
    if max(pixel) > limit * 1.001:
        raise InputError(
            f"pixels should be at most {limit:.4g} um to sample the OTF of NA {na:g} at {wavelength:g} um, "
            f"found {max(pixel):.4g} um; check the pixel size (--voxel-size), na and wavelength_um"
        )
    return Optics(na, wavelength, pixel)


def pixel_um(grid: Grid | None, what: str) -> tuple[float, float]:
    """Return the pixel size (y, x) in um (InputError when the data do not say)."""
    if grid is not None and all(grid.units[grid.axes.index(a)] == "micrometer" for a in "YX"):
        y, x = (grid.scale[grid.axes.index(a)] for a in "YX")
        return y, x
    raise InputError(f"{what} should have a pixel size in micrometers, found none; give --voxel-size y=0.065,x=0.065")


def check_transfer(refs: Refs) -> None:
    """Raise an InputError where a point spread and a transfer function are given, which say the same."""
    if refs["psf"] and refs["otf"]:
        raise InputError("psf and otf say the same, expected one of them, found both; leave one out")


def check_calibration(given: Calibration, params: OpticsParams, raw: Grid) -> None:
    """Raise an InputError where a calibration is of other frames than those of `raw` (N Y X)."""
    layout = params.layout
    if (given.angles, given.phases, given.pattern) != layout:
        raise InputError(
            f"the calibration is of {given.angles} angles x {given.phases} phases ({given.pattern}), found "
            f"{layout.angles} x {layout.phases} ({layout.pattern}) set; set angles={given.angles}, phases={given.phases}, "
            f"pattern={given.pattern}, or take another calibration"
        )
    shape, pixel = (raw.size("Y"), raw.size("X")), pixel_um(raw, "raw")
    if given.shape_yx != shape or not np.allclose(given.pixel_um, pixel, rtol=1e-3):
        raise InputError(
            f"the calibration is of raw frames of {given.shape_yx[0]} x {given.shape_yx[1]} pixels of "
            f"{given.pixel_um[0]:.4g} x {given.pixel_um[1]:.4g} um, found {shape[0]} x {shape[1]} pixels of "
            f"{pixel[0]:.4g} x {pixel[1]:.4g} um; use calibration=auto, or one of the same camera region"
        )


def _known(value: float | str, ref: InputRef, name: str, channel: int, example: str) -> float:
    found = value if not isinstance(value, str) else ref.optic(name, channel)
    if found is None:
        raise InputError(f"{name} is needed and {ref.label or 'the file'} does not say it; set it, for example {example}")
    return float(found)
