"""The training task of `lightfield_inr.meta`: Reptile, whose step is a short fit of a scene.

From the start a scene is fitted for some steps with the published loop; the start's gradient is where it was minus where
the fit led. The loop's optimiser, checkpoints and running mean do the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.core.plan import Plan
from napari_recon.engines.lightfield_inr.checkpoint import ENGINE
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.meta_params import MetaParams
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.upstream.fit import Fitter, Scene
from napari_recon.engines.lightfield_inr.upstream.losses import objective
from napari_recon.engines.lightfield_inr.upstream.stage import Targets, normalised_psf
from napari_recon.optics.psf_convolution import PsfProjector
from napari_recon.training.task import Batch, Network, Task, Validation


class MetaTask(Task):
    """See `Task`.

    Parameters
    ----------
    params : MetaParams
        Resolved.
    plan : Plan
    psf_vzyx : ndarray
    learned, held : sequence of ndarray
        Views (v, y, x), at most 1, of the scenes to learn from and of those for validation.
    """

    preview_output = "preview"

    def __init__(
        self,
        params: MetaParams,
        plan: Plan,
        psf_vzyx: NDArray[np.float32],
        learned: Sequence[NDArray[np.float32]],
        held: Sequence[NDArray[np.float32]],
    ) -> None:
        self._params, self._plan = params, plan
        device = torch.device(plan.compute.device)
        psf = normalised_psf(torch.from_numpy(psf_vzyx).to(device))
        self._learned, self._held = (
            [Scene(Targets(torch.from_numpy(views).to(device), psf)) for views in scenes] for scenes in (learned, held)
        )
        self._at_once = int(plan.resources.details.get("points_at_once", 0))
        _, *size = plan.outputs[0].grid.shape
        self._projector = PsfProjector.same(psf, (size[0], size[1]), device=device)
        self._network: FieldNetwork | None = None

    def network(self) -> nn.Module:
        """See `Task.network`."""
        self._network = FieldNetwork(self._params.layers, self._params.encoding)
        return self._network

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """See `Task.batch`: the numbers of scenes and the seeds of their blocks."""
        drawn = np.random.default_rng([self._plan.compute.seed, step]).integers(0, 2**31, (self._params.batch_size, 2))
        drawn[:, 0] %= len(self._learned)
        return {"scenes": torch.from_numpy(drawn[rank::devices])}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`: the value is the published one after the last inner step, the gradient is Reptile's."""
        total = torch.zeros((), device=self._plan.compute.device)
        drawn = batch["scenes"].tolist()
        for number, seed in drawn:
            fitter, value = self._fitted(network, self._learned[number], seed)
            pairs = zip(network.parameters(), fitter.network.parameters(), strict=True)
            away = torch.stack([(start - end.detach()).square().sum() / 2 for start, end in pairs]).sum()
            total = total + away + (value - away).detach()
        return total / len(drawn)

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`: held-out scenes are fitted for as many steps, then the objective of whole views counts."""
        assert self._network is not None  # the loop asked for it, and has put the averaged weights into it
        before, after = [], []
        preview: NDArray[np.float32] | None = None
        for number, scene in enumerate(self._held):
            before.append(self._objective(self._volume(self._network, scene), scene))
            with torch.enable_grad():
                fitter, _ = self._fitted(self._network, scene, number)
            volume = self._volume(fitter.network, scene)
            after.append(self._objective(volume, scene))
            preview = volume.cpu().numpy() if preview is None else preview
        found = {"objective at the start": float(np.mean(before)), "objective after its steps": float(np.mean(after))}
        return Validation(-found["objective after its steps"], found, preview)

    def card(self) -> dict[str, Any]:
        """See `Task.card`."""
        params, grid = self._params, self._plan.outputs[0].grid
        options = {
            **params.layers.model_dump(mode="json"),
            **params.encoding.model_dump(mode="json"),
            "frames": 0,
            "render_size": [grid.size(axis) for axis in "YXZ"],
            "post_processor": params.post,
        }
        training = {"method": "reptile", "parameters": params.model_dump(mode="json", exclude=_OWN)}
        return {"engine": ENGINE, "architecture": "nerf", "options": options, "training": training}

    def _fitted(self, network: nn.Module, scene: Scene, seed: int) -> tuple[Fitter, float]:
        """Return a copy of the network after some steps on a scene, and the loss of the last."""
        own = copy.deepcopy(network)  # with its hooks, so that the inner steps can be cancelled, too
        assert isinstance(own, FieldNetwork)
        params = self._params
        fitter = Fitter(own, params.upstream, params.post, seed=seed, points_at_once=self._at_once)
        losses = [done.loss for done in fitter.next_scene(scene)]
        return fitter, losses[-1]

    def _volume(self, network: FieldNetwork, scene: Scene) -> Tensor:
        shape = self._plan.outputs[0].grid.shape
        z, y, x = (axis_coordinates(axis, np.arange(n), shape) for axis, n in zip("zyx", shape, strict=True))
        state, device = network.state_dict(), self._plan.compute.device
        return LatticeField(state, network.layers, network.encoding, self._params.post, device).values(x, y, z)

    def _objective(self, volume: Tensor, scene: Scene) -> float:
        made = self._projector.forward(volume)
        return float(objective(made, scene.targets.views, volume, self._params.upstream))


_OWN = {"init", "resume", "checkpoint_folder", "devices"}
"""Parameters that say nothing about the start."""
