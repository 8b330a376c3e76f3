"""The published fit, step by step: an encoder until it is good enough, then the field with latents that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.inr4d.layers import latent_size
from napari_recon.engines.inr4d.upstream import coordinates
from napari_recon.engines.inr4d.upstream.networks import Encoder, FieldNetwork
from napari_recon.engines.inr4d.upstream.render import Shells, render
from napari_recon.engines.inr4d.upstream.settings import PublishedSettings

Movie = NDArray[np.float32]


@dataclass(frozen=True)
class StepDone:
    """A step of the optimiser: the loss before it and the signal-to-noise ratio that says the same, in dB."""

    step: int
    loss: float
    psnr: float
    encoding: bool


class Fitter:
    """Both networks, their optimiser and what they learn from.

    Parameters
    ----------
    movie : ndarray
        (t, z, y, x), as recorded.
    settings : PublishedSettings
    seed : int
        Of weights, and with a step's number of its voxels and jitter.
    device : torch.device or str
    jitter : Tensor or None
        (m^4, 4): one table for all steps; None draws fresh numbers at every step.
    """

    def __init__(
        self, movie: Movie, settings: PublishedSettings, seed: int, device: torch.device | str, jitter: Tensor | None = None
    ) -> None:
        self._settings, self._seed, self._device, self._jitter = settings, seed, torch.device(device), jitter
        xyzt = movie.transpose(3, 2, 1, 0)
        self._shape = xyzt.shape
        self._full, self._half = (torch.from_numpy(part).to(self._device) for part in encoder_data(xyzt))
        self._target = torch.from_numpy(np.ascontiguousarray(unit_range(xyzt))).view(-1, self._shape[3])
        torch.manual_seed(seed)
        self.network = FieldNetwork(settings.layers).to(self._device)
        self.encoder = Encoder(settings.encoder(self._shape[3])).to(self._device)
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.rate, betas=(0.9, 0.999), eps=1e-6)
        self.step, self.encoder_psnr = 0, 1.0
        self.latent: Tensor | None = None
        self._newest: Tensor | None = None

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the field's network, then of the encoder."""
        return [*self.network.parameters(), *self.encoder.parameters()]

    @property
    def encoding(self) -> bool:
        """Whether the encoder is what learns."""
        return self.latent is None

    @property
    def latents(self) -> Tensor:
        """The latents (x, y, z, n) as they are now."""
        found = self._newest if self.latent is None else self.latent
        return found if found is not None else torch.zeros(*map(latent_size, self._shape[:3]), self._settings.layers.encoded)

    def freeze(self) -> None:
        """Let the field learn from now on, with the encoder's present latents."""
        with torch.no_grad():
            self.latent = self.encoder(self._half[None])[1][0]

    def advance(self) -> StepDone:
        """Do one step. What is interrupted in its middle leaves networks and optimiser as they were."""
        if self.latent is None:
            out, latent = self.encoder(self._half[None])
            loss = F.mse_loss(out[0], self._full)
        else:
            loss = F.mse_loss(*self._rendered(self.latent))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clipped(self.parameters, self._settings)
        self.optimiser.step()
        for group in self.optimiser.param_groups:
            group["lr"] = self._settings.rate_after(self.step)
        self.step += 1
        value, encoding = float(loss.detach()), self.latent is None
        if encoding:
            self._newest = latent[0].detach()
            self.encoder_psnr = 10 * math.log10(float(self._full.max()) ** 2 / max(value, 1e-30))
        return StepDone(self.step, value, self.encoder_psnr if encoding else 10 * math.log10(1 / (value + 1e-8)), encoding)

    def saved(self) -> dict[str, Any]:
        """Return what `restore` needs besides the published files."""
        return {
            "encoder": {name: tensor.detach().cpu().clone() for name, tensor in self.encoder.state_dict().items()},
            "encoder_psnr": self.encoder_psnr,
            "encoding": self.encoding,
        }

    def restore(self, content: Mapping[str, Any], latent: Tensor) -> None:
        """Go on from a save folder; one without an encoder goes on with its latents."""
        own = content.get("fit") or {}
        self.network.load_state_dict(content["model1_state_dict"])
        if own:
            self.encoder.load_state_dict(own["encoder"])
            self.encoder_psnr = float(own["encoder_psnr"])
        self.optimiser.load_state_dict(content["optimizer_state_dict"])
        for group in self.optimiser.param_groups:
            group["lr"] = float(group["lr"])
        self.step = int(content["step"])
        self._newest = latent.to(self._device)
        self.latent = None if own.get("encoding") else self._newest

    def _rendered(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and targets (n,) of this step's points."""
        frames = self._shape[3]
        rng = np.random.default_rng((self._seed, self.step))
        count = min(max(1, self._settings.batch // frames), len(self._target))
        voxels = rng.choice(len(self._target), count, replace=False)
        spatial = torch.from_numpy(np.stack(np.unravel_index(voxels, self._shape[:3]), axis=1))
        index = torch.cat([spatial.repeat_interleave(frames, dim=0), torch.arange(frames).repeat(count)[:, None]], dim=1).to(
            self._device
        )
        rows = coordinates.rows(index, self._shape, self._settings.radius)
        places = [coordinates.latent_index(index[:, axis], latent.shape[axis]) for axis in range(3)]
        values = rendered(self.network, rows, latent[tuple(places)], self._settings.samples, self._drawn(len(rows)))
        return values, self._target[torch.from_numpy(voxels)].reshape(-1).to(self._device)

    def _drawn(self, count: int) -> Tensor:
        if self._jitter is not None:
            return self._jitter.to(self._device)
        generator = torch.Generator().manual_seed(hash((self._seed, self.step)) & 0x7FFFFFFF)
        number = coordinates.per_axis(self._settings.samples) ** 4
        drawn = [torch.rand(count, number, 1, generator=generator) for _ in range(4)]
        return torch.cat(drawn, dim=-1).to(self._device)


def rendered(network: FieldNetwork, rows: Tensor, latent: Tensor, samples: int, jitter: Tensor | None) -> Tensor:
    """Return the values (n,) of a field at coordinate rows (n, 12) with their latents (n, encoded)."""
    points = coordinates.sample_points(rows, samples, jitter)
    raw = network(points, latent[:, None])
    shells = Shells.of_points(points, rows[:, :4], coordinates.half_extents(rows))
    return render(raw, shells)[0]


def clipped(parameters: list[torch.nn.Parameter], settings: PublishedSettings) -> None:
    """Cut the parts of gradients, then their norm."""
    torch.nn.utils.clip_grad_value_(parameters, settings.clip_value)
    torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)


def encoder_data(xyzt: Movie) -> tuple[Movie, Movie]:
    """Return the recording at half the spatial resolution, and with half the time points too, each from 0 to 1."""
    from scipy.ndimage import zoom

    raw, frames = xyzt.astype(np.float64), xyzt.shape[3]
    full, half = (unit_range(zoom(raw, (0.5, 0.5, 0.5, kept / frames))) for kept in (frames, frames // 2))
    return full, half


def unit_range(values: NDArray[Any]) -> Movie:
    """Return values from 0 to 1, float32."""
    low, high = values.min(), values.max()
    found: Movie = np.asarray((values - low) / max(high - low, 1e-30), np.float32)
    return found


def adaptive_loss(value: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Return the published objective for two values per point, the second of which counts where the first is wrong."""
    weight = (value - target).abs().sqrt().detach()
    return F.mse_loss(value, target) + (weight * (second - target) ** 2).mean()
