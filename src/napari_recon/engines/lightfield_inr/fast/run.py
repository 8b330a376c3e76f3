"""The fast fit as a stream of events: an estimate at once, curves, checkpoints, volumes, and the field at the end."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    Decided,
    Event,
    MetricLogged,
    PreviewReady,
    Progress,
    Warned,
)
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.checkpoint import ENGINE
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.scene import MOST_STEPS, Done, SceneFit
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.place import placed
from napari_recon.hub import checkpoint_folder
from napari_recon.optics.psf_checks import mended_psf
from napari_recon.optics.refocus import Refocuser, combined

PREVIEW_SECONDS, PREVIEW_SHARE = 0.5, 0.1
USUAL_ITERATIONS = 20
#: A reduced deviance above this is none of photons at one count each.
SUSPICIOUS = 1.2


class FastRun:
    """Fits of one scene or of the time points of a sequence, each by itself.

    Parameters
    ----------
    plan : Plan
    params : FitParams
        Resolved.
    frames : sequence of ndarray
        Views (v, y, x) of every time point.
    psf : ndarray
        (v, z, y, x)
    """

    def __init__(
        self, plan: Plan, params: FitParams, frames: Sequence[NDArray[np.float32]], psf: NDArray[np.float32]
    ) -> None:
        self._plan, self._params, self._frames = plan, params, frames
        self._psf, self._said = mended_psf(psf)
        self._device = torch.device(plan.compute.device)
        self._optics = Optics(self._psf, frames[0].shape[1:], self._device, params.refine_views)
        self._frame = 0
        self._done: list[Tensor] = []
        self._saved = -1
        self._previewed, self._preview_cost = 0.0, 0.0

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint and the field so far were yielded.
        """
        for sentence in self._said:
            yield Warned(sentence)
        kept = self._resumed() if self._params.resume else None
        for number, volume in enumerate(self._done):
            self._frame = number
            yield BlockReady("volume", self._place(), self._selected(volume))
        self._frame = len(self._done)
        while self._frame < len(self._frames):
            yield from self._fitted(kept, token)
            kept, self._frame, self._saved = None, self._frame + 1, -1
            if token.finishing and self._frame < len(self._frames):
                yield self._model(self._done)
                raise Cancelled
        yield self._model(self._done)

    def _fitted(self, kept: dict[str, Any] | None, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one time point."""
        counts = Counts.of(self._frames[self._frame], self._device)
        if counts.scale != 1.0 and self._frame == 0:
            yield Warned(
                f"the values do not look like camera counts; they were multiplied by {counts.scale:.4g} to judge the noise "
                "and the result was scaled back"
            )
        if kept is None:
            yield self._first_look(counts, token)
        params, details = self._params, self._plan.resources.details
        fit = SceneFit(
            counts,
            self._optics,
            penalty=params.penalty,
            steps=None if isinstance(params.iterations, str) else params.iterations,
            refine_views=params.refine_views,
            held_out=params.held_out,
            memory=int(details["pairs"]),
            check=token.check,
        )
        if kept is not None:
            fit.restore(kept)
        volume: Tensor | None = None
        try:
            for done in fit.steps():
                volume = done.volume
                yield from self._said_of(done, counts, token)
                if done.stage == "refinement" and done.step % params.checkpoint_every == 0:
                    yield self._checkpoint(fit)
                token.check()
                if token.finishing:
                    break
        except Cancelled:
            if fit.refinement_steps and self._saved != fit.refinement_steps:
                yield self._checkpoint(fit)
            if volume is not None:
                yield self._model([*self._done, self._of_field(volume, counts)])
            raise
        assert volume is not None
        if token.finishing and len(self._frames) == 1 and fit.refinement_steps:
            yield Decided({"iterations": fit.refinement_steps})
        self._done.append(self._of_field(volume, counts))
        yield BlockReady("volume", self._place(), self._selected(self._done[-1]))
        if len(self._frames) > 1:
            yield self._checkpoint(None)
        yield from self._closing_words(fit, counts)

    def _said_of(self, done: Done, counts: Counts, token: CancelToken) -> Iterator[Event]:
        total = self._params.iterations if isinstance(self._params.iterations, int) else MOST_STEPS
        refining = done.stage == "refinement"
        place = USUAL_ITERATIONS + done.step if refining else min(done.step, USUAL_ITERATIONS)
        count = USUAL_ITERATIONS + total
        yield MetricLogged(f"{done.stage} deviance", done.step, done.deviance, self._note)
        for name, value in (("loss", done.loss), ("residual", done.residual), ("held-out view", done.held_out)):
            if math.isfinite(value):
                yield MetricLogged(name, done.step, value / counts.scale if name == "residual" else value, self._note)
        yield Progress(self._frame * count + place, len(self._frames) * count, "step", self._note or done.stage)
        if time.monotonic() - self._previewed > max(PREVIEW_SECONDS, self._preview_cost / PREVIEW_SHARE):
            started = time.monotonic()
            yield PreviewReady("volume", self._place(), self._selected(self._of_field(done.volume, counts)), done.step)
            self._previewed = time.monotonic()
            self._preview_cost = self._previewed - started
            token.check()

    @property
    def _note(self) -> str:
        several = len(self._frames) > 1
        return f"time point {self._frame + 1}/{len(self._frames)}" if several else ""

    def _first_look(self, counts: Counts, token: CancelToken) -> PreviewReady:
        """Return the refocused views, with the light of the data: the projector alone may take seconds to make."""
        shift = self._optics.shift_vz2
        planes, size = shift.shape[1], self._frames[0].shape[1:]
        light = (counts.views - counts.background).clamp_min(0) / (planes * counts.scale)
        refocuser = Refocuser(light, shift, 1.0)
        volume = torch.empty(planes, *size)
        for plane in range(planes):
            token.check()
            volume[plane] = combined(refocuser, (plane, plane + 1), (0, size[0]), (0, size[1]), size)[0].cpu()
        return PreviewReady("volume", self._place(), self._selected(volume), 0)

    def _of_field(self, volume: Tensor, counts: Counts) -> Tensor:
        """Return the field's part of a volume in the data's unit, on the processor."""
        return (self._optics.inner(volume) / counts.scale).cpu()

    def _selected(self, volume: Tensor) -> NDArray[np.float32]:
        box = self._plan.box
        assert isinstance(box, Box)
        part: NDArray[np.float32] = np.ascontiguousarray(volume.numpy()[box.slices("ZYX")])
        return part[None] if self._plan.looped else part

    def _place(self) -> tuple[slice, ...]:
        box = self._plan.box
        assert isinstance(box, Box)
        inner = tuple(slice(0, n) for n in box.shape())
        return (slice(self._frame, self._frame + 1), *inner) if self._plan.looped else inner

    def _closing_words(self, fit: SceneFit, counts: Counts) -> Iterator[Event]:
        verdict = "the model explains the data"
        alike = fit.likeness[-1] if fit.likeness else 0.0
        if fit.unlike_noise or fit.doubtful:
            advice = "check them" if self._params.refine_views else "try refine_views, or another PSF"
            raised = "; the penalty was raised fourfold" if fit.doubtful else ""
            verdict = (
                f"PSF or positions look wrong: what is left of the views is no noise, neighbouring pixels correlate "
                f"by {alike:.2g} (reduced deviance {fit.deviance:.3g}){raised}; {advice}"
            )
            yield Warned(verdict)
        elif fit.deviance > SUSPICIOUS:
            verdict = (
                f"the reduced deviance stays at {fit.deviance:.3g} where about 1 is expected, though the rest looks like "
                "noise: the camera's gain seems to be as many counts per photon; divide by it to judge the noise rightly"
            )
            yield Warned(verdict)
        if fit.offsets is not None:
            rows = [
                {"frame": self._frame, "view": view, "offset_y": round(float(y), 4), "offset_x": round(float(x), 4)}
                for view, (y, x) in enumerate(fit.offsets)
            ]
            yield ArtifactReady("positions", "table", rows)
        report = {
            "frame": self._frame,
            "deconvolution_iterations": fit.iterations,
            "refinement_steps": fit.refinement_steps,
            "reduced_deviance": round(fit.deviance, 4),
            "residual_correlation": round(alike, 4),
            "penalty_raised": fit.doubtful,
            "background": round(counts.background / counts.scale, 6),
            "read_variance": round(counts.read_variance, 4),
            "verdict": verdict,
        }
        yield ArtifactReady("report", "report", report)

    def _digest(self, frame: int) -> str:
        """Return what identifies the data of a time point, the PSF, and which views are fitted where."""
        digest = hashlib.sha256(self._psf.tobytes())
        digest.update(repr((self._params.refine_views, self._params.held_out)).encode())
        digest.update(np.ascontiguousarray(self._frames[frame]).tobytes())
        return digest.hexdigest()[:16]

    def _checkpoint(self, fit: SceneFit | None) -> CheckpointSaved:
        """Write what an exact resumption needs; without `fit` the time point is complete."""
        state = fit.state() if fit is not None else None
        step = fit.refinement_steps if fit is not None else 0
        folder = Path(self._params.checkpoint_folder or checkpoint_folder(self._plan)).expanduser()
        path = folder / f"timepoint_{self._frame:03d}" / f"cp_{step or MOST_STEPS:06d}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        last = min(len(self._done), len(self._frames) - 1)
        content = {"data": self._digest(last), "frame": last, "done": self._done, "scene": state}
        torch.save({"fast": content}, path)
        self._saved = step
        return CheckpointSaved(str(path), step)

    def _resumed(self) -> dict[str, Any] | None:
        """Return the state of the time point that was left, after taking over those that are complete."""
        path = Path(self._params.resume).expanduser()
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path} should be a checkpoint of a fit, found none ({error}); check the path") from None
        kept = content.get("fast") if isinstance(content, dict) else None
        if not isinstance(kept, dict):
            raise InputError(f"{path} should be a checkpoint that a fast fit wrote, found another file; choose another")
        if kept["frame"] >= len(self._frames) or kept["data"] != self._digest(kept["frame"]):
            raise InputError(
                "resume goes on from a checkpoint of the same data, found one of other views, another PSF, refine_views or "
                "held_out; leave it out"
            )
        self._done = list(kept["done"])
        scene: dict[str, Any] | None = kept["scene"]
        return scene

    def _model(self, volumes: Sequence[Tensor]) -> ArtifactReady:
        """Return the field with its card: the voxels, which a query interpolates."""
        grid, several = self._plan.whole["volume"], bool(self._plan.looped)
        options: dict[str, Any] = {
            "frames": len(volumes) if several else 0,
            "render_size": [grid.size(axis) for axis in "YXZ"],
            **placed(self._plan),
        }
        card = {"engine": ENGINE, "architecture": "voxels", "options": options}
        training = {"training": {"method": "fast", "penalty": self._params.penalty}}
        voxels = torch.stack(list(volumes)).numpy()
        return ArtifactReady("model", "model", {"state": {"voxels": voxels}, "card": {**card, **training}})
