"""SeReNet and F-SeReNet as published, with the parameter names of the authors' checkpoints (torch).

Lu, Jin, Chen et al., Nature Methods 2025, doi 10.1038/s41592-025-02698-z. Features in, volume out; both are written as
plain graphs. `engines.serenet.streaming` computes the same function plane by plane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

NEGATIVE_SLOPE = 0.1
Check = Callable[[], None]


def _nothing() -> None:
    pass


class Conv(nn.Conv3d):
    """3x3x3 convolution with zero padding 1 and bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=3, padding=1)


class LateralUp(nn.Module):
    """Trilinear up-sampling of y and x by `factor`, pixel edges aligned."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Up-sample (n, channels, z, y, x)."""
        return F.interpolate(x, scale_factor=(1, self.factor, self.factor), mode="trilinear", align_corners=False)


def _fusion(channels: Sequence[int], ups: Sequence[tuple[int, float]]) -> nn.Sequential:
    """Return convolutions between consecutive `channels`; `ups` are (after how many convolutions, factor)."""
    layers: list[nn.Module] = []
    for n, (inputs, outputs) in enumerate(pairwise(channels)):
        layers += [LateralUp(factor) for after, factor in ups if after == n]
        layers += [Conv(inputs, outputs), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)]
    layers += [LateralUp(factor) for after, factor in ups if after == len(channels) - 1]
    return nn.Sequential(*layers)


def resize_yx(planes: torch.Tensor, size_yx: tuple[int, int]) -> torch.Tensor:
    """Resize each plane of (n, 1, z, y, x) bilinearly to `size_yx`."""
    n, _, depth, h, w = planes.shape
    flat = F.interpolate(planes.reshape(n, depth, h, w), size=size_yx, mode="bilinear", align_corners=False)
    return flat[:, None]


class SeReNet(nn.Module):
    """Self-supervised reconstruction network (and its 81-view variant, whose second up-sampling is 2.5).

    Parameters
    ----------
    views : int
        Input channels.
    channels : sequence of int
        Output channels of all convolutions but the last, which has one.
    second_up : float
        Factor of the second lateral up-sampling.
    """

    def __init__(
        self, views: int = 49, channels: Sequence[int] = (64, 32, 32, 16, 16, 8, 8, 4), second_up: float = 2.0
    ) -> None:
        super().__init__()
        self.fusion = _fusion((views, *channels, 1), ((4, 2.0), (6, second_up)))
        for layer in self.fusion:
            if isinstance(layer, Conv):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, features: torch.Tensor, size_yx: tuple[int, int], check: Check = _nothing) -> torch.Tensor:
        """Reconstruct a volume.

        Parameters
        ----------
        features : torch.Tensor
            Refocused views, shape (n, views, z, h, w).
        size_yx : (int, int)
            Lateral size of the volume in fine pixels.
        check : callable
            Called between layers; may raise to stop.

        Returns
        -------
        torch.Tensor
            Shape (n, 1, z, *size_yx).
        """
        return resize_yx(self.buffer(features, check), size_yx)

    def buffer(self, features: torch.Tensor, check: Check = _nothing) -> torch.Tensor:
        """Return the volume before it is resized (training keeps this from being negative)."""
        x = features
        for layer in self.fusion:
            check()
            x = layer(x)
        return x


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(Conv(inputs, outputs), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and activate."""
        y: torch.Tensor = self.conv(x)
        return y


class UNet3d(nn.Module):
    """Two-level 3D U-Net on zero-padded multiples of four; skips are taken before pooling.

    Parameters
    ----------
    channels : (int, int, int)
        Input, first level, second level.
    """

    def __init__(self, channels: Sequence[int] = (8, 8, 16)) -> None:
        super().__init__()
        base, one, two = channels
        self.down_layers = nn.ModuleList([_Block(base, one), _Block(one, two)])
        self.up_layers = nn.ModuleList([_Block(two, two), _Block(2 * two, one), _Block(2 * one, one)])

    def forward(self, x: torch.Tensor, check: Check = _nothing) -> torch.Tensor:
        """Return (n, channels[1], z, y, x) of the input's size."""
        shape = x.shape[-3:]
        pads = [(-n % 4 // 2, -n % 4 - -n % 4 // 2) for n in shape]
        x = F.pad(x, [edge for pair in reversed(pads) for edge in pair])
        skips = []
        for block in self.down_layers:
            check()
            skips.append(block(x))
            x = F.max_pool3d(skips[-1], 2)
        check()
        x = self.up_layers[0](x)
        for block, skip in zip(list(self.up_layers)[1:], reversed(skips), strict=True):
            check()
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        z, y, w = (slice(front, front + n) for (front, _), n in zip(pads, shape, strict=True))
        return x[..., z, y, w]


class FSeReNet(nn.Module):
    """Axially fine-tuned SeReNet: the same fusion, then a 3D U-Net at full lateral sampling.

    Parameters
    ----------
    views : int
    channels : sequence of int
        Output channels of the six fusion convolutions.
    decoder : (int, int, int)
        Channels of the U-Net; the first equals the last of `channels`.
    """

    def __init__(
        self,
        views: int = 49,
        channels: Sequence[int] = (64, 32, 32, 16, 16, 8),
        decoder: Sequence[int] = (8, 8, 16),
        second_up: float = 2.0,
    ) -> None:
        super().__init__()
        self.fusion = _fusion((views, *channels), ((4, 2.0), (6, second_up)))
        self.decoder = UNet3d(decoder)
        self.final_conv = nn.Sequential(Conv(decoder[1], 1), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))

    def forward(self, features: torch.Tensor, size_yx: tuple[int, int], check: Check = _nothing) -> torch.Tensor:
        """See `SeReNet.forward`."""
        return resize_yx(self.buffer(features, check), size_yx)

    def buffer(self, features: torch.Tensor, check: Check = _nothing) -> torch.Tensor:
        """See `SeReNet.buffer`."""
        x = features
        for layer in self.fusion:
            check()
            x = layer(x)
        x = self.decoder(x, check)
        check()
        volume: torch.Tensor = self.final_conv(x)
        return volume
