"""What a calibrated raw stack shows without reconstruction: its noise, its wide field, its modulation against the noise."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.spectra import noise_variance
from napari_recon.engines.sim.params import Optics


def even_frames(frames: Tensor, calibration: Calibration) -> Tensor:
    """Return raw frames (N, Y, X) without camera offset, all as bright as their mean."""
    gains = torch.tensor(calibration.gains or (1.0,) * calibration.frames, device=frames.device)
    return (frames - calibration.camera_offset) / gains[:, None, None]


def noise_of(frames: Tensor, calibration: Calibration) -> float:
    """Return the noise variance of a raw pixel, counts^2, in these very frames as a reconstruction sees them."""
    optics = Optics(calibration.na, calibration.wavelength_um, calibration.pixel_um)
    return noise_variance(even_frames(frames, calibration), optics)


def wide_field(frames: Tensor, calibration: Calibration) -> Tensor:
    """Return the mean (Y, X) of the raw frames, in counts without camera offset."""
    return even_frames(frames, calibration).mean(dim=0)


def modulation_contrast(frames: Tensor, calibration: Calibration) -> Tensor:
    """Return the modulation-contrast-to-noise ratio (Y, X), 4 |F_1| / sqrt(F_0), averaged over the groups.

    F_j is the mean over the frames of a group of d_p e^{-i phi_p j}, the discrete Fourier transform over the phases of
    every pixel (of several carriers the strongest counts). The ratio is that of the modulation from peak to peak to the
    shot noise of one frame, where one count is one photon; below about 4 the pattern drowns.

    References
    ----------
    G. Ball et al., 2015, doi 10.1038/srep15915.
    """
    light = even_frames(frames, calibration)
    total = torch.zeros_like(light[0])
    for group in calibration.groups:
        own = light[list(group.frames)]
        strongest = torch.zeros_like(total)
        for carrier in group.carriers:
            phases = torch.tensor(carrier.phases_rad, dtype=torch.float64)
            turn = torch.stack([torch.cos(phases), torch.sin(phases)])
            turn = (turn - turn.mean(dim=1, keepdim=True)).to(own)
            cos, sin = torch.einsum("cp,pyx->cyx", turn, own) / len(group.frames)
            strongest = torch.maximum(strongest, torch.hypot(cos, sin))
        total += 4 * strongest / own.mean(dim=0).clamp(min=1.0).sqrt()
    return total / len(calibration.groups)
