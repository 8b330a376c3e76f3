"""The training task of `sim.train`: an RCAN, its examples, its loss, its held-out recordings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from napari_recon.engines.sim.networks.rcan import RCAN
from napari_recon.engines.sim.networks.wiener_front import CHANNELS
from napari_recon.engines.sim.training.examples import Pool, Shown, held_out
from napari_recon.engines.sim.training.losses import loss_of, psnr_gain
from napari_recon.engines.sim.training.params import SimTrainParams
from napari_recon.training.task import Batch, Network, Task, Validation


class SimTask(Task):
    """See `Task`.

    Parameters
    ----------
    params : SimTrainParams
    seed : int
    pairs, held : sequence of Shown
        The user's recordings, and those of them that are kept for validation; without any, all are simulated.
    objects : sequence of ndarray
        Images (Y, X) that simulated recordings show instead of phantoms.
    edge : int
        Rows of the preview.
    """

    preview_output = "preview"

    def __init__(
        self,
        params: SimTrainParams,
        seed: int,
        pairs: Sequence[Shown] = (),
        held: Sequence[Shown] = (),
        objects: Sequence[NDArray[np.float32]] = (),
        edge: int = 0,
    ) -> None:
        self.params, self.seed, self._pairs, self._given = params, seed, tuple(pairs), tuple(held)
        self._objects, self._edge = tuple(objects), edge or 2 * params.field

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self.params, self.seed, self._pairs, self._objects)

    @cached_property
    def _held(self) -> Sequence[Shown]:
        return self._given or held_out(self.params, self.seed, self._objects)

    def network(self) -> nn.Module:
        """See `Task.network`; with the front `wiener` it first answers with zero: its image is the Wiener image."""
        network = RCAN(**self.options)
        if self.params.front == "wiener":
            last = network.tail[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """See `Task.batch`."""
        patches, targets = self._pool.patches(step, range(rank, self.params.batch_size, devices))
        return {"input": patches.contiguous(memory_format=torch.channels_last), "target": targets}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        answer = network(batch["input"]).float()
        return loss_of(answer, batch["target"], self.params.loss, self.params.fourier_weight)

    def validate(self, network: Network, step: int) -> Validation:
        """See `Task.validate`."""
        found = []
        for recording in self._held:
            answer = network(recording.channels[None])[0, 0]
            image, truth = recording.base + answer, recording.base + recording.target
            found.append((*psnr_gain(image, recording.base, truth), image))
        psnr = float(np.mean([each[0] for each in found]))
        metrics: dict[str, float] = {}
        if self.params.front == "wiener":
            gains = [each[1] for each in found]
            metrics |= {"gain over Wiener (dB)": float(np.mean(gains)), "least gain (dB)": float(np.min(gains))}
        middle = len(self._held) // 3
        return Validation(psnr, metrics, side_by_side(self._held[middle], found[middle][2], self._edge))

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds the network."""
        params = self.params
        return {
            "nch_in": CHANNELS if params.front == "wiener" else params.layout.frames,
            "nch_out": 1,
            "n_feats": params.features,
            "n_resgroups": params.groups,
            "n_resblocks": params.blocks,
            "reduction": params.reduction,
            "scale": 2,
        }

    def card(self) -> dict[str, Any]:
        """See `Task.card`."""
        params = self.params
        layout = params.layout
        # Wiener images look alike whatever pattern they come from; raw frames must be as many, in the same order
        seen = {} if params.front == "wiener" else {"norm": "minmax", "frames": layout.frames, **layout._asdict()}
        return {
            "engine": "sim.network",
            "architecture": "rcan",
            "options": {**self.options, "front": params.front},
            "contract": {"front": params.front, "grid": "samples", **seen},
            "training": {"parameters": params.model_dump(mode="json", exclude={"init", "resume", "checkpoint_folder"})},
        }


def side_by_side(recording: Shown, image: Tensor, edge: int) -> NDArray[np.float32]:
    """Return the middle (edge, edge) of the Wiener image (or wide field), the network's and the truth, left to right."""
    first = recording.base
    if not bool(first.any()):
        first = interpolate(recording.channels.mean(0)[None, None], scale_factor=2.0, mode="bilinear")[0, 0]
    places = [(n - edge) // 2 for n in image.shape]
    middle = tuple(slice(start, start + edge) for start in places)
    joined: NDArray[np.float32] = torch.cat(
        [each[middle] for each in (first, image, recording.base + recording.target)], dim=1
    ).numpy()
    return joined
