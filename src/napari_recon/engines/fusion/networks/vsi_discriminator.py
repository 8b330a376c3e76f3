"""The discriminator that VSI-SR is trained against, with its published parameter names (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.1
_WIDTHS = (32, 64, 128, 256, 512)


class Discriminator(nn.Module):
    """Tells measured planes (n, 3, y, x) from a network's: eleven convolutions, a mean over the plane, two layers."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        widths = [channels, _WIDTHS[0]]
        for width in _WIDTHS:
            widths += [width, width]
        self.vars = nn.ParameterList()
        for into, out in pairwise(widths):
            self._add(nn.Conv2d(into, out, 3))
        self._add(nn.Linear(512, 256))
        self._add(nn.Linear(256, 1))

    def _add(self, layer: nn.Conv2d | nn.Linear) -> None:
        assert layer.bias is not None  # as made
        self.vars.extend((layer.weight, layer.bias))

    def forward(self, planes: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Return the probability (n, 1) that planes are measured, with other weights where given."""
        w = list(self.vars) if weights is None else weights
        x = planes
        for number in range(0, len(w) - 4, 2):
            x = F.leaky_relu(F.conv2d(x, w[number], w[number + 1], padding=1), _SLOPE)
        x = F.leaky_relu(F.linear(x.mean((2, 3)), w[-4], w[-3]), _SLOPE)
        return torch.sigmoid(F.linear(x, w[-2], w[-1]))
