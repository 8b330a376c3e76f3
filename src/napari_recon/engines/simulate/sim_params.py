"""Parameters of the structured-illumination simulator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_recon.core.params import EngineParams, param
from napari_recon.engines.sim.layout import Layout

Waves = Annotated[float, Field(ge=-0.5, le=0.5)]


class UpstreamParams(BaseModel):
    """What only the authors' simulator has (compat=upstream); their names are in the descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draws: Literal["fixed", "default", "20230703", "notebook"] = param(
        "20230703", "Which of the authors' random parameters to draw; fixed takes those given here.", advanced=True
    )
    k2: float = param(130.0, "Stripes across the image; the centre of their range when drawn.", gt=0, le=4096, advanced=True)
    k2_err: float = param(15.0, "Full width of that range.", ge=0, advanced=True)
    psf_scale: float = param(
        0.6, "PSFOTFscale: the cut-off is this over pi, in cycles per pixel.", gt=0, le=3, advanced=True
    )
    mean: float = param(0.5, "meanInten of the illumination.", ge=0, le=1, advanced=True)
    amplitude: float = param(0.4, "ampInten of the illumination.", ge=0, le=1, advanced=True)
    alpha: float = param(0.0, "First orientation.", unit="radian", advanced=True)
    angle_error: float = param(0.0, "angleError, common to all orientations.", unit="radian", advanced=True)
    noise_level: float = param(8.0, "NoiseLevel: percent, or photons for Poisson noise.", ge=0, advanced=True)
    poisson: bool = param(False, "usePoissonNoise.", advanced=True)
    use_psf: bool = param(False, "UsePSF: blur by convolution in space, with dark surroundings.", advanced=True)
    shuffle: bool = param(True, "shuffleOrientations.", advanced=True)
    scale: Literal[1, 2] = param(1, "Size of the truth over that of the frames (2: four quadrant pages).", advanced=True)


class SimulateSimParams(EngineParams):
    """An object, the illumination, the microscope and its camera."""

    height: int = param(256, "Height of the raw frames.", unit="pixel", ge=16, le=4096)
    width: int = param(256, "Width of the raw frames.", unit="pixel", ge=16, le=4096)
    frames: int = param(1, "Time points; structures drift between them.", ge=1, le=10000)

    na: float = param(1.2, "Numerical aperture of the objective.", gt=0, le=2)
    wavelength_um: float = param(0.525, "Emission wavelength.", unit="um", gt=0)
    pixel_um: float = param(0.065, "Camera pixel in the sample.", unit="um", gt=0)
    refractive_index: float = param(1.518, "Of the immersion medium, an upper bound of the NA.", ge=1, le=2, advanced=True)

    pattern: Literal["stripes", "hexagonal", "none"] = param(
        "stripes", "Stripes at several angles, the hexagonal lattice of three beams, or light without a pattern."
    )
    profile: Literal["cosine", "half-rectified", "square", "third", "three-beam"] = param(
        "cosine", "Of the stripes; third is a square wave that is bright for a third of its period.", advanced=True
    )
    angles: int = param(3, "Pattern orientations.", ge=1, le=5)
    phases: int = param(3, "Pattern positions per orientation (a hexagonal pattern takes at least 7).", ge=3, le=15)
    frame_order: Literal["ap", "pa"] = param("ap", "Order of the pages: a angle, p phase, slowest first.")
    pattern_frequency: float = param(0.85, "Frequency of the pattern over the cut-off 2 NA / wavelength.", gt=0.02, le=1.5)
    period_um: Annotated[float, Field(gt=0)] | Literal["auto"] = param(
        "auto", "Period of the pattern instead of its frequency.", unit="um", advanced=True
    )
    start_deg: float = param(10.0, "Direction of the first pattern's wave vector, from x towards y.", unit="degree")
    modulation: float = param(0.8, "Depth of the pattern, 1 is full.", ge=0, le=1)
    angle_error_deg: float = param(0.0, "Largest random error of an angle.", unit="degree", ge=0, le=20, advanced=True)
    phase_error_deg: float = param(0.0, "Largest random error of a phase.", unit="degree", ge=0, le=180, advanced=True)
    intensity_jitter: float = param(
        0.0, "Standard deviation of the frames' illumination, relative.", ge=0, le=0.5, advanced=True
    )

    scene: Literal["mixed", "filaments", "membranes", "dots", "folds", "cells", "clouds"] = param(
        "mixed", "What there is to see, unless an image is given as the object."
    )
    density: float = param(1.0, "Factor on the number of structures per area.", gt=0, le=20)
    speed: float = param(1.0, "Fastest drift of a structure from frame to frame.", unit="pixel", ge=0, le=100)
    interval: float = param(1.0, "Time between time points.", unit="second", gt=0, advanced=True)
    margin: int = param(
        24, "Surroundings that send light into the field; 0 makes it periodic.", unit="pixel", ge=0, le=512, advanced=True
    )
    background: float = param(0.2, "Light from out of focus over the light in focus.", ge=0, le=100)

    defocus: Waves = param(0.0, "Zernike defocus.", unit="waves rms", advanced=True)
    astigmatism: Waves = param(0.0, "Zernike astigmatism.", unit="waves rms", advanced=True)
    coma: Waves = param(0.0, "Zernike coma.", unit="waves rms", advanced=True)
    spherical: Waves = param(0.0, "Zernike spherical aberration.", unit="waves rms", advanced=True)

    photons: float = param(500.0, "Brightness: 99th percentile of the first raw frames.", unit="photon", gt=0, le=1e6)
    photon_noise: bool = param(True, "Draw photon numbers at random (Poisson).")
    read_noise: float = param(2.0, "Standard deviation of the camera's read noise.", unit="counts", ge=0, le=1000)
    camera_offset: float = param(100.0, "Counts of a dark pixel.", unit="counts", ge=0, le=10000, advanced=True)
    gain: float = param(1.0, "Camera counts per photon.", unit="counts", gt=0, le=1000, advanced=True)

    compat: Literal["none", "upstream"] = param(
        "none", "upstream repeats the simulator of ML-SIM's authors to the grey level (8 bits).", advanced=True
    )
    upstream: UpstreamParams = UpstreamParams()

    @property
    def layout(self) -> Layout:
        """Angles and phases of one image."""
        return Layout.of(self.angles, self.phases, "hexagonal" if self.pattern == "hexagonal" else "stripes")
