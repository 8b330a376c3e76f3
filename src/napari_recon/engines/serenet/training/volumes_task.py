"""Training the networks that learn from volumes alone: RL-Net, VCD-Net and HyLFM-Net (torch)."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_recon.engines.serenet.intensity import percentiles
from napari_recon.engines.serenet.training.examples import Patch
from napari_recon.engines.serenet.training.losses import global_similarity
from napari_recon.engines.serenet.training.task import LightFieldTask
from napari_recon.training.task import Batch, Network

_FLOOR = 1e-3
_PARTED = 50 / 800
"""Part of a run in which VCD-Net and HyLFM-Net learn dark and bright voxels apart: 50 of 800 published rounds."""
_BRIGHT = 0.5


class RLNetTask(LightFieldTask):
    """See `LightFieldTask`; RL-Net looks at the mean of the refocused views."""

    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `LightFieldTask.shown`."""
        return {"input": self._input(patch), "target": relative(cast(Tensor, patch.truth), 0.9999)[None]}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        answer, target, given = network(batch["input"]).float(), batch["target"][:, 0], batch["input"][:, 0]
        first, last = answer[:, 0], answer[:, 1]
        loss = 0.1 * F.mse_loss(first, 0.2 * given + 0.8 * target) + F.mse_loss(last, target)
        return loss - torch.log((1 + global_similarity(last, target)) / 2)

    def answer(self, network: Network, patch: Patch) -> Tensor:
        """See `LightFieldTask.answer`."""
        return network(self._input(patch)[None])[0, 1].clamp_min(0)

    def _input(self, patch: Patch) -> Tensor:
        """Return (1, D, H, W): the mean of the refocused views, 0 to 1."""
        h, w = patch.views.shape[-2:]
        scaled = Patch(relative(patch.noisy, 0.9999), patch.views, None, 1.0, 1.0, patch.corner_yx)
        mean = self.features(scaled).mean(dim=0)
        return F.interpolate(mean[None], size=self.geometry.volume_yx(h, w), mode="bilinear", align_corners=False)


class _Sized(nn.Module):
    """VCD-Net or HyLFM-Net with `upsampling` fine pixels per light-field pixel."""

    def __init__(self, network: nn.Module, upsampling: float) -> None:
        super().__init__()
        self.network, self._upsampling = network, upsampling

    def forward(self, views: Tensor) -> Tensor:
        """Return the volume (n, Z, Y, X) of views (n, A, h, w)."""
        size_yx = round(views.shape[-2] * self._upsampling), round(views.shape[-1] * self._upsampling)
        volume: Tensor = self.network(views, size_yx)[:, 0]
        return volume


class ViewsTask(LightFieldTask):
    """See `LightFieldTask`; VCD-Net and HyLFM-Net look at the views as channels of an image."""

    def network(self) -> nn.Module:
        """See `Task.network`."""
        return _Sized(super().network(), self.geometry.upsampling)

    def model_of(self, network: nn.Module) -> nn.Module:
        """See `Task.model_of`."""
        assert isinstance(network, _Sized)
        return network.network

    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `LightFieldTask.shown`."""
        return {"input": self._input(patch), "target": relative(cast(Tensor, patch.truth), 0.999)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        error: Tensor = (network(batch["input"]).float() - batch["target"]).square()
        if int(batch["step"]) >= _PARTED * self.params.steps:
            return error.mean()
        bright = batch["target"] >= _BRIGHT
        means: list[Tensor] = [(error * part).sum() / part.sum().clamp_min(1) for part in (bright, ~bright)]
        return means[0] + means[1]

    def answer(self, network: Network, patch: Patch) -> Tensor:
        """See `LightFieldTask.answer`."""
        return network(self._input(patch)[None])[0].clamp_min(0)

    def _input(self, patch: Patch) -> Tensor:
        """Return (A, h, w): the views of a patch as the reconstruction scales them, 0 to 1."""
        (y, x), (h, w) = patch.corner_yx, patch.views.shape[-2:]
        return torch.from_numpy(percentiles(patch.noisy.numpy()).views_vyx)[:, y : y + h, x : x + w]


def relative(values: Tensor, quantile: float) -> Tensor:
    """Return values over their quantile, 0 to 1; over their maximum where so few are bright that the quantile is dark."""
    flat = values.flatten().numpy()
    level = abs(float(np.quantile(flat, quantile))) or float(flat.max())
    return (values / (level + _FLOOR)).clamp(0, 1)
