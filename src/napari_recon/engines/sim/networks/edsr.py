"""EDSR: the second architecture ML-SIM can be trained with, RCAN without attention (torch).

References
----------
.. [1] Lim et al., CVPR workshops 2017, 10.1109/CVPRW.2017.151.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_recon.engines.sim.networks.rcan import conv3, tail

RESIDUAL_SCALE = 0.1


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution; a tenth of it plus the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv3(features, features), nn.ReLU(), conv3(features, features))

    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Return the two convolutions."""
        one, two = self.body[0], self.body[2]
        assert isinstance(one, nn.Conv2d) and isinstance(two, nn.Conv2d)
        return one, two

    def gates(self, means: Tensor) -> Tensor:
        """Return the factor of every channel, (F,): always the same."""
        return torch.full_like(means, RESIDUAL_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (B, F, Y, X)."""
        residual: Tensor = self.body(x)
        return residual * RESIDUAL_SCALE + x


class EDSR(nn.Module):
    """Raw frames (B, nch_in, Y, X) to an image (B, nch_out, scale Y, scale X), both float32.

    Parameters
    ----------
    nch_in, nch_out, n_feats, n_resblocks, scale : int
        As for `RCAN`.
    """

    def __init__(self, nch_in: int = 9, nch_out: int = 1, n_feats: int = 64, n_resblocks: int = 16, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(conv3(nch_in, n_feats))
        self.body = nn.Sequential(*(ResidualBlock(n_feats) for _ in range(n_resblocks)), conv3(n_feats, n_feats))
        self.tail = tail(n_feats, nch_out, scale)

    def groups(self) -> list[tuple[list[ResidualBlock], None]]:
        """Return the blocks as one group without a closing convolution."""
        return [([block for block in self.body if isinstance(block, ResidualBlock)], None)]

    def first(self, x: Tensor) -> Tensor:
        """Return the features of the frames, (B, F, Y, X), before the residual blocks."""
        features: Tensor = self.head(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return the image; linear, not clamped."""
        features = self.first(x)
        image: Tensor = self.tail(self.body(features) + features)
        return image
