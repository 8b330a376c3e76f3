"""VCD-Net: all views as channels of an image at 16 times the sampling, through a 2D U-Net to depths as channels (torch)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class _Down(nn.Module):
    """Convolution added to its input; more channels than the input has begin at zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum, pooled."""
        y: torch.Tensor = self.conv(x)
        y = y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.max_pool2d(y, 3, stride=2, padding=1)


class _Up(nn.Module):
    """The deeper image at the skip's size beside the skip, convolved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs))

    def forward(self, deeper: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Join and convolve."""
        deeper = F.interpolate(deeper, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        y: torch.Tensor = self.conv(torch.cat([deeper, skip], dim=1))
        return y


class VCDNet(nn.Module):
    """View-channel-depth network.

    Parameters
    ----------
    views, planes : int
        Channels in and out.
    interp : int
        Channels before up-sampling, a multiple of 32.
    channels : sequence of int
        Of the image at full sampling, then of the five levels below, none fewer than the one above.
    ups : sequence of int
        Channels of the four up-sampling levels, from the deepest.
    """

    def __init__(
        self,
        views: int = 169,
        planes: int = 101,
        interp: int = 128,
        channels: Sequence[int] = (64, 128, 256, 512, 512, 512),
        ups: Sequence[int] = (512, 512, 256, 128),
    ) -> None:
        super().__init__()
        self.f1 = nn.Conv2d(views, interp, 7, padding=3)
        layers: list[nn.Module] = []
        inputs = interp
        for outputs in (interp // 2, interp // 4, interp // 8, interp // 16):
            layers += [nn.PixelShuffle(2), nn.Conv2d(inputs // 4, outputs, 3, padding=1)]
            inputs = outputs
        layers += [nn.Conv2d(inputs, inputs, 3, padding=1), nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        self.interp = nn.Sequential(*layers)
        self.f2 = nn.Sequential(
            nn.Conv2d(inputs, channels[0], 3, padding=1), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)
        )
        for level in range(5):
            self.add_module(f"down{level}", _Down(channels[level], channels[level + 1]))
        deeper = channels[5]
        for level, outputs in zip((4, 3, 2, 1, 0), (*ups, planes), strict=True):
            self.add_module(f"up{level}", _Up(deeper + channels[level], outputs))
            deeper = outputs

    def forward(self, views: torch.Tensor, size_yx: tuple[int, int]) -> torch.Tensor:
        """Reconstruct a volume.

        Parameters
        ----------
        views : torch.Tensor
            All views in page order, 0 to 1, shape (n, views, h, w).
        size_yx : (int, int)
            Lateral size of the volume in fine pixels.

        Returns
        -------
        torch.Tensor
            Shape (n, 1, planes, *size_yx), -1 to 1.
        """
        x = self.f2(self.interp(self.f1(views)))
        skips = []
        for level in range(5):
            skips.append(x)
            x = self.get_submodule(f"down{level}")(x)
        for level in (4, 3, 2, 1, 0):
            x = self.get_submodule(f"up{level}")(x, skips[level])
        return F.interpolate(x.tanh(), size=size_yx, mode="bilinear", align_corners=False)[:, None]
