"""Runs a batch in a worker thread when the queue says so, and says how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.errors import describe
from napari_recon.core.events import Progress
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.batch.run import BatchFinished
from napari_recon.viewer.batch_job import BatchJob, Begun, Told, batch_events
from napari_recon.viewer.progress import Estimator, Stopwatch
from napari_recon.viewer.queue import job_queue
from napari_recon.viewer.queue_entry import Entry
from napari_recon.viewer.run_state import ProgressState
from napari_recon.viewer.worker import ReconWorker, make_worker

TICK_MS = 500


class BatchController(QObject):
    """Runs batches, one at a time. What is finished lies on disk, so that stopping is never a loss.

    It belongs to no dock: one that opens later shows it again. The queue holds it as long as it lists the batch.

    Parameters
    ----------
    viewer : ViewerModel

    Notes
    -----
    Signals: ``state_changed(str)`` idle, planning, running, paused, stopping; ``progressed(ProgressState)``;
    ``told(Told)``; ``finished(BatchFinished or None, ReconError or None)``.
    """

    state_changed = Signal(str)
    progressed = Signal(object)
    told = Signal(object)
    finished = Signal(object, object)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.queue = viewer, job_queue()
        self.state = "idle"
        self.closed = self.alone = False
        self.job: BatchJob | None = None
        self.outcomes: dict[Item, Outcome] = {}
        self._entry: Entry | None = None
        self._worker: ReconWorker | None = None
        self._begin_count()
        self._tick = QTimer(self)
        self._tick.setInterval(TICK_MS)
        self._tick.timeout.connect(self._emit_progress)

    def start(self, jobs: Sequence[BatchJob]) -> None:
        """Put a batch (one) into the queue."""
        if self.closed or self.state != "idle":
            return
        (self.job,) = jobs
        self.outcomes = {}
        (entry,) = self.queue.add(self, jobs)
        self._go("planning")
        self.queue.advance()
        if entry.waits:
            self._emit_progress("waiting in the queue")

    def begin(self, entry: Entry) -> None:
        """Start it; the queue says when."""
        self._entry = entry
        self._begin_count()
        self._worker = worker = make_worker(batch_events, entry.job, self._token, token=self._token)
        worker.yielded.connect(self._take)
        worker.errored.connect(self._failed)
        worker.finished.connect(self._finish)
        self._tick.start()
        self._emit_progress("looking at the recordings")
        worker.start()

    def pause(self) -> None:
        """Wait after the frame that is being made."""
        if self.state == "running":
            self._token.pause()
            self._clock.pause()
            self._go("paused")

    def resume(self) -> None:
        """Go on after a pause."""
        if self.state == "paused":
            self._token.resume()
            self._clock.resume()
            self._go("running")

    def cancel(self) -> None:
        """Stop, or wait no longer; what is finished stays, and the same batch goes on later."""
        for entry in self.queue.waiting(self):
            self.queue.cancel(entry)
        self.stop()

    def stop(self) -> None:
        """Stop what runs."""
        if self._worker is not None and self.state != "stopping":
            self._token.cancel()
            self._go("stopping")

    def queue_shrank(self) -> None:
        """Take note that it was taken off the queue."""
        if self._worker is None and not self.queue.waiting(self):
            self._go("idle")

    def leave(self) -> None:
        """Go on without a dock: how it ends is said by napari then."""
        if self._worker is not None and self._worker.closing:
            self.queue.interrupted(self)
        elif self.state != "idle":
            self.alone = True
            show_info("The batch goes on without its dock; open the dock again, or look into the Jobs dock")

    def close(self) -> None:
        """Stop without a word: nobody listens any more."""
        self.closed = True
        worker, self._worker = self._worker, None
        self._tick.stop()
        if worker is not None:
            for signal in (worker.yielded, worker.errored, worker.finished):
                signal.disconnect()
            worker.stop()
        self._settle("partial", "stopped; Go on takes it up again")

    def _begin_count(self) -> None:
        self._token = CancelToken()
        self._end: BatchFinished | None = None
        self._error: Exception | None = None
        self._running: dict[Item, float] = {}
        self._count = self._before = self._made = 0
        self._words = ""
        self._clock = Stopwatch()
        self._estimator = Estimator(self._clock)

    def _go(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        if self._entry is not None and state != "idle":
            self._entry.state = state
            self.queue.note()
        self.state_changed.emit(state)

    def _take(self, event: Begun | Told | BatchFinished) -> None:
        if isinstance(event, BatchFinished):
            self._end = event
            return
        if isinstance(event, Begun):
            self._count = event.count
            if self.state == "planning":
                self._go("running")
            if self.queue.paused:
                self.pause()
            return
        said = event.event
        if event.outcome is None:
            self._running[said.item] = said.done / said.total if said.total else 0.0
            self._words = f"{said.item.label}: {said.message}" if said.message else said.item.label
        else:
            # one that was done before this batch began only says so again
            made = self._running.pop(said.item, None) is not None
            self._made, self._before = self._made + made, self._before + (not made)
            self.outcomes[said.item] = event.outcome
        self._estimator.update(Progress(self._made + sum(self._running.values()), self._count - self._before))
        self.told.emit(event)
        self._emit_progress()

    def _emit_progress(self, message: str = "") -> None:
        watching = self.job is not None and self.job.request.watch
        done = self._before + self._made + sum(self._running.values())
        known = self._count > 0 and not watching
        state = ProgressState(
            fraction=min(1.0, done / self._count) if known else None,
            done=self._before + self._made if known else 0,
            total=self._count if known else 0,
            unit="recording" if known else "",
            message=message or (f"watching · {self._words}".rstrip(" ·") if watching and self.state == "running" else ""),
            elapsed_s=self._clock.seconds,
            remaining_s=self._estimator.remaining_s if known else None,
            title=self.job.title if self.job is not None else "",
        )
        self.progressed.emit(state)
        if self._entry is not None:
            self._entry.progress = state
            self.queue.progressed.emit(self._entry)

    def _failed(self, error: Exception) -> None:
        self._error = describe(error)

    def _finish(self, _: Any = None) -> None:
        worker, self._worker = self._worker, None
        self._tick.stop()
        if worker is not None and worker.closing:  # with its window: napari offers it again when it starts
            self.queue.interrupted(self)
            self._entry = None
        else:
            state, text, _level = ending(self._end, self._error)
            self._settle(state, text)
            if self.alone and self.job is not None:
                (show_error if state == "failed" else show_info)(f"{self.job.title}: {text}")
        self._go("idle")
        self.finished.emit(self._end, self._error)
        self.queue.advance()

    def _settle(self, state: str, text: str) -> None:
        """Say in the queue how it ended."""
        entry, self._entry = self._entry, None
        if entry is not None and entry.active:
            entry.state, entry.text = state, text
            with suppress(RuntimeError):
                self.queue.ended(entry)


def ending(end: BatchFinished | None, error: Exception | None) -> tuple[str, str, Literal["good", "warning", "error"]]:
    """Return how a batch ended: finished, partial or failed, in words, and the level of these."""
    if error is not None or end is None:
        text = str(error) if error is not None else "stopped"
        return "failed", text.replace("--resume goes on", "Go on takes it up"), "error"
    states = [outcome.state for outcome in end.outcomes.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "nothing was made"
    if end.cancelled:
        return "partial", f"stopped: {counts}; Resume goes on with what is left", "warning"
    return ("partial", counts, "warning") if end.failed else ("finished", counts, "good")
