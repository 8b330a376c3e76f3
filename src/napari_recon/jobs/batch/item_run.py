"""One recording of a batch: planned, its frames gathered as they come, its files given their names at the end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.errors import Cancelled, ReconError
from napari_recon.core.events import Decided, Event, Finished, Progress
from napari_recon.core.plan import OutputSpec, Plan
from napari_recon.core.provenance import Recipe, Record
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io import create_output, open_stack
from napari_recon.io.output import remove
from napari_recon.io.suffixes import ZARR, suffix_of
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.parts import FrameRecord, Part, as_event, open_store, recognised
from napari_recon.jobs.batch.records import BatchFolder, Log, Outcome
from napari_recon.jobs.batch.thumbnails import thumbnail
from napari_recon.jobs.names import Names
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.recipes import Stage, main_source, prepare
from napari_recon.jobs.running import Result, collect

#: Reports and transforms that a later part says again, since it decided the same on the same frame.
_SAID_ONCE = ("report", "transform")
_LEFT = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{8}\.(?P<kind>partial|old)|\d+\.part)|\.[0-9a-f]{12}\.probe")


@dataclass(frozen=True)
class Order:
    """A recording to be made by another process."""

    item: Item
    recipe: Recipe
    target: str
    out: str
    device: str


class ItemRun:
    """What is done for one recording.

    A recipe of one step whose engine makes frames apart is gathered frame by frame, so that what is finished is never made
    again; other recipes are run as a whole.

    Parameters
    ----------
    item : Item
    recipe : Recipe
        With the batch's own parameters in it.
    target : Path
        Where the first output goes.
    folder : BatchFolder
    device : str
        Instead of the recorded one.
    """

    def __init__(self, item: Item, recipe: Recipe, target: Path, folder: BatchFolder, device: str = "") -> None:
        self.item, self.recipe, self.target, self.folder = item, recipe, target, folder
        self._device = device
        self.log: Log = folder.log(item)
        self.frames: dict[int, FrameRecord] = {}
        self.given_up = False

    @classmethod
    def of(cls, order: Order) -> ItemRun:
        """Return what an order asks for."""
        return cls(order.item, order.recipe, Path(order.target), BatchFolder(Path(order.out)), order.device)

    def order(self) -> Order:
        """Return what another process needs to make this recording."""
        return Order(self.item, self.recipe, str(self.target), str(self.folder.out), self._device)

    @cached_property
    def plan(self) -> Plan:
        """The plan of this recording (InputError when it does not fit)."""
        return self._stage.plan

    @property
    def apart(self) -> bool:
        """Whether frames are made and kept one by one."""
        return len(self.recipe.steps) == 1 and registry.get(self.recipe.steps[0].engine).frames_apart(self.plan)

    @property
    def missing(self) -> list[int]:
        """Numbers of the frames that are still to be made."""
        return [n for n in self.plan.numbers if n not in self.frames]

    def open(self, growing: bool = False) -> None:
        """Plan, and take up what an earlier session left.

        Parameters
        ----------
        growing : bool
            More frames than last time are no reason to begin anew.

        Raises
        ------
        InputError, DiskFull
        """
        self.target.parent.mkdir(parents=True, exist_ok=True)
        before = {name: self.__dict__.pop(name, None) for name in ("_stage", "plan", "_names")}
        try:
            self.plan  # noqa: B018  opens the input
        except (ReconError, OSError):
            self.__dict__.update({name: value for name, value in before.items() if value is not None})
            raise
        if not self.apart:
            return
        begun = {"plan": recognised(self.plan), "fingerprints": [ref.fingerprint for ref in self.plan.inputs]}
        lines = self.log.lines()
        last: dict[str, Any] = next((line for line in reversed(lines) if "plan" in line), {})
        same = last == begun or (growing and last.get("plan") == begun["plan"])
        kept = [line for line in lines if "frame" in line] if same else []
        if kept and all(self._store(s).exists() or self._names.output(s.name).exists() for s in self.plan.outputs):
            self.frames = {line["frame"]: FrameRecord(line["frame"], *line["record"]) for line in kept}
        else:
            shutil.rmtree(self.folder.work(self.item), ignore_errors=True)
            self.log.clear()
            self.frames, last = {}, {}
        if last != begun:
            self.log.add(begun)
        if self.missing:
            self.folder.work(self.item).mkdir(parents=True, exist_ok=True)
            for spec in self.plan.outputs:
                open_store(self._store(spec), self.plan, spec.name)

    def part(self, start: int, stop: int, stop_file: str = "") -> Part:
        """Return the work of some frames."""
        stores = tuple(str(self._store(spec)) for spec in self.plan.outputs)
        return Part(self.plan, start, stop, stores, stop_file)

    def took(self, record: FrameRecord) -> None:
        """Note that a frame is finished and stored."""
        self.log.add({"frame": record.number, "record": [record.said, record.seconds, record.peak_memory_bytes]})
        self.frames[record.number] = record

    def run_whole(self, token: CancelToken) -> Iterator[tuple[float, float, str]]:
        """Run the recipe in one piece and write its files; yields (done, total, message).

        Raises
        ------
        Cancelled
            Nothing was written.
        ReconError
        """
        stage = self._prepared(token) if len(self.recipe.steps) > 1 else self._stage
        writer = OutputWriter(self.target, stage.plan)
        result = Result()
        for event in writer.through(_unless_cancelled(stage.run(token))):
            result.add(event)
            if isinstance(event, Progress):
                yield event.done, event.total, event.message
        self._end(stage.plan, result, writer.paths, result.provenance.get("seconds", 0.0))

    def finish(self) -> None:
        """Give the gathered outputs their names and write what else the frames said."""
        records = [self.frames[n] for n in sorted(self.frames)]
        said = list(_once(event for record in records for event in record.said))
        provenance = self._provenance(said, sum(r.seconds for r in records))
        paths = {spec.name: str(self._finished(spec, provenance)) for spec in self.plan.outputs}
        writer = OutputWriter(self.target, self.plan)
        result = collect(writer.through(iter([*said, Finished(provenance)])), arrays=False)
        result.specs = {spec.name: spec for spec in self.plan.outputs}
        peak = max(r.peak_memory_bytes for r in records)
        self._end(self.plan, result, {**paths, **writer.paths}, provenance["seconds"], peak)
        shutil.rmtree(self.folder.work(self.item), ignore_errors=True)

    def failed(self, message: str) -> None:
        """Note that this recording can't be made."""
        self.log.add({"outcome": Outcome(state="failed", message=message).model_dump(mode="json")})

    @cached_property
    def _stage(self) -> Stage:
        """The recipe with this recording as its input; of several steps only the first is looked at here."""
        first = self.recipe.model_copy(update={"steps": self.recipe.steps[:1]})
        return prepare(first, {main_source(self.recipe): [self.item.source]}, device=self._device)

    def _prepared(self, token: CancelToken) -> Stage:
        stage = prepare(self.recipe, {main_source(self.recipe): [self.item.source]}, token, self._device)
        token.check()
        return stage

    @cached_property
    def _names(self) -> Names:
        return Names(self.target, self.plan)

    def _store(self, spec: OutputSpec) -> Path:
        return self.folder.work(self.item) / f"{spec.name}.ome.zarr"

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

    def _end(self, plan: Plan, result: Result, paths: dict[str, str], seconds: float, peak: int = 0) -> None:
        first = paths.get(plan.outputs[0].name) if plan.outputs else None
        outcome = Outcome(
            state="done",
            result=str(first or next(iter(paths.values()), "")),
            outputs={name: str(Path(path)) for name, path in paths.items()},
            frames=plan.frames,
            seconds=seconds,
            peak_memory_bytes=peak,
            device=plan.compute.device,
            metrics=result.metrics,
            warnings=tuple(dict.fromkeys([*plan.resources.warnings, *result.warnings])),
            thumbnail=thumbnail(first) if first else "",
        )
        self.log.add({"outcome": outcome.model_dump(mode="json")})


def sweep(targets: Iterable[Path]) -> None:
    """Remove what a killed process left beside results; an older result that it had set aside comes back."""
    for folder in {target.parent for target in targets if target.parent.is_dir()}:
        for path in folder.glob(".*"):
            left = _LEFT.fullmatch(path.name)
            if left is None:
                continue
            if left["kind"] == "old" and not (folder / left["name"]).exists():
                path.rename(folder / left["name"])
            else:
                remove(path)


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


def _unless_cancelled(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Finished) and event.partial:
            raise Cancelled
        yield event
