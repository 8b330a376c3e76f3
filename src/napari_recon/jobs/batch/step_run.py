"""One step of one recording: planned, its frames gathered as they come, its files given their names at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.events import CheckpointSaved, Decided, Event, Finished, OutputOpened, Progress, Warned
from napari_recon.core.grid import Frozen
from napari_recon.core.plan import OutputSpec, Plan
from napari_recon.core.provenance import Recipe, Record
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io import create_output, open_stack
from napari_recon.io.output import remove
from napari_recon.io.suffixes import ZARR, suffix_of
from napari_recon.jobs.artifacts import plain
from napari_recon.jobs.batch.parts import FrameRecord, Part, as_event, open_store, recognised
from napari_recon.jobs.batch.records import Log
from napari_recon.jobs.measure import peak_memory_bytes
from napari_recon.jobs.names import Names
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.recipes import Stage
from napari_recon.jobs.running import Result, collect

#: Reports and transforms that a later part says again, since it decided the same on the same frame.
_SAID_ONCE = ("report", "transform")


class Ended(Frozen):
    """What a step gave, as it is noted: its files, what else it made as JSON values, and its cost."""

    paths: dict[str, str]
    provenance: dict[str, Any]
    artifacts: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def there(self) -> bool:
        """Whether its files are still in place."""
        return all(Path(path).exists() for path in self.paths.values())

    def result(self, plan: Plan) -> Result:
        """Return it as the result that a later step takes its inputs from; images are read when they are asked for."""
        found = Result(artifacts=dict(self.artifacts), provenance=self.provenance)
        found.specs = {spec.name: spec for spec in plan.outputs if spec.name in self.paths}
        found.opened_from(self.paths)
        return found


class StepRun:
    """What is done for one step of one recording.

    An engine that makes frames apart is gathered frame by frame, so that what is finished is never made again; others run
    as a whole.

    Parameters
    ----------
    stage : Stage
    target : Path
        Where the first output goes.
    work : Path
        A folder of its own, for what is not finished.
    log : Log
    """

    def __init__(self, stage: Stage, target: Path, work: Path, log: Log) -> None:
        self.stage, self.plan, self.target, self.work, self.log = stage, stage.plan, target, work, log
        self.frames: dict[int, FrameRecord] = {}
        self.sources: dict[int, list[Any]] = {}
        self._names = Names(target, self.plan)
        self._whole: Ended | None = None
        self._checkpoint = ""

    @property
    def apart(self) -> bool:
        """Whether frames are made and kept one by one (another process has to find the inputs, too)."""
        files = all(ref.uri and not ref.uri.startswith("step:") for ref in self.plan.inputs)
        return files and registry.get(self.plan.engine).frames_apart(self.plan)

    @property
    def missing(self) -> list[int]:
        """Numbers of the frames that are still to be made."""
        return [n for n in self.plan.numbers if n not in self.frames]

    def open(self, growing: bool = False) -> Ended | None:
        """Take up what an earlier session left; returns how the step ended when it did.

        Parameters
        ----------
        growing : bool
            More frames than last time are no reason to begin anew.

        Raises
        ------
        InputError, DiskFull
        """
        begun = {"plan": recognised(self.plan), "fingerprints": [ref.fingerprint for ref in self.plan.inputs]}
        lines = self.log.lines()
        last: dict[str, Any] = next((line for line in reversed(lines) if "plan" in line), {})
        same = last == begun or (growing and last.get("plan") == begun["plan"])
        ends = [Ended.model_validate(line["end"]) for line in lines if "end" in line] if same else []
        if ends and ends[-1].there:
            return ends[-1]
        kept = {n: line for n, line in _frames(lines).items() if n in self.plan.numbers} if same and self.apart else {}
        more = growing and len(kept) < len(self.plan.numbers)
        if kept and all(self._there(spec, more) for spec in self.plan.outputs):
            self.frames = {number: FrameRecord(number, *line["record"]) for number, line in kept.items()}
            self.sources = {number: line.get("source", []) for number, line in kept.items()}
        elif self.apart or not same:
            self.clear()
            last = {}
        self._checkpoint = next((line["checkpoint"] for line in reversed(lines) if "checkpoint" in line), "") if same else ""
        if last != begun:
            self.log.add(begun)
        if self.apart and self.missing:
            self.work.mkdir(parents=True, exist_ok=True)
            for spec in self.plan.outputs:
                open_store(self._store(spec), self.plan, spec.name)
        return None

    def _there(self, spec: OutputSpec, more: bool) -> bool:
        """Return whether an output's frames are; when `more` are to come, what was finished becomes a store again."""
        store, path = self._store(spec), self._names.output(spec.name)
        if store.exists() or not path.exists():
            return store.exists()
        if more and suffix_of(path) in ZARR:
            self.work.mkdir(parents=True, exist_ok=True)
            path.rename(store)
        return not more or store.exists()

    def clear(self) -> None:
        """Forget what was begun."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.log.clear()
        self.frames, self.sources = {}, {}

    def part(self, start: int, stop: int, stop_file: str = "") -> Part:
        """Return the work of some frames."""
        stores = tuple(str(self._store(spec)) for spec in self.plan.outputs)
        return Part(self.plan, start, stop, stores, stop_file)

    def took(self, record: FrameRecord, source: Sequence[Any] = ()) -> None:
        """Note that a frame is finished and stored, and which file it was made from, where that is known (JSON values)."""
        said = [record.said, record.seconds, record.peak_memory_bytes]
        self.log.add({"frame": record.number, "record": said, **({"source": list(source)} if source else {})})
        self.frames[record.number] = record
        self.sources[record.number] = list(source)

    def forget(self, number: int) -> None:
        """Make a frame again: what it was made from is another one now."""
        self.log.add({"forget": number})
        self.frames.pop(number, None)

    def run_whole(self, token: CancelToken) -> Iterator[tuple[float, float, str]]:
        """Run in one piece and write the files; yields (done, total, message).

        A fit that was interrupted goes on from its latest checkpoint.

        Raises
        ------
        Cancelled
            Nothing was written.
        ReconError
        """
        self.target.parent.mkdir(parents=True, exist_ok=True)
        writer, result = OutputWriter(self.target, self.plan, whole=True), Result()
        for event in writer.through(self._from_checkpoint(token)):
            result.add(event)
            if isinstance(event, CheckpointSaved):
                self.log.add({"checkpoint": event.path})
            if isinstance(event, Progress):
                yield event.done, event.total, event.message
        seconds = result.provenance.get("seconds", 0.0)
        self._whole = self._ended(result, writer.paths, seconds, peak_memory_bytes(self.plan.compute.device))

    def _from_checkpoint(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run, from the latest checkpoint if that is one of this very run."""
        params, stage = self.plan.params, self.stage
        if params.get("resume") == "" and self._checkpoint and Path(self._checkpoint).exists():
            resumed = self.plan.model_copy(update={"params": {**params, "resume": self._checkpoint}})
            begun = False
            try:
                for event in _unless_cancelled(replace(stage, plan=resumed).run(token)):
                    yield _without_resume(event)
                    begun = begun or not isinstance(event, OutputOpened | Warned)
                return
            except InputError:
                if begun:
                    raise
                self.log.add({"checkpoint": ""})
            opened = {spec.name for spec in self.plan.outputs}
        else:
            opened = set()
        for event in _unless_cancelled(stage.run(token)):
            if not (isinstance(event, OutputOpened) and event.output in opened):
                yield event

    def finish(self) -> Ended:
        """Give the gathered outputs their names and write what else the frames said; returns how it ended."""
        if self._whole is not None:
            return self._whole
        records = [self.frames[n] for n in sorted(self.frames)]
        said = list(_once(event for record in records for event in record.said))
        provenance = self.stage.provenance(self._provenance(said, sum(r.seconds for r in records)))
        paths = {spec.name: str(self._finished(spec, provenance)) for spec in self.plan.outputs}
        writer = OutputWriter(self.target, self.plan)
        result = collect(writer.through(iter([*said, Finished(provenance)])), arrays=False)
        peak = max(r.peak_memory_bytes for r in records)
        return self._ended(result, {**paths, **writer.paths}, provenance["seconds"], peak)

    def _store(self, spec: OutputSpec) -> Path:
        return self.work / f"{spec.name}.ome.zarr"

    def _finished(self, spec: OutputSpec, provenance: dict[str, Any]) -> Path:
        """Return the finished file of an output: its store under its name, or a copy in the asked format."""
        path, store = self._names.output(spec.name), self._store(spec)
        if not store.exists():  # an earlier session got this far
            return path
        gathered = open_store(store, self.plan, spec.name)
        if suffix_of(path) in ZARR:
            gathered.path = path
            return gathered.finish(provenance)
        stack = open_stack(store)
        with create_output(path, spec) as file:
            for number in self.plan.numbers:
                place = [a for a in spec.grid.axes if a in self.plan.looped]
                at = dict(zip(place, np.unravel_index(number, [spec.grid.size(a) for a in place]), strict=True))
                slices = tuple(slice(at[a], at[a] + 1) if a in at else slice(0, spec.grid.size(a)) for a in spec.grid.axes)
                named = {a.lower(): s for a, s in zip(spec.grid.axes, slices, strict=True)}
                file.write(slices, stack.read(spec.grid.axes, **named))
            file.finish(provenance)
        remove(store)
        return path

    def _provenance(self, said: list[Event], seconds: float) -> dict[str, Any]:
        record = Record(self.plan)
        for event in said:
            if isinstance(event, Decided):
                record.decide(event.params)
        return {**record.finish(partial=False), "seconds": round(seconds, 3)}

    def _ended(self, result: Result, paths: Mapping[str, str], seconds: float, peak: int) -> Ended:
        models = {n: paths[n] for n, thing in result.artifacts.items() if isinstance(thing, Mapping) and "state" in thing}
        said = json.loads(json.dumps({**result.artifacts, **models}, default=plain))
        return Ended(
            paths={name: str(Path(path)) for name, path in paths.items()},
            provenance=result.provenance,
            artifacts=said,
            metrics=result.metrics,
            warnings=tuple(dict.fromkeys([*self.stage.notes, *self.plan.resources.warnings, *result.warnings])),
            seconds=seconds,
            peak_memory_bytes=peak,
        )


def _frames(lines: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the latest line of every frame that was made and not forgotten."""
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        if "frame" in line:
            found[line["frame"]] = line
        elif "forget" in line:
            found.pop(line["forget"], None)
    return found


def _once(said: Iterable[dict[str, Any]]) -> Iterator[Event]:
    """Yield events; what was decided once for all frames is told once, also when several workers found it."""
    seen = set()
    for values in said:
        if values["event"] == "Decided" or values.get("kind") in _SAID_ONCE:
            key = json.dumps(values, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
        yield as_event(values)


def _without_resume(event: Event) -> Event:
    """Return `Finished` with the recipe of an uninterrupted run, any other event as it is."""
    if not isinstance(event, Finished) or "recipe" not in event.provenance:
        return event
    recipe = Recipe.from_dict(dict(event.provenance))
    last = recipe.steps[-1]
    last = last.model_copy(update={"params": {**last.params, "resume": ""}})
    whole = recipe.model_copy(update={"steps": (*recipe.steps[:-1], last)})
    return replace(event, provenance={**event.provenance, "recipe": whole.to_dict()})


def _unless_cancelled(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Finished) and event.partial:
            raise Cancelled
        yield event
