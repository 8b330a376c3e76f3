"""The training task of `fusion.train_rldfn`: self-supervised on the views themselves (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.deconvolution.volumes.upstream import corrections, transfer_of
from napari_recon.engines.fusion.networks.rldfn import RlDfn
from napari_recon.engines.fusion.networks.rldfn_checkpoint import ARCHITECTURE, ENGINE
from napari_recon.engines.fusion.networks.rldfn_discriminator import SectionJudge
from napari_recon.engines.fusion.training.rldfn_losses import convinced, kernel, roughness, seen
from napari_recon.engines.fusion.training.rldfn_params import TrainRlDfnParams
from napari_recon.engines.fusion.training.rldfn_sections import Cut, Kind, random_place, section
from napari_recon.training.task import Batch, Network, Task, Validation

ORDER = (
    Kind.TURNED_A,
    Kind.TURNED_B,
    Kind.UPRIGHT,
    Kind.UPRIGHT,
    Kind.VIEW_A,
    Kind.TURNED_A,
    Kind.VIEW_B,
    Kind.TURNED_B,
)
"""Sections of a step: four that the fusion is judged by, then a measured and a fused one for each judge."""
APPENDED = 30
"""Planes of zeros behind a volume, as published."""
_REDRAWN = 20
_LARGEST_CUT = (60, 120)
_LARGEST_TURN = 30.0


class Training(nn.Module):
    """The fusion with the judges of its sections."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.fusion = RlDfn(features)
        self.judge_a, self.judge_b = SectionJudge(features), SectionJudge(features)

    def forward(self, changes: Tensor) -> Tensor:
        """Return the fused volume (n, 1, z, y, x) of two views' corrections (n, 2, z, y, x)."""
        fused: Tensor = self.fusion(changes)
        return fused


class Losses(NamedTuple):
    """Parts of the loss of one step, without weights."""

    convincing_a: Tensor
    convincing_b: Tensor
    error_a: Tensor
    error_b: Tensor
    roughness: Tensor
    judge_a: Tensor
    judge_b: Tensor

    def total(self, reprojection_weight: float, smoothness: float) -> Tensor:
        """Return what is minimised by all networks at once; none is moved by another's loss."""
        fusion = self.convincing_a + self.convincing_b + reprojection_weight * (self.error_a + self.error_b)
        return fusion + smoothness * self.roughness + self.judge_a + self.judge_b


class RlDfnTask(Task):
    """See `Task`.

    Parameters
    ----------
    params : TrainRlDfnParams
    seed : int
    pairs : sequence of ndarray
        (2, z, y, x): both views of every volume, at most one.
    psfs : sequence of ndarray
        (z, y, x) of both views, on the volumes' voxels.
    """

    preview_output = "preview"

    def __init__(
        self,
        params: TrainRlDfnParams,
        seed: int,
        pairs: Sequence[NDArray[np.float32]],
        psfs: Sequence[NDArray[np.float32]],
    ) -> None:
        self.params, self.seed = params, seed
        self._pairs = [np.pad(pair, ((0, 0), (0, APPENDED), (0, 0), (0, 0))) for pair in pairs]
        self._psfs = [torch.from_numpy(psf) for psf in psfs]
        self._size = params.patch

    def network(self) -> nn.Module:
        """See `Task.network`."""
        return Training(self.params.features)

    def model_of(self, network: nn.Module) -> nn.Module:
        """See `Task.model_of`."""
        assert isinstance(network, Training)
        return network.fusion

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """See `Task.batch`: a random piece of a random volume, and where its sections are cut."""
        views, places, cuts = [], [], []
        for number in range(rank, self.params.batch_size, devices):
            rng = np.random.default_rng([self.seed, step, number])
            pair = self._pairs[rng.integers(len(self._pairs))]
            starts = [rng.integers(max(1, n - p + 1)) for n, p in zip(pair.shape[1:], self._size, strict=True)]
            piece = pair[(slice(None), *(slice(s, s + p) for s, p in zip(starts, self._size, strict=True)))]
            views.append(torch.from_numpy(piece.copy()))
            often = np.random.default_rng([self.seed, 2**20 + step // _REDRAWN])
            turn, offset = float(often.uniform(-_LARGEST_TURN, _LARGEST_TURN)), float(often.uniform())
            cut = self._cut(turn, offset)
            places.append(torch.tensor([random_place(cut, kind, self._size[2], rng) for kind in ORDER]))
            cuts.append(torch.tensor([turn, offset], dtype=torch.float64))
        return {"views": torch.stack(views), "places": torch.stack(places), "cut": torch.stack(cuts)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        assert isinstance(network, Training)
        total = batch["views"].new_zeros(())
        for views, places, cut in zip(batch["views"], batch["places"].tolist(), batch["cut"].tolist(), strict=True):
            with torch.no_grad():
                changes = corrections(views, self._transfers(views))
            fused = network(changes[None])[0, 0]
            found = losses_of(network, fused, views, self._kernels(views.device), self._cut(*cut), places)
            total = total + found.total(self.params.reprojection_weight, self.params.smoothness)
        return total / len(batch["views"])

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`: how well the middle of the first volume is reproduced; judges have no say."""
        pair = self._pairs[0]
        starts = [max(0, (n - p) // 2) for n, p in zip(pair.shape[1:], self._size, strict=True)]
        starts[0] = max(0, (pair.shape[1] - APPENDED - self._size[0]) // 2)
        piece = pair[(slice(None), *(slice(s, s + p) for s, p in zip(starts, self._size, strict=True)))]
        views = torch.from_numpy(piece.copy())
        changes = corrections(views, self._transfers(views))
        fused = network(changes[None])[0, 0]
        kernels = self._kernels(views.device)
        error = sum(float((seen(fused, k) - v).abs().mean()) for k, v in zip(kernels, views, strict=True))
        step_alone = views.mean(0) * changes.prod(0).clamp_min(0).sqrt()
        shown = [image.amax(1) for image in (views[0], views[1], step_alone, fused)]
        preview = torch.cat([image / image.max().clamp_min(1e-6) for image in shown], 1).numpy()
        return Validation(-error, {"error of reproduced views": error}, preview)

    def card(self) -> dict[str, Any]:
        """See `Task.card`."""
        said = self.params.model_dump(mode="json", exclude={"init", "resume", "checkpoint_folder", "devices"})
        return {
            "engine": ENGINE,
            "architecture": ARCHITECTURE,
            "options": {"features": self.params.features},
            "contract": {"views": 2, "angle_deg": self.params.angle_deg},
            "training": {"parameters": said},
        }

    def _cut(self, turn: float, offset: float) -> Cut:
        depth, height, _ = self._size
        return Cut((min(_LARGEST_CUT[0], depth - 6), min(_LARGEST_CUT[1], height - 8)), self.params.angle_deg, turn, offset)

    def _transfers(self, views: Tensor) -> Tensor:
        size = tuple(views.shape[1:])
        return torch.stack([transfer_of(psf.to(views.device), size, published=False) for psf in self._psfs])

    def _kernels(self, device: torch.device) -> list[Tensor]:
        return [kernel(psf.to(device)) for psf in self._psfs]


def losses_of(
    networks: Training, fused: Tensor, views: Tensor, kernels: Sequence[Tensor], cut: Cut, places: Sequence[Sequence[int]]
) -> Losses:
    """Return the parts of the loss of one fused volume (z, y, x).

    Parameters
    ----------
    views : Tensor
        (2, z, y, x)
    places : sequence
        Where each section of `ORDER` lies, (x, z).
    """

    def of(volume: Tensor, number: int) -> Tensor:
        x, z = places[number]
        return section(volume, cut, ORDER[number], (int(x), int(z)))

    held = fused.detach()
    judges = (networks.judge_a, networks.judge_b)
    convincing = [
        (convinced(_unmoved(judge, of(fused, first)), 1.0) + convinced(_unmoved(judge, of(fused, second)), 1.0)) / 3
        for judge, first, second in zip(judges, (0, 1), (2, 3), strict=True)
    ]
    told = [
        (convinced(judge(of(view, real)), 1.0) + convinced(judge(of(held, real + 1)), 0.0)) / 2
        for judge, view, real in zip(judges, views, (4, 6), strict=True)
    ]
    errors = [(seen(fused, k) - view).abs().mean() for k, view in zip(kernels, views, strict=True)]
    return Losses(convincing[0], convincing[1], errors[0], errors[1], roughness(fused), told[0], told[1])


def _unmoved(judge: nn.Module, sections: Tensor) -> Tensor:
    """Return a judge's map from which no gradient reaches its own weights."""
    weights = {name: weight.detach() for name, weight in judge.named_parameters()}
    verdict: Tensor = torch.func.functional_call(judge, weights, (sections,))
    return verdict
