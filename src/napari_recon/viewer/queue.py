"""One queue of jobs for all docks: what waits, what runs and how it ended, in which order, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.viewer.batch_job import CLUSTER, WATCH, BatchJob
from napari_recon.viewer.job import Job
from napari_recon.viewer.queue_entry import Controller, Entry, Work, like_others, outlined
from napari_recon.viewer.queue_store import JobStore, Record, job_again, left_text
from napari_recon.viewer.run_state import ProgressState
from napari_recon.viewer.worker import call_in_background

KEPT = 20
BESIDE = (CLUSTER, WATCH)
"""Devices that nobody waits for."""
SAVE_MS = 300


class JobQueue(QObject):
    """Starts jobs in their order: one on the graphics card, one on the processor beside it, one per dock.

    Batches on a cluster and those that watch a folder run beside all of them.

    All methods and signals belong to the main thread. `job_queue` returns the one there is: viewers of one process share
    their devices. What waits or runs is noted on disk, and offered again as `left` when napari did not get to it.

    Notes
    -----
    Signals: ``changed()`` entries, order, states or what is left; ``progressed(Entry)``.
    """

    changed = Signal()
    progressed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.entries: list[Entry] = []
        self.paused = False
        self.store = JobStore()
        self.left: list[Record] = self.store.left()
        self._saver = QTimer(self)
        self._saver.setSingleShot(True)
        self._saver.setInterval(SAVE_MS)
        self._saver.timeout.connect(self.save)

    @property
    def busy(self) -> bool:
        """Whether any job has a worker."""
        return any(entry.active for entry in self.entries)

    def waiting(self, controller: Controller) -> list[Entry]:
        """Return the jobs of one dock that wait, in their order."""
        return [entry for entry in self.entries if entry.waits and entry.controller is controller]

    def add(self, controller: Controller, jobs: Sequence[Work]) -> list[Entry]:
        """Put jobs behind those that wait; previews in front of them, for somebody waits for these."""
        made = [Entry(job, controller, plan=job.plan if isinstance(job.plan, Plan) else None) for job in jobs]
        for entry in made:
            ahead = [k for k, other in enumerate(self.entries) if other.waits and not other.job.preview]
            at = ahead[0] if entry.job.preview and ahead else len(self.entries)
            self.entries.insert(at, entry)
        return made

    def advance(self) -> None:
        """Start what may start now."""
        while (entry := self._next()) is not None:
            entry.state = "planning"
            entry.controller.begin(entry)
        for entry in self.entries:
            if entry.waits and entry.progress is None and (isinstance(entry.job, BatchJob) or entry.job.outline is not None):
                self._look_ahead(entry)
        self.note()

    def note(self) -> None:
        """Tell that something changed, and have it on disk soon."""
        self.changed.emit()
        self._saver.start()

    def plan_known(self, entry: Entry, plan: Plan | None, seconds: float | None) -> None:
        """Take in a job's plan (a batch has none): its device may be free."""
        from napari_recon.jobs.estimates import estimate

        entry.plan, entry.expected_s = plan, seconds or (None if plan is None else estimate(plan))
        self.advance()

    def remaining(self) -> tuple[float, bool]:
        """Return the seconds until everything is done, and whether that counts every job."""
        known = True
        per_device: dict[str, float] = {}
        for entry in self.entries:
            if (entry.waits or entry.active) and not entry.endless:
                seconds = entry.remaining_s
                if seconds is None:
                    seconds = like_others(entry, self.entries)
                known &= seconds is not None
                per_device[entry.device] = per_device.get(entry.device, 0.0) + (seconds or 0.0)
        together = per_device.pop("", 0.0)
        return together + max(per_device.values(), default=0.0), known

    def pause_all(self, on: bool) -> None:
        """Hold everything, or let it go on."""
        self.paused = on
        for entry in [e for e in self.entries if e.active]:
            entry.controller.pause() if on else entry.controller.resume()
        self.advance()

    def pause(self, entry: Entry, on: bool) -> None:
        """Hold one job, or let it go on."""
        if entry.waits:
            entry.state = "held" if on else "waiting"
        elif entry.active:
            entry.controller.pause() if on else entry.controller.resume()
        self.advance()

    def move(self, entry: Entry, by: int) -> None:
        """Let a waiting job change places with the one before (-1) or behind (1) it."""
        places = [k for k, other in enumerate(self.entries) if other.waits]
        here = next((n for n, k in enumerate(places) if self.entries[k] is entry), None)
        if here is None or not 0 <= here + by < len(places):
            return
        a, b = places[here], places[here + by]
        self.entries[a], self.entries[b] = self.entries[b], self.entries[a]
        self.advance()

    def cancel(self, entry: Entry) -> None:
        """Stop a running job (what it finished stays), forget a waiting one, take an ended one off the list."""
        if entry.active:
            entry.controller.stop()
            return
        if entry in self.entries:
            self.entries.remove(entry)
            entry.controller.queue_shrank()
        self.note()

    def drop(self, controller: Controller) -> None:
        """Forget what waits of one dock."""
        self.entries = [e for e in self.entries if not (e.waits and e.controller is controller)]
        self.note()

    def ended(self, entry: Entry) -> None:
        """Let go of the data of a job that is done, and keep the last few of those that ended."""
        if entry.state == "finished" and entry.plan is not None:
            entry.job = Job(entry.plan, title=entry.job.title, preview=entry.job.preview)
        from napari_recon.jobs.estimates import estimate

        for other in self.entries:  # it taught how long its like takes
            if other.waits and other.plan is not None:
                other.expected_s = estimate(other.plan)
        ended = [e for e in self.entries if not (e.waits or e.active)]
        for old in ended[: max(0, len(ended) - KEPT)]:
            self.entries.remove(old)
        self.note()

    def clear_ended(self) -> None:
        """Take those that ended off the list."""
        self.entries = [e for e in self.entries if e.waits or e.active]
        self.note()

    def interrupted(self, controller: Controller) -> None:
        """Offer again what a window left that closes: nothing of it may start any more."""
        lost = [e for e in self.entries if e.controller.viewer is controller.viewer and (e.waits or e.active)]
        self.left += self._records(lost)
        self.entries = [e for e in self.entries if e not in lost]
        self.note()

    def resume_left(self, controller: Controller) -> list[str]:
        """Let a controller make what was left from last time; return what is missing of the rest, which stays.

        Batches get controllers of their own.
        """
        jobs: list[Work] = []
        records: list[Record] = []
        missing: list[Record] = []
        problems: list[str] = []
        for record in self.left:
            try:
                jobs.append(job_again(record, controller.viewer))
                records.append(replace(record, own=True))
            except InputError as error:
                missing.append(replace(record, own=True))
                problems.append(str(error))
        self.left = missing
        for job in jobs:
            self._for(job, controller).start([job])
        for entry in self.entries:
            if entry.job in jobs:
                entry.given = records[jobs.index(entry.job)]
        self.save()
        self.store.forget_others()
        self.note()
        return problems

    def again(self, entry: Entry, job: Work) -> None:
        """Make a job of an entry that ended once more; it goes to the end of the queue."""
        from napari_recon.viewer.commands import controller_of

        closed = entry.controller.closed
        controller = self._for(job, controller_of(entry.controller.viewer)) if closed else entry.controller
        self.cancel(entry)
        controller.start([job])

    def forget_left(self) -> None:
        """Offer no longer what was left from last time."""
        self.left = []
        self.store.forget_others()
        self.note()

    def save(self) -> None:
        """Note what waits or runs."""
        self._saver.stop()
        self.store.save([*self._own_left(), *self._records(e for e in self.entries if e.waits or e.active)])

    def reset(self) -> None:
        """Stop everything and start over with an empty list."""
        self.paused = True
        for controller in {id(e.controller): e.controller for e in self.entries}.values():
            with suppress(RuntimeError):  # its dock went with the window, and took it along
                controller.close()
        self._saver.stop()
        self.entries, self.left, self.paused = [], [], False

    def _for(self, job: Work, controller: Controller) -> Controller:
        from napari_recon.viewer.batch_run import BatchController

        return BatchController(controller.viewer) if isinstance(job, BatchJob) else controller

    def _own_left(self) -> list[Record]:
        return [record for record in self.left if record.own]

    def _records(self, entries: Any) -> list[Record]:
        return [record for entry in entries if (record := entry.record) is not None]

    def _next(self) -> Entry | None:
        busy = [e for e in self.entries if e.active]
        taken = {e.device for e in busy} - {*BESIDE}
        for entry in self.entries if not self.paused else ():
            free = entry.device in BESIDE or not taken or ("" not in taken and entry.device not in ("", *taken))
            if entry.state == "waiting" and free and all(e.controller is not entry.controller for e in busy):
                return entry
        return None

    def _look_ahead(self, entry: Entry) -> None:
        """Plan a waiting job from its headers, in the background: for its device, its time and its note on disk."""
        entry.progress = ProgressState(message="waiting", title=entry.job.title)

        def taken(found: tuple[Plan | None, float | None]) -> None:
            if entry.waits and entry in self.entries:
                self.plan_known(entry, *found)

        call_in_background(outlined, entry.job, done=taken, failed=lambda _: None, parent=self)


@cache
def job_queue() -> JobQueue:
    """Return the queue of this process."""
    queue = JobQueue()
    if queue.left:
        show_info(f"{left_text(queue.left)}; the Jobs dock resumes or forgets them")
    return queue
