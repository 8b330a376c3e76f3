"""Parameters of the light-field simulator."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.params import EngineParams, param
from napari_recon.engines.light_field_optics import OPTICS_FILES


class LightFieldParams(EngineParams):
    """A moving phantom, the optics that see it and the camera that records it."""

    frames: int = param(5, "Time points.", ge=1, le=10000)
    height: int = param(45, "Height of a view; a multiple of scanning.", unit="light-field pixel", ge=3, le=1500)
    width: int = param(45, "Width of a view; a multiple of scanning.", unit="light-field pixel", ge=3, le=1500)
    planes: int = param(0, "Depth planes kept around focus (odd); 0 keeps all of psf_shift.", ge=0)
    views: Literal["selected", "all"] = param(
        "selected", "The views reconstruction uses in their order, or all Nnum x Nnum pages as a camera gives them."
    )

    phantom: Literal["mixed", "bubtub", "lines", "tissue"] = param(
        "mixed",
        "What there is to see: mixed (tubes, beads and bubbles in the numbers below), or a kind of simulate.phantom. Unused "
        "with an object input.",
    )
    entry: int = param(0, "Bubtub: which of the fifteen published kinds; 0 is something of everything.", ge=0, le=15)
    tubes: int = param(6, "Number of curved filaments.", ge=0, le=2000)
    beads: int = param(24, "Number of small solid balls.", ge=0, le=20000)
    bubbles: int = param(3, "Number of large balls, every second one hollow.", ge=0, le=2000)
    speed: float = param(3.0, "Fastest motion of a structure from frame to frame.", unit="fine pixel", ge=0, le=100)
    velocity_um_s: tuple[float, float, float] = param(
        (0.0, 0.0, 0.0), "Motion of everything together (z, y, x).", unit="micrometer / second", advanced=True
    )
    tube_radius: float = param(1.5, "Radius of the filaments.", unit="fine pixel", ge=0.5, le=20, advanced=True)
    bead_radius: float = param(2.5, "Largest radius of the beads.", unit="fine pixel", ge=0.5, le=40, advanced=True)
    bubble_radius: float = param(12.0, "Largest radius of the bubbles.", unit="fine pixel", ge=1, le=200, advanced=True)
    beyond: float = param(
        0.0,
        "How far around the field structures may lie; light from there reaches the edges.",
        unit="fraction of the field",
        ge=0,
        le=1,
        advanced=True,
    )

    scanning: Literal[1, 3, 5] = param(
        3, "Scan steps per axis: a light-field pixel is Nnum / scanning fine pixels.", advanced=True
    )
    scan_motion: bool = param(
        False,
        "The exposures of a scan follow each other within the interval, so that what moves is torn (what TW-Net mends); the "
        "truth is that of the middle one.",
    )
    lenslets: bool = param(
        False, "Also write what the camera sees behind the microlenses, one picture per exposure (views=all, or such a PSF)."
    )
    pitch_px: float = param(
        0.0, "Lenslets: their distance on the camera; 0 is Nnum.", unit="camera pixel", ge=0, le=100, advanced=True
    )
    rotation_deg: float = param(
        0.0, "Lenslets: turn of their rows, from x towards y.", unit="degree", ge=-45, le=45, advanced=True
    )
    offset_px: tuple[float, float] = param(
        (0.0, 0.0),
        "Lenslets: displacement (y, x) of the array from the camera's middle.",
        unit="camera pixel",
        advanced=True,
    )
    vignetting: float = param(
        0.0, "Lenslets: loss of light in the corners of the camera.", unit="fraction", ge=0, le=1, advanced=True
    )
    psf_shift: str = param(
        "geometric-13",
        "Where each view sees each depth: geometric-13 or geometric-15 (the number is Nnum), or a file: a psf_shift, or a "
        "PSF whose centres of mass are taken.",
        file=OPTICS_FILES,
    )
    psf_sigma: float = param(2.0, "Blur of the imaging; unused with a psf input.", unit="fine pixel", ge=0, le=20)
    interval: float = param(0.1, "Time between frames.", unit="second", gt=0, advanced=True)

    peak: float = param(300.0, "Brightest pixel of the centre view in the first frame.", unit="photon", gt=0, le=60000)
    photon_noise: bool = param(True, "Draw photon numbers at random (Poisson).")
    gain: float = param(1.0, "Camera counts per photon.", unit="counts", gt=0, le=1000, advanced=True)
    background: float = param(0.0, "Camera offset.", unit="counts", ge=0, le=10000, advanced=True)
    read_noise: float = param(3.0, "Standard deviation of the camera's read noise.", unit="counts", ge=0, le=1000)
    bits: int = param(16, "Bit depth of the camera: brighter pixels are cut.", unit="bit", ge=1, le=16, advanced=True)
