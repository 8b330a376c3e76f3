"""RunController: jobs one after another in a worker, their events to layers, state and progress to the dock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.errors import OutOfMemory, describe
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Decided, Finished, MetricLogged, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.viewer import preferences
from napari_recon.viewer.job import BufferOpened, Job, Planned, Runner, job_events, job_title, smaller_tiles, source_layers
from napari_recon.viewer.kept_models import keep_quietly
from napari_recon.viewer.large_results import numbered
from napari_recon.viewer.queue import job_queue
from napari_recon.viewer.queue_entry import Entry
from napari_recon.viewer.results import ResultLayers
from napari_recon.viewer.run_state import Offer, ProgressState, Run, RunResult
from napari_recon.viewer.worker import ReconWorker, make_worker

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Job", "Offer", "ProgressState", "RunController", "RunResult", "job_title"]

TICK_MS = 250
FORCE_AFTER_MS = 2000


class RunController(QObject):
    """Runs jobs for one dock, one at a time, when the queue of all docks says so; everything belongs to the main thread.

    Parameters
    ----------
    viewer : ViewerModel
    runner : callable, optional
        ``runner(plan, inputs, token) -> iterator of events``; default `napari_recon.jobs.run_plan`.

    Notes
    -----
    Signals: ``began(Job)``; ``state_changed(str)`` idle, planning, running, paused, stopping; ``progressed(ProgressState)``;
    ``message(text, level)`` with level info, warning or error; ``metric(name, step, value, series)``;
    ``artifact(ArtifactReady)``; ``offered(Offer)``; ``saved(CheckpointSaved)``;
    ``queue_changed(list of titles)``; ``finished(RunResult)`` once per job.
    """

    began = Signal(object)
    state_changed = Signal(str)
    progressed = Signal(object)
    message = Signal(str, str)
    metric = Signal(str, int, float, str)
    artifact = Signal(object)
    offered = Signal(object)
    saved = Signal(object)
    queue_changed = Signal(object)
    finished = Signal(object)

    def __init__(self, viewer: ViewerModel, runner: Runner | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        preferences.use_files()
        self.viewer = viewer
        self.results = ResultLayers(viewer, self)
        self.results.lost.connect(self._on_layer_lost)
        self._runner = runner or _run_plan
        self.queue = job_queue()
        self._entry: Entry | None = None
        self._state = "idle"
        self._worker: ReconWorker | None = None
        self._run = Run()
        self._closed = self._alone = False
        self._out = ""
        self._tick = QTimer(self)
        self._tick.setInterval(TICK_MS)
        self._tick.timeout.connect(self._emit_progress)

    @property
    def state(self) -> str:
        """One of idle, planning, running, paused, stopping."""
        return self._state

    @property
    def job(self) -> Job | None:
        """The job in work, or the last one."""
        return self._run.job

    @property
    def queued(self) -> list[str]:
        """Titles of the jobs that wait."""
        return [entry.job.title for entry in self.queue.waiting(self)]

    @property
    def closed(self) -> bool:
        """Whether it starts nothing any more."""
        return self._closed or self._alone

    def start(self, jobs: Sequence[Job]) -> None:
        """Run `jobs` one after another; behind those already waiting."""
        if self.closed or not jobs:
            return
        if self._out:
            jobs = [job if job.preview else replace(job, out=numbered(self._out, n)) for n, job in enumerate(jobs)]
        first = self.queue.add(self, jobs)[0]
        self.queue_changed.emit(self.queued)
        self._set_state("planning", only_from="idle")
        self.queue.advance()
        if self._worker is None and first.waits:
            self._run = Run(jobs[0])
            self._emit_progress("waiting in the queue")

    @contextmanager
    def into(self, path: str) -> Iterator[None]:
        """Write the results of jobs that are started meanwhile to an OME-Zarr, which their layers then show."""
        self._out = path
        try:
            yield
        finally:
            self._out = ""

    def pause(self) -> None:
        """Hold the running job at its next check."""
        if self._state == "running":
            self._run.token.pause()
            self._run.watch.pause()
            self._set_state("paused")
            self._emit_progress()

    def resume(self) -> None:
        """Go on."""
        if self._state == "paused":
            self._run.watch.resume()
            self._run.token.resume()
            self._set_state("running")

    def finish(self) -> None:
        """Let the running job be content with what it has, if it can; those that wait still run."""
        if self._state in ("running", "paused"):
            self.resume()
            self._run.token.finish()
            self._emit_progress("finishing")

    def cancel(self) -> None:
        """Stop the running job, keep what it finished, and forget the waiting ones."""
        self.queue.drop(self)
        self.queue_shrank()
        self.stop()

    def stop(self) -> None:
        """Stop the running job and keep what it finished; those that wait still run."""
        if self._worker is not None and self._state != "stopping":
            self._set_state("stopping")
            self._run.token.cancel()
            QTimer.singleShot(FORCE_AFTER_MS, self._worker.stop)

    def queue_shrank(self) -> None:
        """Take note that a waiting job was taken off the queue."""
        self.queue_changed.emit(self.queued)
        if self._worker is None and not self.queued:
            self._set_state("idle")

    def leave(self) -> None:
        """Go on without the dock, which closes: what runs and waits is made all the same, only previews are not."""
        if self.closed:
            return
        if self._worker is not None and self._worker.closing:
            self.queue.interrupted(self)
        for entry in self.queue.waiting(self):
            if entry.job.preview:
                self.queue.cancel(entry)
        if self._worker is not None and self.job is not None and self.job.preview:
            self.stop()
        if (self._worker is None or self._worker.closing) and not self.queued:
            self.close()
            return
        if self._worker is not None:
            show_info("The run goes on without its dock; the Jobs dock shows and stops it")
        self._alone = True
        self.blockSignals(True)  # the dock that listens is about to be deleted
        self.setParent(None)
        _left_alone.add(self)

    def close(self) -> None:
        """Cancel everything and let go of the viewer; layers stay as they are."""
        if self._closed:
            return
        self._closed = True
        unfinished = self._worker is not None and not self._worker.closing
        self.cancel()
        self._tick.stop()
        self.results.close(unfinished)
        self._settle_entry("partial", "its dock was closed")
        _left_alone.discard(self)
        self.queue.advance()

    def begin(self, entry: Entry) -> None:
        """Start a job; the queue says when."""
        self._entry, job = entry, entry.job
        assert isinstance(job, Job)  # batches have their own reader
        self.queue_changed.emit(self.queued)
        self._run = run = Run(job)
        self.began.emit(job)
        self._worker = worker = make_worker(job_events, job, self._runner, run.token, token=run.token)
        worker.yielded.connect(self._on_event)
        worker.errored.connect(self._on_error)
        worker.warned.connect(self._on_library_warning)
        worker.finished.connect(self._on_worker_finished)
        self._set_state("planning")
        self._tick.start()
        self._emit_progress("planning")
        worker.start()

    def _on_event(self, event: Any) -> None:
        if self._closed or self._worker is None or self._worker.closing:
            return
        run = self._run
        if isinstance(event, Planned):
            run.planned = event
            if self._state == "planning":
                self._set_state("running")
                self._emit_progress()
            if self._entry is not None:
                self.queue.plan_known(self._entry, event.plan, self._entry.expected_s)
            if self.queue.paused:
                self.pause()
        elif isinstance(event, BufferOpened):
            try:
                self._open_layer(event)
            finally:
                event.shown.set()
        elif isinstance(event, Progress):
            run.estimator.update(event)
            self._emit_progress()
        elif isinstance(event, MetricLogged):
            self.metric.emit(event.name, event.step, event.value, event.series)
        elif isinstance(event, ArtifactReady):
            if event.kind == "table":
                self.results.take_table(event.payload)
            self.artifact.emit(event)
            if self._alone and run.plan is not None and run.job is not None:
                keep_quietly(event, run.plan.engine, run.job.title, self._say)
        elif isinstance(event, Warned):
            run.warned.append(event.message)
            self._say(event.message, "warning")
        elif isinstance(event, Decided):
            run.decided |= event.params
            self._say("chosen: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in event.params.items()), "info")
        elif isinstance(event, CheckpointSaved):
            self.saved.emit(event)
        elif isinstance(event, Finished):
            run.ended = event

    def _open_layer(self, event: BufferOpened) -> None:
        run, spec = self._run, event.buffer.spec
        assert run.planned is not None and run.job is not None  # a buffer opens only after planning
        plan = run.planned.plan
        name = run.job.title or plan.engine
        if len(plan.outputs) > 1 and spec.name != plan.outputs[0].name:
            name = f"{name} · {spec.name}"
        parent = run.job.parent_layers[0] if run.job.parent_layers else None
        provisional = {
            "engine": plan.engine,
            "recipe": Recipe.of(plan).to_dict(),
            "partial": True,
            "output": spec.name,
            "title": run.job.title,
            "layers": source_layers(run.planned.inputs),
        }
        self.results.open(event.buffer, name, provisional, run.planned.stack, parent, run.job.preview)
        if event.buffer.on_disk:
            self._say(f"the result is kept {event.buffer.where}", "info")

    def _on_error(self, error: Exception) -> None:
        self._run.error = describe(error)

    def _on_library_warning(self, warning: Any) -> None:
        message, category, filename, *_ = warning
        ours = issubclass(category, UserWarning | RuntimeWarning) and "napari/" not in str(filename).replace(
            "napari_recon", ""
        )
        if ours and str(message) not in self._run.library_warnings:
            self._run.library_warnings.add(str(message))
            self._say(str(message).splitlines()[0], "warning")

    def _on_worker_finished(self) -> None:
        worker, self._worker = self._worker, None
        if self._closed or worker is None:
            return
        self._tick.stop()
        run = self._run
        assert run.job is not None  # a worker has one
        if worker.closing:
            # the window is closing: touch nothing that may be gone
            self.results.close()
            result = RunResult(run.job, run.plan, partial=True)
        else:
            result = self._settle(run)
        self._emit_progress()
        if worker.closing:
            self.queue.interrupted(self)
            self._entry = None
        else:
            if self._entry is not None:
                self._entry.layers = tuple(str(layer.unique_id) for layer in result.layers)
            self._settle_entry(*result.outcome)
        self._set_state("planning" if self.queued else "idle")
        self.finished.emit(result)
        self.queue.advance()
        if self._alone and self._state == "idle":
            self.close()
        elif self._worker is None and self._state == "planning":
            self._emit_progress("waiting in the queue")

    def _settle_entry(self, state: str, text: str) -> None:
        """Say in the queue how the job ended."""
        entry, self._entry = self._entry, None
        if entry is not None and entry.active:
            entry.state, entry.text = state, text
            self.queue.ended(entry)

    def _settle(self, run: Run) -> RunResult:
        """Leave the layers as they should be and say how it went."""
        assert run.job is not None  # a worker has one
        partial = run.error is not None or run.ended is None or run.ended.partial
        provenance = dict(run.ended.provenance) if run.ended else {}
        if not provenance and run.plan is not None:
            provenance = run.record_of(run.plan)
        if partial and not self.results.blocks:
            self.results.discard()
            layers: tuple[Layer, ...] = ()
        else:
            layers = self.results.finish(provenance, partial)
        if run.error is not None:
            self._report(run, bool(layers))
        elif partial:
            kept = "what was finished is kept, marked partial" if layers else "nothing was finished yet"
            how = "finished early" if run.token.finishing else "cancelled"
            self._say(f"{how} after {run.watch.seconds:.1f} s; {kept}", "info")
        else:
            self._say(f"finished in {run.watch.seconds:.1f} s{run.warned_of}", "warning" if run.warned else "info")
        return RunResult(run.job, run.plan, layers, provenance, partial, run.error, tuple(run.warned))

    def _report(self, run: Run, kept: bool) -> None:
        error = run.error
        text = str(error) + ("; what was finished is kept, marked partial" if kept else "")
        smaller = None
        if isinstance(error, OutOfMemory) and run.planned is not None and run.job is not None:
            smaller = smaller_tiles(run.job, run.planned.plan, run.planned.inputs)
        self._say(text, "error")
        if smaller is not None:
            job, size = smaller
            if self._entry is not None:
                self._entry.smaller = job
            self.offered.emit(Offer(text, f"Retry with tile_size {size}", lambda: self.start([job])))

    def _on_layer_lost(self, layer: Layer) -> None:
        # a closing window removes its layers too: speak only if it is still there afterwards
        QTimer.singleShot(0, lambda: self._offer_lost(layer))

    def _offer_lost(self, layer: Layer) -> None:
        if self._closed or self._worker is None or self._worker.closing or self._state == "stopping":
            return
        text = f"{layer.name} was removed while it is being filled; the run goes on and the layer can be put back"
        self._say(text, "warning", aloud=True)
        self.offered.emit(Offer(text, "Show the result again", lambda: self.results.readd(layer)))

    def _say(self, text: str, level: str, aloud: bool = False) -> None:
        """Tell the dock; without one, and errors always, all of napari."""
        self.message.emit(text, level)
        if aloud or self._alone or level == "error":
            {"error": show_error, "warning": show_warning}.get(level, show_info)(text)

    def _emit_progress(self, message: str = "") -> None:
        run = self._run
        latest = run.estimator.latest
        state = ProgressState(
            fraction=min(1.0, latest.done / latest.total) if latest and latest.total else None,
            done=latest.done if latest else 0,
            total=latest.total if latest else 0,
            unit=latest.unit if latest else "",
            message=message or (latest.message if latest else ""),
            elapsed_s=run.watch.seconds,
            remaining_s=run.estimator.remaining_s,
            title=run.job.title if run.job else "",
            queued=tuple(self.queued),
        )
        self.progressed.emit(state)
        if self._entry is not None:
            self._entry.progress = state
            self.queue.progressed.emit(self._entry)

    def _set_state(self, state: str, only_from: str = "") -> None:
        if state == self._state or (only_from and self._state != only_from):
            return
        self._state = state
        if self._entry is not None and self._entry.active and state != "idle":
            self._entry.state = state
            self.queue.note()
        self.state_changed.emit(state)


_left_alone: set[RunController] = set()
"""Controllers whose docks are gone; nothing else holds them."""


def _run_plan(plan: Plan, inputs: Any, token: CancelToken) -> Any:
    from napari_recon.jobs import run_plan

    return run_plan(plan, inputs, token)
