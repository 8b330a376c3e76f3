"""The fast fit as a stream of events: noise, planes between planes, motion between frames, and the field that holds them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.errors import Cancelled, CheckpointError, InputError
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    CheckpointSaved,
    Decided,
    Event,
    MetricLogged,
    Warned,
)
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.inr4d.checkpoint import MOTION
from napari_recon.engines.inr4d.fast.course import Course, expected
from napari_recon.engines.inr4d.fast.denoise import denoising, noise_of
from napari_recon.engines.inr4d.fast.motion import PLAIN, QUICK, QUICK_PLAIN, MotionSettings, estimating
from napari_recon.engines.inr4d.fast.planes import PlaneFit
from napari_recon.engines.inr4d.fast.spacing import plane_distance
from napari_recon.engines.inr4d.fast.together import joining
from napari_recon.engines.inr4d.fit_params import FitParams
from napari_recon.engines.inr4d.fit_run import FitRun, Movie
from napari_recon.fields.motion import MotionField
from napari_recon.hub import checkpoint_folder

CURVE_POINTS = 100
JUDGED_EVERY = 100
FIRST_SECONDS, PREVIEW_SHARE = 15.0, 0.1
"""Seconds between early fields while the network learns, and the part of the time that may be spent on them."""


class FastRun(FitRun):
    """One fast fit, or one of the interpolations it is compared with."""

    def __init__(self, plan: Plan, params: FitParams, recording: FramePieces) -> None:
        super().__init__(plan, params, recording)
        self.folder = Path(params.checkpoint_folder or checkpoint_folder(plan)).expanduser()
        self._shown_next = 0.0
        self._report: dict[str, Any] = {}
        asked = params.plane_distance
        self._course = Course(self._expected(max(1, round(self.step())) if asked == "auto" else asked))

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint of the network between planes was yielded, if it has begun to learn. The last model that was
            yielded is a field to work with.
        """
        movie, method = self.movie(token), self._params.method
        yield from self.looked_at(movie)
        movie -= np.float32(self._low)  # in place: a recording may be most of the memory
        movie /= np.float32(self._high - self._low)
        values = torch.from_numpy(movie)
        frames, motion, factor = values, None, 1
        if method == "fast":
            noise = noise_of(values, token.check)
            if self._params.denoise:
                frames = yield from self._course.through("noise", denoising(values, noise, token.check))
                yield from self.preview(lambda: self._shown(frames, 1, self.middle()), self.middle(), 0)
            factor, said = self._distance(frames)
            yield from said
            clean = frames
            self._course.expect(self._expected(factor))
            if factor > 1:
                moving = estimating(_scaled(clean), float(factor), QUICK, token.check)
                early = yield from self._course.through("first field", moving, 0.0, 0.5)
                planes = PlaneFit(frames, factor, self._params.steps, self._plan.compute.seed)
                self._shown_next = time.monotonic() + FIRST_SECONDS
                yield self._early(planes, clean, early, token)
                yield self._course.at("first field", 1.0)
                yield from self._learnt(planes, clean, early, token)
                frames = yield from self._course.through("planes between", planes.filling(clean, token.check))
            yield from self._judged(clean, token)
            moving = estimating(_scaled(frames), factor_step(self.step(), factor), MotionSettings(), token.check)
            motion = yield from self._course.through("motion", moving)
            if factor > 1:
                frames = yield from self._course.through("neighbours", joining(frames, motion, factor, token.check))
            if self._params.keep_measured:
                frames = frames.clone()
                frames[:, ::factor] = values
        elif method == "flow":
            moving = estimating(_scaled(values), self.step(), PLAIN, token.check)
            motion = yield from self._course.through("motion", moving)
        if motion is not None:
            motion = self._in_samples(motion, frames)
        yield self._model(frames, motion, 1 if method == "linear" else 3)
        if self._report:
            yield ArtifactReady("report", "report", self._report)
        first, stop = self.asked["T"]
        for number, frame in enumerate(range(first, stop)):
            token.check()
            part = {**self.asked, "T": (frame, frame + 1)}
            yield BlockReady("movie", self.place(part), self._shown(frames, factor, part))
            yield self._course.at("recording", (number + 1) / (stop - first))

    def _expected(self, factor: int) -> dict[str, float]:
        method, sizes = self._params.method, (self.fitted["T"][1] - self.fitted["T"][0], *self._sizes)
        moving = PLAIN if method == "flow" else MotionSettings()
        return expected(method, sizes, factor, self._params.steps, self._params.denoise, self._params.judge, moving)

    def step(self) -> float:
        """Return the distance of planes in pixels as far as it is known, else 1."""
        if any(self.whole.unit(axis) == "pixel" for axis in "ZYX"):
            return 1.0
        return self.whole.step("Z") / math.sqrt(self.whole.step("Y") * self.whole.step("X"))

    def _distance(self, frames: Tensor) -> tuple[int, list[Event]]:
        """Return how many times finer planes become, and what is to be said about it."""
        asked, events = self._params.plane_distance, list[Event]()
        if asked != "auto":
            factor = asked
        else:
            factor = plane_distance(frames)
            events.append(Decided({"plane_distance": factor}))
        if factor > 1 and not PlaneFit.possible(tuple(frames.shape[1:]), factor):
            events.append(
                Warned(
                    f"planes of {frames.shape[2]} x {frames.shape[3]} pixels are too small to learn from them what lies "
                    f"between planes {factor} pixels apart; cubic splines go between them"
                )
            )
            factor = 1
        return factor, events

    def _early(self, planes: PlaneFit, clean: Tensor, motion: Tensor, token: CancelToken) -> ArtifactReady:
        """Return the field as it is before all is learnt: a preview between planes and frames, and what a cancel leaves."""
        started = time.monotonic()
        frames = planes.all_filled(clean, token.check)
        model = self._model(frames, motion, 3, planes.step)
        now = time.monotonic()
        self._shown_next = max(self._shown_next, now + max(FIRST_SECONDS, (now - started) / PREVIEW_SHARE))
        return model

    def _learnt(self, planes: PlaneFit, clean: Tensor, early: Tensor, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the network's training."""
        if self._params.resume:
            self._resume(planes)
        every, losses = max(1, planes.steps // CURVE_POINTS), list[float]()
        saved = planes.step
        try:
            while planes.step < planes.steps and not (token.finishing and planes.step):
                token.check()
                losses.append(planes.advance())
                if planes.step % every == 0:
                    yield MetricLogged("loss", planes.step, float(np.mean(losses)), "planes")
                    losses = []
                if planes.step % JUDGED_EVERY == 0 and (judged := planes.judged(token.check)):
                    gain = _gain(judged.network, judged.cubic)
                    yield MetricLogged("gain over cubic splines (dB)", planes.step, gain, "planes")
                yield self._course.at("planes", planes.step / planes.steps, f"step {planes.step} of {planes.steps}")
                if time.monotonic() > self._shown_next and planes.step < planes.steps:
                    yield self._early(planes, clean, early, token)
                if planes.step % self._params.checkpoint_every == 0:
                    yield self._checkpoint(planes)
                    saved = planes.step
        except Cancelled:
            if planes.step != saved:
                yield self._checkpoint(planes)
            raise
        if planes.step < planes.steps:
            yield Decided({"steps": planes.step})
        if judged := planes.judged(token.check):
            self._report["between_planes_psnr"] = _psnr(judged.network)
            self._report["between_planes_cubic_psnr"] = _psnr(judged.cubic)
            self._report["between_planes_gain_db"] = round(_gain(judged.network, judged.cubic), 2)
            if judged.network > judged.cubic:
                planes.forget()
                yield Warned(
                    "on lines kept aside the network is worse than cubic splines: its planes do not teach it, so cubic "
                    "splines go between them"
                )

    def _judged(self, clean: Tensor, token: CancelToken) -> Iterator[Event]:
        """Yield what a fit without every other frame makes of those frames, as a score, beside linear interpolation."""
        if not self._params.judge or len(clean) < 3 or token.finishing:
            return
        kept = clean[::2]
        settled, plain = (estimating(_scaled(kept), self.step(), how, token.check) for how in (QUICK, QUICK_PLAIN))
        motion = yield from self._course.through("score", settled, 0.0, 0.4)
        flow = yield from self._course.through("score", plain, 0.4, 0.8)
        aside = range(1, 2 * len(kept) - 2, 2)
        truth = clean[1 : 2 * len(kept) - 2 : 2]
        z, y, x = (torch.arange(n) for n in clean.shape[1:])
        errors = {}
        for name, moving, order in (("", motion, 3), ("flow_", flow, 3), ("cubic_", None, 3), ("linear_", None, 1)):
            field = MotionField(kept, moving, kept.shape, order)
            found = field.evaluate_lattice(torch.tensor([each / 2 for each in aside]), z, y, x, token.check)
            errors[name] = float((found - truth).square().mean())
        moved, linear = errors[""], errors["linear_"]
        gain = _gain(moved, linear)
        yield MetricLogged("gain over linear (dB)", 0, gain, "frames")
        self._report |= {
            "withheld_frames": len(aside),
            **{f"between_frames_{name}psnr": _psnr(error) for name, error in errors.items()},
            "between_frames_gain_db": round(gain, 2),
        }
        better = f"{gain:.1f} dB better than by linear interpolation"
        verdict = f"the model explains the data: frames withheld from it come out {better}"
        if gain < 0:
            verdict = (
                f"motion between frames is not understood: withheld frames come out {-gain:.1f} dB worse than by linear "
                "interpolation, at twice the interval; record faster, or choose method=linear"
            )
            yield Warned(verdict)
        self._report["verdict"] = verdict

    def _shown(self, frames: Tensor, factor: int, part: dict[str, tuple[int, int]]) -> Movie:
        """Return a part of the recording as the field holds it."""
        times, planes, rows, columns = (slice(*self.inside(part)[axis]) for axis in "TZYX")
        found = frames[times, ::factor][:, planes, rows, columns].numpy()
        shown: Movie = found * np.float32(self._high - self._low) + np.float32(self._low)
        return shown

    def _in_samples(self, motion: Tensor, frames: Tensor) -> Tensor:
        """Return motion in voxels of frames as one in voxels of the recording."""
        finer = torch.tensor([(a - 1) / max(b - 1, 1) for a, b in zip(frames.shape[1:], self._sizes, strict=True)])
        return motion / finer.view(3, 1, 1, 1)

    def _model(self, frames: Tensor, motion: Tensor | None, order: int, step: int | None = None) -> ArtifactReady:
        """Return the field; `step` is that of the network when there is more to come."""
        state = {"frames": frames.half().numpy()}
        if motion is not None:
            state["motion"] = motion.half().numpy()
        training: dict[str, Any] = {"method": self._params.method, "complete": step is None}
        if self._params.method == "fast":
            training["steps"] = self._params.steps if step is None else step
        return ArtifactReady("model", "model", {"state": state, "card": self.card(MOTION, training, order=order)})

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(self.fitted[axis][1] - self.fitted[axis][0] for axis in "ZYX")

    def _settings(self, planes: PlaneFit) -> str:
        return f"{self._data} {planes.factor} {planes.steps} {self._params.denoise} {self._plan.compute.seed}"

    def _checkpoint(self, planes: PlaneFit) -> CheckpointSaved:
        path = self.folder / "checkpoint.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"inr4d": {"data": self._settings(planes), **planes.state()}}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # always a whole one
        return CheckpointSaved(str(path), planes.step)

    def _resume(self, planes: PlaneFit) -> None:
        asked = self._params.resume
        path = self.folder / "checkpoint.pth" if asked == "auto" else Path(asked).expanduser()
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path} should be a checkpoint of a fit, found none ({error}); check the path") from None
        kept = content.get("inr4d") if isinstance(content, dict) else None
        if not isinstance(kept, dict):
            raise InputError(f"{path} should be a checkpoint that a fast fit wrote, found another file; choose another")
        if kept["data"] != self._settings(planes):
            raise InputError(
                "resume goes on from a checkpoint of the same data, found one of others, or of another plane_distance, "
                "steps, denoise or seed; leave it out"
            )
        planes.restore(kept)


def factor_step(step: float, factor: int) -> float:
    """Return the distance of planes in pixels after `factor - 1` came between."""
    return 1.0 if factor > 1 else step


def _scaled(frames: Tensor) -> Tensor:
    """Return frames whose light goes from about 0 to 1, single bright voxels aside."""
    sample = frames.flatten()[:: max(1, frames.numel() // (1 << 20))].numpy()
    low, high = np.quantile(sample, [0.01, 0.9995])
    scaled: Tensor = (frames - float(low)) / max(float(high - low), 1e-9)
    return scaled


def _psnr(error: float) -> float:
    return round(10 * math.log10(1 / max(error, 1e-12)), 2)


def _gain(error: float, other: float) -> float:
    return 10 * math.log10(max(other, 1e-12) / max(error, 1e-12))
