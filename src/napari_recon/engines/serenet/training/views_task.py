"""Training the networks before a reconstruction: VsNet for finer views, TW-Net against motion (torch)."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.engines.serenet.intensity import BRIGHT_QUANTILE, of_each_view
from napari_recon.engines.serenet.motion import placed, weighted
from napari_recon.engines.serenet.training.examples import Patch, Recording, Simulator, patch_of, recorded
from napari_recon.engines.serenet.training.losses import bright, without_outliers
from napari_recon.engines.serenet.training.params import SerenetTrainParams
from napari_recon.engines.serenet.training.sight import Sight
from napari_recon.engines.serenet.training.task import LightFieldTask
from napari_recon.engines.serenet.twnet import ORDER as SCAN_ORDER
from napari_recon.engines.simulate.phantom import room_of
from napari_recon.engines.simulate.scene import Canvas, random_scene
from napari_recon.optics.lightfield_geometry import LightFieldGeometry
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


class TWNetTask(LightFieldTask):
    """See `LightFieldTask`; TW-Net learns from what the lattice of a scan does to the middle view where something moves."""

    @property
    def simulator(self) -> Simulator:
        """Where recordings come from when the user gives none."""
        return MotionSimulator(self.geometry, self.sight_of_middle, self.params, self.seed)

    @cached_property
    def sight_of_middle(self) -> Sight:
        """What the middle view sees."""
        geometry, edge = self.geometry, self.params.field
        return Sight.of_shift(
            torch.from_numpy(geometry.psf_shift[:1]), (edge, edge), upsampling=geometry.upsampling,
            scanning=geometry.scanning, sigma_fine=self.params.psf_sigma,
        )  # fmt: skip

    def shown(self, patch: Patch, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `LightFieldTask.shown`: the middle view, over its brightest, and as the network sees it."""
        (y, x), (h, w) = patch.corner_yx, patch.views.shape[-2:]
        image = patch.noisy[:1] * patch.unit / patch.scale
        scaled = torch.from_numpy(of_each_view(image.numpy()))
        cut = (slice(None), slice(y, y + h), slice(x, x + w))
        return {"image": image[cut], "scaled": scaled[cut]}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        return self._error(network(self._frames(batch["scaled"])).float(), batch["image"])

    def _frames(self, scaled: Tensor) -> Tensor:
        return F.pixel_unshuffle(scaled, self.geometry.scanning)

    def _error(self, mask: Tensor, image: Tensor) -> Tensor:
        """Return the squared difference from the image without what moved."""
        frames = placed(image[:, 0], SCAN_ORDER, "zeros")
        target = without_outliers(image, frames[:, len(SCAN_ORDER) // 2][:, None])
        return (weighted(image, frames, mask) - target).square().mean()

    def answer(self, network: Network, patch: Patch) -> Tensor:
        """Not a volume: the mask of what stood still."""
        return network(self._frames(self.shown(patch, np.random.default_rng(self.seed))["scaled"][None]))

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`: how the middle of the scan is met, where that is known, else the loss."""
        found: dict[str, list[float]] = {}
        preview = None
        for number, recording in enumerate(self._held):
            rng = np.random.default_rng([self.seed, 2**20, number])
            patch = patch_of(recording, self.geometry, self.params, rng, 0, False)
            image, mask = self.shown(patch, rng)["image"][None], self.answer(network, patch)
            result = weighted(image, placed(image[:, 0], SCAN_ORDER, "reflection"), mask)
            found.setdefault("loss of held out", []).append(float(self._error(mask, image)))
            if patch.truth is not None:
                truth = patch.truth * patch.unit
                found.setdefault("PSNR of the middle time", []).append(view_psnr(result[0], truth))
                found.setdefault("gain over the scan (dB)", []).append(
                    view_psnr(result[0], truth) - view_psnr(image[0], truth)
                )
            if number == len(self._held) // 2:
                cut = (slice(0, self.params.crop), slice(0, self.params.crop))
                preview = strip([each[0, 0][cut] for each in (image, mask, result)])
        metrics = {name: float(np.mean(values)) for name, values in found.items()}
        return Validation(metrics.get("PSNR of the middle time", -metrics["loss of held out"]), metrics, preview)


class MotionSimulator(Simulator):
    """Makes middle views of moving scenes, taken cell by cell of a scan; their truth is the middle of the scan."""

    def __init__(self, geometry: LightFieldGeometry, sight: Sight, params: SerenetTrainParams, seed: int) -> None:
        super().__init__(geometry, sight, 0, params, seed)

    def recording(self, index: int, truth: bool, photons: float = 0.0) -> Recording:
        """See `Simulator.recording`."""
        params, geometry = self._params, self._geometry
        rng = np.random.default_rng([self._seed, index])
        shape = (geometry.planes, *geometry.volume_yx(params.field, params.field))
        canvas = Canvas(shape, geometry.z_step_um / geometry.fine_pixel_um)
        scene = random_scene(
            room_of(shape, canvas.plane_step), int(rng.integers(2**31)), tubes=int(rng.integers(2, 12)),
            beads=int(rng.integers(5, 60)), bubbles=int(rng.integers(0, 6)), speed=float(rng.uniform(0, 4)),
        )  # fmt: skip
        views = [self._sight(torch.from_numpy(scene.draw(canvas, t)))[0].clamp_min(0) for t in range(len(SCAN_ORDER))]
        scanned, steps = views[0].clone(), geometry.scanning
        for cell, view in zip(SCAN_ORDER, views, strict=True):
            row, column = divmod(cell, steps)
            scanned[row::steps, column::steps] = view[row::steps, column::steps]
        low, high = math.log(params.photons_from), math.log(params.photons_to)
        wanted = photons or math.exp(rng.uniform(low, high))
        factor = wanted / max(float(torch.quantile(views[4].flatten(), BRIGHT_QUANTILE)), 1e-9)
        return Recording(scanned[None] * factor, True, views[len(views) // 2][None] * factor)
