"""RL-DFN: what one Richardson-Lucy step would change in each view, weighed and fused by two networks (torch).

References
----------
.. [1] Meta-rLLS-VSIM; weights and layout as published in 10.5281/zenodo.13486221.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

SLAB_FLOPS = 4e9
"""Multiplications of one slab: a cancelled run waits for one of them."""


class Weighing(nn.Module):
    """What a view's correction is turned into, 64 features per voxel (the published ``net_FA``)."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.first_conv = nn.Conv3d(1, features, 1)
        self.mid_conv = _Convolutions(features, features, features)
        self.last_conv = nn.Conv3d(features, features, 1)

    def forward(self, correction: Tensor, check: Callable[[], None] | None = None) -> Tensor:
        """Return features (n, 64, z, y, x) between 0 and 1 of corrections (n, 1, z, y, x)."""
        return torch.sigmoid(self.last_conv(self.mid_conv(self.first_conv(correction), check)))


class Fusing(nn.Module):
    """The volume from the product of both views' features, a U-Net of two levels (the published ``net_G``)."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        n = features
        self.double_conv1 = _Convolutions(n, n, n)
        self.double_conv2 = _Convolutions(n, 2 * n, 2 * n)
        self.bottom_layer = _Convolutions(2 * n, 4 * n, 4 * n, 4 * n)
        self.t_conv2 = nn.ConvTranspose3d(4 * n, 2 * n, 2, 2)
        self.ex_double_conv2 = _Convolutions(4 * n, 2 * n, 2 * n)
        self.t_conv1 = nn.ConvTranspose3d(2 * n, n, 2, 2)
        self.ex_conv1_1 = _Convolutions(2 * n, n)
        self.one_by_one = nn.Conv3d(n, 1, 1)
        self.one_by_one_2 = nn.Conv3d(1, 1, 1)

    def forward(self, features: Tensor, check: Callable[[], None] | None = None) -> Tensor:
        """Return the volume (n, 1, z, y, x)."""
        fine = self.double_conv1(features, check)
        middle = self.double_conv2(_halved(fine), check)
        coarse = self.bottom_layer(_halved(middle), check)
        middle = self.ex_double_conv2(torch.cat([middle, self.t_conv2(coarse)], 1), check)
        fine = self.ex_conv1_1(torch.cat([fine, self.t_conv1(middle)], 1), check)
        return nn.functional.softplus(self.one_by_one_2(self.one_by_one(fine)))


class RlDfn(nn.Module):
    """Both networks of the fusion; the weighing serves both views, as published."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.net_FA = Weighing(features)
        self.net_G = Fusing(features)

    def forward(self, corrections: Tensor, check: Callable[[], None] | None = None) -> Tensor:
        """Return the fused volume (n, 1, z, y, x) of two views' corrections (n, 2, z, y, x).

        With `check`, which is called every few planes and may raise, layers run slab by slab of planes.
        """
        features = self.net_FA(corrections[:, :1], check) * self.net_FA(corrections[:, 1:], check)
        fused: Tensor = self.net_G(features, check)
        return fused


class _Convolutions(nn.Module):
    """3x3x3 convolutions, each with batch normalisation and a rectifier."""

    def __init__(self, *features: int) -> None:
        super().__init__()
        layers = [[nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.ReLU(inplace=True)] for a, b in pairwise(features)]
        self.convolution = nn.Sequential(*(layer for three in layers for layer in three))

    def forward(self, x: Tensor, check: Callable[[], None] | None = None) -> Tensor:
        for layer in self.convolution:
            x = _by_slabs(layer, x, check) if check and isinstance(layer, nn.Conv3d) else layer(x)
        return x


def _by_slabs(layer: nn.Conv3d, x: Tensor, check: Callable[[], None]) -> Tensor:
    """Return a zero-padded 3x3x3 convolution, computed a few planes at a time."""
    planes, height, width = x.shape[2:]
    out = x.new_empty((len(x), layer.out_channels, planes, height, width))
    step = max(1, int(SLAB_FLOPS / (2 * layer.weight.numel() * height * width)))
    for start in range(0, planes, step):
        check()
        stop = min(planes, start + step)
        ends = (int(start == 0), int(stop == planes))
        part = nn.functional.pad(x[:, :, max(0, start - 1) : stop + 1], (1, 1, 1, 1, *ends))
        out[:, :, start:stop] = nn.functional.conv3d(part, layer.weight, layer.bias)
    return out


def _halved(x: Tensor) -> Tensor:
    return nn.functional.max_pool3d(x, 2)
