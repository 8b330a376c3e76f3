"""The published fit as a stream of events: curves, previews, checkpoints, volumes, and the field at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import Cancelled, CheckpointError, InputError
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    CheckpointSaved,
    Event,
    MetricLogged,
    PreviewReady,
    Progress,
    Warned,
)
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.checkpoint import ENGINE, load_training, save_checkpoint, save_sequence
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.place import placed
from napari_recon.engines.lightfield_inr.upstream.fit import Fitter, Scene, StepDone
from napari_recon.engines.lightfield_inr.upstream.stage import Targets, normalised_psf
from napari_recon.hub import checkpoint_folder, differences
from napari_recon.optics.psf_checks import mended_psf
from napari_recon.training.interrupt import interruptible

CURVE_POINTS = 400
PREVIEW_SECONDS = 3.0
PREVIEW_SHARE = 0.1
"""Longest part of the time that is spent on previews."""
State = dict[str, Tensor]


class UpstreamRun:
    """One fit of a scene or sequence.

    Parameters
    ----------
    plan : Plan
    params : FitParams
        Resolved.
    frames : sequence of ndarray
        Views (v, y, x) of every time point, in counts.
    psf : ndarray
        (v, z, y, x)
    """

    def __init__(
        self, plan: Plan, params: FitParams, frames: Sequence[NDArray[np.float32]], psf: NDArray[np.float32]
    ) -> None:
        self._plan, self._params, self._frames = plan, params, frames
        mended, self._said = mended_psf(psf)
        self._device = torch.device(plan.compute.device)
        self._psf = normalised_psf(torch.from_numpy(mended).to(self._device))
        peak = max(float(views.max()) for views in frames)
        each = params.upstream.local_normalisation
        self._peaks = [float(views.max()) if each else peak for views in frames]
        if min(self._peaks) <= 0:
            raise InputError("views should hold intensities above zero, found none; check the data")
        digest = hashlib.sha256(mended.tobytes())
        for views in frames:
            digest.update(np.ascontiguousarray(views).tobytes())
        self._data = digest.hexdigest()[:16]
        self._folder = Path(params.checkpoint_folder or checkpoint_folder(plan)).expanduser()
        self._done: list[State] = []
        self._begun, self._step, self._frame = 0, 0, 0
        self._previewed, self._preview_cost = time.monotonic(), 0.0

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
        fitter = Fitter(network.to(self._device), params.upstream, params.post, moments, seed, at_once)
        if kept:
            fitter.set_random_state(kept["random"])
        self._random = fitter.random_state()
        return fitter

    def _fitted(self, fitter: Fitter, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one time point."""
        views = torch.from_numpy(self._frames[self._frame] / np.float32(self._peaks[self._frame])).to(self._device)
        scene, settings = Scene(Targets(views, self._psf)), self._params.upstream
        total = settings.steps_per_frame if self._frame else settings.steps
        steps = (
            fitter.next_scene(scene, self._step) if self._frame else fitter.first_scene(scene, self._step, begun=self._begun)
        )
        yield from self._followed(fitter, steps, total, token)
        yield BlockReady("volume", self._place(), self._volume(fitter))
        self._done.append(_state(fitter))
        yield self._checkpoint(fitter)
        self._frame, self._step = self._frame + 1, 0

    def _followed(self, fitter: Fitter, steps: Iterator[StepDone], total: int, token: CancelToken) -> Iterator[Event]:
        every, losses, frames = max(1, total // CURVE_POINTS), [], len(self._frames)
        note = f"time point {self._frame + 1}/{frames}" if frames > 1 else ""
        for done in steps:
            self._step, self._random = done.step, fitter.random_state()
            losses.append(done.loss)
            if done.step % every == 0 or done.step == total:
                yield MetricLogged("loss", done.step, float(np.mean(losses)), note)
                losses.clear()
            yield Progress(self._frame * total + done.step, frames * total, "step", note)
            if done.step % self._params.checkpoint_every == 0 and done.step < total:
                yield self._checkpoint(fitter)
            if self._preview_due() and done.step < total:
                started = time.monotonic()
                yield PreviewReady("volume", self._place(), self._volume(fitter), done.step)
                self._previewed = time.monotonic()
                self._preview_cost = self._previewed - started
            token.check()
            if token.finishing:  # the published schedule has an end: what stops before it is a part
                raise Cancelled

    def _preview_due(self) -> bool:
        waited = time.monotonic() - self._previewed
        return waited > max(PREVIEW_SECONDS, self._preview_cost / PREVIEW_SHARE)

    def _place(self) -> tuple[slice, ...]:
        box = self._plan.box
        assert isinstance(box, Box)
        inner = tuple(slice(0, n) for n in box.shape())
        return (slice(self._frame, self._frame + 1), *inner) if self._plan.looped else inner

    def _volume(self, fitter: Fitter) -> NDArray[np.float32]:
        """Return the selected box as a query would give it."""
        params, box, shape = self._params, self._plan.box, self._plan.whole["volume"].shape
        assert isinstance(box, Box)
        z, y, x = (axis_coordinates(axis.lower(), np.arange(*bounds), shape) for axis, bounds in box.items())
        field = LatticeField(_state(fitter), params.layers, params.encoding, params.post, self._device)
        volume: NDArray[np.float32] = field.values(x, y, z).cpu().numpy() * np.float32(self._peaks[self._frame])
        return volume[None] if self._plan.looped else volume

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
        grid = self._plan.whole["volume"]
        options: dict[str, Any] = {
            **self._params.layers.model_dump(mode="json"),
            **self._params.encoding.model_dump(mode="json"),
            "frames": len(states) if several else 0,
            "render_size": [grid.size(axis) for axis in "YXZ"],
            **placed(self._plan),
            "post_processor": self._params.post,
            "intensity": self._peaks[0] if not several or len(set(self._peaks)) == 1 else 1.0,
        }
        card = {"engine": ENGINE, "architecture": "nerf_sequence" if several else "nerf", "options": options}
        training = {"training": {"steps": self._params.upstream.steps, "seed": self._plan.compute.seed}}
        named = {f"{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}
        state: Mapping[str, Tensor] = named if several else states[0]
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        yield ArtifactReady("model", "model", {"state": arrays, "card": {**card, **training}})
        folder = Path(mkdtemp(prefix="napari-recon-"))
        if several:
            yield ArtifactReady("checkpoint", "file", str(save_sequence(folder / "cp_4DWeights.tar", states)))
        else:
            yield ArtifactReady("checkpoint", "file", str(save_checkpoint(folder / "cp.tar", self._step, states[0])))


def _state(fitter: Fitter) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in fitter.network.state_dict().items()}
