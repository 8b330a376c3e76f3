"""Running a plan, and collecting what its events say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import Inputs
from napari_recon.core.errors import InputError, describe
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    CheckpointSaved,
    Event,
    Finished,
    MetricLogged,
    OutputOpened,
    PreviewReady,
    Warned,
    apply_block,
)
from napari_recon.core.plan import OutputSpec, Plan
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io import open_stack
from napari_recon.jobs.estimates import Gauge, Pace, remember
from napari_recon.jobs.planning import open_input


def run_plan(plan: Plan, inputs: Inputs | None = None, token: CancelToken | None = None) -> Iterator[Event]:
    """Yield the events of a plan; its speed and memory are remembered for the next estimate.

    Parameters
    ----------
    plan : Plan
    inputs : mapping, optional
        Input name -> opened inputs; opened from the plan's references when left out.
    token : CancelToken, optional

    Raises
    ------
    ReconError
    """
    engine = registry.get(plan.engine)
    events: Any = engine.run(plan, reopen(plan) if inputs is None else inputs, token or CancelToken())
    pace, gauge = Pace(), Gauge(plan)
    with closing(events):
        while True:
            started = time.perf_counter()
            event = next(events, None)
            if event is None:
                return
            pace.saw(event, time.perf_counter() - started)
            if isinstance(event, Finished) and not event.partial:
                remember(plan, pace.seconds())
                gauge.learn()
            yield event


def reopen(plan: Plan) -> dict[str, list[Any]]:
    """Return the inputs a plan refers to, opened as they were when it was made.

    Raises
    ------
    InputError
        When an input has no file (a layer or an array in memory).
    """
    info = registry.get(plan.engine).info
    opened: dict[str, list[Any]] = {}
    for ref in plan.inputs:
        if not ref.uri or ref.uri.startswith(("layer:", "step:")):
            raise InputError(
                f"the input {ref.name} ({ref.label or 'an array'}) is not a file; give it again, or save it and plan anew"
            )
        grid = ref.grid
        microns = [a for a in grid.axes if grid.unit(a) == "micrometer"] if grid else []
        size = {a.lower(): grid.step(a) for a in microns if a in "ZYX"} if grid else None
        things = open_input(info.input(ref.name), ref.uri, grid.axes if grid else None, size)
        if grid is not None and isinstance(things[0], ImageStack) and things[0].grid.shape != grid.shape:
            raise InputError(f"{ref.uri} should have shape {grid.shape} as planned, found {things[0].grid.shape}; plan anew")
        opened.setdefault(ref.name, []).extend(things)
    return opened


@dataclass(repr=False)
class Result:
    """What a run gave.

    Attributes
    ----------
    outputs : dict
        Output name -> `ImageStack` (its metadata holds the provenance under ``"napari-recon"``); empty when the
        arrays went to files only.
    specs : dict
        Output name -> `OutputSpec`.
    artifacts : dict
        Name -> table rows, report, path ...; rows of a table that came in parts are joined.
    metrics : dict
        Name -> last value; `curves` holds every (step, value).
    paths : dict
        Name -> file written.
    partial : bool
        Whether the run was cancelled; finished blocks are valid, the rest is zero.
    """

    outputs: dict[str, ImageStack] = field(default_factory=dict)
    specs: dict[str, OutputSpec] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    partial: bool = False

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the array of output `name`, read from its file when it went to one (InputError when there is none)."""
        if name in self.outputs:
            return np.asarray(self.outputs[name].data)
        if name in self.specs and name in self.paths:
            return np.asarray(open_stack(self.paths[name]).data)
        known = ", ".join(self.specs) or "none"
        hint = f"; {name} is in artifacts[{name!r}]" if name in self.artifacts else "; choose one of them"
        raise InputError(f"the result has no image {name!r}, its images are: {known}{hint}")

    def __repr__(self) -> str:
        """One line: what there is, without voxels."""
        images = [f"{n} {s.grid.axes} {'x'.join(map(str, s.grid.shape))} {s.dtype}" for n, s in self.specs.items()]
        return f"Result({'; '.join([*images, *self.artifacts])}{', partial' if self.partial else ''})"

    def add(self, event: Event) -> None:
        """Take note of an event (arrays excepted)."""
        if isinstance(event, OutputOpened):
            self.specs[event.output] = event.spec
        elif isinstance(event, MetricLogged):
            self.metrics[event.name] = event.value
            self.curves.setdefault(event.name, []).append((event.step, event.value))
        elif isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, CheckpointSaved):
            self.checkpoints.append(event.path)
        elif isinstance(event, ArtifactReady):
            self._add_artifact(event)
        elif isinstance(event, Finished):
            self.provenance, self.partial = dict(event.provenance), event.partial

    def opened_from(self, paths: Mapping[str, str]) -> None:
        """Take what was written to files from there when it is asked for: images lazily, models as their files."""
        self.paths = dict(paths)
        self.outputs = {name: open_stack(path) for name, path in paths.items() if name in self.specs}
        models = [n for n, payload in self.artifacts.items() if isinstance(payload, Mapping) and "state" in payload]
        self.artifacts |= {name: paths[name] for name in models if name in paths}

    def _add_artifact(self, event: ArtifactReady) -> None:
        if event.kind == "report" and isinstance(event.payload, dict):
            self._add_report(event.payload)
        before = self.artifacts.get(event.name)
        joined = isinstance(before, list) and isinstance(event.payload, list)
        self.artifacts[event.name] = [*before, *event.payload] if joined else event.payload  # type: ignore[misc]

    def _add_report(self, payload: dict[str, Any]) -> None:
        """Keep the latest values at the top; of several reports (one per frame) all are listed under ``frames``."""
        seen = self.report.pop("frames", None) or ([dict(self.report)] if self.report else [])
        self.report.update(payload)
        if seen:
            self.report["frames"] = [*seen, payload]


def collect(events: Iterable[Event], arrays: bool = True) -> Result:
    """Consume `events` and return everything they said; `arrays=False` leaves the voxels out.

    Raises
    ------
    OutOfMemory
        When an output does not fit into memory.
    """
    result, voxels = Result(), {}
    for event in events:
        result.add(event)
        if not arrays:
            continue
        if isinstance(event, OutputOpened):
            voxels[event.output] = _zeros(event.spec)
        elif isinstance(event, BlockReady | PreviewReady):
            apply_block(voxels[event.output], event)
    for name, array in voxels.items():
        metadata = {KEY: result.provenance}
        result.outputs[name] = ImageStack(array, result.specs[name].grid, name, metadata=metadata)
    return result


def _zeros(spec: OutputSpec) -> NDArray[Any]:
    try:
        return np.zeros(spec.grid.shape, spec.dtype)
    except MemoryError as error:
        raise describe(error) from error
