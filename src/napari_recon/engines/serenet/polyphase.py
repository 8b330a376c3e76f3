"""Lateral up-sampling and convolution in one, and convolutions on the four phases of an up-sampled image (torch).

A network's last layers have few channels at full sampling, which leaves a CPU's vector units three quarters empty and
moves four times the memory. Written on the grid before up-sampling, the four pixels that one pixel becomes are four
channels (numbered as `torch.pixel_shuffle` does), the arithmetic is the same up to rounding, and the vectors are full.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Convolve = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Convolution of (1, channels, z, y, x) with zero padding in y and x and none in z, activation included."""


def up_weights(weight: torch.Tensor) -> torch.Tensor:
    """Return (4 outputs, inputs, 3, 3, 3): trilinear up-sampling of y and x by two, then `weight`, on the coarse grid."""
    mix = torch.zeros(2, 3, 3, dtype=torch.float64)
    for phase, tap, pixel, fine in _reached():
        side = 1 if fine else -1
        mix[phase, tap, pixel + 1] += 0.75
        mix[phase, tap, pixel + side + 1] += 0.25
    fused = torch.einsum("pty,qux,oiztu->opqizyx", mix, mix, weight.detach().cpu().double())
    return _as(fused.flatten(0, 2), weight)


def phase_weights(weight: torch.Tensor) -> torch.Tensor:
    """Return (4 outputs, 4 inputs, 3, 3, 3): `weight` at full sampling, acting on phases."""
    pick = torch.zeros(2, 3, 3, 2, dtype=torch.float64)
    for phase, tap, pixel, fine in _reached():
        pick[phase, tap, pixel + 1, fine] = 1
    fused = torch.einsum("ptya,quxb,oiztu->opqiabzyx", pick, pick, weight.detach().cpu().double())
    return _as(fused.flatten(3, 5).flatten(0, 2), weight)


def phase_bias(bias: torch.Tensor | None) -> torch.Tensor | None:
    """Return the bias of all phases."""
    return None if bias is None else bias.repeat_interleave(4)


def up_convolved(
    x: torch.Tensor, fused: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, convolve: Convolve
) -> torch.Tensor:
    """Return the phases of the up-sampled and convolved chunk, two planes fewer.

    At the border, up-sampling repeats pixels where the convolution sees zeros; those rows and columns are computed the
    plain way.
    """
    phases = convolve(x, fused, phase_bias(bias))
    for dim in (3, 4):
        size = x.shape[dim]
        for first, kept in ((0, 0), (max(size - 2, 0), -1)):
            strip = up(x.narrow(dim, first, min(2, size)))
            plain = unshuffled(convolve(strip, weight, bias))
            phases.select(dim, kept).copy_(plain.select(dim, kept))
    return phases


def up(x: torch.Tensor) -> torch.Tensor:
    """Up-sample y and x by two, pixel edges aligned."""
    return F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear", align_corners=False)


def shuffled(phases: torch.Tensor) -> torch.Tensor:
    """Return (1, channels, z, 2 y, 2 x) from phases (1, 4 channels, z, y, x)."""
    fine = F.pixel_shuffle(phases[0].transpose(0, 1), 2)
    return fine.transpose(0, 1)[None].contiguous(memory_format=torch.channels_last_3d)


def unshuffled(fine: torch.Tensor) -> torch.Tensor:
    """Return the phases of (1, channels, z, 2 y, 2 x)."""
    return F.pixel_unshuffle(fine[0].transpose(0, 1), 2).transpose(0, 1)[None]


def _reached() -> list[tuple[int, int, int, int]]:
    """Return (phase, tap, pixel, phase of that pixel): what each tap of a fine convolution reaches on the coarse grid."""
    return [(phase, tap, (phase + tap - 1) // 2, (phase + tap - 1) % 2) for phase in (0, 1) for tap in (0, 1, 2)]


def _as(fused: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return fused.to(device=like.device, dtype=like.dtype).contiguous(memory_format=torch.channels_last_3d)
