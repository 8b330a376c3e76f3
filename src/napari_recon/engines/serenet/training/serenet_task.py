"""Training SeReNet, ReNet and F-SeReNet: refocused views in, a volume out (torch)."""

from __future__ import annotations

from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet, resize_yx
from napari_recon.engines.serenet.training.examples import Patch
from napari_recon.engines.serenet.training.losses import (
    bright,
    masked_mean,
    negative_part,
    noise_deviance,
    photon_loss,
    similarity,
)
from napari_recon.engines.serenet.training.sight import published_views
from napari_recon.engines.serenet.training.task import LightFieldTask
from napari_recon.hub import load_state, resolve
from napari_recon.training.checkpoints import load_weights
from napari_recon.training.task import Batch, Network

ON_VIEWS = "loss on views"
_FROZEN = (0, 2, 4, 6, 9, 11)
_SMALL = 1e-6
"""Squared error, bright pixels being one, below which nothing is gained: dark patches have no other scale."""


class Sized(nn.Module):
    """A network whose volume has `upsampling` fine pixels per light-field pixel.

    Parameters
    ----------
    network : SeReNet or FSeReNet
    upsampling : float
    """

    def __init__(self, network: SeReNet | FSeReNet, upsampling: float) -> None:
        super().__init__()
        self.network, self._upsampling = network, upsampling

    def forward(self, features: Tensor) -> Tensor:
        """Return the volume (n, Z, Y, X)."""
        return self.both(features)[0]

    def both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the volume, and what it is before it is resized."""
        size_yx = round(features.shape[-2] * self._upsampling), round(features.shape[-1] * self._upsampling)
        buffer = self.network.buffer(features)
        return resize_yx(buffer, size_yx)[:, 0], buffer


class SerenetTask(LightFieldTask):
    """See `LightFieldTask`."""

    def network(self) -> nn.Module:
        """See `Task.network`; what F-SeReNet takes from a SeReNet does not change."""
        network = cast("SeReNet | FSeReNet", super().network())
        if isinstance(network, FSeReNet) and self.params.freeze:
            for index in _FROZEN:
                network.fusion[index].requires_grad_(False)
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return Sized(network, self.geometry.upsampling)

    def model_of(self, network: nn.Module) -> nn.Module:
        """See `Task.model_of`."""
        assert isinstance(network, Sized)
        return network.network

    def initialise(self, model: nn.Module, source: str) -> None:
        """See `Task.initialise`; F-SeReNet takes its first layers from a SeReNet."""
        state = load_state(resolve(source, "serenet.reconstruct"))
        if not isinstance(model, FSeReNet) or any(name.startswith("decoder.") for name in state):
            load_weights(model, source)
            return
        shared = {name: state[name].float() for name, tensor in model.state_dict().items()
                  if name in state and state[name].shape == tensor.shape}  # fmt: skip
        model.load_state_dict(shared, strict=False)

    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `LightFieldTask.shown`."""
        compared = np.setdiff1d(np.arange(self.geometry.views), self.withheld)
        count = min(self.params.views_per_step or len(compared), len(compared))
        chosen = np.sort(rng.permutation(compared)[:count])
        found = {
            "features": self.features(patch),
            "views": patch.views,
            "scale": torch.tensor(patch.scale, dtype=torch.float32),
            "unit": torch.tensor(patch.unit, dtype=torch.float32),
            "chosen": torch.from_numpy(chosen),
        }
        return {**found, "truth": cast(Tensor, patch.truth)} if self.params.supervised else found

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        assert isinstance(network, Sized)
        features = batch["features"].contiguous(memory_format=torch.channels_last_3d)
        volume, buffer = network.both(features)
        # the physics needs the whole precision, whatever the network has
        with torch.autocast(volume.device.type, enabled=False):
            counts = volume.float() / batch["scale"].view(-1, 1, 1, 1)
            weight = 1.0 if self.params.compat == "upstream" else float((batch["unit"] / batch["scale"]).mean())
            loss = self.params.negative * weight * negative_part(buffer.float())
            if self.params.supervised:
                return loss + self._against_truth(counts, batch["truth"], batch["unit"].view(-1, 1, 1, 1))
            return loss + self._against_views(counts, batch["views"], batch["chosen"])

    def _against_views(self, volume: Tensor, views: Tensor, chosen: Tensor) -> Tensor:
        """Return how unlike the recorded views those of a volume (counts) are, the mean over the examples."""
        params, field = self.params, (int(views.shape[-2]), int(views.shape[-1]))
        variance, published = params.read_noise**2, params.compat == "upstream"
        losses = []
        if published and self._psf is not None:
            for one, recorded, which in zip(volume, views, chosen, strict=True):
                psf, target = self._psf[which.cpu()].to(volume.device), recorded[which]
                seen = published_views(one[None], psf, field)[0]
                losses.append(photon_loss(seen, target, 0.0, variance).mean() / bright(target).mean())
            return torch.stack(losses).mean()
        sight = self.sight(field, volume.device)
        explained = sight.explained.to(volume.device)
        if not published:
            # seen is what users get, nothing negative; yet dark voxels must feel that light is missing
            volume = volume + (volume.clamp_min(0) - volume).detach()
        for every, recorded, which in zip(sight(volume), views, chosen, strict=True):
            seen, target, mask = every[which], recorded[which], explained[which]
            level = bright(target)
            unlikely = photon_loss(seen, target, 0.0, variance) if published else noise_deviance(seen, target, variance)
            loss = masked_mean(unlikely, mask) / level.mean()
            if params.similarity:
                loss = loss + params.similarity * masked_mean(1 - similarity(seen / level, target / level), mask)
            losses.append(loss)
        return torch.stack(losses).mean()

    def _against_truth(self, volume: Tensor, truth: Tensor, unit: Tensor) -> Tensor:
        """Return how unlike the truth volumes (both in counts) are."""
        if self.params.compat == "upstream" and self.params.network == "fserenet":
            return photon_loss(volume, truth, 0.0, 0.0).mean()
        if self.params.network == "renet":
            published = self.params.compat == "upstream"
            return ((volume - truth) * (1.0 if published else unit)).abs().mean()
        # the logarithm of the squared error, so that dim and bright examples count alike
        error = ((volume - truth) * unit).square().flatten(1).mean(dim=1)
        size = (truth * unit).square().flatten(1).mean(dim=1)
        return torch.log10((error + _SMALL) / (size + _SMALL)).mean()

    def answer(self, network: Network, patch: Patch) -> Tensor:
        """See `LightFieldTask.answer`."""
        return (network(self.features(patch)[None])[0] / patch.scale).clamp_min(0)

    def judged(self, volume: Tensor, patch: Patch) -> dict[str, float]:
        """See `LightFieldTask.judged`; without truth, the loss on the views."""
        if patch.truth is not None:
            return super().judged(volume, patch)
        which = torch.from_numpy(self.withheld if len(self.withheld) else np.arange(self.geometry.views))[None]
        return {ON_VIEWS: float(self._against_views(volume[None], patch.views[None], which))}

    def score(self, metrics: dict[str, float]) -> float:
        """See `LightFieldTask.score`."""
        return -metrics[ON_VIEWS] if ON_VIEWS in metrics else super().score(metrics)

    @cached_property
    def withheld(self) -> NDArray[np.int64]:
        """The views that the loss leaves for the validation: some of the user's own, never the middle one.

        The network sees them, but learns to predict them from the others only: their noise does not pay.
        """
        views = self.geometry.views
        count = min(self.params.withheld_views, views // 2) if self.params.withholds and self._learned else 0
        return np.rint((np.arange(count) + 0.5) * (views - 1) / max(count, 1)).astype(np.int64) + (1 if count else 0)
