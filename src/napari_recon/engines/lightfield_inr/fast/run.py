"""The fast fit as a stream of events: an estimate at once, curves, checkpoints, volumes, and the field at the end."""

from __future__ import annotations

import math
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
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fast.compact import Compaction, Noise
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.pupil import aberration_rows
from napari_recon.engines.lightfield_inr.fast.scene import MOST_STEPS, Done, SceneFit
from napari_recon.engines.lightfield_inr.fast.transfer import Before
from napari_recon.engines.lightfield_inr.fast.volume_file import VolumeFile
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.fit_run import FitRun, Volume
from napari_recon.optics.refocus import Refocuser, combined

USUAL_ITERATIONS = 20
#: A reduced deviance above this is none of photons at one count each.
SUSPICIOUS = 1.2


class FastRun(FitRun):
    """Fits of one scene, or of the time points of a sequence, each from the better of a fresh start and the one before.

    Finished volumes of a sequence are kept in a file, which becomes the model.
    """

    scene: type[SceneFit] = SceneFit
    suspects, advice = "PSF or positions", "try refine_views, or another PSF"

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume], psf: Volume | None) -> None:
        super().__init__(plan, params, frames, psf)
        self._device = torch.device(plan.compute.device)
        self._optics = self._made_optics()
        self._before: Before | None = None
        self._volumes: VolumeFile | dict[int, Volume] = {}
        if plan.looped:
            self._volumes = VolumeFile(self._folder / "volumes.safetensors", (len(frames), *plan.whole["volume"].shape))
        self._saved = -1
        looks = psf is not None and params.held_out is None
        self._finds_width = looks and params.psf_width == "auto"
        self._finds_aberrations = looks and params.psf_aberrations == "auto"

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint and the field so far were yielded.
        """
        for sentence in self._said:
            yield Warned(sentence)
        if not isinstance(self._params.psf_width, str):
            self._widen(self._params.psf_width)
        kept, finished = self._resumed() if self._params.resume else (None, 0)
        for self._frame in range(finished):
            yield BlockReady("volume", *self._placed(self._cropped(self._volumes[self._frame])))
        self._frame = finished
        while self._frame < len(self._frames):
            yield from self._fitted(kept, token)
            kept, self._frame, self._saved = None, self._frame + 1, -1
            if token.finishing and self._frame < len(self._frames):
                yield self._model(self._frame)
                raise Cancelled
        if self._params.field == "grid":
            yield from self._compacted(token)
        else:
            yield self._model(self._frame)

    def _fitted(self, kept: dict[str, Any] | None, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one time point."""
        counts = self._counts()
        if self._scaled_to_judge(counts) and self._frame == 0:
            yield Warned(
                f"the values do not look like camera counts; they were multiplied by {counts.scale:.4g} to judge the noise "
                "and the result was scaled back"
            )
        params, details = self._params, self._plan.resources.details
        transfer = params.transfer == "auto" and self._before is not None
        if kept is None and not transfer:
            yield self._first_look(counts, token)
        fit = self.scene(
            counts,
            self._optics,
            penalty=params.penalty,
            steps=None if isinstance(params.iterations, str) else params.iterations,
            refine_views=params.refine_views,
            find_width=self._finds_width and not self._frame,
            find_aberrations=self._finds_aberrations and not self._frame,
            use_trials=params.transfer == "auto",
            held_out=params.held_out,
            memory=int(details["pairs"]),
            published=params.upstream if params.objective == "published" else None,
            before=self._before if transfer else None,
            check=token.check,
        )
        if kept is not None:
            fit.restore(kept)
        volume: Tensor | None = None
        try:
            for done in fit.steps():
                volume = done.volume
                yield from self._said_of(done, counts)
                if done.stage == "refinement" and done.step % params.checkpoint_every == 0:
                    yield self._checkpoint(fit)
                token.check()
                if token.finishing:
                    break
        except Cancelled:
            if fit.refinement_steps and self._saved != fit.refinement_steps:
                yield self._checkpoint(fit)
            if volume is not None:
                self._volumes[self._frame] = self._of_field(volume, counts)
            if volume is not None or self._frame:
                yield self._model(self._frame + (volume is not None))
            raise
        assert volume is not None
        if token.finishing and len(self._frames) == 1 and fit.refinement_steps:
            yield Decided({"iterations": fit.refinement_steps})
        found = self._of_field(volume, counts)
        self._volumes[self._frame] = found
        yield BlockReady("volume", *self._placed(self._cropped(found)))
        self._before, self._optics = fit.left(volume), fit.optics
        if len(self._frames) > 1:
            yield self._checkpoint(None)
        yield from self._closing_words(fit, counts)

    def _widen(self, width: float) -> None:
        if width != 1.0:
            self._optics = self._optics.widened(width)

    def _made_optics(self) -> Optics:
        return Optics(self._psf_vzyx, self._frames[0].shape[1:], self._device, self._params.refine_views)

    def _counts(self) -> Counts:
        """Return the views of the time point."""
        return Counts.of(self._frames[self._frame], self._device)

    def _scaled_to_judge(self, counts: Counts) -> bool:
        return counts.scale != 1.0

    def _said_of(self, done: Done, counts: Counts) -> Iterator[Event]:
        total = self._params.iterations if isinstance(self._params.iterations, int) else MOST_STEPS
        refining = done.stage == "refinement"
        place = USUAL_ITERATIONS + done.step if refining else min(done.step, USUAL_ITERATIONS)
        count = USUAL_ITERATIONS + total
        yield MetricLogged(f"{done.stage} deviance", done.step, done.deviance, self._note)
        for name, value in (("loss", done.loss), ("residual", done.residual), ("held-out view", done.held_out)):
            if math.isfinite(value):
                yield MetricLogged(name, done.step, value / counts.scale if name == "residual" else value, self._note)
        yield Progress(self._frame * count + place, len(self._frames) * count, "step", self._note or done.stage)
        yield from self._preview(lambda: self._cropped(self._of_field(done.volume, counts)), done.step)

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
        return PreviewReady("volume", *self._placed(self._cropped(volume.numpy())), 0)

    def _of_field(self, volume: Tensor, counts: Counts) -> NDArray[np.float32]:
        """Return the field's part of a volume in the data's unit."""
        found: NDArray[np.float32] = (self._optics.inner(volume) / counts.scale).cpu().numpy()
        return found

    def _closing_words(self, fit: SceneFit, counts: Counts) -> Iterator[Event]:
        if self._finds_width and not self._frame and fit.optics.width != 1.0:
            # the recipe keeps `auto`: the refinement goes on from the trials, so only they repeat it exactly
            yield Warned(
                f"the PSF looks {fit.optics.width:.2f} times as wide as given in its sharpest planes: that width surely "
                "predicts better what a fit has not seen, so it was taken; set psf_width=1 to take the PSF as given"
            )
        if self._finds_aberrations and fit.optics.waves is not None and not self._frame:
            rows = aberration_rows(fit.optics.waves)
            worst = max(rows, key=lambda row: abs(row["defocus"]) + row["astigmatism"])
            yield Warned(
                f"single views are aberrated, view {worst['view']} most of all (defocus {worst['defocus']:.2f} waves, "
                f"astigmatism {worst['astigmatism']:.2f}): that surely predicts better what a fit has not seen, so it was "
                "taken; set psf_aberrations=never to take it as given"
            )
            yield ArtifactReady("aberrations", "table", rows)
        verdict = "the model explains the data"
        alike = fit.likeness[-1] if fit.likeness else 0.0
        if fit.unlike_noise or fit.doubtful:
            advice = "check them" if self._params.refine_views else self.advice
            raised = "; the penalty was raised fourfold" if fit.doubtful else ""
            verdict = (
                f"{self.suspects} look wrong: what is left of the views is no noise, neighbouring pixels correlate "
                f"by {alike:.2g} (reduced deviance {fit.deviance:.3g}){raised}; {advice}"
            )
            yield Warned(verdict)
        elif fit.deviance > SUSPICIOUS and self._params.objective == "counts":
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
            "start": "the frame before" if fit.transferred else "afresh",
            "deconvolution_iterations": fit.iterations,
            "trial_iterations": fit.trial_iterations,
            "trial_steps": fit.trial_steps,
            "refinement_steps": fit.refinement_steps,
            "reduced_deviance": round(fit.deviance, 4),
            "residual_correlation": round(alike, 4),
            "penalty_raised": fit.doubtful,
            "psf_width": round(fit.optics.width, 4),
            "background": round(fit.background / counts.scale, 6),
            "read_variance": round(counts.read_variance, 4),
            "verdict": verdict,
        }
        yield ArtifactReady("report", "report", report)

    def _settings(self, frame: int) -> str:
        """Return what identifies the data of a time point, and which views are fitted where."""
        params = self._params
        settings = (params.refine_views, params.held_out, params.psf_aberrations, params.objective, params.transfer)
        return " ".join(map(str, (self._digest(frame), *settings)))

    def _checkpoint(self, fit: SceneFit | None) -> CheckpointSaved:
        """Write what an exact resumption needs; without `fit` the time point is complete."""
        step = fit.refinement_steps if fit is not None else 0
        path, finished = self._folder / "checkpoint.tar", self._frame + (fit is None)
        path.parent.mkdir(parents=True, exist_ok=True)
        last, optics = min(finished, len(self._frames) - 1), self._optics if fit is None else fit.optics
        content = {
            "data": self._settings(last),
            "frame": last,
            "finished": finished,
            "before": self._before and self._before.state(),
            "psf_width": optics.width,
            "waves": optics.waves,
            "scene": fit.state() if fit is not None else None,
        }
        torch.save({"fast": content}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # always a whole one
        self._saved = step
        return CheckpointSaved(str(path), step)

    def _resumed(self) -> tuple[dict[str, Any] | None, int]:
        """Return the state of the time point that was left and how many are complete, whose volumes are taken over."""
        path = Path(self._params.resume).expanduser()
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch's own words are long and speak of programs
            raise CheckpointError(
                f"{path} should be a checkpoint of a fit, found a damaged or other file; choose another"
            ) from None
        kept = content.get("fast") if isinstance(content, dict) else None
        if not isinstance(kept, dict):
            raise InputError(f"{path} should be a checkpoint that a fast fit wrote, found another file; choose another")
        if (
            kept["frame"] >= len(self._frames)
            or kept["data"] != self._settings(kept["frame"])
            or self._params.psf_width not in ("auto", kept["psf_width"])
        ):
            raise InputError(
                "resume goes on from a checkpoint of the same data, found one of other views, another PSF or width of it, "
                "refine_views, psf_aberrations, held_out, objective or transfer; leave it out"
            )
        if self._params.psf_width == "auto":
            self._widen(kept["psf_width"])
        if kept["waves"] is not None:
            self._optics = self._optics.aberrated(kept["waves"])
        if kept["before"] is not None:
            self._before = Before(**kept["before"])
        if isinstance(self._volumes, VolumeFile) and kept["finished"] and path.parent != self._volumes.path.parent:
            theirs = self._volumes.beside(path)
            for frame in range(kept["finished"]):
                self._volumes[frame] = theirs[frame]
        scene: dict[str, Any] | None = kept["scene"]
        return scene, kept["finished"]

    def _model(self, finished: int) -> ArtifactReady:
        """Return the field of so many time points with its card: the voxels, which a query interpolates."""
        card = self._card("voxels", finished, {"method": "fast", "penalty": self._params.penalty})
        if isinstance(self._volumes, VolumeFile):
            return ArtifactReady("model", "model", str(self._volumes.finished(finished, card)))
        return ArtifactReady("model", "model", {"state": {"voxels": self._volumes[0][None]}, "card": card})

    def _compacted(self, token: CancelToken) -> Iterator[Event]:
        """Yield the field in few numbers, and how many."""
        self._frame = len(self._frames) - 1
        counts, params, shape = self._counts(), self._params, (len(self._frames), *self._plan.whole["volume"].shape)
        noise, projector = Noise(counts.scale, counts.background, counts.read_variance), self._optics.projector()
        made = Compaction(self._volumes.__getitem__, shape, projector, projector.volume_shape, noise, token.check)
        asked = (None if isinstance(each, str) else each for each in (params.density, params.density_t))
        density, density_t = made.densities(*asked)
        field = made.field(density, density_t)
        if "auto" in (params.density, params.density_t):
            yield Decided({"density": density, "density_t": density_t})
        peak = max(float(field.coefficients.abs().max()), 1e-12)
        coefficients = (field.coefficients / peak).half().cpu().numpy()
        training = {"method": "fast", "penalty": params.penalty, "density": density, "density_t": density_t}
        card = self._card("grid", len(self._frames), training, intensity=peak**2)
        yield ArtifactReady("model", "model", {"state": {"coefficients": coefficients}, "card": card})
