"""Parameters of the light-sheet simulators."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.errors import InputError
from napari_recon.core.params import EngineParams, param

Angles = Annotated[tuple[Annotated[float, Field(ge=-90, le=90)], ...], Field(min_length=1, max_length=12)]


class SceneParams(EngineParams):
    """A moving phantom, a light sheet's optics and the camera."""

    frames: int = param(1, "Time points; structures move between them.", ge=1, le=1000)
    tubes: int = param(8, "Number of curved filaments.", ge=0, le=2000)
    beads: int = param(30, "Number of small solid balls.", ge=0, le=20000)
    bubbles: int = param(2, "Number of large balls, every second one hollow.", ge=0, le=2000)
    speed: float = param(1.5, "Fastest motion of a structure from frame to frame.", unit="voxel", ge=0, le=100)
    interval: float = param(1.0, "Time between frames.", unit="second", gt=0, advanced=True)

    na: float = param(1.0, "Numerical aperture of the detection.", gt=0, le=1.5)
    wavelength_um: float = param(0.525, "Emission wavelength.", unit="um", ge=0.2, le=2)
    refractive_index: float = param(1.33, "Of the immersion medium.", ge=1, le=2, advanced=True)
    sheet_fwhm_um: float = param(0.8, "Full width of the light sheet.", unit="um", gt=0, le=50)

    peak: float = param(
        300.0, "Photons in the brightest voxel that structures give in the first frame.", unit="photon", gt=0, le=60000
    )
    camera_offset: float = param(100.0, "Level of the camera in the dark.", unit="counts", ge=0, le=10000)
    read_noise: float = param(2.0, "Standard deviation of the camera's read noise.", unit="counts", ge=0, le=1000)
    photon_noise: bool = param(True, "Draw photon numbers at random (Poisson).")

    def checked(self) -> None:
        """Raise an InputError where nothing is to be seen or the optics can't be."""
        if self.tubes + self.beads + self.bubbles == 0:
            raise InputError("a simulation needs something to see, found no structures; set tubes, beads or bubbles")
        if self.na >= self.refractive_index:
            raise InputError(
                f"na should be below the refractive index ({self.refractive_index:g}), found {self.na:g}; correct one"
            )


class DualViewParams(SceneParams):
    """Parameters of `simulate.dual_view`."""

    planes: int = param(40, "Depth of the volume.", unit="voxel", ge=4, le=1000)
    height: int = param(64, "Height of the volume.", unit="voxel", ge=8, le=4000)
    width: int = param(64, "Width of the volume.", unit="voxel", ge=8, le=4000)
    voxel_um: float = param(0.1, "Size of the cubic voxels.", unit="um", gt=0, le=10)
    angles_deg: Angles = param(
        (30.8, -30.8), "One view for each: tilt of its detection axis from z towards x.", unit="degree"
    )
    psf_model: Literal["light-sheet", "gaussian"] = param(
        "light-sheet", "PSF of the views: a focus within a light sheet, or a Gaussian.", advanced=True
    )
    psf_fwhm_um: float = param(0.26, "Lateral full width of a Gaussian PSF.", unit="um", gt=0, advanced=True)
    psf_fwhm_z_um: float = param(0.66, "Full width of a Gaussian PSF along its axis.", unit="um", gt=0, advanced=True)
    offset_um: tuple[float, float, float] = param(
        (0.0, 0.0, 0.0), "How far every view but the first lies off its place (z, y, x).", unit="um", advanced=True
    )
    brightness: tuple[float, ...] = param((), "Of each view; empty: all alike.", advanced=True)


class LlsmParams(SceneParams):
    """Parameters of `simulate.llsm`."""

    planes: int = param(100, "Raw planes: steps of the stage.", ge=8, le=4000)
    height: int = param(48, "Extent of a raw plane across the skew.", unit="pixel", ge=8, le=4000)
    width: int = param(120, "Extent of a raw plane along the skew axis x.", unit="pixel", ge=16, le=4000)
    pixel_um: float = param(0.1, "Camera pixel in the sample.", unit="um", gt=0, le=5)
    step_um: float = param(0.2, "Step of the stage between planes.", unit="um", gt=0, le=20)
    angle_deg: float = param(30.8, "Between the stage's way and the picture's skew axis.", unit="degree", ge=5, le=85)
    direction: Literal[1, -1] = param(1, "1: structures move towards larger x from plane to plane; -1: towards smaller.")
    mirror: bool = param(True, "The coverslip reflects: what lies in front of it is seen a second time, from below.")
    mirror_at: float = param(
        0.5, "Where the mirror lies along x (with direction -1 counted from the other side).", unit="fraction of the width",
        ge=0.2, le=0.8, advanced=True,
    )  # fmt: skip
    line: float = param(1.5, "Brightness of the line where the sheet meets the mirror, in parts of peak.", ge=0, le=100)
    line_um: float = param(
        0.5, "Full width of that line; a dim haze around it is ten times as wide.", unit="um", gt=0, advanced=True
    )
