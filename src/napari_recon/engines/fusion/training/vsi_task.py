"""The training task of `fusion.train_vsi`: fine-tuning, supervised training and meta-training of VSI-SR (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.fusion.networks.vsi_checkpoint import ARCHITECTURE, ENGINE
from napari_recon.engines.fusion.networks.vsi_discriminator import Discriminator
from napari_recon.engines.fusion.networks.vsi_sr import Generator
from napari_recon.engines.fusion.training.vsi_examples import LEARNT, SEEN, Recording, cut
from napari_recon.engines.fusion.training.vsi_losses import vsi_loss
from napari_recon.engines.fusion.training.vsi_meta import Adaptation, Examples, Networks, meta_loss
from napari_recon.engines.fusion.training.vsi_params import TrainVsiParams
from napari_recon.training.params import TrainingParams
from napari_recon.training.task import Batch, Network, Task, Validation

DISCRIMINATOR_SHARE = 0.2
"""Step size of the discriminator over that of the network, in meta-training, as published."""
_HELD_PATCHES = 8


class VsiTask(Task):
    """See `Task`.

    Parameters
    ----------
    params : TrainVsiParams
    seed : int
    options : dict
        What rebuilds the network.
    learned, held : sequence of Recording
        To learn from, and for validation.
    """

    preview_output = "preview"

    def __init__(
        self,
        params: TrainVsiParams,
        seed: int,
        options: dict[str, Any],
        learned: Sequence[Recording],
        held: Sequence[Recording],
    ) -> None:
        self.params, self.seed, self.options = params, seed, options
        self._learned = list(learned)
        # other patches than those learnt from, where a recording serves both
        self._held = [
            _patches(r, params.patch, _HELD_PATCHES, np.random.default_rng([seed, 2**20, i])) for i, r in enumerate(held)
        ]

    def network(self) -> nn.Module:
        """See `Task.network`; meta-training has a discriminator beside the generator."""
        generator = Generator(**self.options)
        return Networks(generator, Discriminator(LEARNT)) if self.params.method == "meta" else generator

    def model_of(self, network: nn.Module) -> nn.Module:
        """See `Task.model_of`."""
        return network.generator if isinstance(network, Networks) else network

    def optimiser(self, network: nn.Module, params: TrainingParams) -> torch.optim.Optimizer:
        """See `Task.optimiser`: plain descent for fine-tuning, Adam otherwise, slower for the discriminator."""
        rate, decay = params.learning_rate, params.weight_decay
        if self.params.method == "finetune":
            return torch.optim.SGD(network.parameters(), rate, weight_decay=decay)
        if isinstance(network, Networks):
            groups: list[dict[str, Any]] = [
                {"params": network.generator.parameters()},
                {"params": network.discriminator.parameters(), "lr": DISCRIMINATOR_SHARE * rate},
            ]
            return torch.optim.AdamW(groups, rate, weight_decay=decay)
        return super().optimiser(network, params)

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """See `Task.batch`: patches of random recordings, or for meta-training the patches of one recording per task."""
        params = self.params
        found = []
        for number in range(rank, params.batch_size, devices):
            rng = np.random.default_rng([self.seed, step, number])
            recording = self._learned[rng.integers(len(self._learned))]
            found.append(_patches(recording, params.patch, params.examples_per_task if params.method == "meta" else 1, rng))
        planes, sharp = (torch.stack([one[i] for one in found]) for i in (0, 1))
        return (
            {"planes": planes, "sharp": sharp} if params.method == "meta" else {"planes": planes[:, 0], "sharp": sharp[:, 0]}
        )

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        params = self.params
        if isinstance(network, Networks):
            half = params.examples_per_task // 2
            tasks = [
                (Examples(p[:half], s[:half]), Examples(p[half:], s[half:]))
                for p, s in zip(batch["planes"], batch["sharp"], strict=True)
            ]
            how = Adaptation(
                params.task_iterations,
                params.generator_steps,
                params.generator_rate,
                params.discriminator_rate,
                params.adversarial_weight,
            )
            return meta_loss(network, tasks, how)
        return vsi_loss(network(batch["planes"]), batch["sharp"], params.ssim_weight, params.spectrum_weight)

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`: PSNR after fitting gain and offset of every plane, over held-out patches."""
        own: list[float] = []
        before: list[float] = []
        preview: NDArray[np.float32] | None = None
        for planes, sharp in self._held:
            made = network(planes)
            enlarged = F.interpolate(planes[:, 2:5], made.shape[-2:], mode="bicubic", align_corners=False)
            own += [psnr(m, s) for m, s in zip(made.flatten(0, 1), sharp.flatten(0, 1), strict=True)]
            before += [psnr(e, s) for e, s in zip(enlarged.flatten(0, 1), sharp.flatten(0, 1), strict=True)]
            if preview is None:
                shown = [fitted(enlarged[0, 1], sharp[0, 1]), fitted(made[0, 1], sharp[0, 1]), sharp[0, 1]]
                preview = torch.cat(shown, 1).numpy()
        gain = float(np.mean(own) - np.mean(before))
        return Validation(float(np.mean(own)), {"gain over enlarging (dB)": gain}, preview)

    def card(self) -> dict[str, Any]:
        """See `Task.card`."""
        said = self.params.model_dump(mode="json", exclude={"init", "resume", "checkpoint_folder", "devices"})
        return {
            "engine": ENGINE,
            "architecture": ARCHITECTURE,
            "options": self.options,
            "contract": {"slices": SEEN, "scale": 1.5},
            "training": {"parameters": said},
        }


def fitted(image: Tensor, truth: Tensor) -> Tensor:
    """Return an image with the gain and offset that bring it closest to the truth."""
    x, t = image - image.mean(), truth - truth.mean()
    gain = (x * t).sum() / (x * x).sum().clamp_min(1e-12)
    return gain * x + truth.mean()


def psnr(image: Tensor, truth: Tensor) -> float:
    """Return the PSNR of a fitted image, in dB; the truth reaches from 0 to 1."""
    error = float((fitted(image, truth) - truth).square().mean())
    return float(-10 * np.log10(max(error, 1e-12)))


def _patches(recording: Recording, patch: int, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return `count` random patches: planes (n, 7, p, p) and what to learn (n, 3, 1.5 p, 1.5 p)."""
    chosen = recording.places[rng.integers(len(recording.places), size=count)]
    pairs = [cut(recording, place, patch) for place in chosen]
    planes, sharp = (torch.from_numpy(np.stack([pair[i] for pair in pairs])) for i in (0, 1))
    return planes, sharp
