"""One job of the queue: where it stands, on what device it runs, how long it will take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from napari_recon.core.plan import Plan
from napari_recon.engines import registry
from napari_recon.viewer.batch_job import WATCH, BatchJob
from napari_recon.viewer.job import Job
from napari_recon.viewer.queue_store import Record, record_of_batch, record_of_job
from napari_recon.viewer.run_state import ProgressState

ACTIVE = ("planning", "running", "paused", "stopping")
WAITS = ("waiting", "held")
Work = Job | BatchJob


class Controller(Protocol):
    """What the queue asks of those who run jobs: a `RunController`, or a `BatchController`."""

    viewer: Any

    @property
    def closed(self) -> bool:
        """Whether it starts nothing any more."""

    def start(self, jobs: Any) -> None:
        """Put jobs into the queue."""

    def begin(self, entry: Entry) -> None:
        """Start a job."""

    def pause(self) -> None:
        """Hold the job that runs."""

    def resume(self) -> None:
        """Let it go on."""

    def stop(self) -> None:
        """Stop it; what it finished stays."""

    def queue_shrank(self) -> None:
        """Take note that a waiting job was taken off."""

    def close(self) -> None:
        """Stop everything without a word."""


@dataclass(eq=False)
class Entry:
    """One job of the queue.

    Attributes
    ----------
    job : Job or BatchJob
    state : str
        waiting, held; planning, running, paused, stopping; finished, partial, failed.
    plan : Plan or None
        From headers alone while it waits; None while not even that is known.
    expected_s : float or None
        What earlier runs of its kind let expect.
    text : str
        How it ended, in words.
    smaller : Job or None
        The same with smaller tiles, after it ran out of memory.
    layers : tuple of str
        Ids of the layers it left.
    given : Record or None
        The note it was resumed from.
    """

    job: Work
    controller: Controller
    state: str = "waiting"
    plan: Plan | None = None
    expected_s: float | None = None
    progress: ProgressState | None = None
    text: str = ""
    smaller: Job | None = None
    layers: tuple[str, ...] = ()
    given: Record | None = None

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in WAITS

    @property
    def active(self) -> bool:
        """Whether it has a worker."""
        return self.state in ACTIVE

    @property
    def record(self) -> Record | None:
        """What makes it again after napari was closed; None while that is not known, and for previews."""
        if isinstance(self.job, BatchJob):
            return record_of_batch(self.job)
        if self.plan is None or self.job.preview:
            return self.given
        return record_of_job(self.job.title, self.plan, self.job.out)

    @property
    def device(self) -> str:
        """``cpu`` or ``gpu``; empty while nobody knows; of a batch see `BatchJob.device`."""
        if isinstance(self.job, BatchJob):
            return self.job.device
        if self.plan is None:
            return ""
        return "gpu" if self.plan.compute.device != "cpu" and registry.get(self.plan.engine).uses_torch else "cpu"

    @property
    def endless(self) -> bool:
        """Whether it goes on until it is stopped, beside whatever else runs."""
        return self.device == WATCH

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go; None while that can't be told."""
        now = self.progress if self.active else None
        if now is not None and now.remaining_s is not None:
            return now.remaining_s
        return None if self.expected_s is None else max(0.0, self.expected_s - (now.elapsed_s if now else 0.0))


def outlined(job: Work) -> tuple[Plan | None, float | None]:
    """Return plan and expected seconds of a job that waits, from headers alone; a batch has no plan."""
    from napari_recon.jobs.estimates import estimate

    if isinstance(job, BatchJob):
        return None, job.expected_s()
    assert job.outline is not None  # asked by the caller
    plan = job.outline()
    return plan, estimate(plan)


def like_others(entry: Entry, others: Iterable[Entry]) -> float | None:
    """Return the seconds of a job that waits, from how fast a running one of its engine is."""
    for other in others:
        now, left = other.progress, other.remaining_s
        if other.active and now is not None and left is not None and other.plan is not None and entry.plan is not None:
            if other.plan.engine == entry.plan.engine and other.plan.work > 0:
                return (now.elapsed_s + left) * entry.plan.work / other.plan.work
    return None
