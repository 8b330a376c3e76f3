"""HyLFM-Net: residual 2D convolutions turn views into features of planes, residual 3D ones into a volume (torch)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from napari_recon.engines.serenet.networks.serenet import resize_yx


class Residual(nn.Module):
    """Two convolutions added to the input, which is projected when the channels differ; active after the sum."""

    def __init__(self, conv: type[nn.Conv2d] | type[nn.Conv3d], inputs: int, outputs: int) -> None:
        super().__init__()
        self.projection_layer = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)
        self.conv = nn.Sequential(
            conv(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), conv(outputs, outputs, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add and activate."""
        y: torch.Tensor = self.conv(x)
        return F.relu_(y.add_(self.projection_layer(x)))


class HyLFMNet(nn.Module):
    """HyLFM-Net.

    Parameters
    ----------
    views, planes : int
    wide : int
        Channels at the light field's sampling; half of them at twice that sampling.
    features : int
        Channels per plane.
    """

    def __init__(self, views: int = 169, planes: int = 101, wide: int = 808, features: int = 7) -> None:
        super().__init__()
        self.planes, self.features = planes, features
        half = wide // 2
        self.res2d = nn.Sequential(
            Residual(nn.Conv2d, views, wide),
            Residual(nn.Conv2d, wide, wide),
            nn.ConvTranspose2d(wide, half, 2, stride=2),
            Residual(nn.Conv2d, half, half),
            nn.Conv2d(half, features * planes, 1),
            nn.ReLU(inplace=True),
        )
        self.res3d = nn.Sequential(
            Residual(nn.Conv3d, features, features),
            nn.ConvTranspose3d(features, features, (3, 2, 2), stride=(1, 2, 2), padding=(1, 0, 0)),
            Residual(nn.Conv3d, features, features),
            Residual(nn.Conv3d, features, features),
            nn.Conv3d(features, 1, 1),
            nn.Sigmoid(),
        )

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
            Shape (n, 1, planes, *size_yx), 0 to 1.
        """
        x = self.res2d(views)
        x = x.reshape(len(x), self.features, self.planes, *x.shape[-2:])
        return resize_yx(self.res3d(x), size_yx)
