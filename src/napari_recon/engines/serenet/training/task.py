"""What all trainings of light-field networks have in common: microscope, recordings, validation (torch)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.serenet.networks.build import ARCHITECTURES
from napari_recon.engines.serenet.training.examples import (
    JUDGED_WITHIN,
    Patch,
    Pool,
    Recording,
    Simulator,
    held_out,
    patch_of,
)
from napari_recon.engines.serenet.training.params import ENGINES, FROM_VIEWS, INTENSITY, SCALED, SerenetTrainParams
from napari_recon.engines.serenet.training.sight import Sight
from napari_recon.optics.lightfield_geometry import GEOMETRY_IDS, LightFieldGeometry
from napari_recon.optics.refocus import Refocuser
from napari_recon.optics.support import operator_support
from napari_recon.training.task import Batch, Network, Task, Validation


class LightFieldTask(Task):
    """See `Task`.

    Parameters
    ----------
    params : SerenetTrainParams
    geometry : LightFieldGeometry
        With the planes of the examples.
    seed : int
    options : dict
        What rebuilds the network.
    scaled : bool
        Whether the network sees views scaled to one, or counts.
    learned, held : sequence of Recording
        The user's, to learn from and for validation; without any, they are simulated.
    psf_vzyx : Tensor, optional
        The full PSF of the same views and planes.
    """

    preview_output = "preview"

    def __init__(
        self,
        params: SerenetTrainParams,
        geometry: LightFieldGeometry,
        seed: int,
        options: dict[str, Any],
        scaled: bool = True,
        learned: Sequence[Recording] = (),
        held: Sequence[Recording] = (),
        psf_vzyx: Tensor | None = None,
    ) -> None:
        self.params, self.geometry, self.seed, self.options, self.scaled = params, geometry, seed, options, scaled
        self._learned, self._psf = tuple(learned), psf_vzyx
        self._given = tuple(recording.middle(2 * params.crop, geometry) for recording in held)
        self._sights: dict[tuple[tuple[int, int], int, str], Sight] = {}

    @abstractmethod
    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return what the loss needs of an example."""

    @abstractmethod
    def answer(self, network: Network, patch: Patch) -> Tensor:
        """Return the network's volume (Z, Y, X) of a whole recording, in any unit, not below zero."""

    def sight(self, field_yx: tuple[int, int], device: torch.device | str, margin: int = 0) -> Sight:
        """Return what is seen of volumes around a field of that size."""
        key = (field_yx, margin, str(device))
        if key not in self._sights:
            shift = torch.from_numpy(self.geometry.psf_shift)
            common: dict[str, Any] = {
                **{"upsampling": self.geometry.upsampling, "scanning": self.geometry.scanning},
                **{"margin": margin, "device": device},
            }
            if self._psf is not None:
                self._sights[key] = Sight.of_psf(self._psf, shift, field_yx, **common)
            else:
                self._sights[key] = Sight.of_shift(shift, field_yx, sigma_fine=self.params.psf_sigma, **common)
        return self._sights[key]

    @cached_property
    def simulator(self) -> Simulator:
        """Where recordings come from when the user gives none."""
        params, step = self.params, self.geometry.scanning
        farthest = float(np.abs(self.geometry.psf_shift).max())
        margin = -(-operator_support(farthest, self.geometry.upsampling, params.psf_sigma) // step) * step
        return Simulator(self.geometry, self.sight((params.field, params.field), "cpu", margin), margin, params, self.seed)

    @cached_property
    def _pool(self) -> Pool:
        given = self._learned
        return Pool(self.params, self.seed, given, None if given else self.simulator, self.params.supervised)

    @cached_property
    def _held(self) -> Sequence[Recording]:
        return self._given or held_out(self.simulator, self.params)

    def network(self) -> nn.Module:
        """See `Task.network`."""
        return ARCHITECTURES[self.params.architecture](**self.options)

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """See `Task.batch`."""
        found: dict[str, list[Tensor]] = {}
        for number in range(rank, self.params.batch_size, devices):
            patch, rng = self._pool.patch(self.geometry, step, number, self.scaled)
            for name, tensor in self.shown(patch, rng).items():
                found.setdefault(name, []).append(tensor)
        stacked = {name: torch.stack(tensors) for name, tensors in found.items()}
        return {**stacked, "step": torch.tensor(step)}

    def features(self, patch: Patch) -> Tensor:
        """Return the refocused views (A, D, h, w) of a patch, which look at the whole recording."""
        refocuser = Refocuser(patch.noisy, torch.from_numpy(self.geometry.psf_shift), self.geometry.upsampling)
        y, x = ((at, at + n) for at, n in zip(patch.corner_yx, patch.views.shape[-2:], strict=True))
        return refocuser.part((0, self.geometry.planes), y, x)[0]

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`."""
        found: dict[str, list[float]] = {}
        preview = None
        for number, recording in enumerate(self._held):
            rng = np.random.default_rng([self.seed, 2**20, number])
            patch = patch_of(recording, self.geometry, self.params, rng, 0, self.scaled)
            volume = self.answer(network, patch)
            for name, value in self.judged(volume, patch).items():
                found.setdefault(name, []).append(value)
            if number == len(self._held) // 2:
                preview = side_by_side(self.features(patch), volume, patch.truth, self._preview_edge)
        metrics = {name: float(np.mean(values)) for name, values in found.items()}
        return Validation(self.score(metrics), metrics, preview)

    def judged(self, volume: Tensor, patch: Patch) -> dict[str, float]:
        """Return figures of a volume."""
        assert patch.truth is not None
        return agreement(volume, patch.truth, round(JUDGED_WITHIN * self.geometry.upsampling))

    def score(self, metrics: dict[str, float]) -> float:
        """Return how good those figures are."""
        return (metrics["PSNR"] + metrics["MIP PSNR"]) / 2

    def _microscope(self) -> dict[str, Any]:
        """Return the microscope for the card: by name or in numbers; in all its depth, where the network takes any."""
        if self.params.network in FROM_VIEWS:
            return {}
        fixed = self.params.network in ("vcdnet", "hylfmnet")
        geometry = self.geometry if fixed else load_optics(self.params.psf_shift)
        if geometry.name in GEOMETRY_IDS and not fixed:
            return {"psf_shift": geometry.name}
        return {"microscope": geometry.contract()}

    @property
    def _preview_edge(self) -> int:
        return self.geometry.volume_yx(self.params.crop, 0)[0]

    def card(self) -> dict[str, Any]:
        """See `Task.card`."""
        params = self.params
        said = params.model_dump(mode="json", exclude={"init", "resume", "checkpoint_folder"})
        units = "counts" if params.from_features else "relative"
        own = SCALED if self.scaled else "background"
        return {
            "engine": ENGINES.get(params.network, "serenet.reconstruct"),
            "architecture": params.architecture,
            "options": self.options,
            "contract": {
                **{"views": self.geometry.views, "nnum": self.geometry.nnum, "scanning": self.geometry.scanning},
                **{"intensity": INTENSITY.get(params.network, own), "units": units},
                **self._microscope(),
            },
            "training": {"parameters": said, **({"init": params.init} if params.init else {})},
        }


def agreement(volume: Tensor, truth: Tensor, border: int) -> dict[str, float]:
    """Return PSNR (dB) of a volume and of its maximum along z, each scaled to the truth, without its lateral border."""
    inner = (slice(None), slice(border, -border), slice(border, -border))
    a, g = volume[inner].double(), truth[inner].double()
    return {"PSNR": _psnr(a, g), "MIP PSNR": _psnr(a.amax(dim=0), g.amax(dim=0))}


def _psnr(a: Tensor, g: Tensor) -> float:
    scale = (a * g).sum() / a.square().sum().clamp_min(1e-12)
    error = (scale * a - g).square().mean()
    return float(10 * torch.log10(g.max().square() / error.clamp_min(1e-12)))


def side_by_side(features: Tensor, volume: Tensor, truth: Tensor | None, edge: int) -> NDArray[np.float32]:
    """Return mean refocus, network and truth (or zeros) side by side, (Z, edge, 3 edge) of the middle, each 0 to 1."""
    fine = (int(volume.shape[-2]), int(volume.shape[-1]))
    refocused = F.interpolate(features.mean(dim=0)[None], size=fine, mode="bilinear")[0].clamp_min(0)
    middle = tuple(slice((n - edge) // 2, (n - edge) // 2 + edge) for n in fine)
    parts = [refocused, volume, torch.zeros_like(volume) if truth is None else truth]
    parts = [part[:, middle[0], middle[1]] for part in parts]
    joined: NDArray[np.float32] = torch.cat([part / part.max().clamp_min(1e-9) for part in parts], dim=2).numpy()
    return joined
