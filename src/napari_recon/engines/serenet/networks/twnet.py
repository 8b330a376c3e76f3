"""TW-Net: from nine frames of a scan, a mask of what stood still (torch)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and activate."""
        y: torch.Tensor = self.conv(x)
        return y


class TWNet(nn.Module):
    """Time-weighting network.

    Parameters
    ----------
    channels : sequence of int
        Of the input, then of the four levels.
    scanning : int
        Scan steps per axis; the mask is that much finer than the frames.
    """

    def __init__(self, channels: Sequence[int] = (16, 16, 32, 32, 64), scanning: int = 3) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = channels
        self.conv_init = nn.Conv2d(scanning**2, c0, 3, padding=1)
        self.down_layers = nn.ModuleList([_Block(c0, c1), _Block(c1, c2), _Block(c2, c3), _Block(c3, c4)])
        self.up_layers = nn.ModuleList(
            [_Block(c4, c4), _Block(2 * c4, c3), _Block(2 * c3, c2), _Block(2 * c2, c1), _Block(2 * c1, c0)]
        )
        self.conv_final = nn.Sequential(
            nn.Conv2d(c0, c0 * scanning**2, 1),
            nn.PixelShuffle(scanning),
            nn.ReLU(inplace=True),
            nn.Conv2d(c0, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the mask: 1 where nothing moved, 0 where only the middle frame is to be believed.

        Parameters
        ----------
        frames : torch.Tensor
            Shape (n, scanning**2, h, w), cells of the scan in raster order, scaled (see `twnet.scaled`).

        Returns
        -------
        torch.Tensor
            Shape (n, 1, scanning * h, scanning * w).
        """
        shape = frames.shape[-2:]
        pads = [(-n % 16 // 2, -n % 16 - -n % 16 // 2) for n in shape]
        x = self.conv_init(F.pad(frames, [edge for pair in reversed(pads) for edge in pair]))
        skips = []
        for block in self.down_layers:
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.up_layers[0](x)
        for block, skip in zip(list(self.up_layers)[1:], reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        y, w = (slice(front, front + n) for (front, _), n in zip(pads, shape, strict=True))
        mask: torch.Tensor = self.conv_final(x[..., y, w])
        return mask
