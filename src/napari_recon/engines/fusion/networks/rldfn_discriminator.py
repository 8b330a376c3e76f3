"""The discriminator of sections that RL-DFN is trained against, with its published parameter names (torch)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SectionJudge(nn.Module):
    """Tells measured sections (n, 1, h, w) from fused ones, place by place."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        n = features
        layers: list[nn.Module] = [nn.Conv2d(1, n, 4, 2, 1), nn.LeakyReLU(0.2)]
        for into, out in ((n, 2 * n), (2 * n, 4 * n), (4 * n, 8 * n)):
            layers += [nn.Conv2d(into, out, 4, 1, 1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * n, 1, 4, 1, 1))

    def forward(self, sections: Tensor) -> Tensor:
        """Return a map (n, 1, h', w') between 0 and 1."""
        return torch.sigmoid(self.model(sections))
