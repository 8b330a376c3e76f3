"""The published networks: an encoder whose latent numbers lie over space, and the field's network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_recon.engines.inr4d.layers import EncoderLayers, FieldLayers
from napari_recon.engines.inr4d.upstream.coordinates import embed


class FieldNetwork(nn.Module):
    """Colour and density at points.

    Parameters
    ----------
    layers : FieldLayers
    """

    def __init__(self, layers: FieldLayers) -> None:
        super().__init__()
        self.layers = layers
        inputs = [layers.inputs(i) for i in range(layers.depth)]
        self.coords_MLP = nn.ModuleList(nn.Linear(n, layers.width) for n in inputs)
        self.out_MLP = nn.Linear(layers.width, 2)

    def forward(self, points: Tensor, latent: Tensor) -> Tensor:
        """Return the outputs (..., 2) at points (..., 4) with their latent numbers (..., encoded)."""
        start = embed(points, self.layers.octaves) + latent
        hidden = start
        for i, layer in enumerate(self.coords_MLP):
            if i in self.layers.skips:
                hidden = torch.cat([start, hidden], dim=-1)
            hidden = torch.relu(layer(hidden))
        found: Tensor = self.out_MLP(hidden)
        return found


class Encoder(nn.Module):
    """From a recording at half resolution and every other time point to all of its time points, through the latents.

    Parameters
    ----------
    layers : EncoderLayers
    """

    def __init__(self, layers: EncoderLayers) -> None:
        super().__init__()
        n = layers.features
        self.head = nn.Sequential(_convolution(layers.frames_in, n))
        groups = [_Group(layers) for _ in range(layers.groups)]
        self.body = nn.Sequential(*groups, _convolution(n, n))
        self.tail1 = nn.Sequential(nn.Conv3d(n, layers.latent, 1))
        self.tail2 = nn.Sequential(
            nn.Linear(layers.latent, layers.latent), nn.ReLU(), nn.Linear(layers.latent, layers.frames_out)
        )

    def forward(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """Return the recording (1, x, y, z, t) and the latents (1, x, y, z, n) of one (1, x, y, z, t / 2)."""
        start = self.head(half.movedim(-1, 1))
        latent = math.pi * torch.tanh(self.tail1(self.body(start) + start).movedim(1, -1))
        return self.tail2(latent), latent


class _Attention(nn.Module):
    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        few = features // reduction
        self.conv_du = nn.Sequential(nn.Conv3d(features, few, 1), nn.ReLU(), nn.Conv3d(few, features, 1), nn.Sigmoid())

    def forward(self, values: Tensor) -> Tensor:
        weights: Tensor = self.conv_du(values.mean(dim=(2, 3, 4), keepdim=True))
        return values * weights


class _Residual(nn.Module):
    body: nn.Sequential

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.body(values)
        return found + values


class _Block(_Residual):
    def __init__(self, layers: EncoderLayers) -> None:
        super().__init__()
        n = layers.features
        self.body = nn.Sequential(_convolution(n, n), nn.ReLU(), _convolution(n, n), _Attention(n, layers.reduction))


class _Group(_Residual):
    def __init__(self, layers: EncoderLayers) -> None:
        super().__init__()
        n = layers.features
        self.body = nn.Sequential(*(_Block(layers) for _ in range(layers.blocks)), _convolution(n, n))


def _convolution(into: int, out: int) -> nn.Conv3d:
    return nn.Conv3d(into, out, 3, padding=1)
