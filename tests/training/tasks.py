"""Small training tasks; a module of their own, so that other processes can import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_recon.training.task import Batch, Network, Task, Validation


class Blur(Task):
    """Learns a 3 x 3 filter from noisy pairs; dropout makes every step draw random numbers."""

    preview_output = "preview"

    def __init__(self, seed: int = 0, batch_size: int = 4, dropout: float = 0.1) -> None:
        self.seed, self.batch_size, self.dropout = seed, batch_size, dropout

    def network(self) -> nn.Module:
        middle = nn.Dropout2d(self.dropout)
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), middle, nn.Conv2d(4, 1, 3, padding=1))

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        numbers = range(rank, self.batch_size, devices)
        drawn = [np.random.default_rng([self.seed, step, n]).random((1, 12, 12), dtype=np.float32) for n in numbers]
        sharp = torch.from_numpy(np.stack(drawn))
        return {"input": sharp, "target": nn.functional.avg_pool2d(sharp, 3, 1, 1)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return (network(batch["input"]) - batch["target"]).square().mean()

    def validate(self, network: Network, step: int) -> Validation:
        held = self.batch(10**6, 0, 1)
        error = float((network(held["input"]) - held["target"]).square().mean())
        return Validation(-error, {"error": error}, network(held["input"])[0, 0].numpy())

    def card(self) -> dict[str, Any]:
        return {"engine": "toy.smooth", "architecture": "blur", "options": {}}


class Deep(Blur):
    """Fifteen layers, each of which tells that it was passed."""

    def __init__(self, passed: Callable[[], None]) -> None:
        super().__init__()
        self.passed = passed

    def network(self) -> nn.Module:
        layers = (layer for _ in range(15) for layer in (nn.Conv2d(1, 1, 3, padding=1), Passage(self.passed)))
        return nn.Sequential(*layers)


class Passage(nn.Module):
    def __init__(self, passed: Callable[[], None]) -> None:
        super().__init__()
        self.passed = passed

    def forward(self, x: Tensor) -> Tensor:
        self.passed()
        x.register_hook(lambda gradient: self.passed())
        return x


class Broken(Blur):
    """Its loss becomes infinite at step 6."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        self.steps = getattr(self, "steps", 0) + 1
        return super().loss(network, batch) * (float("inf") if self.steps == 6 else 1.0)


class Unreadable(Blur):
    def batch(self, step: int, rank: int, devices: int) -> Batch:
        if step == 3:
            raise ValueError("no such example")
        return super().batch(step, rank, devices)
