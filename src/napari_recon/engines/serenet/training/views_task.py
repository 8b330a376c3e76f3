"""Training the networks before a reconstruction: VsNet for finer views, TW-Net against motion (torch)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.serenet.training.examples import Patch, patch_of, recorded
from napari_recon.engines.serenet.training.losses import bright
from napari_recon.engines.serenet.training.task import LightFieldTask
from napari_recon.training.task import Batch, Network, Validation

FINER = 3
"""How much finer VsNet makes views."""


class VsNetTask(LightFieldTask):
    """See `LightFieldTask`; VsNet gets back a scanned light field from one of its nine parts."""

    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `LightFieldTask.shown`."""
        middle = patch.views[self.geometry.nnum**2 // 2]
        level = bright(middle)
        coarse = recorded(patch.views[:, 1::FINER, 1::FINER].contiguous(), False, self.params, rng)
        return {"input": coarse / level, "target": patch.views / level}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        error: Tensor = (network(batch["input"]).float() - batch["target"]).abs().mean()
        return error

    def answer(self, network: Network, patch: Patch) -> Tensor:
        """Not a volume: what `validate` compares instead."""
        shown = self.shown(patch, np.random.default_rng(self.seed))
        return network(shown["input"][None])[0]

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`: PSNR of views, and by how much it is above that of bicubic interpolation."""
        gains, values, preview = [], [], None
        for number, recording in enumerate(self._held):
            rng = np.random.default_rng([self.seed, 2**20, number])
            patch = patch_of(recording.middle(self.params.crop, self.geometry), self.geometry, self.params, rng, 0, False)
            shown = self.shown(patch, np.random.default_rng([self.seed, number]))
            answer = network(shown["input"][None])[0]
            plain = F.interpolate(shown["input"][None], scale_factor=FINER, mode="bicubic", align_corners=False)[0]
            values.append(view_psnr(answer, shown["target"]))
            gains.append(values[-1] - view_psnr(plain, shown["target"]))
            if number == len(self._held) // 2:
                preview = strip([each[self.geometry.nnum**2 // 2] for each in (plain, answer, shown["target"])])
        found = {"PSNR of views": float(np.mean(values)), "gain over bicubic (dB)": float(np.mean(gains))}
        return Validation(found["PSNR of views"], found, preview)


def view_psnr(views: Tensor, truth: Tensor) -> float:
    """Return the PSNR of views (dB), the brightest pixel being the peak."""
    error = (views - truth).double().square().mean().clamp_min(1e-12)
    return float(10 * torch.log10(truth.double().max().square() / error))


def strip(images: list[Tensor]) -> NDArray[np.float32]:
    """Return images (Y, X) side by side as (1, Y, n X), each 0 to 1."""
    parts = [image.clamp_min(0) / image.max().clamp_min(1e-9) for image in images]
    joined: NDArray[np.float32] = torch.cat(parts, dim=1)[None].float().numpy()
    return joined
