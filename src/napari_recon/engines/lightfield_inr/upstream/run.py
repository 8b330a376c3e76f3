"""The published fit as a stream of events: curves, previews, checkpoints, volumes, and the field at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.errors import Cancelled, CheckpointError, InputError
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    CheckpointSaved,
    Event,
    MetricLogged,
    Progress,
    Warned,
)
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.checkpoint import load_training, save_checkpoint, save_sequence
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.fit_run import FitRun, Volume
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.upstream.fit import Fitter, Scene, StepDone
from napari_recon.engines.lightfield_inr.upstream.stage import Targets, normalised_psf
from napari_recon.hub import differences
from napari_recon.training.interrupt import interruptible

CURVE_POINTS = 400
State = dict[str, Tensor]


class UpstreamRun(FitRun):
    """One fit of a scene or sequence."""

    made: type[Fitter] = Fitter

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume], psf: Volume | None) -> None:
        super().__init__(plan, params, frames, psf)
        self._device = torch.device(plan.compute.device)
        self._data = self._digest(*range(len(frames)))
        peaks = [float(self._views(number).max()) for number in range(len(frames))]
        self._peaks = peaks if params.upstream.local_normalisation else [max(peaks)] * len(peaks)
        if min(self._peaks) <= 0:
            raise InputError("views should hold intensities above zero, found none; check the data")
        self._done: list[State] = []
        self._begun, self._step = 0, 0

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint and the field so far were yielded.
        """
        for sentence in self._said:
            yield Warned(sentence)
        fitter = self._fitter()
        try:
            with interruptible(fitter.network, token):
                while self._frame < len(self._frames):
                    yield from self._fitted(fitter, token)
        except Cancelled:
            if self._step or self._done:
                yield self._checkpoint(fitter)
                yield from self._models([*self._done, _state(fitter)])
            raise
        yield from self._models(self._done)

    def _fitter(self) -> Fitter:
        params, seed = self._params, self._plan.compute.seed
        torch.manual_seed(seed)
        network = FieldNetwork(params.layers, params.encoding)
        source = params.init or params.resume
        moments: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        if source:
            start, weights, moments = load_training(source)
            if wrong := differences(weights, params.layers.shapes()):
                raise CheckpointError(
                    f"{source} should fit the network of this run, found {'; '.join(wrong)}; choose another"
                )
            network.load_state_dict(weights)
            self._begun = self._step = start
        if params.resume:
            kept = torch.load(Path(params.resume).expanduser(), map_location="cpu", weights_only=True).get("fit") or {}
            if kept.get("data") != self._data:
                found = "one of other views or another PSF" if kept else "one that a fit did not write"
                raise InputError(
                    f"resume goes on from a checkpoint of the same data, found {found}; use init to start from it"
                )
            self._begun, self._frame, self._done = kept["begun"], kept["frame"], list(kept["done"])
        at_once = int(self._plan.resources.details.get("points_at_once", 0))
        fitter = self.made(network.to(self._device), params.upstream, params.post, moments, seed, at_once)
        if kept:
            fitter.set_random_state(kept["random"])
        self._random = fitter.random_state()
        return fitter

    def _fitted(self, fitter: Fitter, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one time point."""
        scene, settings = self._scene(self._views(self._frame) / self._peaks[self._frame]), self._params.upstream
        total = settings.steps_per_frame if self._frame else settings.steps
        steps = (
            fitter.next_scene(scene, self._step) if self._frame else fitter.first_scene(scene, self._step, begun=self._begun)
        )
        yield from self._followed(fitter, steps, total, token)
        yield BlockReady("volume", *self._placed(self._volume(fitter)))
        self._done.append(_state(fitter))
        yield self._checkpoint(fitter)
        self._frame, self._step = self._frame + 1, 0

    def _views(self, frame: int) -> Tensor:
        """Return what the projected volume has to become (v, y, x)."""
        return torch.from_numpy(self._frames[frame]).to(self._device)

    def _scene(self, views: Tensor) -> Scene:
        return Scene(Targets(views, normalised_psf(torch.from_numpy(self._psf_vzyx).to(self._device))))

    def _followed(self, fitter: Fitter, steps: Iterator[StepDone], total: int, token: CancelToken) -> Iterator[Event]:
        every, losses, frames = max(1, total // CURVE_POINTS), [], len(self._frames)
        yield Progress(self._frame * total + self._step, frames * total, "step", self._note)  # the first step may take long
        for done in steps:
            self._step, self._random = done.step, fitter.random_state()
            losses.append(done.loss)
            if done.step % every == 0 or done.step == total:
                yield MetricLogged("loss", done.step, float(np.mean(losses)), self._note)
                losses.clear()
            yield Progress(self._frame * total + done.step, frames * total, "step", self._note)
            if done.step % self._params.checkpoint_every == 0 and done.step < total:
                yield self._checkpoint(fitter)
            if done.step < total:
                yield from self._preview(lambda: self._volume(fitter), done.step)
            token.check()
            if token.finishing:  # the published schedule has an end: what stops before it is a part
                raise Cancelled

    def _volume(self, fitter: Fitter) -> Volume:
        """Return the selected box as a query would give it."""
        params, shape = self._params, self._plan.whole["volume"].shape
        z, y, x = (axis_coordinates(axis.lower(), np.arange(*bounds), shape) for axis, bounds in self._box.items())
        field = LatticeField(_state(fitter), params.layers, params.encoding, params.post, self._device)
        volume: Volume = field.values(x, y, z).cpu().numpy() * np.float32(self._unit(self._frame))
        return volume

    def _unit(self, frame: int) -> float:
        """Return what the network's values are multiplied by, so that a plane of a view's PSF sums to one."""
        if self._params.compat == "upstream":
            return 1.0
        return self._peaks[frame] / self._plan.whole["volume"].size("Z")

    def _checkpoint(self, fitter: Fitter) -> CheckpointSaved:
        """Write a checkpoint in the published layout, with what an exact resumption needs besides."""
        folder = self._folder / f"timepoint_{self._frame:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        fit = {"data": self._data, "begun": self._begun, "frame": self._frame, "done": self._done, "random": self._random}
        if len(self._done) > self._frame:  # the time point is complete
            fit |= {"done": self._done[: self._frame]}
        path = save_checkpoint(
            folder / f"cp_{self._step:06d}.tar",
            self._step,
            fitter.network.state_dict(),
            fitter.optimiser.state_dict(),
            {"fit": fit},
        )
        return CheckpointSaved(str(path), self._step)

    def _models(self, states: Sequence[State]) -> Iterator[Event]:
        """Yield the field with its card, and in the published layout."""
        several = bool(self._plan.looped)
        card = self._card(
            "nerf_sequence" if several else "nerf",
            len(states),
            {"steps": self._params.upstream.steps, "seed": self._plan.compute.seed},
            **self._params.layers.model_dump(mode="json"),
            **self._params.encoding.model_dump(mode="json"),
            post_processor=self._params.post,
            intensity=self._unit(0) if len(set(self._peaks)) == 1 else 1.0,
        )
        named = {f"{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}
        state: Mapping[str, Tensor] = named if several else states[0]
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        yield ArtifactReady("model", "model", {"state": arrays, "card": card})
        folder = Path(mkdtemp(prefix="napari-recon-"))
        if several:
            yield ArtifactReady("checkpoint", "file", str(save_sequence(folder / "cp_4DWeights.tar", states)))
        else:
            yield ArtifactReady("checkpoint", "file", str(save_checkpoint(folder / "cp.tar", self._step, states[0])))


def _state(fitter: Fitter) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in fitter.network.state_dict().items()}
