"""U-Nets that ML-SIM can be trained with: the usual one, and the small one of Noise2Noise (torch).

References
----------
.. [1] Ronneberger et al., MICCAI 2015, 10.1007/978-3-319-24574-4_28.
.. [2] Lehtinen et al., Noise2Noise, ICML 2018, arXiv:1803.04189.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_recon.engines.sim.networks.rcan import conv3

N2N_DEPTH = 5
"""Poolings of the larger U-Net; it takes only multiples of 2 to this power."""


class _Pair(nn.Module):
    """Two convolutions, each with a ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv3(inputs, outputs), nn.ReLU(), conv3(outputs, outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class _First(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Pair(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mpconv = nn.Sequential(nn.MaxPool2d(2), _Pair(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mpconv(x)
        return y


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs // 2, inputs // 2, 2, stride=2)
        self.conv = _Pair(inputs, outputs)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return the features at the size of `skip`; what is missing at the lower right is zero."""
        deep = self.up(deep)
        missing = [n - m for n, m in zip(skip.shape[-2:], deep.shape[-2:], strict=True)]
        around = [cut for m in reversed(missing) for cut in (m // 2, m - m // 2)]
        y: Tensor = self.conv(torch.cat([skip, nn.functional.pad(deep, around)], 1))
        return y


class _Last(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class UNet(nn.Module):
    """Raw frames (B, nch_in, Y, X) to an image (B, nch_out, Y, X) between 0 and 1, both float32.

    Five sizes with 64, 128, 256, 512 and 512 channels, transposed convolutions upwards, no normalisation layers.
    """

    def __init__(self, nch_in: int = 9, nch_out: int = 1) -> None:
        super().__init__()
        self.inc = _First(nch_in, 64)
        self.down1, self.down2, self.down3, self.down4 = _Down(64, 128), _Down(128, 256), _Down(256, 512), _Down(512, 512)
        self.up1, self.up2, self.up3, self.up4 = _Up(1024, 256), _Up(512, 128), _Up(256, 64), _Up(128, 64)
        self.outc = _Last(64, nch_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image."""
        one = self.inc(x)
        two = self.down1(one)
        three = self.down2(two)
        four = self.down3(three)
        up = self.up1(self.down4(four), four)
        up = self.up4(self.up3(self.up2(up, three), two), one)
        return torch.sigmoid(self.outc(up))


class UNetN2N(nn.Module):
    """The U-Net of Noise2Noise: raw frames (B, nch_in, Y, X), Y and X multiples of 32, to (B, nch_out, Y, X).

    The three middle levels down share one set of weights, as the two middle levels up do.
    """

    def __init__(self, nch_in: int = 9, nch_out: int = 1) -> None:
        super().__init__()

        def down(inputs: int, convolutions: int) -> nn.Sequential:
            pairs = [(inputs if i == 0 else 48, 48) for i in range(convolutions)]
            return nn.Sequential(*(layer for pair in pairs for layer in (conv3(*pair), nn.ReLU())), nn.MaxPool2d(2))

        def up(inputs: int, features: int) -> nn.Sequential:
            grow = nn.ConvTranspose2d(features, features, 3, stride=2, padding=1, output_padding=1)
            return nn.Sequential(conv3(inputs, features), nn.ReLU(), conv3(features, features), nn.ReLU(), grow)

        self._block1, self._block2 = down(nch_in, 2), down(48, 1)
        grow = nn.ConvTranspose2d(48, 48, 3, stride=2, padding=1, output_padding=1)
        self._block3 = nn.Sequential(conv3(48, 48), nn.ReLU(), grow)
        self._block4, self._block5 = up(96, 96), up(144, 96)
        last = (conv3(96 + nch_in, 64), nn.ReLU(), conv3(64, 32), nn.ReLU(), conv3(32, nch_out), nn.LeakyReLU(0.1))
        self._block6 = nn.Sequential(*last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image."""
        levels = [self._block1(x)]
        for _ in range(N2N_DEPTH - 1):
            levels.append(self._block2(levels[-1]))
        y = self._block4(torch.cat([self._block3(levels[4]), levels[3]], 1))
        for skip in (levels[2], levels[1], levels[0]):
            y = self._block5(torch.cat([y, skip], 1))
        image: Tensor = self._block6(torch.cat([y, x], 1))
        return image
