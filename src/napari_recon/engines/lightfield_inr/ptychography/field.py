"""The published field of Fourier ptychography as a module that learns: a table of features and a tiny network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from napari_recon.engines.lightfield_inr.dense import WATER
from napari_recon.engines.lightfield_inr.dense_shape import CROP, UNITS, lattice_of
from napari_recon.engines.lightfield_inr.network import SLOPE

#: Points whose layers are kept for the gradient; of larger fields they are computed again, plane by plane.
KEPT_POINTS = 1 << 21


class TableLayer(nn.Module):
    """One layer under its published name, ``net_real.N.linear``."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, UNITS)
        nn.init.kaiming_uniform_(self.linear.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")
        nn.init.uniform_(self.linear.bias, -0.05, 0.05)

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's values."""
        return F.leaky_relu(self.linear(values), SLOPE)


class TableField(nn.Module):
    """Refractive indices on the lattice; parameters have the published names and start as published.

    Parameters
    ----------
    table : sequence of int
        Shape (height, width, planes, features).
    """

    def __init__(self, table: Sequence[int]) -> None:
        super().__init__()
        self._lattice = lattice_of(table)
        features = table[-1]
        self.table = nn.Parameter(torch.rand(*table) * 2e-4)
        self.net_real = nn.ModuleList(TableLayer(n) for n in (features, UNITS, UNITS, UNITS + features))
        self.output_layer_real = nn.Linear(UNITS, 1)
        nn.init.zeros_(self.output_layer_real.weight)
        nn.init.zeros_(self.output_layer_real.bias)

    def forward(self) -> Tensor:
        """Return the indices (z, y, x)."""
        table = self.table.permute(3, 0, 1, 2)[None]
        features = F.interpolate(table, size=self._lattice, mode="trilinear", align_corners=True)[0]
        inner = features[:, CROP : self._lattice[0] - CROP, CROP : self._lattice[1] - CROP].permute(3, 1, 2, 0)
        if inner[..., 0].numel() <= KEPT_POINTS:
            return WATER + torch.tanh(self._through(inner))
        planes = [checkpoint(self._through, plane, use_reentrant=False) for plane in inner]
        return WATER + torch.tanh(torch.stack(planes))

    def _through(self, features: Tensor) -> Tensor:
        hidden = features
        for layer in self.net_real[:-1]:
            hidden = layer(hidden)
        hidden = self.net_real[-1](torch.cat([features, hidden], dim=-1))
        values: Tensor = self.output_layer_real(hidden)[..., 0]
        return values
