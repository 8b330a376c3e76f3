"""The published fit, step by step: a network whose volume, projected, becomes the views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from napari_recon.engines.lightfield_inr.checkpoint import restored
from napari_recon.engines.lightfield_inr.encoding import lattice_coordinates
from napari_recon.engines.lightfield_inr.field import PostProcessor
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork, post_processed
from napari_recon.engines.lightfield_inr.upstream.losses import dissimilarity, error_map, regulariser
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings, trained_with
from napari_recon.engines.lightfield_inr.upstream.stage import Block, Centres, Stage, Targets
from napari_recon.optics.psf_convolution import PsfProjector

CENTRE_VIEW = 3
"""The view the error map looks at: the middle one of seven in their published order."""
MAP_DIAMETER = 485.0
"""Pixels of the field of view in which the error map draws."""

Draw = Callable[[int, Stage], tuple[int, int]]
"""From the number of a step and its stage to the centre (y, x) of its block."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One time point: its views with their PSF, and other views that the structural similarity looks at."""

    targets: Targets
    similar: Targets | None = None


@dataclass(frozen=True)
class StepDone:
    """A step of the optimiser: `loss` is that before it."""

    step: int
    centre_yx: tuple[int, int]
    loss: float


class Fitter:
    """A network and its optimiser, which go from scene to scene of a sequence.

    Parameters
    ----------
    network : FieldNetwork
        On the device of the scenes.
    settings : FitSettings
    post_processor : str
        What queries make of the network's value; see `trained_with`.
    optimiser : mapping, optional
        State of Adam to go on from.
    seed : int
        Of the block centres.
    points_at_once : int
        Points whose layers are kept for the gradient; of larger blocks they are computed again, some points at a time.
        0 keeps all.
    """

    def __init__(
        self,
        network: FieldNetwork,
        settings: FitSettings,
        post_processor: PostProcessor = "relu",
        optimiser: Mapping[str, Any] | None = None,
        seed: int = 0,
        points_at_once: int = 0,
    ) -> None:
        self._at_once, self._post = points_at_once, post_processor
        self.network, self.settings = network, settings
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate, betas=(0.9, 0.999))
        restored(self.optimiser, optimiser or {})
        self._rng = np.random.RandomState(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._map: Tensor | None = None

    def random_state(self) -> dict[str, Any]:
        """Return what decides the blocks to come, as tensors and numbers."""
        _, keys, position, *_ = self._rng.get_state()
        numbers = {"keys": torch.from_numpy(np.asarray(keys, np.int64)), "position": int(position)}
        return {**numbers, "generator": self._generator.get_state(), "map": self._map}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `random_state` returned."""
        self._rng.set_state(("MT19937", state["keys"].numpy().astype(np.uint32), int(state["position"]), 0, 0.0))
        self._generator.set_state(state["generator"])
        self._map = state["map"]

    def first_scene(
        self, scene: Scene, start: int = 0, draw: Draw | None = None, begun: int | None = None
    ) -> Iterator[StepDone]:
        """Yield the steps of a scene fitted by itself: coarse, then fine, then where the error is largest.

        Parameters
        ----------
        scene : Scene
        start : int
            Steps that were done already (a checkpoint's ``global_step``).
        draw : callable, optional
            Gives block centres instead of the random ones.
        begun : int, optional
            Step after which the run began that goes on here: the non-linearity depends on it.
        """
        settings = self.settings
        shape = trained_with(self._post, start if begun is None else begun)
        fine = self._fine(scene)
        bounds = settings.bounds
        if start < settings.coarse_steps:
            factor = settings.coarse_factor
            similar = scene.similar and scene.similar.reduced(factor, line=True)
            coarse = Stage(scene.targets.reduced(factor), settings.coarse_block, self._lattice(scene), factor, similar)
            centres = Centres(coarse.size_yx, coarse.block, [n // factor for n in bounds])
            for step in range(start + 1, min(settings.coarse_steps, settings.steps) + 1):
                centre = draw(step, coarse) if draw else centres.draw(self._rng)
                yield self._stepped(step, coarse, centre, shape, penalised=False)
        centres = Centres(fine.size_yx, fine.block, bounds)
        first_mapped = max(settings.random_steps, settings.coarse_steps) + 1
        for step in range(max(start, settings.coarse_steps) + 1, settings.steps + 1):
            if draw:
                centre = draw(step, fine)
            elif step <= settings.random_steps:
                centre = centres.draw(self._rng)
            else:
                if self._map is None or step == first_mapped or step % settings.map_every == 0:
                    self._map = self.error_map(scene, shape)
                centre = self._mapped(fine)
            yield self._stepped(step, fine, centre, shape)

    def next_scene(self, scene: Scene, start: int = 0, draw: Draw | None = None) -> Iterator[StepDone]:
        """Yield the steps of a scene that begins with the network and the moments of the scene before."""
        fine = self._fine(scene)
        centres = Centres(fine.size_yx, fine.block, self.settings.bounds)
        for step in range(start + 1, self.settings.steps_per_frame + 1):
            centre = draw(step, fine) if draw else centres.draw(self._rng)
            yield self._stepped(step, fine, centre, trained_with(self._post, step - 1))

    def error_map(self, scene: Scene, post_processor: PostProcessor) -> Tensor:
        """Return where the view in the middle is explained badly, as probabilities (y, x)."""
        stage = self._fine(scene)
        with torch.no_grad():
            state, layers, encoding = self.network.state_dict(), self.network.layers, self.network.encoding
            field = LatticeField(state, layers, encoding, post_processor, stage.x.device)
            volume = field.values(stage.x, stage.y, stage.z)
            projector = PsfProjector.same(scene.targets.psf, stage.size_yx, device=volume.device)
            view = min(CENTRE_VIEW, len(scene.targets.views) - 1)
            return error_map(scene.targets.views[view], projector.forward(volume)[view], MAP_DIAMETER)

    def _mapped(self, stage: Stage) -> tuple[int, int]:
        assert self._map is not None
        pixel = int(torch.multinomial(self._map.flatten().cpu(), 1, generator=self._generator))
        radius = stage.block // 2
        height, width = stage.size_yx
        y, x = divmod(pixel, width)
        return min(max(y, radius), height - radius - 1), min(max(x, radius), width - radius - 1)

    def _stepped(
        self, step: int, stage: Stage, centre: tuple[int, int], post_processor: PostProcessor, penalised: bool = True
    ) -> StepDone:
        """Do one step on the block around `centre` and say what its loss was."""
        part = stage.part(centre)
        volume = self._volume(stage, part.rows, part.columns, post_processor)
        loss = self._loss(stage, volume, part, centre, penalised)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate_after(step)
        return StepDone(step, centre, float(loss.detach()))

    def _loss(self, stage: Stage, volume: Tensor, part: Block, centre: tuple[int, int], penalised: bool) -> Tensor:
        settings = self.settings
        views, others = stage.views(volume, part)
        wanted = stage.pixels(stage.targets, centre)
        loss = F.mse_loss(views, wanted)
        if settings.similarity:
            alike = (
                (views, wanted) if others is None or stage.similar is None else (others, stage.pixels(stage.similar, centre))
            )
            loss = loss + settings.similarity * dissimilarity(*alike)
        return loss + regulariser(volume, settings.amplitude, settings.smoothness) if penalised else loss

    def _volume(self, stage: Stage, rows: slice, columns: slice, post_processor: PostProcessor) -> Tensor:
        points = lattice_coordinates(stage.x[columns], stage.y[rows], stage.z)
        flat = points.view(-1, 3)
        if not self._at_once or len(flat) <= self._at_once:
            return post_processed(self.network(points), post_processor)
        parts = [checkpoint(self.network, part, use_reentrant=False) for part in torch.split(flat, self._at_once)]
        return post_processed(torch.cat(parts).view(points.shape[:-1]), post_processor)

    def _fine(self, scene: Scene) -> Stage:
        return Stage(scene.targets, self.settings.block, self._lattice(scene), 1, scene.similar)

    def _lattice(self, scene: Scene) -> tuple[int, int, int]:
        height, width = scene.targets.views.shape[-2:]
        return int(scene.targets.psf.shape[1]), int(height), int(width)
