"""What is known about a job while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_recon.core.events import Finished
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Record
from napari_recon.core.token import CancelToken
from napari_recon.jobs.estimates import describe_seconds
from napari_recon.viewer.job import Job, Planned
from napari_recon.viewer.progress import Estimator, Stopwatch

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True)
class ProgressState:
    """What the run bar shows; `fraction` and `remaining_s` are None while they can't be told ("estimating...")."""

    fraction: float | None = None
    done: float = 0
    total: float = 0
    unit: str = ""
    message: str = ""
    elapsed_s: float = 0
    remaining_s: float | None = None
    title: str = ""
    queued: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A remedy one click away: the dock shows a button `label` that calls `action` in the main thread."""

    text: str
    label: str
    action: Callable[[], None]


@dataclass(frozen=True)
class RunResult:
    """How a job ended. `error` is None unless it failed; `layers` are those it left in the viewer; `warned`: of what."""

    job: Job
    plan: Plan | None = None
    layers: tuple[Layer, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    partial: bool = False
    error: Exception | None = None
    warned: tuple[str, ...] = ()

    @property
    def outcome(self) -> tuple[str, str]:
        """How it ended, for the queue: finished, partial or failed, and in words."""
        seconds = self.provenance.get("seconds")
        if self.error is not None:
            return "failed", str(self.error)
        if self.partial:
            return "partial", "stopped; what was finished is kept" if self.layers else "stopped before anything was finished"
        return "finished", f"finished in {describe_seconds(seconds)}" if seconds is not None else "finished"


class Run:
    """What is known about the job in work."""

    def __init__(self, job: Job | None = None) -> None:
        self.job = job
        self.token = CancelToken()
        self.watch = Stopwatch()
        self.estimator = Estimator(self.watch)
        self.planned: Planned | None = None
        self.ended: Finished | None = None
        self.error: Exception | None = None
        self.decided: dict[str, Any] = {}
        self.library_warnings: set[str] = set()
        self.warned: list[str] = []

    @property
    def plan(self) -> Plan | None:
        """The plan, once it is made."""
        return self.planned.plan if self.planned else None

    @property
    def warned_of(self) -> str:
        """What the end of the run says again of its warnings, which would otherwise be out of sight."""
        if not self.warned:
            return ""
        before = len(self.warned) - 1
        return f"; {self.warned[-1]}" + (f" (and {before} more warning{'s' * (before > 1)}: click)" if before else "")

    def record_of(self, plan: Plan) -> dict[str, Any]:
        """Return the provenance of a run that failed, from what was known."""
        record = Record(plan)
        record.decide(self.decided)
        return {**record.finish(partial=True), "seconds": round(self.watch.seconds, 3)}
