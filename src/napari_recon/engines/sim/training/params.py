"""Parameters of `sim.train` (no torch)."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.engines.sim.params import OpticsParams
from napari_recon.training.params import TrainingParams

#: The microscope that is simulated when nothing is said.
NA, WAVELENGTH_UM = 1.2, 0.525


class SimTrainParams(TrainingParams, OpticsParams):
    """Network, examples and loss of a SIM network, besides what every training has."""

    front: Literal["wiener", "frames"] = param(
        "wiener",
        "What the network sees: calibrated Wiener reconstructions, which it improves (needs a pattern that can be found), "
        "or the raw frames, from which it makes everything.",
    )
    groups: int = param(2, "Residual groups of the RCAN.", ge=1, le=20)
    blocks: int = param(4, "Blocks per group.", ge=1, le=40)
    features: int = param(32, "Channels of every layer.", ge=4, le=256)
    reduction: int = param(8, "Channels per hidden unit of the channel attention.", ge=1, le=64, advanced=True)
    loss: Literal["psnr", "mse", "l1"] = param(
        "psnr", "Squared error, its logarithm per example (psnr: noisy and clean examples count alike), or absolute error."
    )
    fourier_weight: float = param(
        0.0, "Weight of the error's absolute Fourier spectrum, which favours fine detail.", ge=0, le=100, advanced=True
    )
    crop: int = param(64, "Edge of the training patches.", unit="raw pixel", ge=16, le=1024, multiple_of=2)
    field: int = param(
        128, "Edge of a simulated recording, from which patches are cut.", unit="raw pixel", ge=48, le=2048, multiple_of=2
    )
    pool: int = param(64, "Simulated recordings that patches are drawn from.", ge=1, le=100_000, advanced=True)
    renewal: int = param(
        1, "Steps after which a new recording takes the place of the oldest of the pool.", ge=1, le=10_000, advanced=True
    )
    pixel_um: float = param(
        0.0, "Pixel size in the sample, which then varies by 10 %; 0 takes any size that suits the OTF.", unit="um", ge=0
    )
    period_from: float = param(0.4, "Coarsest pattern: |k| over the cut-off 2 NA / wavelength.", ge=0.1, le=1.2)
    period_to: float = param(0.97, "Finest pattern.", ge=0.1, le=1.2)
    modulation_from: float = param(0.35, "Weakest modulation.", ge=0.05, le=1)
    modulation_to: float = param(1.0, "Strongest modulation.", ge=0.05, le=1)
    photons_from: float = param(60.0, "Photons of a bright pixel (99th percentile) of the dimmest frames.", ge=1)
    photons_to: float = param(10_000.0, "And of the brightest.", ge=1)
    background: float = param(
        0.0, "Most out-of-focus light, relative to that in focus, that the network shall learn to remove.", ge=0, le=10
    )
    curriculum: float = param(
        0.0, "Part of the run over which examples get noisier, from the brightest on; 0 draws from all at once.", ge=0, le=1
    )
    calibration: Literal["blind", "true"] = param(
        "blind", "Calibrate every simulated recording as real ones are, or use the true pattern.", advanced=True
    )
    held_out: int = param(12, "Held-out recordings for validation.", ge=1, le=1000, advanced=True)

    @property
    def simulated_na(self) -> float:
        """NA of simulated objectives."""
        return NA if self.na == "auto" else float(self.na)

    @property
    def simulated_wavelength_um(self) -> float:
        """Emission wavelength of simulated recordings."""
        return WAVELENGTH_UM if self.wavelength_um == "auto" else float(self.wavelength_um)

    def check(self) -> None:
        """Check what only several parameters together can say (InputError)."""
        self.check_training()
        if self.crop > self.field:
            raise InputError(f"crop should be at most field ({self.field} pixels), found {self.crop}; make field larger")
        for name in ("period", "modulation", "photons"):
            low, high = getattr(self, f"{name}_from"), getattr(self, f"{name}_to")
            if low > high:
                raise InputError(f"{name}_from should be at most {name}_to, found {low:g} and {high:g}; exchange them")

    def check_simulation(self) -> None:
        """Check what matters when recordings are simulated (InputError)."""
        if self.pattern != "stripes":
            raise InputError(
                f"only pattern=stripes is simulated here, found {self.pattern}; give recordings with their truth"
            )
        na, wavelength = self.simulated_na, self.simulated_wavelength_um
        if not 0.2 <= wavelength <= 2:
            raise InputError(f"wavelength_um should be between 0.2 and 2 um, found {wavelength:g}; check the unit")
        largest = wavelength / (4 * na)
        if self.pixel_um > largest * 1.001:
            raise InputError(
                f"pixel_um should be at most {largest:.4g} to sample the OTF of NA {na:g} at {wavelength:g} um, found "
                f"{self.pixel_um:g}; check na, wavelength_um and pixel_um"
            )
