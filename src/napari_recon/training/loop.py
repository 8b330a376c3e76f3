"""The training loop as a generator of events: curves, previews, checkpoints, and the model at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from napari_recon.core.compute import Compute
from napari_recon.core.errors import Cancelled
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Event, MetricLogged, PreviewReady, Progress, Warned
from napari_recon.core.token import CancelToken
from napari_recon.training import checkpoints
from napari_recon.training.devices import Place, on_devices
from napari_recon.training.interrupt import interruptible
from napari_recon.training.params import TrainingParams
from napari_recon.training.prefetch import Prefetch
from napari_recon.training.run import Diverged, Run
from napari_recon.training.task import Task, Validation

HOPELESS = 1000.0
"""A loss that rose by so many times its first or lowest value has diverged."""
CURVE_POINTS = 400
"""Points of the loss curve, about; each is the mean over the steps since the one before."""


def train(task: Task, params: TrainingParams, compute: Compute, folder: Path, token: CancelToken) -> Iterator[Event]:
    """Train `task` and yield its events; the last is the model, with the best weights by validation.

    Parameters
    ----------
    task : Task
    params : TrainingParams
    compute : Compute
        Device and seed.
    folder : Path
        Where this run's checkpoints go (`napari_recon.hub.checkpoint_folder`), unless `params` name another.
    token : CancelToken
        Acts within a layer's time; with several devices, between steps.

    Raises
    ------
    Cancelled
        After a checkpoint and the best model so far were yielded.
    """
    params.check_training()
    work = Training(task, params, compute.seed, Path(params.checkpoint_folder or folder).expanduser())
    yield from on_devices(work, compute.device, params.devices, params.precision == "mixed", token)


def _exploded(curve: list[float]) -> bool:
    """Return whether a loss curve has gone where no step brings it back from."""
    return curve[-1] - min(curve) > HOPELESS * max(abs(curve[0]), abs(min(curve)))


class Training:
    """What one process of a training run does; picklable (and no dataclass: lightning would take it apart)."""

    def __init__(self, task: Task, params: TrainingParams, seed: int, folder: Path) -> None:
        self.task, self.params, self.seed, self.folder = task, params, seed, folder

    def __call__(self, place: Place, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the whole run."""
        run = self._begun(place)
        try:
            yield from self._steps(run, place, token)
        except Cancelled:
            # `advance` leaves weights and optimiser as they were after the last whole step
            yield self._checkpoint(run)
            yield self._model(run, done=False)
            raise
        yield self._model(run, done=True)

    def _begun(self, place: Place) -> Run:
        params = self.params
        saved = None
        if params.resume:
            path = checkpoints.latest(self.folder) if params.resume == "auto" else Path(params.resume).expanduser()
            saved = checkpoints.load(path)
        run = Run(self.task, params, self.seed, place)
        if params.init:
            self.task.initialise(self.task.model_of(run.module), params.init)
        if saved is not None:
            checkpoints.check_fit(run.module, saved["network"], params.resume)
        run.start()
        if saved is not None:
            run.restore(saved)
        return run

    def _steps(self, run: Run, place: Place, token: CancelToken) -> Iterator[Event]:
        params, total = self.params, self.params.steps
        every = max(1, total // CURVE_POINTS)
        losses: list[Tensor] = []
        curve: list[float] = []
        with ExitStack() as stack:
            if place.interruptible:
                stack.enter_context(interruptible(run.module, token))
            make = partial(self.task.batch, rank=place.rank, devices=place.devices)
            batches = stack.enter_context(Prefetch(make, run.step, total))
            yield Progress(run.step, total, "step", "first examples")
            if params.init and not run.step:
                yield from self._validated(run, place)  # nothing worse than what it started from is kept
            while run.step < total:
                place.agree(token)
                batch = batches.get(token if place.interruptible else CancelToken())
                try:
                    losses.append(run.advance(batch))
                except Diverged as diverged:
                    yield Warned(f"{diverged} at step {run.step + 1}; training ends, the best model before is kept")
                    return
                step = run.step
                if step % every == 0 or step == total:
                    loss = float(torch.stack(losses).mean())
                    yield MetricLogged("loss", step, loss)
                    curve.append(loss)
                    if _exploded(curve):
                        yield Warned(
                            f"the loss is {loss:.3g} at step {step}, it was {min(curve):.3g}; training ends, the best model "
                            "before is kept"
                        )
                        return
                    losses.clear()
                yield Progress(step, total, "step")
                if step % params.validate_every == 0 or step == total:
                    yield from self._validated(run, place)
                if step % params.checkpoint_every == 0 or step == total:
                    if place.rank == 0:
                        yield self._checkpoint(run)
                if params.patience and step % params.validate_every == 0 and step < total and self._waited(run, place):
                    yield Warned(
                        f"no better network since step {run.best_step}; training ends at step {step} of {total}, that "
                        f"of step {run.best_step} is kept"
                    )
                    return

    def _waited(self, run: Run, place: Place) -> bool:
        """Return on every device whether the first one, which validates, has waited long enough."""
        enough = torch.tensor(float(run.waited >= self.params.patience), device=place.device)
        return float(place.mean(enough)) > 0

    def _validated(self, run: Run, place: Place) -> Iterator[Event]:
        """Validate on the first device alone; the others wait at the next step."""
        if place.rank:
            return
        found: Validation = run.validate()
        for name, value in {"validation": found.score, **found.metrics}.items():
            yield MetricLogged(name, run.step, float(value))
        if found.preview is not None:
            whole = tuple(slice(0, n) for n in found.preview.shape)
            yield PreviewReady(self.task.preview_output, whole, found.preview, run.step)

    def _checkpoint(self, run: Run) -> CheckpointSaved:
        path = checkpoints.save(self.folder, run.step, run.result, run.saved())
        return CheckpointSaved(str(path), run.step)

    def _model(self, run: Run, done: bool) -> ArtifactReady:
        best = run.best
        card = self.task.card()
        card["training"] = {
            **card.get("training", {}),
            "steps": run.step,
            "complete": done and (run.step == self.params.steps or 0 < self.params.patience <= run.waited),
            "seed": self.seed,
            "date": time.strftime("%Y-%m-%d"),
            **({"best_step": run.best_step, "validation": best.score, **best.metrics} if best else {}),
        }
        state = {name: tensor.numpy() for name, tensor in run.result.items()}
        return ArtifactReady("model", "model", {"state": state, "card": card})
