"""The camera's offset from where order 0 and the displaced bands overlap.

Frames whose intensities differ are divided by them, and an offset that is c too high then leaves c (1 - 1 / gain) in each:
a constant that does not cancel in the side bands, and becomes stripes in the result. Around f = -k the object is known
twice, from order 0 and from the side band, so what the side band has in excess there tells c:

    C_+(f + k) - (H(f + k) / H(f)) C_0(f) = c L(f + k) + noise,

with L the band that a constant 1 leaves. Where all intensities are equal, L is zero, and so is the harm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.otf import Transfer
from napari_recon.engines.sim.classical.recombine import Reconstructor

#: Order 0 is compared where both transfers are at least this.
LEAST_TRANSFER = 2e-3


def with_offset(calibration: Calibration, frames: Tensor, transfer: Transfer) -> Calibration:
    """Return the calibration with the camera offset that the overlaps of the bands ask for.

    Parameters
    ----------
    calibration : Calibration
        Its offset is an upper bound (the darkest places may hold light); its noise power is that of `frames`.
    frames : Tensor
        (N, Y, X) raw frames in counts.
    transfer : callable
        The objective's transfer function.
    """
    reconstructor = Reconstructor(calibration, (frames.shape[-2], frames.shape[-1]), transfer)
    bands = reconstructor.bands(frames)
    light = max(float(frames.mean()) - calibration.camera_offset, 1.0)
    constant = reconstructor.bands(torch.full_like(frames, calibration.camera_offset + light))
    noise = [float(order.coefficients.abs().square().sum()) for order in reconstructor.orders]
    scale = max(calibration.noise_power, 1e-6) * reconstructor.padded_yx[0] * reconstructor.padded_yx[1]
    found, certainty = 0.0, 1.0  # in units of the light; an offset is hardly off by more than that
    for number in range(1, len(reconstructor.orders)):
        own, zero = reconstructor.overlap(number)
        h, h0 = reconstructor.transfers[number][own], reconstructor.transfers[0][zero]
        seen = (h > LEAST_TRANSFER) & (h0 > LEAST_TRANSFER)
        ratio = torch.where(seen, (h / h0.clamp(min=LEAST_TRANSFER)).square(), h.new_zeros(()))
        ratio /= reconstructor.orders[0].summed
        variance = scale * (noise[number] * h**2 + noise[0] * (ratio * h0) ** 2)
        weight = torch.where(seen, 1.0 / variance.clamp(min=1e-9), h.new_zeros(()))
        left, excess = constant[number][own], bands[number][own] - ratio * bands[0][zero]
        found += float((weight * (left.conj() * excess).real).sum())
        certainty += float((weight * left.abs().square()).sum())
    offset = calibration.camera_offset + light * found / certainty
    return calibration.model_copy(update={"camera_offset": min(max(offset, 0.0), calibration.camera_offset)})
