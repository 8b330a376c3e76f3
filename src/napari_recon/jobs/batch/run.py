"""A batch from beginning to end: what is left is made, every recording's outcome is noted and reported."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from napari_recon.core.errors import Cancelled, DiskFull, InputError, ReconError, describe
from napari_recon.core.params import describe_parameters, flat, make_params
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io.suffixes import IMAGES, suffix_of
from napari_recon.jobs.batch.item_run import ItemRun, sweep
from napari_recon.jobs.batch.items import DEFAULT_NAME, Each, Item, find_items, result_paths
from napari_recon.jobs.batch.parts import Held, frames_of
from napari_recon.jobs.batch.records import BatchFolder, Outcome, Settings
from napari_recon.jobs.batch.report import write_report
from napari_recon.jobs.recipes import main_source, read_recipe

Existing = Literal["refuse", "skip", "overwrite"]
#: The report is written again while the batch goes on, this often.
REPORT_EVERY_S = 30.0


@dataclass(frozen=True)
class ItemChanged:
    """A recording goes on: `done` of `total` frames (or steps of one), what it does in words, and what one should know."""

    item: Item
    state: Literal["running", "done", "failed", "skipped"]
    done: float = 0.0
    total: float = 1.0
    message: str = ""
    warning: str = ""


@dataclass(frozen=True)
class BatchFinished:
    """The last word of a batch; `cancelled` when something is left that `resume` would make."""

    outcomes: Mapping[Item, Outcome]
    table: Path
    page: Path
    cancelled: bool = False

    @property
    def failed(self) -> list[Item]:
        """Recordings that could not be made."""
        return [item for item, outcome in self.outcomes.items() if outcome.state == "failed"]


BatchEvent = ItemChanged | BatchFinished


@dataclass(frozen=True)
class Prepared:
    """A batch that can start: nothing is written yet."""

    settings: Settings
    recipe: Recipe
    folder: BatchFolder
    targets: Mapping[Item, Path]
    resumed: bool
    existing: Existing


def choice(value: str, name: Literal["each", "existing"]) -> Any:
    """Return `value` after checking that it is one of those an option takes (InputError otherwise)."""
    allowed = get_args(Each if name == "each" else Existing)
    if value not in allowed:
        raise InputError(f"--{name} should be one of {', '.join(allowed)}, found {value!r}; choose one")
    return value


def prepare_batch(
    recipe: Any,
    source: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    each: Each = "auto",
    name: str = DEFAULT_NAME,
    existing: Existing = "refuse",
    params: Mapping[str, Any] | None = None,
    device: str = "",
    may_be_empty: bool = False,
) -> Prepared:
    """Return what a batch would do.

    Parameters
    ----------
    recipe : path, mapping, Recipe or Result
        See `jobs.recipes.read_recipe`; its first step's main input is replaced by each recording.
    source : path
        See `find_items`.
    out : path
        A folder.
    resume : bool
        Go on where an earlier batch in `out` stopped; recipe and settings have to be the same. Failed recordings are tried
        again.
    name : str
        See `result_paths`.
    existing : {"refuse", "skip", "overwrite"}
        What becomes of files that are there already and that this batch did not write. Without `resume`, "overwrite" makes
        all of an earlier batch in `out` anew, and "skip" keeps what it finished.
    params : mapping, optional
        Values instead of the recipe's, in every step that has a parameter of that name.
    device : str, optional
        Instead of the recorded one.
    may_be_empty : bool
        Nothing has to be there yet, as when a folder is watched.

    Raises
    ------
    InputError
    """
    folder = BatchFolder(Path(out).expanduser().resolve())
    chosen = with_params(read_recipe(recipe), params or {})
    asked = Settings(
        recipe=chosen.to_dict(),
        source=str(Path(source).expanduser().resolve()),
        each=each_of(chosen, each),
        name=name,
        device=device,
    )
    if Path(asked.source).is_relative_to(folder.out):
        raise InputError(
            f"results should go to a folder that does not hold the recordings, found {out}; choose another folder"
        )
    before = folder.settings()
    same = before is not None and before.model_copy(update={"version": asked.version}) == asked
    resumed = before is not None and (resume or (same and existing == "skip"))
    if before is not None and existing == "refuse" and not resume:
        raise InputError(
            f"{out} holds a batch already; add --resume to go on with it, --existing overwrite to make all of it anew, "
            "or choose another folder"
        )
    if before is not None and resumed and not same:
        raise InputError(
            f"{out} holds a batch with {_difference(before, asked)}; use the same, leave out --resume and add "
            "--existing overwrite to make all of it anew (skip: to keep what is finished), or choose another folder"
        )
    try:
        items = tuple(i for i in find_items(asked.source, asked.each) if not Path(i.source).is_relative_to(folder.out))
    except InputError:
        if not (may_be_empty and Path(asked.source).is_dir()):
            raise
        items = ()
    paths = result_paths(items, folder.out, name)
    return Prepared(asked, chosen, folder, {i: paths[i.id] for i in items}, resumed, existing)


def each_of(recipe: Recipe, each: Each) -> Each:
    """Return what one recording is: with "auto", a file where the recipe was made with one file.

    Raises
    ------
    InputError
        The recipe does not start from one recording.
    """
    path = recipe.steps[0].inputs[main_source(recipe)][0].path.partition("::")[0]
    alone = suffix_of(path) in IMAGES and not glob.has_magic(path)
    return "file" if each == "auto" and alone else each


def run_batch(prepared: Prepared, token: CancelToken | None = None, workers: Any = None) -> Iterator[BatchEvent]:
    """Make what is left of a batch, one recording after the other, and yield how it goes.

    Parameters
    ----------
    prepared : Prepared
    token : CancelToken, optional
    workers : `napari_recon.jobs.batch.cluster.Workers`, optional
        Frames (or whole recordings) are made by them instead of here.

    Raises
    ------
    InputError
        The folder is in use or can't be written.
    DiskFull
        What was finished is kept; `resume` goes on.
    """
    token, folder = token or CancelToken(), prepared.folder
    with folder.locked():
        if not prepared.resumed:
            for target in prepared.targets.values():
                kept(Outcome(), target, prepared.existing)  # refuses before anything is begun
            folder.begin(prepared.settings)
        sweep(prepared.targets.values())
        outcomes = {item: folder.log(item).outcome() for item in prepared.targets}
        todo, cancelled = [], True
        for item, target in prepared.targets.items():
            state = kept(outcomes[item], target, prepared.existing)
            if state is None:
                todo.append(ItemRun(item, prepared.recipe, target, folder, prepared.settings.device))
            else:
                outcomes[item] = state
                yield ItemChanged(item, "done" if state.state == "done" else "skipped", message=state.message)
        written = time.monotonic()
        with reported(prepared, outcomes), suppress(Cancelled):
            for event in _in_turn(todo, token) if workers is None else workers.made(todo, folder, token):
                if event.state != "running":
                    outcomes[event.item] = folder.log(event.item).outcome()
                    if event.state == "failed":
                        check_there(prepared)
                    if time.monotonic() - written > REPORT_EVERY_S:
                        with suppress(ReconError, OSError):  # a table that is open in Excel stops no batch
                            write_report(folder.out, prepared.settings, outcomes)
                        written = time.monotonic()
                yield event
            cancelled = False
        if not cancelled:
            folder.tidy()
        yield BatchFinished(outcomes, *write_report(folder.out, prepared.settings, outcomes, last=True), cancelled)


@contextmanager
def reported(prepared: Prepared, outcomes: Mapping[Item, Outcome]) -> Iterator[None]:
    """Write the report when a batch ends early, if it can be written, and say that what is finished is kept."""
    try:
        yield
    except (Exception, GeneratorExit) as error:
        with suppress(ReconError, OSError):
            write_report(prepared.folder.out, prepared.settings, outcomes)
        if not isinstance(error, ReconError | OSError):
            raise
        described = describe(error)
        raise type(described)(f"{described}; finished frames are kept, --resume goes on with them") from error
    finally:
        Held.let_go()


def check_there(prepared: Prepared) -> None:
    """Raise an InputError when no recording is there any more: that is no fault of each of them."""
    if not any(Path(item.source.partition("::")[0]).exists() for item in prepared.targets):
        raise InputError(
            f"the recordings in {prepared.settings.source} were expected, found all of them gone; bring the folder back"
        )


def _in_turn(todo: list[ItemRun], token: CancelToken) -> Iterator[ItemChanged]:
    """Make recordings in this process."""
    for run in todo:
        token.check()
        yield ItemChanged(run.item, "running", message="opening")
        yield from made(run, token)


def made(run: ItemRun, token: CancelToken) -> Iterator[ItemChanged]:
    """Make what is left of a recording, step after step, frame by frame where the engine allows; ends "done" or "failed".

    Raises
    ------
    Cancelled, DiskFull
    """
    try:
        while not run.done:
            run.open()
            if run.apart:
                yield from _gathered(run, token)
            else:
                for done, total, message in run.run_whole(token):
                    yield ItemChanged(run.item, "running", done, total, ", ".join(filter(None, (run.where, message))))
            run.finish()
    except (ReconError, OSError) as error:
        yield failure(run, error)
        return
    yield ItemChanged(run.item, "done", 1.0, 1.0)


def _gathered(run: ItemRun, token: CancelToken) -> Iterator[ItemChanged]:
    total = run.plan.frames
    while run.missing:
        start = run.missing[0]
        stop = next((n for n in range(start, total) if n in run.frames), total)
        for record in frames_of(run.part(start, stop), token):
            run.took(record)
            yield ItemChanged(run.item, "running", len(run.frames), total, run.where)
        token.check()


def failure(run: ItemRun, error: Exception) -> ItemChanged:
    """Note that a recording can't be made and return the event that says so; a full disk ends the batch instead.

    Raises
    ------
    DiskFull
    """
    described = describe(error)
    if isinstance(described, DiskFull):
        raise described from error
    run.failed(str(described))
    return ItemChanged(run.item, "failed", message=str(described))


def kept(outcome: Outcome, target: Path, existing: Existing) -> Outcome | None:
    """Return the outcome of a recording that is not made again, None when it is to be made.

    Raises
    ------
    InputError
        A file that this batch did not write is in the way, and nobody said what to do with it.
    """
    if outcome.state == "done" and all(Path(path).exists() for path in outcome.outputs.values()):
        return outcome
    if not target.exists() or existing == "overwrite" or outcome.state == "done":
        return None
    if existing == "refuse":
        raise InputError(f"{target} exists already; choose another folder, or --existing skip or overwrite")
    there = str(target)
    return Outcome(state="skipped", result=there, outputs={"result": there}, message="a file of that name was there before")


def with_params(recipe: Recipe, params: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other parameter values (InputError for names that no step has, or unfit values)."""
    unknown = set(params)
    steps = []
    for step in recipe.steps:
        model = registry.get(step.engine).Params
        names = {row.name for row in describe_parameters(model)}
        mine = {name: value for name, value in params.items() if name in names}
        unknown -= set(mine)
        values = make_params(model, {**flat(step.params), **mine}, step.engine) if mine else None
        steps.append(step if values is None else step.model_copy(update={"params": values.model_dump(mode="json")}))
    if unknown:
        engines = ", ".join(step.engine for step in recipe.steps)
        raise InputError(f"the recipe has no parameter {min(unknown)!r}; see: napari-recon params {engines}")
    return recipe.model_copy(update={"steps": tuple(steps)})


def _difference(before: Settings, asked: Settings) -> str:
    for name, word in (
        ("source", "another folder of recordings"),
        ("name", "another naming pattern"),
        ("each", "another choice of what one recording is"),
        ("device", "another device"),
    ):
        if getattr(before, name) != getattr(asked, name):
            return f"{word} ({getattr(before, name) or 'none'})"
    return "another recipe or other parameters"
