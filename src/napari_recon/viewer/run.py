"""RunController: jobs one after another in a worker, their events to layers, state and progress to the dock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_recon.core.plan import Plan

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_recon.core.engine import Inputs


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes
    ----------
    plan : Plan or callable
        A callable returns ``(plan, inputs)`` and is called in the worker: planning and opening never block the viewer.
    inputs : mapping
        Input name -> list of ImageStack (or paths); ignored when `plan` is a callable.
    title : str
        Name of the result layer; see `job_title`.
    parent_layers : tuple of Layer
        The layers it is made from, the main one first.
    preview : bool
        The result replaces that of the previous preview.
    """

    plan: Plan | Callable[[], tuple[Plan, Inputs]]
    inputs: Inputs = field(default_factory=dict)
    title: str = ""
    parent_layers: tuple[Layer, ...] = ()
    preview: bool = False


@dataclass(frozen=True)
class ProgressState:
    """What the run bar shows; `remaining_s` is None while it can't be told ("estimating...")."""

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
    """How a job ended. `error` is None unless it failed; `layers` are those it left in the viewer."""

    job: Job
    plan: Plan | None = None
    layers: tuple[Layer, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    partial: bool = False
    error: Exception | None = None


def job_title(layer_name: str, engine_title: str, region: str = "", preview: bool = False) -> str:
    """Return a layer name such as ``"cells · Richardson-Lucy · y 30-100 x 50-120"``."""
    raise NotImplementedError


class RunController(QObject):
    """Runs jobs for one dock. All methods and signals belong to the main thread.

    Parameters
    ----------
    viewer : ViewerModel
    runner : callable, optional
        ``runner(plan, inputs, token) -> iterator of events``; default `napari_recon.jobs.run_plan`.

    Notes
    -----
    Signals: ``state_changed(str)`` idle, planning, running, paused, stopping; ``progressed(ProgressState)``;
    ``message(text, level)`` with level info, warning or error; ``metric(name, step, value)``; ``artifact(ArtifactReady)``;
    ``offered(Offer)``; ``queue_changed(list of titles)``; ``finished(RunResult)`` once per job.
    """

    state_changed = Signal(str)
    progressed = Signal(object)
    message = Signal(str, str)
    metric = Signal(str, int, float)
    artifact = Signal(object)
    offered = Signal(object)
    queue_changed = Signal(object)
    finished = Signal(object)

    def __init__(self, viewer: ViewerModel, runner: Callable[..., Any] | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer

    @property
    def state(self) -> str:
        """One of idle, planning, running, paused, stopping."""
        raise NotImplementedError

    def start(self, jobs: list[Job]) -> None:
        """Run `jobs` one after another; behind those already waiting."""
        raise NotImplementedError

    def pause(self) -> None:
        """Hold the running job at its next check."""
        raise NotImplementedError

    def resume(self) -> None:
        """Go on."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop the running job, keep what it finished, and forget the waiting ones."""
        raise NotImplementedError

    def close(self) -> None:
        """Cancel everything and let go of the viewer (the dock closes)."""
        raise NotImplementedError
