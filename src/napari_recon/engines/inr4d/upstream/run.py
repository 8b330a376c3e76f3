"""The published fit as a stream of events: curves, previews, checkpoints, and the field at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from napari_recon.core.errors import Cancelled, CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, BlockReady, CheckpointSaved, Event, MetricLogged, Progress, Warned
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.inr4d.checkpoint import LATENT, NETWORK, PUBLISHED, load_folder, save_folder
from napari_recon.engines.inr4d.fit_params import FitParams
from napari_recon.engines.inr4d.fit_run import Bounds, FitRun, Movie
from napari_recon.engines.inr4d.jitter import jitter_tables
from napari_recon.engines.inr4d.upstream.field import Places, PublishedField
from napari_recon.engines.inr4d.upstream.fit import Fitter, StepDone
from napari_recon.hub import differences
from napari_recon.training.interrupt import interruptible

CURVE_POINTS = 400
PREVIEW_POINTS = 1 << 11
"""Points of a preview: a plane is shown coarser, so that it takes no longer than a step."""
SLAB_POINTS = 1 << 13


class PublishedRun(FitRun):
    """One published fit."""

    def __init__(self, plan: Plan, params: FitParams, recording: FramePieces) -> None:
        super().__init__(plan, params, recording)
        self._settings = params.upstream
        self._fixed = params.compat == "upstream"
        self._tables = jitter_tables(self._settings.jitter, {}, self._settings.samples)

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint and the field so far were yielded.
        """
        movie = self.movie(token)
        yield from self.looked_at(movie)
        jitter = self._tables[0] if self._fixed else None
        fitter = Fitter(movie, self._settings, self._plan.compute.seed, self._plan.compute.device, jitter)
        if self._params.resume:
            self._resume(fitter)
        try:
            with interruptible(fitter.network, token), interruptible(fitter.encoder, token):
                yield from self._steps(fitter, token)
        except Cancelled:
            if fitter.step:
                yield self._checkpoint(fitter)
                yield self._model(fitter)
            raise
        yield self._checkpoint(fitter)
        if fitter.encoding:
            yield Warned(
                f"the encoder reached {fitter.encoder_psnr:.1f} dB of {self._settings.threshold:g} in all {fitter.step} "
                "steps, so the field itself was not trained; allow more upstream.steps, or lower upstream.threshold"
            )
        yield self._model(fitter)
        yield from self._movie(fitter, token)

    def _steps(self, fitter: Fitter, token: CancelToken) -> Iterator[Event]:
        total = self._settings.steps
        every = max(1, total // CURVE_POINTS)
        losses: list[float] = []
        levels: list[float] = []
        while fitter.step < total:
            token.check()
            if token.finishing and not fitter.encoding:
                return
            if fitter.encoding and (said := self._enough(fitter)) is not None:
                fitter.freeze()
                losses, levels = [], []
                if said:
                    yield Warned(said)
            done: StepDone = fitter.advance()
            losses.append(done.loss)
            levels.append(done.psnr)
            if not math.isfinite(done.loss):
                raise InputError(
                    f"the loss is not finite at step {done.step}; lower upstream.rate, or resume from an earlier checkpoint"
                )
            what = "encoder" if done.encoding else "field"
            if done.step % every == 0 or done.step == total:
                yield MetricLogged("loss", done.step, float(np.mean(losses)), what)
                yield MetricLogged("PSNR", done.step, float(np.mean(levels)), what)
                losses, levels = [], []
            yield Progress(done.step, total, "step", what)
            if done.step % self._params.checkpoint_every == 0 and done.step < total:
                yield self._checkpoint(fitter)
            if not done.encoding and done.step < total:
                yield from self.preview(lambda: self._coarse(fitter, token), self.middle(), done.step)

    def _enough(self, fitter: Fitter) -> str | None:
        """Return None while the encoder has to go on, else a sentence when it did not arrive."""
        settings = self._settings
        if fitter.step and math.floor(fitter.encoder_psnr) >= settings.threshold:
            return ""
        most = settings.encoder_steps or (0 if self._fixed else max(1, settings.steps // 2))
        if not most or fitter.step < most:
            return None
        return (
            f"the encoder reached {fitter.encoder_psnr:.1f} dB of {settings.threshold:g} in {most} steps; its latents are "
            "taken as they are, more upstream.encoder_steps may help"
        )

    def _resume(self, fitter: Fitter) -> None:
        source = str(self.folder) if self._params.resume == "auto" else self._params.resume
        content, latent = load_folder(source)
        expected = {name: tensor.shape for name, tensor in fitter.network.state_dict().items()}
        wrong = differences(content["model1_state_dict"], expected)
        shape = (*fitter.latents.shape[:3], self._settings.layers.encoded)
        if wrong or tuple(latent.shape) != shape:
            found = "; ".join(wrong) or f"latents {tuple(latent.shape)} instead of {shape}"
            raise CheckpointError(
                f"{source} should be of this recording and these networks, found differences: {found}; choose another, or "
                "set upstream.depth, width, skips and octaves to its own"
            )
        own = content.get("fit") or {}
        if own and own.get("data") != self._data:
            raise InputError(
                f"resume goes on from a save folder of the same data, found one of other data in {source}; choose another"
            )
        try:
            fitter.restore(content, latent)
        except (ValueError, RuntimeError, KeyError):
            raise CheckpointError(
                f"{source} should hold the optimiser of these networks, found that of others; set upstream.groups, blocks, "
                "features and reduction to its own"
            ) from None

    def _checkpoint(self, fitter: Fitter) -> CheckpointSaved:
        extra = {"fit": {**fitter.saved(), "data": self._data}}
        state, optimiser = fitter.network.state_dict(), fitter.optimiser.state_dict()
        path = save_folder(self.folder, state, fitter.latents, optimiser, fitter.step, extra)
        return CheckpointSaved(str(path), fitter.step)

    def _model(self, fitter: Fitter) -> ArtifactReady:
        settings = self._settings
        training = {"steps": fitter.step, "complete": fitter.step >= settings.steps, "seed": self._plan.compute.seed}
        options: dict[str, Any] = {
            **settings.layers.model_dump(mode="json"),
            "latent_xyz": list(fitter.latents.shape[:3]),
            "samples": settings.samples,
            "radius": settings.radius,
            **({"jitter": self._tables[0].tolist()} if self._fixed else {}),
        }
        state = {f"{NETWORK}{name}": tensor.detach().cpu().numpy() for name, tensor in fitter.network.state_dict().items()}
        state[LATENT] = fitter.latents.detach().cpu().numpy()
        return ArtifactReady("model", "model", {"state": state, "card": self.card(PUBLISHED, training, **options)})

    def _movie(self, fitter: Fitter, token: CancelToken) -> Iterator[Event]:
        """Yield the field on the voxels that are shown, some planes at a time."""
        field = self._field(fitter)
        (start, stop), (low, high) = self.asked["T"], self.asked["Z"]
        rows, columns = (self.asked[axis][1] - self.asked[axis][0] for axis in "YX")
        depth = max(1, SLAB_POINTS // (rows * columns))
        parts = [(t, z) for t in range(start, stop) for z in range(low, high, depth)]
        for number, (t, z) in enumerate(parts):
            part = {**self.asked, "T": (t, t + 1), "Z": (z, min(z + depth, high))}
            yield BlockReady("movie", self.place(part), self._values(field, part, token))
            yield Progress(number + 1, len(parts), "slab", "recording")

    def _coarse(self, fitter: Fitter, token: CancelToken) -> Movie:
        """Return the middle plane, of as many points as a preview may have."""
        part = self.middle()
        sizes = [part[axis][1] - part[axis][0] for axis in "YX"]
        stride = max(1, math.ceil(math.sqrt(sizes[0] * sizes[1] / PREVIEW_POINTS)))
        values = self._values(self._field(fitter), part, token, stride)
        return values.repeat(stride, axis=2).repeat(stride, axis=3)[:, :, : sizes[0], : sizes[1]]

    def _field(self, fitter: Fitter) -> PublishedField:
        state, device = fitter.network.state_dict(), self._plan.compute.device
        return PublishedField(state, self._settings.layers, fitter.latents, self._tables, self._settings.samples, device)

    def _values(self, field: PublishedField, part: Bounds, token: CancelToken, stride: int = 1) -> Movie:
        inner, places = self.inside(part), []
        for axis in "XYZT":
            index = torch.arange(*inner[axis], stride if axis in "XY" else 1)
            size = self.fitted[axis][1] - self.fitted[axis][0]
            places.append(Places(index, size, self._settings.radius, index))
        values: Movie = field.values(places, token.check).cpu().numpy()
        return values[None] * np.float32(self._high - self._low) + np.float32(self._low)
