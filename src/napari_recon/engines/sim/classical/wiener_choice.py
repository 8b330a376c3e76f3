"""The Wiener parameter that the data ask for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.filters import Filters
from napari_recon.engines.sim.classical.recombine import Reconstructor
from napari_recon.engines.sim.classical.volume import VolumeReconstructor

#: Range of w that is looked through.
LEAST, MOST = 1e-3, 1.0
#: Raw pixels over which frames are faded out.
FADE = 24
#: Support below this share of its highest percent is left out: hardly anything is passed there, and what is, is less noise
#: than what the borders and the transfer function's last percent do.
NEGLIGIBLE = 1e-3


def choose_wiener(
    reconstructor: Reconstructor | VolumeReconstructor, frames: Tensor, noise_power: float, filters: Filters
) -> float:
    """Return the w of least expected error, to three digits.

    With Y = (sum v g H C) / S the unregularised result, S = sum v g H^2 the support, n / S the noise power in Y and
    F = (1 + w^2 / S(0)) S / (w^2 + S), the mean squared error of A F Y as an estimate of A O is, without knowing O,

        sum_f A^2 [ (1 - F)^2 |Y|^2 + (2 F - 1) n / S ]

    (Stein's unbiased risk estimate; n is what the noise beyond the cut-off leaves in a separated order 0). Frames are
    faded out towards their borders: what does not fit together there is no structure that resolution is due to.

    Parameters
    ----------
    reconstructor : Reconstructor
        With bands weighted by their noise.
    frames : Tensor
        (N, Y, X) raw frames, or (N, Z, Y, X) of a volume, in counts.
    noise_power : float
        Noise variance of a raw pixel of these frames, counts^2.
    filters : Filters
        Its Wiener parameter is not looked at.
    """
    offset, fade = reconstructor.calibration.camera_offset, _fade(frames)
    bands = reconstructor.bands((frames - offset) * fade + offset)
    noise_power *= float(fade.square().mean()) * frames[0].numel() / math.prod(reconstructor.padded)
    support = reconstructor.support(filters).double()
    peak = support.flatten().kthvalue(max(1, round(0.99 * support.numel()))).values
    seen = support > NEGLIGIBLE * peak
    wanted = reconstructor.wanted(filters).double().square()
    wanted[..., 1:] *= 2  # the other half plane
    share, support = wanted[seen], support[seen]
    power = (reconstructor.numerator(bands, filters)[seen].abs().double() / support).square()
    noise = noise_power * reconstructor.noise_gain / support

    def risk(log_w: float) -> float:
        w = math.exp(log_w)
        kept = reconstructor.level(w) * support / (w * w + support)
        return float((share * ((1 - kept).square() * power + (2 * kept - 1) * noise)).sum())

    low, high = math.log(LEAST), math.log(MOST)
    best = low
    for _ in range(4):
        candidates = torch.linspace(low, high, 9).tolist()
        best = min(candidates, key=risk)
        step = (high - low) / 8
        low, high = max(low, best - step), min(high, best + step)
    return float(f"{math.exp(best):.3g}")


def _fade(frames: Tensor) -> Tensor:
    """Return a window (Y, X) of 1 that falls to 0 at the borders as a squared sine."""
    sides = []
    for size in frames.shape[-2:]:
        width = min(FADE, size // 4)
        ramp = torch.sin((torch.arange(width) + 0.5) * (math.pi / 2 / max(1, width))).square()
        sides.append(torch.cat([ramp, torch.ones(size - 2 * width), ramp.flip(0)]).to(frames))
    return sides[0][:, None] * sides[1]
