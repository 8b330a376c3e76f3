"""What the Batch dock asks for, frozen: looked at and started in a worker, without touching a widget."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.api import workers_for
from napari_recon.jobs.batch.items import DEFAULT_NAME, Each, Item, find_items, result_paths
from napari_recon.jobs.batch.records import BatchFolder, Outcome, Settings
from napari_recon.jobs.batch.run import (
    BatchEvent,
    BatchFinished,
    Existing,
    Prepared,
    kept,
    prepare_batch,
    run_batch,
    with_params,
)
from napari_recon.jobs.batch.watch import Patience, watch_batch
from napari_recon.jobs.recipes import main_source, read_recipe

#: A recording says at most this often that it goes on.
EVERY_S = 0.1


@dataclass(frozen=True)
class Row:
    """A recording, where its result goes, and how it ended if it did; `clash`: another file is there."""

    item: Item
    target: Path
    outcome: Outcome = field(default_factory=Outcome)
    clash: bool = False


@dataclass(frozen=True)
class Outlook:
    """What a request would do.

    Attributes
    ----------
    recipe : Recipe or None
        With the changed parameters in it.
    rows : tuple of Row
    held : Settings or None
        The batch that the folder of results holds already.
    resumes : bool
        Whether that is the one asked for.
    problems : mapping
        Name of a field -> what is wrong with it, in one sentence.
    missing : str
        What is to be chosen next; empty when everything is.
    """

    recipe: Recipe | None = None
    rows: tuple[Row, ...] = ()
    held: Settings | None = None
    resumes: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def left(self) -> int:
        """How many recordings are still to be made."""
        return sum(row.outcome.state in ("waiting", "failed") for row in self.rows)


@dataclass(frozen=True)
class BatchRequest:
    """The form as it stands; `recipe` is a path, a mapping or a Recipe, `params` text like ``"a=1; b=auto"``."""

    recipe: Any = None
    source: str = ""
    out: str = ""
    each: Each = "auto"
    name: str = DEFAULT_NAME
    existing: Existing = "refuse"
    params: str = ""
    workers: Any = 1
    watch: bool = False
    device: str = ""

    def prepare(self) -> Prepared:
        """Return the batch, ready to start or to go on (InputError when it can't)."""
        return prepare_batch(
            self.recipe,
            self.source,
            self.out,
            resume=BatchFolder(Path(self.out).expanduser().resolve()).settings() is not None,
            each=self.each,
            name=self.name,
            existing=self.existing,
            params=assigned(self.params),
            device=self.device,
            may_be_empty=self.watch,
        )

    def look(self) -> Outlook:
        """Return what this would do, and what is wrong with which field."""
        problems: dict[str, str] = {}

        def tried(name: str, function: Any, *args: Any) -> Any:
            try:
                return function(*args)
            except (InputError, OSError) as error:
                problems.setdefault(name, str(error).replace("--name ", ""))
                return None

        recipe = None if self.recipe in (None, "") else tried("recipe", usable, self.recipe)
        if recipe is not None:
            recipe = tried("params", lambda: with_params(recipe, assigned(self.params)))
        tried("workers", self._check_workers)
        items = (tried("source", self._items) or ()) if self.source else ()
        folder = BatchFolder(Path(self.out).expanduser().resolve()) if self.out else None
        held = tried("out", folder.settings) if folder else None
        found = Outlook(recipe, held=held, problems=problems, missing=self._missing())
        if folder is None:
            tried("name", result_paths, items, Path(), self.name)
            return replace(found, rows=tuple(Row(item, Path(item.label)) for item in items))
        if folder.out.exists() and not folder.out.is_dir():
            problems.setdefault("out", f"a folder was expected, {self.out} is a file; choose a folder")
        outside = tuple(item for item in items if not Path(item.source).is_relative_to(folder.out))
        if items and not outside:
            problems.setdefault("out", "results should lie apart from the recordings; choose another folder")
        targets = tried("name", result_paths, outside, folder.out, self.name)
        if held is not None and not found.missing and not problems:
            tried("out", self.prepare)
        resumes = held is not None and not found.missing and not problems
        rows = tuple(self._row(item, targets[item.id], folder, resumes) for item in outside) if targets is not None else ()
        clashes = [row for row in rows if row.clash]
        if clashes and self.existing == "refuse":
            problems["existing"] = (
                f"{len(clashes)} of {len(rows)} results are there already ({clashes[0].target.name} ...); "
                "keep or replace them, or choose another folder"
            )
        return replace(found, rows=rows, resumes=resumes)

    def _missing(self) -> str:
        for value, text in (
            (self.recipe, "Choose a recipe: a file, or a result you liked"),
            (self.source, "Choose the folder of recordings"),
            (self.out, "Choose a folder for the results"),
        ):
            if not value:
                return text
        return ""

    def _items(self) -> Sequence[Item]:
        source = Path(self.source).expanduser().resolve()
        if not self.watch:
            return find_items(source, self.each)
        if not source.is_dir():
            raise InputError(f"a folder to be watched was expected, found {source}; choose a folder that exists")
        try:
            return find_items(source, self.each)
        except InputError:  # nothing landed yet
            return ()

    def _row(self, item: Item, target: Path, folder: BatchFolder, resumes: bool) -> Row:
        before = folder.log(item).outcome() if resumes else Outcome()
        state = kept(before, target, "skip")
        if state is None:
            return Row(item, target, before if before.state == "failed" else Outcome())
        if state.state == "skipped" and self.existing != "skip":
            return Row(item, target, clash=True)
        return Row(item, target, state)

    def _check_workers(self) -> None:
        if not isinstance(self.workers, int) or self.workers < 1:
            raise InputError(f"processes should be a whole number from 1, found {self.workers!r}; write 1 to work in napari")
        if self.workers > 1 and self.watch:
            raise InputError(f"a watch works in one process, found {self.workers}; write 1")
        if self.workers > 1 and find_spec("distributed") is None:
            raise InputError('more processes need dask.distributed; pip install "napari-recon[cluster]", or write 1')


def usable(source: Any) -> Recipe:
    """Return the recipe in `source` if other recordings can take the place of its own.

    Raises
    ------
    InputError
        No recipe, one without a recording, or one that used something else that is no file.
    """
    recipe = read_recipe(source)
    main = main_source(recipe)
    for number, step in enumerate(recipe.steps):
        for name, sources in step.inputs.items():
            loose = [s for s in sources if not s.path or s.path.startswith("layer:")]
            if loose and (number, name) != (0, main):
                raise InputError(
                    f"the input {name} of the recipe should be a file, found a layer; save that layer, choose the saved "
                    "file in its dock and make the result again"
                )
    return recipe


def assigned(text: str) -> dict[str, Any]:
    """Return ``"a=1; b=auto"`` as ``{"a": 1, "b": "auto"}``; values are read as YAML (InputError when they can't be)."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not name.strip():
            raise InputError(f"settings should look like name=value; other=value, found {part!r}; mend it")
    return found


def batch_events(
    request: BatchRequest, token: CancelToken, patience: Patience = Patience()
) -> Iterator[tuple[BatchEvent, Outcome | None]]:
    """Run a request; yields what happens, with its outcome where a recording ended.

    Raises
    ------
    InputError, DiskFull
    """
    prepared = request.prepare()
    last: dict[Item, float] = {}
    with workers_for(request.workers, "") as helpers:
        watch = request.watch
        for event in watch_batch(prepared, token, patience) if watch else run_batch(prepared, token, helpers):
            if isinstance(event, BatchFinished):
                yield event, None
                continue
            now = time.monotonic()
            if event.state == "running" and now - last.get(event.item, 0.0) < EVERY_S:
                continue
            last[event.item] = now
            yield event, None if event.state == "running" else prepared.folder.log(event.item).outcome()
