"""A batch as a job of the queue: on what it runs, how long it may take, and what happens while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from napari_recon.core.compute import resolve_device
from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.jobs.batch.api import workers_for
from napari_recon.jobs.batch.items import Item, find_items, result_paths
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.batch.run import BatchFinished, ItemChanged, Prepared, kept, run_batch
from napari_recon.jobs.batch.watch import Patience, watch_batch
from napari_recon.jobs.estimates import estimate
from napari_recon.jobs.recipes import main_source, prepare, read_recipe
from napari_recon.viewer.batch_request import BatchRequest

#: A recording says at most this often that it goes on.
EVERY_S = 0.1
CLUSTER, WATCH = "cluster", "watch"
"""Where a batch runs that takes no device of this computer for itself: workers of others, or only now and then a frame."""


@dataclass(frozen=True)
class BatchJob:
    """A batch to do, or to go on with.

    Attributes
    ----------
    request : BatchRequest
        Its recipe is one, not a path (`BatchRequest.settled`).
    patience : Patience
        Of a watch.
    """

    request: BatchRequest
    patience: Patience = field(default_factory=Patience)
    preview: ClassVar[bool] = False
    parent_layers: ClassVar[tuple[Any, ...]] = ()
    plan: ClassVar[None] = None

    @classmethod
    def of(cls, values: Mapping[str, Any], recipe: Mapping[str, Any]) -> BatchJob:
        """Return what `noted` and the recipe say."""
        return cls(BatchRequest(**{**values, "recipe": Recipe.from_dict(dict(recipe), "the note of a batch")}))

    def noted(self) -> dict[str, Any]:
        """Return everything but the recipe as JSON values."""
        return {name: value for name, value in vars(self.request).items() if name != "recipe"}

    @cached_property
    def recipe(self) -> Recipe:
        """What is done to every recording."""
        return read_recipe(self.request.recipe)

    @property
    def title(self) -> str:
        """See `BatchRequest.title`."""
        return self.request.title

    @cached_property
    def device(self) -> str:
        """``cpu``, ``gpu``, `CLUSTER` or `WATCH`; the queue asks at every turn."""
        if self.request.watch:
            return WATCH
        if self.request.scheduler:
            return CLUSTER
        steps = [step for step in self.recipe.steps if registry.get(step.engine).uses_torch]
        return "gpu" if any(_device(step.resolved, self.request.device) != "cpu" for step in steps) else "cpu"

    def expected_s(self) -> float | None:
        """Return the seconds to go, as if all recordings were like the first one; None when such were never timed."""
        if self.request.watch:
            return None
        prepared = self.request.prepare()
        todo = [(item, target) for item, target in prepared.targets.items() if _left(prepared, item, target)]
        if not todo or len(prepared.recipe.steps) > 1:
            return None
        first = {main_source(prepared.recipe): [todo[0][0].source]}
        each = estimate(prepare(prepared.recipe, first, device=prepared.settings.device).plan)
        return None if each is None else each * len(todo) / max(1, self.request.workers)


@dataclass(frozen=True)
class Begun:
    """A batch begins, with so many recordings."""

    count: int


@dataclass(frozen=True)
class Told:
    """What happened to a recording.

    Attributes
    ----------
    outcome : Outcome or None
        How it ended.
    store, target : Path or None
        Where its main output is gathered, and what that will be called; only of a watch.
    newest : bool
        No recording of this watch was written to later.
    """

    event: ItemChanged
    outcome: Outcome | None = None
    store: Path | None = None
    target: Path | None = None
    newest: bool = False


def batch_events(job: BatchJob, token: CancelToken) -> Iterator[Begun | Told | BatchFinished]:
    """Run a batch and yield what happens.

    Raises
    ------
    InputError, DiskFull
    """
    request, prepared = job.request, job.request.prepare()
    yield Begun(len(prepared.targets))
    last: dict[Item, float] = {}
    places = _Places(prepared)
    with workers_for(request.workers, request.scheduler) as helpers:
        watching = request.watch
        for event in watch_batch(prepared, token, job.patience) if watching else run_batch(prepared, token, helpers):
            if isinstance(event, BatchFinished):
                yield event
                continue
            now = time.monotonic()
            if event.state == "running" and now - last.get(event.item, 0.0) < EVERY_S:
                continue
            last[event.item] = now
            yield Told(event, _outcome(prepared, event), *(places.of(event.item) if watching else ()))


class _Places:
    """Where recordings of a watch are gathered, and which is the newest; more of them come while it goes on."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, self._targets = prepared, dict(prepared.targets)
        self._latest = 0.0
        steps = prepared.recipe.steps
        outputs = registry.get(steps[-1].engine).info.outputs
        inside = f"{len(steps) - 1}/" if len(steps) > 1 else ""
        self._store = f"{inside}{outputs[0].name if outputs else ''}.ome.zarr"

    def of(self, item: Item) -> tuple[Path, Path, bool]:
        """Return store, target, and whether nothing is newer."""
        prepared = self._prepared
        if item not in self._targets:
            items = find_items(prepared.settings.source, prepared.settings.each)
            paths = result_paths(items, prepared.folder.out, prepared.settings.name)
            self._targets |= {found: paths[found.id] for found in items}
        written = 0.0
        with suppress(OSError):
            written = Path(item.source.partition("::")[0]).stat().st_mtime
        newest = written >= self._latest
        self._latest = max(written, self._latest)
        return prepared.folder.work(item) / self._store, self._targets[item], newest


def _outcome(prepared: Prepared, event: ItemChanged) -> Outcome | None:
    if event.state == "running":
        return None
    if event.state == "skipped":  # what is there is not of this batch, which notes nothing of it
        return Outcome(state="skipped", result=str(prepared.targets.get(event.item, "")), message=event.message)
    return prepared.folder.log(event.item).outcome()


def _left(prepared: Prepared, item: Item, target: Path) -> bool:
    return kept(prepared.folder.log(item).outcome(), target, prepared.existing) is None


def _device(resolved: Mapping[str, Any], asked: str) -> str:
    """Return the device of a step as the batch will choose it: the recorded one if it is here, else the best."""
    try:
        return resolve_device(asked or str(resolved.get("device", "auto")))
    except InputError:
        return resolve_device("auto")
