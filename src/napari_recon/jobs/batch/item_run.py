"""One recording of a batch: the steps of the recipe one after the other, its outcome noted at the end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe, Step
from napari_recon.core.token import CancelToken
from napari_recon.io.output import remove
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.parts import FrameRecord, Part
from napari_recon.jobs.batch.records import BatchFolder, Log, Outcome
from napari_recon.jobs.batch.step_run import Ended, StepRun
from napari_recon.jobs.batch.thumbnails import thumbnail
from napari_recon.jobs.recipes import Stage, differences, main_source, stage_of
from napari_recon.jobs.running import Result

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
    """What is done for one recording: `open`, then frames (or `run_whole`) and `finish`, once per step, until `done`.

    What an earlier step of the recipe gives is kept in the batch's own folder until the recording is done, so no step has to
    fit into memory and none that is finished is made again.

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
        self.done = self.given_up = False
        self._step: StepRun | None = None
        self._ended: list[Ended] = []

    @classmethod
    def of(cls, order: Order) -> ItemRun:
        """Return what an order asks for."""
        return cls(order.item, order.recipe, Path(order.target), BatchFolder(Path(order.out)), order.device)

    def order(self) -> Order:
        """Return what another process needs to make this recording."""
        return Order(self.item, self.recipe, str(self.target), str(self.folder.out), self._device)

    @property
    def step(self) -> StepRun:
        """The step that is being made."""
        assert self._step is not None  # callers open first
        return self._step

    @property
    def plan(self) -> Plan:
        """The plan of the present step."""
        return self.step.plan

    @property
    def apart(self) -> bool:
        """Whether frames of the present step are made and kept one by one."""
        return self.step.apart

    @property
    def single(self) -> bool:
        """Whether the recipe has one step only."""
        return len(self.recipe.steps) == 1

    @property
    def frames(self) -> dict[int, FrameRecord]:
        """The frames of the present step that are finished."""
        return self.step.frames

    @property
    def missing(self) -> list[int]:
        """Numbers of the frames of the present step that are still to be made."""
        return self.step.missing

    @property
    def where(self) -> str:
        """``"step 2 of 3 (fusion.deskew)"``; empty for recipes of one step."""
        return "" if self.single else f"step {len(self._ended) + 1} of {len(self.recipe.steps)} ({self.plan.engine})"

    def open(self, growing: bool = False) -> None:
        """Plan the first step that is not finished, and take up what an earlier session left of it.

        Parameters
        ----------
        growing : bool
            More frames than last time are no reason to begin anew.

        Raises
        ------
        InputError, DiskFull
        """
        self.folder.check()
        self.target.parent.mkdir(parents=True, exist_ok=True)
        results: dict[str, Result] = {}
        ended: list[Ended] = []
        for number, step in enumerate(self.recipe.steps):
            run = StepRun(self._stage(number, results), *self._places(number))
            end = run.open(growing)
            if end is None or number == len(self.recipe.steps) - 1:
                self._step, self._ended = run, ended
                for later in range(number + 1, len(self.recipe.steps)):
                    self._forget(later)
                return
            ended.append(end)
            results[step.id] = end.result(run.plan)

    def part(self, start: int, stop: int, stop_file: str = "") -> Part:
        """Return the work of some frames."""
        return self.step.part(start, stop, stop_file)

    def took(self, record: FrameRecord, source: Sequence[Any] = ()) -> None:
        """Note that a frame is finished and stored; see `StepRun.took`."""
        self.folder.check()
        self.step.took(record, source)

    def run_whole(self, token: CancelToken) -> Iterator[tuple[float, float, str]]:
        """Run the present step in one piece; see `StepRun.run_whole`."""
        yield from self.step.run_whole(token)

    def finish(self) -> None:
        """Note that the present step has come to its end: `open` goes on with the next, `done` says that it was the last."""
        self.folder.check()
        end = self.step.finish()
        if len(self._ended) < len(self.recipe.steps) - 1:
            self.step.log.add({"end": end.model_dump(mode="json")})
            return
        self._end(end)
        for number in range(len(self.recipe.steps) - 1):
            self._forget(number)
        shutil.rmtree(self.folder.work(self.item), ignore_errors=True)
        self.done = True

    def failed(self, message: str) -> None:
        """Note that this recording can't be made."""
        self.folder.check()
        self.log.add({"outcome": Outcome(state="failed", message=message).model_dump(mode="json")})

    def _stage(self, number: int, results: dict[str, Result]) -> Stage:
        """Return a step with this recording wherever the recipe had another one."""
        name, step = main_source(self.recipe), self.recipe.steps[number]
        recorded = self.recipe.steps[0].inputs[name][0].path
        same = [n for n, given in step.inputs.items() if recorded and [source.path for source in given] == [recorded]]
        names = same if number else [name]
        stage = stage_of(self.recipe, number, {n: [self.item.source] for n in names}, results, self._device)
        others: Step = step.model_copy(update={"inputs": {n: s for n, s in step.inputs.items() if n not in names}})
        return replace(stage, notes=tuple(differences(others, stage.plan)))

    def _places(self, number: int) -> tuple[Path, Path, Log]:
        """Return target, folder and log of a step; only the last one's target is seen outside."""
        work = self.folder.work(self.item)
        if self.single:
            return self.target, work, self.log
        if number == len(self.recipe.steps) - 1:
            return self.target, work / str(number), self.log
        return work / f"{number}.ome.zarr", work / str(number), self.folder.log(self.item, f".{number}")

    def _forget(self, number: int) -> None:
        target, work, log = self._places(number)
        shutil.rmtree(work, ignore_errors=True)
        log.clear()
        if target != self.target:
            remove(target)

    def _end(self, end: Ended) -> None:
        first = end.paths.get(self.plan.outputs[0].name) if self.plan.outputs else None
        every = [*self._ended, end]
        outcome = Outcome(
            state="done",
            result=str(first or next(iter(end.paths.values()), "")),
            outputs=end.paths,
            frames=self.plan.frames,
            apart=self.apart,
            seconds=sum(e.seconds for e in every),
            peak_memory_bytes=max(e.peak_memory_bytes for e in every),
            device=self.plan.compute.device,
            metrics=end.metrics,
            warnings=tuple(dict.fromkeys(text for e in every for text in e.warnings)),
            thumbnail=thumbnail(first) if first else "",
        )
        self.log.add({"outcome": outcome.model_dump(mode="json")})


def sweep(targets: Iterable[Path]) -> None:
    """Remove what a killed process left of results and beside them; an older one that it had set aside comes back."""
    stems: dict[Path, list[str]] = {}
    for target in targets:
        stems.setdefault(target.parent, []).append(target.name.partition(".")[0])
    for folder in filter(Path.is_dir, stems):
        for path in folder.glob(".*"):
            left = _LEFT.fullmatch(path.name)
            if left is None or not (left["name"] is None or left["name"].startswith(tuple(stems[folder]))):
                continue  # somebody else's, who may be writing it
            if left["kind"] == "old" and not (folder / left["name"]).exists():
                path.rename(folder / left["name"])
            else:
                remove(path)
