"""Runs a batch in a worker thread and says how it goes."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_recon.core.errors import describe
from napari_recon.core.events import Progress
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.batch.run import BatchEvent, BatchFinished, ItemChanged
from napari_recon.jobs.batch.watch import Patience
from napari_recon.viewer.progress import Estimator, Stopwatch
from napari_recon.viewer.run import ProgressState
from napari_recon.viewer.worker import ReconWorker, make_worker
from napari_recon.widgets.batch_request import BatchRequest, batch_events


class BatchRunner(QObject):
    """One batch at a time. What is finished lies on disk, so that stopping is never a loss.

    Signals
    -------
    state_changed : str
        idle, planning, running, paused or stopping, as the run bar shows it.
    went_on : ItemChanged
    item_ended : (Item, Outcome)
    progressed : ProgressState
    finished : (BatchFinished or None, ReconError or None)
    """

    state_changed = Signal(str)
    went_on = Signal(object)
    item_ended = Signal(object, object)
    progressed = Signal(object)
    finished = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.state = "idle"
        self._worker: ReconWorker | None = None
        self._token = CancelToken()
        self._end: BatchFinished | None = None
        self._error: Exception | None = None

    def start(self, request: BatchRequest, count: int, done: int = 0, patience: Patience = Patience()) -> None:
        """Start (or go on with) a batch of `count` recordings, of which some are done."""
        if self._worker is not None:
            return
        self._token, self._end, self._error = CancelToken(), None, None
        self._watch, self._count, self._done = request.watch, count, done
        self._running: dict[Item, float] = {}
        self._clock = Stopwatch()
        self._estimator = Estimator(self._clock)
        self._worker = worker = make_worker(batch_events, request, self._token, patience, token=self._token)
        worker.yielded.connect(self._take)
        worker.errored.connect(self._failed)
        worker.finished.connect(self._finish)
        self._go("planning")
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
        """Stop; what is finished stays, and the same batch goes on later."""
        if self._worker is not None:
            self._token.cancel()
            self._go("stopping")

    def close(self) -> None:
        """Stop without a word: nobody listens any more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            for signal in (worker.yielded, worker.errored, worker.finished):
                signal.disconnect()
            worker.stop()

    def _go(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)

    def _take(self, told: tuple[BatchEvent, Outcome | None]) -> None:
        event, outcome = told
        if isinstance(event, BatchFinished):
            self._end = event
            return
        if self.state == "planning":
            self._go("running")
        if event.state == "running":
            self._running[event.item] = event.done / event.total if event.total else 0.0
            self.went_on.emit(event)
        else:
            # one that was done before this batch began says so again, and is counted already
            self._done += event.item in self._running
            self._running.pop(event.item, None)
            self.item_ended.emit(event.item, outcome)
        self.progressed.emit(self._progress(event))

    def _progress(self, event: ItemChanged) -> ProgressState:
        if self._watch:
            message = f"watching · {event.item.label}: {event.message or event.state}"
            return ProgressState(message=message, elapsed_s=self._clock.seconds)
        done = self._done + sum(self._running.values())
        self._estimator.update(Progress(done, self._count))
        return ProgressState(
            fraction=min(1.0, done / max(1, self._count)),
            done=self._done,
            total=self._count,
            unit="recording",
            elapsed_s=self._clock.seconds,
            remaining_s=self._estimator.remaining_s,
        )

    def _failed(self, error: Exception) -> None:
        self._error = describe(error)

    def _finish(self, _: Any = None) -> None:
        self._worker = None
        self._go("idle")
        self.finished.emit(self._end, self._error)
