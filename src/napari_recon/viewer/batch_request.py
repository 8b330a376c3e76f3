"""What the Batch dock asks for, frozen: looked at and started in a worker, without touching a widget."""

from __future__ import annotations

import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.compute import resolve_device
from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.core.settings import config_folder
from napari_recon.jobs.batch.items import DEFAULT_NAME, Each, Item, find_items, result_paths
from napari_recon.jobs.batch.records import BatchFolder, Outcome, Settings
from napari_recon.jobs.batch.run import Existing, Prepared, each_of, kept, prepare_batch, with_params
from napari_recon.jobs.code import yaml_text
from napari_recon.jobs.recipes import main_source, read_recipe


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
    scheduler: str = ""
    watch: bool = False
    device: str = ""

    def settled(self, recipe: Recipe) -> BatchRequest:
        """Return the same with `recipe`, changed parameters in it, and whole paths: it means the same at any time."""
        source, out = (str(Path(path).expanduser().resolve()) for path in (self.source, self.out))
        return replace(self, recipe=recipe, params="", source=source, out=out)

    @property
    def title(self) -> str:
        """What it is called among other jobs."""
        return f"{'Watch' if self.watch else 'Batch'} · {Path(self.source).name} → {Path(self.out).name}"

    def as_command(self) -> str:
        """Return the shell command (POSIX quoting) that does the same; a recipe that is no file is written to one.

        Raises
        ------
        InputError
            When it could not start.
        """
        prepared = self.prepare()
        recipe, source, out = self.recipe, prepared.settings.source, prepared.folder.out
        path = Path(recipe).expanduser().resolve() if isinstance(recipe, str | Path) else _written(read_recipe(recipe))
        words = ["napari-recon", "batch", str(path), source, "-o", str(out)]
        for option, value, usual in (
            ("--each", self.each, "auto"),
            ("--name", self.name, DEFAULT_NAME),
            ("--existing", self.existing, "refuse"),
            ("--workers", str(self.workers), "1"),
            ("--scheduler", self.scheduler, ""),
            ("--device", self.device, ""),
        ):
            words += [option, value] if value != usual else []
        for name, value in assigned(self.params).items():
            words += ["--set", f"{name}={yaml_text(value)}"]
        words += ["--watch"] * self.watch + ["--resume"] * prepared.resumed
        return shlex.join(words)

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
        tried("scheduler", self._check_scheduler)
        tried("device", lambda: self.device and resolve_device(self.device))
        each = self.each if recipe is None else each_of(recipe, self.each)
        items = (tried("source", self._items, each) or ()) if self.source else ()
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

    def _items(self, each: Each) -> Sequence[Item]:
        source = Path(self.source).expanduser().resolve()
        if not self.watch:
            return find_items(source, each)
        if not source.is_dir():
            raise InputError(f"a folder to be watched was expected, found {source}; choose a folder that exists")
        try:
            return find_items(source, each)
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

    def _check_scheduler(self) -> None:
        if not self.scheduler:
            return
        if self.watch:
            raise InputError(f"a watch works in one process, found {self.scheduler}; leave the scheduler out")
        if find_spec("distributed") is None:
            raise InputError('a scheduler needs dask.distributed; pip install "napari-recon[cluster]", or leave it out')
        if not (self.scheduler.endswith(".json") or re.fullmatch(r"[a-z]+://[^\s/]+:\d+", self.scheduler)):
            raise InputError(f"an address like tcp://host:8786 was expected, found {self.scheduler!r}; copy the scheduler's")


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


def _written(recipe: Recipe) -> Path:
    """Write a recipe that is no file to a place of its own, and return that."""
    text = recipe.to_yaml()
    path = config_folder() / "recipes" / f"{recipe.steps[-1].engine}-{zlib.crc32(text.encode()):08x}.recipe.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the recipe could not be written to {path} ({error}); make that place writable") from None
    return path
