"""VSI-SR: seven neighbouring planes in, the three middle ones out, 1.5 times as fine and sharper along y (torch).

References
----------
.. [1] Meta-rLLS-VSIM; weights and layout as published in 10.5281/zenodo.13486221.
.. [2] Zhang et al., ECCV 2018, 10.1007/978-3-030-01234-2_18 (channel attention).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_recon.engines.fusion.networks.vsi_shapes import PER_BLOCK, generator_shapes

Layer = tuple[Tensor, Tensor]
"""Weight and bias."""
SLOPE = 0.2
STRIP_FLOPS = 3e9
"""Multiplications of one strip: a cancelled run waits for one of them."""
_TAIL_HALO = 2


class Generator(nn.Module):
    """The network with its published parameter names, ``vars.0`` and so on.

    Parameters
    ----------
    blocks : int
        Residual blocks with channel attention, in a row.
    features, slices_in, slices_out : int
    """

    def __init__(self, blocks: int = 16, features: int = 64, slices_in: int = 7, slices_out: int = 3) -> None:
        super().__init__()
        self.blocks = blocks
        shapes = list(generator_shapes(blocks, features, slices_in, slices_out).values())
        self.vars = nn.ParameterList()
        for weight, _ in zip(shapes[::2], shapes[1::2], strict=True):
            layer = nn.Conv2d(weight[1], weight[0], weight[2])
            assert layer.bias is not None  # as made
            self.vars.extend((layer.weight, layer.bias))

    def forward(self, planes: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Return (n, 3, floor(1.5 y), floor(1.5 x)) of planes (n, 7, y, x), with other weights where given."""
        w = list(self.vars) if weights is None else weights
        x = F.conv2d(planes, w[0], w[1], padding=1)
        for number in range(self.blocks):
            first, second, down, up = _pairs(w[2 + PER_BLOCK * number :], 4)
            y = F.leaky_relu(F.conv2d(x, *first, padding=1), SLOPE)
            y = F.leaky_relu(F.conv2d(y, *second, padding=1), SLOPE)
            x = x + y * _gate(y.mean((2, 3), keepdim=True), down, up)
        x = F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=False)
        x = F.leaky_relu(F.conv2d(x, w[-4], w[-3], padding=1), SLOPE)
        return F.leaky_relu(F.conv2d(x, w[-2], w[-1], padding=1), SLOPE)


@torch.inference_mode()
def infer(network: Generator, planes: Tensor, check: Callable[[], None]) -> Tensor:
    """Return the network's answer (3, H, W) to planes (7, y, x), computed strip by strip of rows.

    Channel attention takes means over the whole plane, so every layer runs over all of it before the next begins; strips
    bound memory, which the last layers would need most of, and the time until `check` is called again.
    """
    w = [p.contiguous(memory_format=torch.channels_last) if p.ndim == 4 else p for p in network.vars]
    x = _same(planes[None].contiguous(memory_format=torch.channels_last), (w[0], w[1]), check, slope=None)
    for number in range(network.blocks):
        first, second, down, up = _pairs(w[2 + PER_BLOCK * number :], 4)
        y = _same(_same(x, first, check), second, check)
        x.addcmul_(y, _gate(y.mean((2, 3), keepdim=True), down, up))
        del y
    return _tail(x, (w[-4], w[-3]), (w[-2], w[-1]), check)


def _same(x: Tensor, layer: Layer, check: Callable[[], None], slope: float | None = SLOPE) -> Tensor:
    """Return a zero-padded 3x3 convolution, with a leaky rectifier unless `slope` is None."""
    height, width = x.shape[2:]
    out = torch.empty((1, len(layer[0]), height, width), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    rows = _rows(layer[0], width)
    for top in range(0, height, rows):
        check()
        bottom = min(height, top + rows)
        out[:, :, top:bottom] = _strip(x[:, :, max(0, top - 1) : bottom + 1], layer, (top == 0, bottom == height), slope)
    return out


def _tail(x: Tensor, wide: Layer, last: Layer, check: Callable[[], None]) -> Tensor:
    """Return the finer planes; three rows of the result come from two of the input, so strips begin at such a pair."""
    height, width = (math.floor(1.5 * n) for n in x.shape[2:])
    out = torch.empty((len(last[0]), height, width), dtype=x.dtype, device=x.device)
    rows = 3 * max(1, _rows(wide[0], width) // 3)
    for top in range(0, height, rows):
        check()
        bottom = min(height, top + rows)
        low, high = max(0, top - _TAIL_HALO), min(height, bottom + _TAIL_HALO)
        start = max(0, low // 3 * 2 - 2)
        coarse = x[:, :, start : math.ceil(high / 3) * 2 + 2]
        fine = F.interpolate(coarse, scale_factor=1.5, mode="bilinear", align_corners=False)
        fine = fine[:, :, low - start // 2 * 3 : high - start // 2 * 3]
        ends = (low == 0, high == height)
        middle = _strip(fine, wide, ends, SLOPE)  # one row less at each end that is not the plane's own
        found = _strip(middle, last, ends, SLOPE)
        first = top - low - (0 if ends[0] else _TAIL_HALO)
        out[:, top:bottom] = found[0, :, first : first + bottom - top]
    return out


def _strip(x: Tensor, layer: Layer, ends: tuple[bool, bool], slope: float | None) -> Tensor:
    """Return a convolution of rows, padded with zeros at the sides and at those ends that are the plane's own."""
    found = F.conv2d(F.pad(x, (1, 1, int(ends[0]), int(ends[1]))), *layer)
    return found if slope is None else F.leaky_relu_(found, slope)


def _rows(weight: Tensor, width: int) -> int:
    return max(8, int(STRIP_FLOPS / (2 * weight.numel() * width)))


def _pairs(weights: Sequence[Tensor], count: int) -> list[Layer]:
    return [(weights[2 * i], weights[2 * i + 1]) for i in range(count)]


def _gate(mean: Tensor, down: Layer, up: Layer) -> Tensor:
    return torch.sigmoid(F.conv2d(F.relu(F.conv2d(mean, *down)), *up))
