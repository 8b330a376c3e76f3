"""How a time point of a sequence starts: from the frame before, where that explains the views better than a fresh start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import Projector, reduced_deviance

#: A transferred frame takes this part of the iterations that a fresh start took.
SHARE = 1 / 6


@dataclass(frozen=True)
class Before:
    """What a frame leaves to the next one.

    Attributes
    ----------
    volume : Tensor
        (z, y, x) in the data's unit, margins included.
    offsets : Tensor or None
        Refined displacement of each view (views, 2), pixels.
    iterations, steps, deviance : int, int, float
        Deconvolution, refinement, and reduced deviance between them, of the last frame that started afresh.
    """

    volume: Tensor
    offsets: Tensor | None
    iterations: int
    steps: int
    deviance: float

    @property
    def worthwhile(self) -> bool:
        """Whether a fresh start takes more than a transferred one; in dim light it is as short, and less noisy."""
        return self.iterations * SHARE >= 1

    @property
    def brief(self) -> int:
        """Iterations left to a transferred frame after the one that its fresh estimate takes."""
        return max(0, int(SHARE * self.iterations) - 1)

    def state(self) -> dict[str, Any]:
        """Return what `Before(**state)` is made of, on the processor."""
        offsets = None if self.offsets is None else self.offsets.cpu()
        return {**self.__dict__, "volume": self.volume.cpu(), "offsets": offsets}


@dataclass(frozen=True)
class Scaled:
    """A volume with the light of the data: its model views (v, y, x) without background, and their reduced deviance."""

    volume: Tensor
    views: Tensor
    deviance: float


class Starts:
    """Compares volumes to start from by what they predict.

    Parameters
    ----------
    projector : Projector
    data : Tensor
        Views (v, y, x) in counts.
    background, read_variance : float
    check : Callable
    """

    def __init__(
        self, projector: Projector, data: Tensor, background: float, read_variance: float, check: Callable[[], None]
    ) -> None:
        self._projector, self._data, self._check = projector, data, check
        self._background, self._read_variance = background, read_variance

    def scaled(self, volume: Tensor) -> Scaled:
        """Return the volume with as much light as the data."""
        views = self._projector.forward(volume, self._check).clamp_min_(0)
        weight = 1 / (views + self._background + self._read_variance)
        light = float((weight * views * (self._data - self._background)).sum() / (weight * views * views).sum())
        return self._judged(volume * max(light, 0.0), views * max(light, 0.0))

    def mixed(self, before: Scaled, fresh: Scaled) -> Scaled:
        """Return the mixture of two volumes that explains the data best; no more projections are needed."""
        weight = 1 / (before.views + self._background + self._read_variance)
        parts = [before.views, fresh.views]
        inner = torch.tensor([[float((weight * a * b).sum()) for b in parts] for a in parts], dtype=torch.float64)
        right = torch.tensor([float((weight * a * (self._data - self._background)).sum()) for a in parts]).double()
        share = (torch.linalg.pinv(inner) @ right).tolist()
        if min(share) <= 0:
            return before if share[0] > 0 else fresh
        return self._judged(
            share[0] * before.volume + share[1] * fresh.volume, share[0] * before.views + share[1] * fresh.views
        )

    def _judged(self, volume: Tensor, views: Tensor) -> Scaled:
        return Scaled(volume, views, reduced_deviance(self._data, views + self._background, self._read_variance))
