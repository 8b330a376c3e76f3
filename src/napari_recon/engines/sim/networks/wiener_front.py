"""Physics before the network: Wiener reconstructions of one calibration, aligned with each other, and what to add to them.

The network sees, at raw resolution,

- the reconstruction at three Wiener parameters (a third of, exactly, and three times the one the data ask for), each as
  its 2 x 2 interleaved images,
- the wide field,
- the logarithm of the Wiener parameter, the same everywhere: how noisy the data are,

and says what to add to the reconstruction in the middle, which is the one of `sim.wiener`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.filters import Filters
from napari_recon.engines.sim.classical.maps import noise_of, wide_field
from napari_recon.engines.sim.classical.otf import CircularOtf, Transfer
from napari_recon.engines.sim.classical.recombine import Reconstructor
from napari_recon.engines.sim.classical.wiener_choice import choose_wiener

FACTORS = (1 / 3, 1.0, 3.0)
CHANNELS = 4 * len(FACTORS) + 2
TYPICAL_WIENER = 0.06
FAINT, BRIGHT = 0.001, 0.999
"""Quantiles of the wide field that become 0 and 1."""


class WienerInput(NamedTuple):
    """What the network gets, and how its answer becomes an image.

    Attributes
    ----------
    channels : Tensor
        (CHANNELS, Y, X) float32.
    base : Tensor
        (2 Y, 2 X), the reconstruction to which the network's answer is added, in counts.
    scale : float
        Counts per unit of the network.
    """

    channels: Tensor
    base: Tensor
    scale: float

    def image(self, answer: Tensor) -> Tensor:
        """Return the image (2 Y, 2 X) in counts from the network's answer of that shape."""
        return self.base + self.scale * answer


def wiener_input(
    frames: Tensor, calibration: Calibration, transfer: Transfer | None = None, wiener: float | None = None
) -> WienerInput:
    """Return the network's input for the raw frames of one image.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X) float32, angle-major, in counts with the camera's offset.
    calibration : Calibration
    transfer : callable, optional
        Of the objective; an ideal aperture when left out.
    wiener : float, optional
        Instead of the one the data ask for.
    """
    shape = (frames.shape[-2], frames.shape[-1])
    transfer = transfer or CircularOtf(calibration.cutoff_per_um)
    operator = Reconstructor(calibration, shape, transfer, device=frames.device)
    bands = operator.bands(frames)
    w = wiener or choose_wiener(operator, frames, noise_of(frames, calibration), Filters())
    images = [operator.combine(bands, Filters(wiener=w * factor)) for factor in FACTORS]
    widefield = wide_field(frames, calibration)
    low, high = (float(value) for value in _quantiles(widefield))
    scale = max(high - low, 1e-6)
    fine = (torch.stack(images) - low) / scale
    channels = torch.cat(
        [
            pixel_unshuffle(fine[:, None], 2).flatten(0, 1),
            (widefield[None] - low) / scale,
            torch.full_like(widefield, math.log10(w / TYPICAL_WIENER))[None],
        ]
    )
    return WienerInput(channels, images[FACTORS.index(1.0)], scale)


def _quantiles(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the faint and bright ends of an image (`torch.quantile` takes no large ones)."""
    flat = image.flatten()
    low, high = (max(1, min(flat.numel(), round(part * flat.numel()))) for part in (FAINT, BRIGHT))
    return flat.kthvalue(low).values, flat.kthvalue(high).values
