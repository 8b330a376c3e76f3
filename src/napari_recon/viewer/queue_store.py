"""What waits or runs, noted on disk: napari may end before a job does. One small file per process, written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe
from napari_recon.core.settings import config_folder
from napari_recon.viewer.batch_job import BatchJob
from napari_recon.viewer.job import Job
from napari_recon.viewer.layer_input import stack_from_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass(frozen=True)
class Record:
    """A job that can be made again.

    Attributes
    ----------
    recipe : dict
        Its one step.
    names : dict
        Input name -> names of the layers (or files) behind it.
    own : bool
        It was left by this process, whose file keeps it.
    batch : dict
        Of a batch, what it was asked for besides the recipe.
    out : str
        The file its result is written to.
    """

    title: str
    recipe: dict[str, Any]
    names: dict[str, list[str]] = field(default_factory=dict)
    own: bool = False
    batch: dict[str, Any] = field(default_factory=dict)
    out: str = ""


def record_of_batch(job: BatchJob) -> Record:
    """Return what goes on with a batch."""
    return Record(job.title, job.recipe.to_dict(), own=True, batch=job.noted())


def record_of_job(title: str, plan: Plan, out: str = "") -> Record:
    """Return what makes the job again from its plan, even one from headers alone."""
    names: dict[str, list[str]] = {}
    for ref in plan.inputs:
        names.setdefault(ref.name, []).append(ref.label)
    return Record(title, Recipe.of(plan).to_dict(), names, own=True, out=out)


def job_again(record: Record, viewer: ViewerModel) -> Job | BatchJob:
    """Return the job; inputs that were layers are found by their names, files are opened when it runs.

    Raises
    ------
    InputError
        When a layer it needs is not there.
    """
    if record.batch:
        return BatchJob.of(record.batch, record.recipe)
    recipe = Recipe.from_dict(record.recipe, record.title)
    inputs: dict[str, list[Any]] = {}
    parents = []
    for name, sources in recipe.steps[-1].inputs.items():
        if not any(source.path.startswith("layer:") for source in sources):
            continue
        for source, label in zip(sources, record.names.get(name, [""] * len(sources)), strict=False):
            layer = next((x for x in viewer.layers if x.name == label and x.ndim == len(source.axes)), None)
            if layer is not None:
                parents.append(layer)
                inputs.setdefault(name, []).append(stack_from_layer(layer, source.axes))
            elif source.path.startswith("layer:"):
                raise InputError(f"{record.title} needs the layer {label}, which is not open; open it under that name")
            else:
                inputs.setdefault(name, []).append(source.path)

    def planned() -> tuple[Plan, Any]:
        from napari_recon.jobs.recipes import prepare

        stage = prepare(recipe, inputs)
        return stage.plan, stage.inputs

    return Job(planned, title=record.title, parent_layers=tuple(parents), outline=lambda: planned()[0], out=record.out)


def left_text(left: Sequence[Record]) -> str:
    """Return how many jobs were left from last time, in words."""
    many = "1 job was" if len(left) == 1 else f"{len(left)} jobs were"
    return f"{many} waiting when napari was closed"


class JobStore:
    """The notes of this process and of those that ended before their jobs did."""

    def __init__(self) -> None:
        self._folder = config_folder()
        self._path = self._folder / f"jobs-{os.getpid()}.json"
        self._written = ""
        self._others: list[Path] = []

    def left(self) -> list[Record]:
        """Return what processes left that are no longer alive."""
        found: list[Record] = []
        for path in sorted(self._folder.glob("jobs-*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                if _alive(int(content["process"]), float(content["since"])):
                    continue
                for job in content["jobs"]:
                    rest = {name: job[name] for name in ("batch", "out") if name in job}
                    found.append(Record(str(job["title"]), job["recipe"], job["names"], **rest))
                self._others.append(path)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    def forget_others(self) -> None:
        """Delete the notes of processes that ended."""
        for path in self._others:
            if path != self._path:
                path.unlink(missing_ok=True)
        self._others = []

    def save(self, records: Iterable[Record]) -> None:
        """Note what waits or runs here; a folder that can't be written costs the comfort, not the run."""
        jobs = [{key: value for key, value in asdict(r).items() if key != "own"} for r in records]
        since = psutil.Process().create_time()
        text = json.dumps({"process": os.getpid(), "since": since, "jobs": jobs}) if jobs else ""
        if text == self._written:
            return
        try:
            if not text:
                self._path.unlink(missing_ok=True)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                temporary = self._path.with_suffix(".part")
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self._path)
        except OSError:
            return
        self._written = text


def _alive(process: int, since: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - since) < 1.0
    except psutil.Error:
        return False
